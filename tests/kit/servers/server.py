"""What every private server has in common: a life that tests may end and begin again."""

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from tests.kit.servers import process

LOG_TAIL_LINES = 20
POLL_S = 0.05
# RabbitMQ starts in six seconds on an idle machine; a busy one with few cores takes its time.
START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 30.0

S_co = TypeVar("S_co", bound="Server", covariant=True)


class ServerError(Exception):
    """A server did not do what the test told it to; the end of its log says why."""


class Server(ABC):
    """One server on one port with one folder of data, through any number of restarts.

    Attributes:
        folder: The server's data, configuration and log. Tests may change it while it is down.
        log_path: All that the server printed, over all its lives.
        port: The same over all its lives, on 127.0.0.1.
    """

    folder: Path
    log_path: Path
    port: int

    def __init__(self, folder: Path, *, port: int) -> None:
        """Prepare a server; `start` starts it."""
        self.folder = folder
        self.log_path = folder / "server.log"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        """Return where an account finds it: see `Door`. There is no URL for everybody."""

    @abstractmethod
    def forget(self, names: str) -> None:
        """Leave nothing behind of an installation with these names, if it had one here."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a real client gets a real answer now."""

    @abstractmethod
    def command(self) -> list[str]:
        """Say what to run, in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Say with which environment: nothing of the caller's but its PATH, for repeatability."""
        return {"HOME": str(self.folder), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}

    @property
    def running(self) -> bool:
        """Whether the process lives. It may still be too young to answer."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        self._process = process.spawn(
            self.command(), environment=self.environment(), log_path=self.log_path
        )
        self._await_answer()

    def stop(self) -> None:
        """End the server in its own good order. Its data stays."""
        if self._process is not None:
            process.terminate(self._process, deadline_s=STOP_DEADLINE_S)

    def kill(self) -> None:
        """End the server without warning (SIGKILL). Its data stays as it is on disk."""
        if self._process is not None:
            process.kill(self._process)

    def restart(self) -> None:
        """Start again on the same port and data, after `stop`, after `kill`, or instead of both."""
        if self.running:
            self.stop()
        self.start()

    def close(self) -> None:
        """End everything that belongs to the server; it will not be started again."""
        self.kill()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            if not self.running:
                self._give_up("ended while starting")
            if time.monotonic() > deadline:
                self._give_up(f"does not answer after {START_DEADLINE_S:.0f} s")
            time.sleep(POLL_S)

    def _give_up(self, what: str) -> None:
        self.close()
        tail = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        raise ServerError("\n".join([f"{self.command()[0]} {what}; its log ends:", *tail]))


class Start(Protocol[S_co]):
    """How a test starts a server for itself."""

    def __call__(self, options: Mapping[str, str] | None = None) -> S_co:
        """Start it with these lines of configuration on top of our own."""
