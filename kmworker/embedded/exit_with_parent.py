"""Become another program that ends with the process that asked for it.

Nothing tidies up after a SIGKILL. The kernel's parent-death signal survives exec and
needs nobody's cooperation. It is set here, in a process of its own, because a
`preexec_fn` is unsafe as soon as the parent has threads.
"""

import ctypes
import os
import sys
from typing import Final

__all__ = ["exit_with_parent"]

PR_SET_PDEATHSIG: Final = 1


def exit_with_parent(command: list[str], signal_number: int) -> list[str]:
    """Return the command that runs ``command`` and signals it when this process dies."""
    return [
        sys.executable, "-m", "kmworker.embedded.exit_with_parent",
        str(os.getpid()), str(int(signal_number)), *command,
    ]  # fmt: skip


def main(parent_pid: int, signal_number: int, command: list[str]) -> None:
    """Tie this process to ``parent_pid`` and turn it into ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
    # A parent that died before the line above will never send the signal.
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # our own command; no shell wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
