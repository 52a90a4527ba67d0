"""How every command begins and ends: loaded when it is called, with an exit code that means it.

Importing what all commands need takes most of a second. So the program knows only their
names until one is called, and `kmworker --help` answers at once.
"""

import errno
import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from kmworker.cli.accounts import named_in_help, user_in
from kmworker.cli.refusals import as_refused
from kmworker.cli.terminal.output import complain
from kmworker.errors import (
    KMWorkerError,
    NotFound,
    PermanentError,
    SetupError,
    TransientError,
    UnknownKek,
)

if TYPE_CHECKING:
    from kmworker.settings import Settings

__all__ = [
    "Ending",
    "Invocation",
    "Program",
    "examples",
    "group",
    "importing",
    "misused",
    "on_hangup",
]

LEVEL_VARIABLE: Final = "KMWORKER_LOG__LEVEL"
# Both of typer's foundations, click and its own copy of it, have this between them.
UsageError: Final[Any] = typer.BadParameter.__base__
# What a disk answers that is too full for what is printed to it.
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# How they suggest what was perhaps meant, at the end of a message.
SUGGESTION: Final = re.compile(r"\s*\(?(?:Did you mean|Possible options?:) (.+?)[?)]*$")


class Ending(IntEnum):
    """Exit codes; the first five are the contract's."""

    DONE = 0
    FAILED = 1
    """The check failed, or the thing asked for is not there."""
    WRONG = 2
    """Usage, configuration, keyring or policy are wrong, or the store is not durable."""
    UNREACHABLE = 3
    """The broker or the store; in commands other than `worker`."""
    FAULT = 70
    INTERRUPTED = 130
    """As every program ends that Ctrl-C stops."""
    UNHEARD = 141
    """As every program ends whose reader has left (128 + SIGPIPE)."""


@dataclass(slots=True)
class Invocation:
    """One call of the program."""

    config: Path | None = None
    settings: "Settings | None" = None
    """Once they are loaded."""
    command: str = ""
    """Its words, without the program's name; known with the settings, as are its parameters."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_debugging(self) -> bool:
        """Return whether tracebacks are wanted."""
        if self.settings is not None:
            return self.settings.log.level == "debug"
        return os.environ.get(LEVEL_VARIABLE, "").lower() == "debug"

    @property
    def users(self) -> Mapping[str, str]:
        """Return as whom the store and the broker are asked, as far as URLs say it."""
        if self.settings is None:
            return {}
        brokers = self.settings.broker.addresses or ("",)
        return {"store": user_in(self.settings.store.url), "broker": user_in(brokers[0])}


@contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage: there is none, and looking takes a sixth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def on_hangup(stop: Callable[[], None]) -> None:
    """Call this when the terminal goes, unless whoever started us had that ignored (nohup)."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: stop())


def group() -> typer.Typer:
    """Return an empty group of commands with plain help texts."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def examples(*lines: str) -> str:
    """Return examples for the end of a help text."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


class Program(TyperGroup):
    """The group of all commands."""

    purposes: ClassVar[Mapping[str, str]] = {}
    """The first line of each command's help; its module in `kmworker.cli` has its name."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # click's or typer's own
        super().__init__(**attributes)
        # Help, completion and what was perhaps meant need no more of a command.
        stand_ins = {it: TyperCommand(it, short_help=text) for it, text in self.purposes.items()}
        self.commands.update(stand_ins)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # as above
        """Find a command and import it: it is about to be called, or its options completed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else _imported(str(name)), rest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # as above
        """Help whoever names no command."""
        # A shell that completes a command line begins without words, too.
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(Ending.WRONG)
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401  # as above
        """Run one command and exit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except UsageError as error:
            code = _end_wrong_usage(error, None)
        except typer.Abort:
            code = Ending.INTERRUPTED
        sys.exit(code if isinstance(code, int) else Ending.DONE)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # as above
        """Run a command and turn what it raises into its ending."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(Ending.INTERRUPTED) from None
        except BrokenPipeError:
            _hush()
            raise typer.Exit(Ending.UNHEARD) from None
        except KMWorkerError as error:
            raise typer.Exit(_end(error, ctx.obj)) from None
        except UsageError as error:
            raise typer.Exit(_end_wrong_usage(error, ctx)) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001  # the last to be asked
            if isinstance(error, OSError) and error.errno in FULL:
                complain(f"cannot write: {error.strerror}", "the output, if any, is not complete")
                _hush()
                raise typer.Exit(Ending.FAILED) from None
            raise typer.Exit(_end_fault(error, ctx.obj)) from None


def _imported(name: str) -> Any:  # noqa: ANN401  # as above
    with importing():
        module = import_module(f"kmworker.cli.{name}")
    return _with_accounts(name, module.app)


# Building one takes longer than most of them run: whoever calls it again gets the same.
@cache
def _with_accounts(name: str, app: typer.Typer) -> Any:  # noqa: ANN401  # as above
    command: Any = typer.main.get_command(app)
    for subcommand, it in getattr(command, "commands", {"": command}).items():
        accounts = named_in_help(f"{name} {subcommand}".strip())
        it.epilog = f"{accounts}\n\n{it.epilog}"
    return command


def _end(error: KMWorkerError, it: object) -> Ending:
    it = it if isinstance(it, Invocation) else Invocation()
    error = as_refused(error, it.command, it.parameters, it.users) or error
    complain(str(error), _hint(error))
    # Nothing is away: this keyring cannot read that record.
    if isinstance(error, SetupError | UnknownKek):
        return Ending.WRONG
    if isinstance(error, TransientError):
        return Ending.UNREACHABLE
    return Ending.FAILED


def _hint(error: KMWorkerError) -> str:
    if isinstance(error, SetupError | NotFound):
        return error.hint
    if isinstance(error, UnknownKek):
        return "use the keyring that the store was filled with"
    if isinstance(error, PermanentError):
        return "find out who wrote to the store"
    return "kmworker doctor looks at everything that is needed"


def misused(what: str) -> NoReturn:
    """End a command that was called in a way that cannot be meant: exit code 2."""
    raise UsageError(what)


def _end_wrong_usage(error: Any, context: Any) -> Ending:  # noqa: ANN401  # click's or typer's own
    # Whoever validates says so before our own words.
    text = error.format_message().replace("Value error, ", "", 1)
    near = SUGGESTION.search(text)
    hint = f"did you mean {near[1]}?" if near else f"see {_command_path(error, context)} --help"
    complain(_lowered(text if near is None else text[: near.start()]), hint)
    return Ending.WRONG


def _command_path(error: Any, context: Any) -> str:  # noqa: ANN401  # as above
    if error.ctx is not None:
        return str(error.ctx.command_path)
    return "kmworker" if context is None else f"kmworker {context.invoked_subcommand}"


def _lowered(text: str) -> str:
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def _end_fault(error: Exception, invocation: object) -> Ending:
    debugging = isinstance(invocation, Invocation) and invocation.is_debugging
    if debugging:
        # Without local variables, which may be key material.
        traceback.print_exception(error)
    # Its text may quote anything; with the traceback someone has asked for it.
    complain(
        f"internal error: {type(error).__name__}",
        "please report it with the traceback above"
        if debugging
        else f"run it again with {LEVEL_VARIABLE}=debug for the traceback",
    )
    return Ending.FAULT


def _hush() -> None:
    """Keep the interpreter from complaining, at its end, of output that nobody reads."""
    with suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
