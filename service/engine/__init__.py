"""The inference engine: continuous batching of small decoders on ONNX Runtime.

Downward only: async_engine → llm_engine → scheduler, model_runner → kv_cache, sampler → sequence →
sampling_params. Nothing here knows of HTTP, BentoML, pydantic, torch or transformers.
"""

import os

# ONNX Runtime collects what it calls telemetry, unless this is said before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
