"""From text to a model bundle: tokenizer, pretraining, fine-tuning, export, quantisation, parity, packaging.

Each step is a module with one public function, and a command of ``gtx-train``. Steps meet through files:
a tokenizer directory, a checkpoint directory, a portable export, a model bundle.
"""
