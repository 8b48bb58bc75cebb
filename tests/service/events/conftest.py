"""A store on a place of its own, of either kind."""

import pytest

from isthmus.service.events import open_events
from tests.service.events.sample import NOW


@pytest.fixture
def open_store(url):
    """Opens the same store, as often as asked; the clock stands still."""
    opened = []

    def open_it(**options):
        opened.append(open_events(url, **{"clock": lambda: NOW, **options}))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()
