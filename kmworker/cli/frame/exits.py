"""How commands end: each kind of error has an exit code, a message and what to do about it."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NoReturn

import typer

from kmworker.cli.frame.invocation import LEVEL_VARIABLE, Invocation
from kmworker.cli.frame.refusals import as_refused
from kmworker.cli.terminal.output import complain
from kmworker.errors import (
    KMWorkerError,
    NotFound,
    PermanentError,
    SetupError,
    TransientError,
    UnknownKek,
    Untrusted,
)

__all__ = ["ExitCode", "UsageError", "exits", "misused", "run_process"]

# Both of typer's foundations, click and its own copy of it, have this between them.
UsageError: Final[Any] = typer.BadParameter.__base__
# How they suggest what was perhaps meant, at the end of a message.
SUGGESTION: Final = re.compile(r"\s*\(?(?:Did you mean|Possible options?:) (.+?)[?)]*$")
DOCTOR: Final = "kmworker doctor looks at everything that is needed"
# What a disk answers that is too full for what is printed to it.
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ExitCode(IntEnum):
    """Exit codes; the first five are the contract's."""

    DONE = 0
    FAILED = 1
    """The check failed, or the thing asked for is not there."""
    WRONG = 2
    """Usage, configuration, keyring or policy are wrong, or the store is not durable."""
    UNREACHABLE = 3
    """The broker or the store, in commands other than `worker`; the keyring's root, in all."""
    FAULT = 70
    INTERRUPTED = 130
    """As every program ends that Ctrl-C stops."""
    UNHEARD = 141
    """As every program ends whose reader has left (128 + SIGPIPE)."""


def run_process(run: Callable[[], None]) -> None:
    """Run what supervisors start and stop; that it may not work is said in its log."""
    import structlog  # noqa: PLC0415  # most commands do without

    try:
        run()
    except SetupError as error:
        # Whoever collects the log gets it in the log's own format.
        log = structlog.get_logger()
        log.error("refused to work", detail=str(error), hint=error.hint)  # noqa: TRY400
        raise typer.Exit(ExitCode.WRONG) from None


def misused(what: str) -> NoReturn:
    """End a command that was called in a way that cannot be meant: exit code 2."""
    raise UsageError(what)


@contextmanager
def exits(context: Any = None) -> Iterator[None]:  # noqa: ANN401  # click's or typer's own
    """Say what a command raises, and have it end with the exit code that means it.

    Args:
        context: of the program; None while it is not known which command is called.

    Raises:
        typer.Exit: it does not end well.
    """
    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last to be asked
        raise typer.Exit(_told(error, context)) from None


def _told(error: BaseException, context: Any) -> ExitCode:  # noqa: ANN401  # as above
    invocation = getattr(context, "obj", None) or Invocation()
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, KMWorkerError):
        return _tell_ours(error, invocation)
    if isinstance(error, UsageError):
        return _tell_wrong_usage(error, context)
    if isinstance(error, BrokenPipeError):
        _hush()
        return ExitCode.UNHEARD
    if isinstance(error, OSError) and error.errno in FULL:
        complain(f"cannot write: {error.strerror}", "the output, if any, is not complete")
        _hush()
        return ExitCode.FAILED
    return _tell_fault(error, invocation)


def _tell_ours(error: KMWorkerError, it: Invocation) -> ExitCode:
    error = as_refused(error, it.command, it.parameters, it.users) or error
    ending, hint = _ending_of(error)
    complain(str(error), hint)
    return ending


def _ending_of(error: KMWorkerError) -> tuple[ExitCode, str]:
    """Return an error's exit code and hint."""
    match error:
        # Nothing is away: this keyring cannot read that record.
        case UnknownKek():
            hint = "use the keyring that the store was filled with"
            if error.kek_id:
                hint += f"; if the KEK was removed: kmworker keyring restore {error.kek_id}"
            return ExitCode.WRONG, hint
        case SetupError():
            return ExitCode.WRONG, error.hint
        case NotFound() | Untrusted():
            return ExitCode.FAILED, error.hint
        case PermanentError():
            return ExitCode.FAILED, "find out who wrote to the store"
        case TransientError():
            return ExitCode.UNREACHABLE, DOCTOR
        case _:
            return ExitCode.FAILED, DOCTOR


def _tell_wrong_usage(error: Any, context: Any) -> ExitCode:  # noqa: ANN401  # as above
    # Whoever validates says so before our own words.
    text = error.format_message().replace("Value error, ", "", 1)
    near = SUGGESTION.search(text)
    hint = f"did you mean {near[1]}?" if near else f"see {_command_path(error, context)} --help"
    complain(_lowered(text if near is None else text[: near.start()]), hint)
    return ExitCode.WRONG


def _command_path(error: Any, context: Any) -> str:  # noqa: ANN401  # as above
    if error.ctx is not None:
        return str(error.ctx.command_path)
    return "kmworker" if context is None else f"kmworker {context.invoked_subcommand}"


def _lowered(text: str) -> str:
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def _tell_fault(error: BaseException, invocation: Invocation) -> ExitCode:
    hint = f"run it again with {LEVEL_VARIABLE}=debug for the traceback"
    if invocation.is_debugging:
        # Without local variables, which may be key material.
        traceback.print_exception(error)
        hint = "please report it with the traceback above"
    # Its text may quote anything; with the traceback someone has asked for it.
    complain(f"internal error: {type(error).__name__}", hint)
    return ExitCode.FAULT


def _hush() -> None:
    """Keep the interpreter from complaining, at its end, of output that nobody reads."""
    with suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
