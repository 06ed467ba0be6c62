"""The last stage: texts become a dataset that others can load, judge and cite."""

from data_pipeline.dataset.stage import DatasetSettings, run

__all__ = ["DatasetSettings", "run"]
