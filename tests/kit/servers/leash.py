"""Become another program that dies with the process that asked for it.

Fixtures stop their servers, but nothing tears down fixtures after a SIGKILL, and a
broker left behind would hold its port and memory for good. The kernel's parent-death
signal survives exec and needs nobody's cooperation. It is set here, in a process of its
own, because a `preexec_fn` is unsafe as soon as the test run has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    """Tie this process to `parent_pid` and turn it into `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that died before the line above will never send the signal.
    if os.getppid() != parent_pid:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # the tests' own command; no shell wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
