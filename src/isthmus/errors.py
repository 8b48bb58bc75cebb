"""Errors for users: each says what was found, what was expected, and how to mend it."""


class IsthmusError(ValueError):
    """What a user can mend. The command line prints it in one line and exits with 2."""


class DataError(IsthmusError):
    """Rows, columns or files that are not what they were said to be."""


class ConfigError(IsthmusError):
    """A setting that is unknown, of the wrong type, or contradicts another."""


class LeakError(DataError):
    """The leak audit found a feature that would not be known when the row is to be scored."""


class IntegrityError(IsthmusError):
    """A file on disk is not what its manifest says: changed, truncated, missing, or of another version."""


class MismatchError(IsthmusError):
    """A run and the data or library it is used with do not belong together."""


class LockedError(IsthmusError):
    """Another process is writing to the same directory."""


class TrainingError(IsthmusError):
    """Training cannot go on: a loss is not finite, or the disk is full."""
