"""The documents' programs, run as their readers will: a command, its output, its exit code."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.outside.worker import PROJECT_ROOT, Site
from tests.kit.polling import until

EXAMPLES = PROJECT_ROOT / "docs" / "examples"
PROGRAM_S = 60


def command(name: str, *arguments: str) -> list[str]:
    """Say how a program is started."""
    interpreter = "sh" if name.endswith(".sh") else sys.executable
    return [interpreter, str(EXAMPLES / name), *arguments]


def environment(site: Site, name: str) -> dict[str, str]:
    """Name the broker and its client's account: all that one may know of an installation."""
    role = "producer" if name.startswith("produce") else "subscriber"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KMWORKER_")}
    paths = [str(PROJECT_ROOT), kept.get("PYTHONPATH", "")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "BROKER_URL": site.broker_url(role),
        "NAMESPACE": site.namespace,
    }


def run(site: Site, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, whatever that is."""
    return subprocess.run(
        command(name, *arguments),
        capture_output=True,
        check=False,
        env=environment(site, name),
        text=True,
        timeout=PROGRAM_S,
    )


def printed(site: Site, name: str, *arguments: str) -> str:
    """Run a program that has to succeed and give what it prints."""
    done = run(site, name, *arguments)
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout.strip()


class Listener:
    """A program that runs until it is told to end."""

    def __init__(self, site: Site, name: str, *arguments: str) -> None:
        self._log = Path(site.folder) / f"{name}.{len([*site.folder.iterdir()])}.out"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command(name, *arguments),
                env=environment(site, name),
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
            )

    def says(self, what: str) -> None:
        """Wait until it has printed something."""
        until(lambda: self._has_said(what), f"it says {what!r}:\n{self.output()}")

    def output(self) -> str:
        """Give all that it has printed."""
        return self._log.read_text("utf-8")

    def terminate(self) -> int:
        """Ask it to end and give its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended by itself and give its exit code."""
        return self._process.wait(PROGRAM_S)

    def kill(self) -> None:
        """End it without warning."""
        self._process.kill()
        self._process.wait(PROGRAM_S)

    def _has_said(self, what: str) -> bool:
        output = self.output()
        code = self._process.poll()
        assert code is None or what in output, f"it ended with {code}:\n{output}"
        return what in output


@contextmanager
def listening(site: Site, name: str, *arguments: str) -> Iterator[Listener]:
    """Run a program, from when it listens until the end of the block."""
    listener = Listener(site, name, *arguments)
    try:
        listener.says("listening")
        yield listener
    except BaseException as error:
        error.add_note(f"{name} said:\n{listener.output()}")
        raise
    finally:
        listener.kill()
