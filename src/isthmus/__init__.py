"""One recommender for dozens of domains, and proof that no domain pays for it."""

__version__ = "0.1.0"
