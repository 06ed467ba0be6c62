"""What a model writes, measured: held-out likelihood, checks of its samples, diversity, novelty, grades by a judge.

Everything goes through the engine that serves. ``run.evaluate`` does it all for one model and writes a report;
``compare.compare`` sets any number of such results side by side.
"""
