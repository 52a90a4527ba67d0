"""How slow the machine is by itself, which no test may blame a worker for."""

import os
import time
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Final

EVERY_S: Final = 0.05


class Slowness:
    """Writes a byte to a file and syncs it, again and again, as a server does that confirms.

    Args:
        folder: on the disk that servers write to.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "slowness"
        self._over = Event()
        self._thread = Thread(target=self._run, name="slowness", daemon=True)
        self._synced: list[float] = []
        """When each write was on disk, in Unix seconds."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def between(self, start: float, end: float) -> float:
        """Return the longest time, within these Unix seconds, in which not one write was done."""
        within = [start, *(at for at in list(self._synced) if start < at < end), end]
        return max(later - earlier for earlier, later in pairwise(within))

    def _run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._over.wait(EVERY_S):
                file.write(b".")
                os.fsync(file.fileno())
                self._synced.append(time.time())
