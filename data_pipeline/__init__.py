"""From a board's screenshots and a model's answers to a dataset of greentexts.

Empty for now. One stage a module will live here: dumps, posts, images, ocr, synthesis, filters, dataset, and the
curation app; each reads files and writes files, so that a run resumes where it stopped. It imports `greentext` and
nothing else of ours: what it makes reaches training as a dataset on disk.
"""
