"""Greentexts from a language model behind OpenAI's API, or any server that speaks it."""

from data_pipeline.synthesis.errors import SynthesisError
from data_pipeline.synthesis.reading import Reading, read_answer
from data_pipeline.synthesis.settings import SynthesisSettings
from data_pipeline.synthesis.stage import run

__all__ = ["Reading", "SynthesisError", "SynthesisSettings", "read_answer", "run"]
