"""Target rates out of fold, one row at a time, by looking at every other row."""


def plain_out_of_fold(keys, labels, folds):
    """Rows and positives of each row's key in the other folds."""
    found = []
    for key, fold in zip(keys, folds, strict=True):
        rows = positives = 0
        for other, label, place in zip(keys, labels, folds, strict=True):
            if other == key and place != fold:
                rows += 1
                positives += label
        found.append((rows, positives))
    return found


def plain_rates(keys, labels, folds, smoothing):
    """Each row's smoothed rate, and its count as if no row had been left out."""
    found = []
    for (rows, positives), fold in zip(plain_out_of_fold(keys, labels, folds), folds, strict=True):
        others = [label for label, place in zip(labels, folds, strict=True) if place != fold]
        prior = sum(others) / len(others)
        rate = (positives + smoothing * prior) / (rows + smoothing)
        found.append((rate, rows * len(labels) / len(others)))
    return found
