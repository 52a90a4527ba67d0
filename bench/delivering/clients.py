"""Processes that are clients, all of which begin at the same time: when all are ready."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

from bench.delivering.askers import Node, boot, in_flight
from bench.delivering.threads import Peer, in_threads
from bench.delivering.waits import Begin, Parties, Waits

__all__ = ["PROCESSES", "THREADS", "Clients", "client_processes"]

PROCESSES: Final = 4
THREADS: Final = 16
"""In all, of clients that have one request at a time for each."""
IN_FLIGHT: Final = 400
"""In all, of clients that have many: as many as are in a storm, and more than a batch."""
SOON_S: Final = 0.2

Task = Callable[[], AbstractContextManager[Begin]]
"""Makes ready, with connections that stay until all is done; then it can begin."""


class Clients:
    """Processes, for as long as this lasts."""

    def __init__(self, lines: Sequence[Connection]) -> None:
        self._lines = lines

    def threaded(
        self, name: str, parties: Parties, peers: Sequence[Peer], seconds: float, rate: float = 0.0
    ) -> list[str]:
        """Measure clients that have one request at a time for each thread."""
        number = len(peers)
        each = (seconds, THREADS // number, rate / number)
        return self._row(name, parties, [partial(in_threads, it, *each) for it in peers])

    def pipelined(
        self, name: str, parties: Parties, nodes: Sequence[Node], seconds: float
    ) -> list[str]:
        """Measure clients that have many requests on their way."""
        each = (seconds, IN_FLIGHT // len(nodes))
        return self._row(name, parties, [partial(in_flight, [it], *each) for it in nodes])

    def storm(self, name: str, parties: Parties, nodes: Sequence[Node]) -> list[str]:
        """Measure what it takes until all nodes have the keys of all of their volumes."""
        shares = [nodes[at::PROCESSES] for at in range(PROCESSES)]
        return self._row(name, parties, [partial(boot, it) for it in shares if it])

    def _row(self, name: str, parties: Parties, tasks: Sequence[Task]) -> list[str]:
        lines = self._lines[: len(tasks)]
        for line, task in zip(lines, tasks, strict=True):
            line.send(task)
        for line in lines:
            _heard(line)
        return parties.row(name, partial(_measured, lines))


def _measured(lines: Sequence[Connection]) -> Waits:
    begin_at = time.monotonic() + SOON_S
    for line in lines:
        line.send(begin_at)
    found = Waits([_heard(line) for line in lines], begin_at)
    if found.asked_again:
        print(f"asked again: {found.asked_again:,}")
    return found


def _heard(line: Connection) -> Any:  # noqa: ANN401  # whatever was sent
    said = line.recv()
    if isinstance(said, Exception):
        raise said
    return said


@contextmanager
def client_processes() -> Iterator[Clients]:
    """Run as many as there may be."""
    context = multiprocessing.get_context("spawn")
    lines, processes = [], []
    for _ in range(PROCESSES):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        lines.append(ours)
        processes.append(process)
    try:
        yield Clients(lines)
    finally:
        for line in lines:
            line.close()
        for process in processes:
            process.join()


def _work(line: Connection) -> None:
    """Do one task after the other, until there is nobody to do them for."""
    while True:
        try:
            task = line.recv()
        except EOFError:
            return
        try:
            with task() as begin:
                line.send(None)
                line.send(begin(line.recv()))
        except Exception as error:  # noqa: BLE001  # whatever it was, the one who measures ends
            line.send(RuntimeError(f"{type(error).__name__}: {error}"))
