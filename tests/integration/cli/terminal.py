"""A program on a terminal 80 columns wide, or on pipes, and what its user sees there."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGINT
from typing import IO, ClassVar, Final, Self
from uuid import uuid4

from tests.kit.polling import until

COLUMNS: Final = 80
ROWS: Final = 24
READ_BYTES: Final = 65_536
LOOK_S: Final = 0.05
END_S: Final = 60
CTRL_C: Final = "\x03"
STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


class Screen(ABC):
    """A running program, and what it writes; as a context, it ends whatever happens."""

    echoes: ClassVar[bool]
    """Whether what is typed is seen, too."""
    process: "subprocess.Popen[bytes]"

    @abstractmethod
    def seen(self) -> str:
        """All that has been written so far."""

    @abstractmethod
    def interrupt(self) -> None:
        """Press Ctrl-C."""

    def ended(self) -> int:
        """Wait for the program's end and return its exit code."""
        return self.process.wait(END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failed: object) -> None:
        self.process.kill()
        self.process.wait()


class Terminal(Screen):
    """A program that has a terminal to itself, as in a window that someone has opened."""

    echoes = True

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        out: IO[bytes] | None = None,
    ) -> None:
        """Start it; with ``out``, its output goes there, and all else to the terminal."""
        self._written = b""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        kept = {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            # The terminal must be the program's own, or Ctrl-C would not reach it.
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=out or theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm-256color"},
            cwd=folder,
        )
        os.close(theirs)

    def seen(self) -> str:
        while select.select([self._ours], [], [], LOOK_S)[0] and self._read():
            pass
        return self._written.decode().replace("\r\n", "\n")

    def hides(self) -> bool:
        """Return whether what is typed now is not shown, as for a passphrase."""
        return not termios.tcgetattr(self._ours)[3] & termios.ECHO

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        self.type(CTRL_C)

    def ended(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0)
        while self._read():
            pass
        return super().ended()

    def _read(self) -> bool:
        try:
            part = os.read(self._ours, READ_BYTES)
        except OSError:
            # How Linux says that the last one on the other side has gone.
            return False
        self._written += part
        return bool(part)

    def __exit__(self, *failed: object) -> None:
        super().__exit__(*failed)
        os.close(self._ours)


class Pipes(Screen):
    """A program whose output other programs read; each line on standard error is marked."""

    echoes = False

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        name = uuid4().hex
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(environ),
                cwd=folder,
            )

    def seen(self) -> str:
        told = "".join(f"2> {line}" for line in self.err.read_text().splitlines(keepends=True))
        return told + self.out.read_text()

    def interrupt(self) -> None:
        self.process.send_signal(SIGINT)

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


def wrapped(text: str) -> str:
    """Break lines where the terminal does; colours and the like take no room."""
    return "\n".join("\n".join(_pieces(line)) for line in text.split("\n"))


def _pieces(line: str) -> list[str]:
    pieces, width = [""], 0
    for part in re.split(f"({STYLE.pattern})", line):
        if STYLE.fullmatch(part):
            pieces[-1] += part
            continue
        for character in part:
            if width == COLUMNS:
                pieces.append("")
                width = 0
            pieces[-1] += character
            width += 1
    return pieces
