import ctypes
import resource
import subprocess
import sys

import pytest

from kmworker.crypto.hardening import harden_process
from kmworker.errors import SetupError

HARDENED = """
import ctypes, resource
from kmworker.crypto.hardening import harden_process
harden_process()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_hardened_process_leaves_no_core_and_cannot_be_traced() -> None:
    # In a process of its own: nothing can undo the limit afterwards.
    command = [sys.executable, "-c", HARDENED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "(0, 0) 0\n"


def test_a_system_that_refuses_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def setrlimit(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    with pytest.raises(SetupError, match="Operation not permitted") as caught:
        harden_process()
    assert caught.value.hint


class Library:
    """A C library whose prctl always refuses."""

    def __init__(self, *_: object, **__: object) -> None:
        self.prctl = lambda *_: ctypes.set_errno(1) or -1


def test_a_refused_prctl_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SetupError, match="Operation not permitted"):
        harden_process()


def test_a_system_without_prctl_gets_the_limit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[object, ...]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    monkeypatch.setattr(ctypes, "CDLL", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    harden_process()
    assert limits == [(resource.RLIMIT_CORE, (0, 0))]
