"""What a program finds where it is started: streams that are closed, any locale, nobody at home."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, TextIO

__all__ = ["on_hangup", "settle"]

STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def settle() -> None:
    """Have three streams, and write UTF-8 whatever the locale is.

    A closed descriptor's number goes to the next file or connection that is opened, and what
    was meant for people would be written into it.
    """
    for number, (name, mode) in enumerate(STREAMS):
        if _is_closed(number):
            # The lowest number that is free, and those below it are not.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # noqa: FBT003
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        _to_utf8(stream)


def on_hangup(stop: Callable[[], None]) -> None:
    """Call this when the terminal goes, unless whoever started us had that ignored (nohup)."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: stop())


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _to_utf8(stream: TextIO) -> None:
    # Ids, trees and JSON are UTF-8 by contract; what cannot even be that is escaped.
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")
