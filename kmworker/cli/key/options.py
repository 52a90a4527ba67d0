"""What the commands on keys have in common: which key, who, and why."""

import getpass
import re
from typing import Annotated, Final

import typer

from kmworker.cli.frame.endings import misused
from kmworker.domain.keys import Operator
from kmworker.errors import NotFound
from kmworker.store.inspection import Views
from kmworker.store.views.lineage import is_item_ref, item_data

__all__ = [
    "KeyArgument", "OperatorOption", "ProjectOption", "ReasonOption", "YesOption", "key_id_of",
    "operator_of",
]  # fmt: skip

MAX_TEXT: Final = 255
TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}")

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="A key-id, or the ref of an item that holds one.")
]
ProjectOption = Annotated[str, typer.Option("--project", metavar="P", help="The key-id's project.")]
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


def key_id_of(views: Views, project: str, key: str) -> str:
    """Return the key-id that is meant.

    Raises:
        NotFound: there is no such item, or it has none.
    """
    if not is_item_ref(key):
        return key
    (record,) = views.records(project, "items", [key])
    if record is None:
        raise NotFound(f"no {key} in project {project}", "kmworker show finds an item's project")
    key_id = item_data(record).get("key_id")
    if not isinstance(key_id, str):
        raise NotFound(f"{key} has no key-id", "it is not encrypted, or was never announced")
    return key_id
