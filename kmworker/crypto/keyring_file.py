"""A keyring's file that may change while a process runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.roots import Root
from kmworker.errors import RootAway, SetupError

__all__ = ["KeyringFile"]

AGAIN_S: Final = 30.0
"""A root that is away is asked for a changed file this often: a process waits for its answer."""


class KeyringFile:
    """A keyring's file, followed while a process runs."""

    def __init__(self, path: Path, root: Root | None = None) -> None:
        self._path = path
        self._root = root
        self._seen: tuple[int, ...] = ()
        # What the root did not open, and when it is asked again.
        self._unopened: tuple[int, ...] = ()
        self._again_at = 0.0
        self._problem: Callable[[], RootAway | SetupError] | None = None

    def load(self) -> Keyring:
        """Read and check the file; raises as `Keyring.load` does."""
        # Before it is read: what is written meanwhile is read the next time.
        seen = self._now()
        # A root's answer is waited for; whether it is good or not, soon it will be the same.
        self._unopened, self._again_at = seen, monotonic() + AGAIN_S
        try:
            loaded = Keyring.load(self._path, self._root)
        except RootAway as away:
            # Without its frames.
            self._problem = partial(RootAway, str(away))
            raise
        except SetupError as refusal:
            self._problem = partial(SetupError, str(refusal), refusal.hint)
            raise
        self._seen, self._problem = seen, None
        return loaded

    def changed(self) -> Keyring | None:
        """Return the keyring if the file is another than was read last.

        Raises:
            RootAway, SetupError: as `load` does, each time until it is opened.
        """
        now = self._now()
        if now == self._seen:
            return None
        if self._root is not None and now == self._unopened and monotonic() < self._again_at:
            if self._problem is not None:
                raise self._problem()
            return None
        return self.load()

    def _now(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
