"""The group of all commands, each of which is loaded when it is called.

Importing what all commands need takes most of a second. So the program knows only their
names until one is called, and `kmworker --help` answers at once.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from kmworker.cli.frame.accounts import named_in_help
from kmworker.cli.frame.exits import ExitCode, exits

__all__ = ["Program", "collect_seldom", "examples", "group", "importing"]

# Python counts what outlives the moment that it was made in, and nearly all of that is gone when
# its batch is settled.
OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000


@contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage: there is none, and looking takes a sixth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def collect_seldom() -> None:
    """Look for garbage seldom, from now on: for a process whose work is in batches."""
    # What was imported and built stays. Looking through it all now and then would let what comes
    # wait: 20 to 30 ms, each time.
    gc.freeze()
    # Nor is a batch's garbage in cycles: to look for those once in a few batches is enough.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 10, 10)


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

    def make_context(self, *given: Any, **extra: Any) -> Any:  # noqa: ANN401  # as above
        """Read what stands before the command."""
        with exits():
            return super().make_context(*given, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # as above
        """Help whoever names no command."""
        # A shell that completes a command line begins without words, too.
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(ExitCode.WRONG)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # as above
        """Find a command and import it: it is about to be called, or its options completed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else _imported(str(name)), rest

    def invoke(self, ctx: Any) -> None:  # noqa: ANN401  # as above
        """Run a command."""
        with exits(ctx):
            super().invoke(ctx)


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
