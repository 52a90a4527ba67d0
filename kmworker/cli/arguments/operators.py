"""Who does something, and why: for whatever is kept and announced with both."""

import getpass
import os
import platform
import re
from time import time
from typing import Annotated, Final

import typer

from kmworker.cli.frame.exits import misused
from kmworker.clock import rfc3339
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.keys import Operator

__all__ = [
    "OperatorOption",
    "ReasonOption",
    "WhyOption",
    "YesOption",
    "act_of",
    "actor_of",
    "operator_of",
    "refuse_unsayable",
]

MAX_TEXT: Final = 255
TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}")

ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="Why; kept with the record, and told to whoever hears of it.",
    ),
]
WhyOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit trail.")
]
OperatorOption = Annotated[
    str | None,
    typer.Option("--operator", metavar="NAME", help="Who; this system's user if left out."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def actor_of(name: str | None = None) -> Actor:
    """Return who it is that runs this command, as the audit trail has it.

    Args:
        name: as whom they do it; None: as the system's user that the command runs as.
    """
    user = _system_user() or f"uid {os.getuid()}"
    host = platform.node()[:MAX_TEXT]
    return Actor(
        ActorKind.OPERATOR, name or user, user, host if TEXT.fullmatch(host) is not None else None
    )


def act_of(  # noqa: PLR0913  # what is said of an act
    what: Act,
    *,
    operator: str | None = None,
    reason: str | None = None,
    project: str | None = None,
    key_id: str | None = None,
    kek_id: str | None = None,
) -> AuditRecord:
    """Return the record of what this command does.

    Args:
        what: it does.
        operator: who they say they are; None: the system's user.
        reason: theirs.
        project: whose.
        key_id: of the key.
        kek_id: of the KEK.
    """
    who, at = actor_of(operator), rfc3339(time())
    return AuditRecord(what, who, at, reason=reason, project=project, key_id=key_id, kek_id=kek_id)


def _system_user() -> str | None:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container's user, known by number alone.
        return None
    return name if TEXT.fullmatch(name) is not None else None


def operator_of(name: str | None, reason: str) -> Operator:
    """Return who does it and why; ends the command if that cannot be said."""
    if name is None:
        name = _system_user()
        if name is None:
            misused("nobody knows who you are: say --operator NAME")
    refuse_unsayable(name, reason)
    return Operator(name, reason)


def refuse_unsayable(operator: str | None, reason: str | None) -> None:
    """End a command whose record nobody could read."""
    for option, text in (("--operator", operator), ("--reason", reason)):
        if text is not None and TEXT.fullmatch(text) is None:
            misused(f"{option}: 1 to {MAX_TEXT} characters, on one line")
