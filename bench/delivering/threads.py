"""Clients with several threads, each of which has one request at a time."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from bench.delivering.waits import Begin, Share, begun

__all__ = ["Peer", "in_threads"]


class Peer(Protocol):
    """Somebody who gets keys; handed to another process before it connects."""

    def connect(self) -> Callable[[int], None]:
        """Return what gets one, given a number to choose it by; for one thread."""


@contextmanager
def in_threads(
    peer: Peer, seconds: float, threads: int, rate_per_s: float = 0.0
) -> Iterator[Begin]:
    """Be ready to get keys from several threads of this process.

    Args:
        peer: who gets them.
        seconds: for how long.
        threads: how many.
        rate_per_s: of all threads together, by a timetable: one that is late counts from when it
            was due. 0: as many as can be.
    """
    with ThreadPoolExecutor(threads) as pool:
        gets = list(pool.map(lambda _thread: peer.connect(), range(threads)))
        for get in gets:
            get(0)

        def begin(begin_at: float) -> Share:
            cpu_s = begun(begin_at)

            def go_on(thread: int) -> list[float]:
                get, waits = gets[thread], []
                for number, due in _due(thread, begin_at, seconds, threads, rate_per_s):
                    get(number)
                    waits.append(time.monotonic() - due)
                return waits

            each = [it for waits in pool.map(go_on, range(threads)) for it in waits]
            return Share(each, time.monotonic(), time.process_time() - cpu_s)

        yield begin


def _due(
    thread: int, begin_at: float, seconds: float, threads: int, rate_per_s: float
) -> Iterator[tuple[int, float]]:
    """Give numbers, each when it is time, and since when it is."""
    if not rate_per_s:
        number = thread
        while (now := time.monotonic()) < begin_at + seconds:
            yield number, now
            number += threads
        return
    for number in range(thread, int(seconds * rate_per_s), threads):
        due = begin_at + number / rate_per_s
        time.sleep(max(0.0, due - time.monotonic()))
        yield number, due
