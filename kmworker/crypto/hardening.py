"""What the operating system would otherwise do with our memory."""

import ctypes
import os
import resource
import sys

from kmworker.errors import SetupError

__all__ = ["harden_process"]

_PR_SET_DUMPABLE = 4


def harden_process() -> None:
    """Keep this process's memory out of files and of other processes.

    Lasts for this process and those it forks, until they execute another program.
    /proc/self belongs to root from now on.

    Raises:
        SetupError: the system refused.
    """
    try:
        # A crash would write KEKs and DEKs to disk, into backups and to whoever
        # collects crash reports.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            _refuse_dumps()
    except OSError as error:
        raise SetupError(
            f"core dumps cannot be turned off: {error.strerror}",
            "allow setrlimit and prctl in the service's sandbox",
        ) from None


def _refuse_dumps() -> None:
    # Two attacks: the limit above does not hold for dumps that are piped to a program
    # such as systemd-coredump (core(5)), and any process of the same user could attach
    # with ptrace or read /proc/<pid>/mem (prctl(2), PR_SET_DUMPABLE).
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
