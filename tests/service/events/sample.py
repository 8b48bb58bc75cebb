"""Events for tests."""

NOW = 1_800_000_000.0


def event(number=0, /, **changes):
    """The event of that number, as a mapping; those of one remainder by three have one user."""
    plain = {
        "id": f"e{number}",
        "user": f"u{number % 3}",
        "item": f"i{number % 5}",
        "domain": f"d{number % 2}",
        "time": NOW - 10_000.0 + number,
    }
    return {**plain, **changes}


def statuses(verdicts):
    return [verdict.status for verdict in verdicts]


def ids(events):
    return [each.id for each in events]
