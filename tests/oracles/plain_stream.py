"""The order of a streamed epoch, written down row by row."""

import torch

from isthmus.data.feed import generator

ORDER = 3


def order(sizes: list[int], window: int, seed: int, epoch: int) -> list[int]:
    """Places in the file, in the order of the epoch, of groups of these sizes."""
    first = [sum(sizes[:number]) for number in range(len(sizes))]
    there = [number for number, size in enumerate(sizes) if size]
    drawn = torch.randperm(len(there), generator=generator(seed, epoch, ORDER)).tolist()
    windows: list[list[int]] = []
    for number in (there[n] for n in drawn):
        rows = [first[number] + row for row in range(sizes[number])]
        if windows and len(windows[-1]) + len(rows) <= window:
            windows[-1].extend(rows)
        else:
            windows.append(rows)
    found = []
    for number, rows in enumerate(windows):
        rng = generator(seed, epoch, ORDER, number)
        found += [rows[place] for place in torch.randperm(len(rows), generator=rng).tolist()]
    return found
