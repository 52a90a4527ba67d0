"""Who does something, and why: for whatever is kept and announced with both."""

import getpass
import re
from typing import Annotated, Final

import typer

from kmworker.cli.frame.endings import misused
from kmworker.domain.keys import Operator

__all__ = ["OperatorOption", "ReasonOption", "YesOption", "operator_of"]

MAX_TEXT: Final = 255
TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}")

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept, and announced.")
]
OperatorOption = Annotated[
    str | None,
    typer.Option("--operator", metavar="NAME", help="Who; this system's user if left out."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def operator_of(name: str | None, reason: str) -> Operator:
    """Return who does it and why; ends the command if that cannot be said."""
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            # A container's user, known by number alone.
            misused("nobody knows who you are: say --operator NAME")
    for option, text in (("--operator", name), ("--reason", reason)):
        if TEXT.fullmatch(text) is None:
            misused(f"{option}: 1 to {MAX_TEXT} characters, on one line")
    return Operator(name, reason)
