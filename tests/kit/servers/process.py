"""Child processes that the terminal's Ctrl-C spares and the end of the run does not.

Each has a session of its own. Otherwise Ctrl-C would end the servers first and the tests
would report their loss instead of stopping.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to the log.

    It also dies with the *thread* that calls this: spawn from the main thread.
    """
    # Without site (-I -S), or coverage would measure the leash itself.
    leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid())]
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [*leash, *command],
            env=environment,
            start_new_session=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
        )


def terminate(process: subprocess.Popen[bytes], *, deadline_s: float) -> None:
    """Ask the process to end; past the deadline, end it."""
    process.terminate()
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children at once, as a power cut would."""
    # Only while it is not reaped: afterwards its number may belong to somebody else.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
