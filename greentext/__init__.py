"""The domain: what a greentext is, and what a bundle with a model that writes them holds.

Every other package imports this one, and it imports none of them. It knows nothing of HTTP, of training or of how a
model runs.
"""

__version__ = "0.1.0"
