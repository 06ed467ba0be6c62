"""From Reddit dumps, screenshots and model answers to published datasets, one stage a module."""
