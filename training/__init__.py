"""From text to a model bundle: tokenizer, pretraining, fine-tuning, export, quantisation, parity, packaging.

Each step is a module with one public function, and a command of ``gtx-train``. Steps meet through files:
a tokenizer directory, a checkpoint directory, a portable export, a model bundle.
"""

import os

# ONNX Runtime collects what it calls telemetry, unless this is said before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
