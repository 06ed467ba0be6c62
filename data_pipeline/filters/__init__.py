"""What is worth learning from: each filter a file, run one after the other by the stage `filters`."""

from data_pipeline.filters.stage import FiltersSettings, run

__all__ = ["FiltersSettings", "run"]
