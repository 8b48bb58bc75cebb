"""The transfer map: which domains help which, by leave-out runs, by gradients and by masks."""

from isthmus.transfer.grouping import Asked
from isthmus.transfer.measure import BUDGET, read, transfer, transfer_map

__all__ = ["BUDGET", "Asked", "read", "transfer", "transfer_map"]
