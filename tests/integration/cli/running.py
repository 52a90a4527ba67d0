"""Commands that run until they are told to stop."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from tests.kit.outside.worker import STOP_S, Site, program
from tests.kit.polling import until

READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Command:
    """A running command, and the files that it writes to."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)

    def until_out(self, lines: int) -> list[str]:
        """Wait for so many lines of output."""
        until(lambda: self.out.read_bytes().count(b"\n") >= lines, f"{lines} lines of output")
        return self.out.read_text().splitlines()

    def until_err(self, text: str) -> None:
        """Wait for a message."""
        until(lambda: text in self.err.read_text() or self._failed(), f"{text!r} on stderr")

    def _failed(self) -> bool:
        code = self.process.poll()
        assert code is None, f"it ended with {code}:\n{self.err.read_text()}"
        return False


@contextmanager
def started(site: Site, *arguments: str) -> Iterator[Command]:
    """Start a command; end it whatever happens."""
    name = uuid4().hex[:8]
    out, err = site.folder / f"{name}.out", site.folder / f"{name}.err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [*program(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
            env=site.environment(*arguments),
            cwd=site.folder,
        )
    try:
        yield Command(process, out, err)
    finally:
        process.kill()
        process.wait()


def on_a_terminal(site: Site, *arguments: str, **environment: str) -> str:
    """Run a command whose output is a terminal, and return all that it writes there."""
    code, shown = _shown(site, arguments, None, **environment)
    assert code == 0, shown
    return shown


def beside_a_terminal(site: Site, *arguments: str) -> tuple[int, str, str]:
    """Run a command of which only stderr is a terminal.

    Returns its exit code, its output, and what it writes to the terminal.
    """
    path = site.folder / f"{uuid4().hex[:8]}.out"
    with path.open("wb") as out:
        code, shown = _shown(site, arguments, out)
    return code, path.read_text(), shown


def _shown(
    site: Site, arguments: tuple[str, ...], out: IO[bytes] | None, **environment: str
) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*program(), *arguments],
            stdin=theirs,
            stdout=out or theirs,
            stderr=theirs,
            env={
                **site.environment(*arguments),
                "TERM": "xterm-256color",
                "COLUMNS": "100",
                **environment,
            },
            cwd=site.folder,
        )
        os.close(theirs)
        written = b"".join(_all_of(ours))
        return process.wait(STOP_S), written.decode()
    finally:
        os.close(ours)


def _all_of(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(descriptor, READ_BYTES)
        except OSError:
            # How Linux says that the last one on the other side has gone.
            return
        if not part:
            return
        yield part
