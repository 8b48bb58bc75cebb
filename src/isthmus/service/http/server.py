"""A process that serves: from runs and a store's name to a socket, and to an orderly end."""

import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
import uvicorn

from isthmus.errors import ConfigError
from isthmus.service.events import open_events
from isthmus.service.http.app import application
from isthmus.service.http.forgotten import open_forgotten
from isthmus.service.http.protocol import protocol
from isthmus.service.http.settings import Settings
from isthmus.service.http.state import Served, State

Address = tuple[str, int]
_WAITING_CONNECTIONS = 1024
_IDLE_SECONDS = 30


def serve(
    runs: Sequence[Path],
    address: Address,
    events: str,
    settings: Settings,
    *,
    started: Callable[[Address, State], None] = lambda *_: None,
) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is under way, and exit.

    ``started`` is told the address (a port of 0 is any free one) when requests may come.

    Raises:
        ConfigError: the address is taken, or is none.
        IsthmusError: the runs or the store cannot be opened.
    """
    with ExitStack() as opened:
        torch.set_num_threads(1)  # more cost a small request more than they save
        listening = opened.enter_context(_listening(address))
        served = Served.load(runs)
        store = opened.enter_context(open_events(events))
        state = State(served, store, open_forgotten(events), settings)
        started(listening.getsockname()[:2], state)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # when uvicorn is through with it
        server(state).run(sockets=[listening])


def server(state: State) -> uvicorn.Server:
    """The server of this state, to be run with a socket; it closes the state at its end."""
    limits = state.settings.limits
    return uvicorn.Server(
        uvicorn.Config(
            application(state),
            http=protocol(limits.head_seconds),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=int(limits.drain_seconds),
        )
    )


def _listening(address: Address) -> socket.socket:
    host, port = address
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(
            address, family=family, backlog=_WAITING_CONNECTIONS, reuse_port=False
        )
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot serve on {host}, port {port}: {error}") from None
