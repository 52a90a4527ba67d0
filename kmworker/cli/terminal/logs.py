"""Logs: one line an event, JSON for programs and columns for people.

What kmworker says and what its libraries say take one path, so that one line never has two
shapes. Tracebacks are rendered without local variables, which may be key material. A log
that cannot be written is lost: a full disk must not stop the worker.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from kmworker.cli.terminal.escaping import escaped
from kmworker.settings import LogFormat, LogLevel

__all__ = ["configure_logs"]

LEVELS: Final[Mapping[LogLevel, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
EVENT_COLUMNS: Final = 16


def configure_logs(
    level: LogLevel = "info",
    format: LogFormat = "auto",  # noqa: A002  # named as the setting is
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the whole process, replacing an earlier set-up.

    Args:
        level: below this nothing is said, at the price of one empty call.
        format: ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
        stream: standard error where None, as it is now.
    """
    stream = sys.stderr if stream is None else stream
    structlog.configure(
        processors=[*_COMMON, *_rendering(format, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Lines(stream),
        # A later set-up must reach the loggers that modules hold; where it counts, bind one.
        cache_logger_on_first_use=False,
    )
    _take_over_libraries()


_COMMON: Final[tuple[Processor, ...]] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Plain text: the richer renderings show local variables.
    structlog.processors.format_exc_info,
)


def _rendering(wanted: LogFormat, stream: TextIO) -> tuple[Processor, ...]:
    terminal = stream.isatty()
    if wanted == "json" or (wanted == "auto" and not terminal):
        return (structlog.processors.JSONRenderer(),)
    # https://no-color.org: present and not empty.
    colors = terminal and not os.environ.get("NO_COLOR")
    # The formatter is a second lock: the default one shows local variables.
    console = structlog.dev.ConsoleRenderer(
        # What is said most often fits into 80 columns so.
        pad_event_to=EVENT_COLUMNS,
        pad_level=False,
        colors=colors,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return (_visible, _in_seconds, console)


def _in_seconds(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Leave fractions of a second to programs: a person has no use for them."""
    when, dot, _fraction = str(event["timestamp"]).partition(".")
    event["timestamp"] = f"{when}Z" if dot else when
    return event


def _visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: an id from a stranger must not steer the terminal."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = escaped(value, "\n\t" if name == "exception" else "")
    return event


class _Lines:
    """What structlog writes to: each line in one call, so that threads do not mix."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        # ValueError: the stream was closed, as at the end of the process.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Libraries(logging.Handler):
    """Passes on what kombu, amqp, redis and others log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that do not fit their format
            message = str(record.msg)
        say(message, logger=record.name, exc_info=record.exc_info)


def _take_over_libraries() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Libraries):
            root.removeHandler(handler)
    root.addHandler(_Libraries())
    # Below this, records are not even made; above it, our own level decides.
    root.setLevel(logging.WARNING)
