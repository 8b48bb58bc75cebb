"""Domains come and go in a trained model, and no other domain's score changes by a bit."""

from isthmus.lifecycle.learning import LearnConfig
from isthmus.lifecycle.operations import add, merge, retire, split

__all__ = ["LearnConfig", "add", "merge", "retire", "split"]
