"""A process that ingests until it is killed, and says what was acknowledged when it was."""

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from isthmus.service.events import open_events
from tests.service.events.sample import NOW, event

CLIENTS = 4


def ingest(path: Path, number: int, acknowledged: Connection) -> None:
    """Four clients; each sends batches of one to five events, and every third batch twice."""
    lock = threading.Lock()
    with open_events(path, clock=lambda: NOW) as store:
        clients = [
            threading.Thread(target=_client, args=(store, f"{number}-{c}", lock, acknowledged))
            for c in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()


def _client(store, name, lock, acknowledged):
    count = 0
    while True:
        batch = [
            event(count + i, id=f"{name}-{count + i}", user=name) for i in range(1 + count % 5)
        ]
        for _ in range(1 + (count % 3 == 0)):
            verdicts = store.append(batch)
            assert all(v.status in ("accepted", "duplicate") for v in verdicts)
        count += len(batch)
        with lock:
            acknowledged.send([v.id for v in verdicts])
