"""What commands say: results on standard output, messages on standard error.

A message is one lower-case line without a full stop, and a hint below it. Whatever comes
out of the store or off the wire passes `visible` on its way to a terminal.
"""

import json
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import IO, TYPE_CHECKING, Final

import typer

from kmworker.cli.terminal.escaping import escaped
from kmworker.errors import SetupError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "ago", "column_table", "columns", "complain", "confirmed", "console", "display", "grid",
    "lasting", "line", "note", "one_json", "plural", "print_json", "progress", "to_the_second",
    "typed", "typed_secret", "visible",
]  # fmt: skip

# Wide enough that nothing is ever wrapped or cut for a program that reads tables.
UNLIMITED_WIDTH: Final = 100_000
# So few take no time worth a progress bar.
SOON_DONE: Final = 500


def complain(message: str, hint: str = "") -> None:
    """Say on standard error what is wrong, and what to do about it."""
    note(message)
    if hint:
        typer.echo(f"hint: {visible(hint)}", err=True)


def note(message: str) -> None:
    """Say something on standard error that is no result."""
    typer.echo(f"kmworker: {visible(message)}", err=True)


def confirmed(question: str, option: str) -> bool:
    """Ask a person; where there is none, there must have been ``option``.

    Raises:
        SetupError: there is nobody to ask.
    """
    if not is_anyone_there():
        raise SetupError(visible(question), f"nobody is there to ask: say yes with {option}")
    return typer.confirm(visible(question), err=True)


def typed(question: str, option: str) -> str:
    """Ask a person for a text; where there is none, there must have been ``option``.

    Raises:
        SetupError: there is nobody to ask.
    """
    if not is_anyone_there():
        raise SetupError(visible(question), f"nobody is there to type it: say it with {option}")
    return str(typer.prompt(visible(question), default="", show_default=False, err=True)).strip()


def typed_secret(question: str, option: str, *, twice: bool) -> bytes:
    """Ask a person for what no screen shows; where there is none, there must have been ``option``.

    Args:
        question: what is asked.
        option: what says it, too.
        twice: whether it is asked again until both are the same: nobody sees what was mistyped.

    Raises:
        SetupError: there is nobody to ask.
    """
    if not is_anyone_there():
        raise SetupError(visible(question), f"nobody is there to type it: say it with {option}")
    # Given on at once: it has no name in a frame that raises.
    return str(
        typer.prompt(visible(question), hide_input=True, confirmation_prompt=twice, err=True)
    ).encode()


def is_anyone_there() -> bool:
    """Return whether a person can answer."""
    return sys.stdin.isatty()


def line(text: str) -> None:
    """Print one line of a stream; whoever reads it need not wait for the next."""
    typer.echo(visible(text))


def one_json(value: object) -> str:
    """Return a value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def print_json(document: object) -> None:
    """Print the one document that a command results in."""
    for text in json.dumps(document, ensure_ascii=False, indent=2).split("\n"):
        # Escaped the same way as JSON escapes, so that it means the same.
        typer.echo(visible(text))


def visible(text: str) -> str:
    """Escape what an id from a stranger could steer the terminal with."""
    return escaped(text)


def display(*renderables: "RenderableType") -> None:
    """Print what rich can draw; for a program, each line whole and without trailing space."""
    if sys.stdout.isatty():
        console().print(*renderables, sep="\n")
        return
    buffer = StringIO()
    console(buffer).print(*renderables, sep="\n")
    for text in buffer.getvalue().removesuffix("\n").split("\n"):
        typer.echo(text.rstrip())


def console(file: IO[str] | None = None) -> "Console":
    """Return a console that takes text as it is: no markup, no guesses at what to colour.

    Args:
        file: standard output where None, as it is now.
    """
    from rich.console import Console  # noqa: PLC0415  # half of the start of commands without it

    file = sys.stdout if file is None else file
    width = None if file.isatty() else UNLIMITED_WIDTH
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far something has come; call what is given with each advance."""
    if total <= SOON_DONE or not sys.stderr.isatty():
        yield lambda _number: None
        return
    from rich.progress import Progress  # noqa: PLC0415  # as above

    # While the bar is there, what is printed has to pass it by; but results for a file or a
    # program must not end up on the terminal.
    redirects = sys.stdout.isatty()
    with Progress(console=console(sys.stderr), transient=True, redirect_stdout=redirects) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


def column_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], whole: Container[str] = ()
) -> "Table":
    """Return a table with a head, without lines; columns with a head in ``whole`` never break."""
    from rich.table import Table  # noqa: PLC0415  # as above

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        # What a row is called is never broken; the rest gives way, and nothing is cut off.
        table.add_column(head, no_wrap=not number or head in whole, overflow="fold")
    for row in rows:
        table.add_row(*map(visible, row))
    return table


def grid(rows: Iterable[tuple[str, str]], indent: str = "") -> "Table":
    """Return names and values, one pair a line."""
    from rich.table import Table  # noqa: PLC0415  # as above

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(indent + visible(name), visible(value))
    return table


def columns(rows: Iterable[Sequence[str]], width: int) -> "Table":
    """Return rows without a head, all but their last columns of one width at least."""
    from rich.table import Table  # noqa: PLC0415  # as above

    table = Table.grid(padding=(0, 2, 0, 0))
    for number, row in enumerate(rows):
        if not number:
            for _ in row[:-1]:
                table.add_column(no_wrap=True, min_width=width)
            table.add_column(overflow="fold")
        table.add_row(*map(visible, row))
    return table


def plural(number: int, word: str) -> str:
    """Return a number and what it counts."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def to_the_second(time: str) -> str:
    """Return an RFC 3339 time without what is too fine for a table; whatever else as it is."""
    return re.sub(r"(?<=:\d\d)\.\d+Z$", "Z", time)


def ago(then: float, now: float) -> str:
    """Return how long ago a moment was, roughly; `never` for the beginning of time."""
    if not then:
        return "never"
    return f"{lasting(max(0.0, now - then))} ago"


def lasting(seconds: float) -> str:
    """Return roughly how long something takes."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
