"""Jobs over processes, where a job that fails, or whose process is killed, stops no other."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

J = TypeVar("J")
R = TypeVar("R")

_CONTEXT = multiprocessing.get_context("spawn")  # a fork would share torch's thread pool


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that gave no result, and why, in one line."""

    reason: str


def done(
    work: Callable[[J], R], jobs: Sequence[J], workers: int
) -> Iterator[tuple[J, R | Failure]]:
    """Each job with its result, as soon as it is there. ``work`` and the jobs must be picklable.

    One worker works in this process. More have a process each, which ends when this one does,
    however that ends. Either way torch has one thread: no figure depends on the workers.
    """
    if min(workers, len(jobs)) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in jobs:
                yield job, attempted(work, job)
        finally:
            torch.set_num_threads(threads)
        return
    waiting = list(reversed(jobs))
    crew = [_Worker(work) for _ in range(min(workers, len(jobs)))]
    try:
        for worker in crew:
            worker.give(waiting.pop())
        while busy := [worker for worker in crew if worker.job is not None]:
            ready = wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe in ready:
                    finished: J = worker.job
                    yield finished, worker.result()
                    if waiting:
                        worker.give(waiting.pop())
    finally:
        for worker in crew:
            worker.end()


def attempted(work: Callable[[J], R], job: J) -> R | Failure:
    """The result of a job, or why there is none."""
    try:
        return work(job)
    except Exception as error:  # of whatever kind: the other jobs are to go on
        text = " ".join(str(error).split())
        return Failure(text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}")


class _Worker:
    """A process that does one job after another, and is replaced when it dies."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.job: Any = None
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process: BaseProcess = _CONTEXT.Process(
            target=_serve, args=(self.work, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def give(self, job: Any) -> None:
        self.job = job
        self.pipe.send(job)

    def result(self) -> Any:
        self.job = None
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            self.pipe.close()
            self._start()
            return Failure(
                f"its process ended with exit code {code} (-9: killed, often for memory)"
            )

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(attempted(work, pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # an orphan would hold its run's lock against the same command begun again
