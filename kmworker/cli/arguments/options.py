"""Options that several commands have, in the same words."""

from collections.abc import Iterable
from typing import Annotated

import typer

from kmworker.cli.frame.exits import misused
from kmworker.store.views.lineage import is_item_ref

__all__ = [
    "DryRunOption", "JsonOption", "OfProjectOption", "OldestOption", "refuse_other_than_refs",
]  # fmt: skip

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OfProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="P", help="Only of this project.")
]
OldestOption = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="The oldest, at most so many.")
]


def refuse_other_than_refs(names: Iterable[str]) -> None:
    """End a command whose argument or option should be an item, and is not named like one."""
    for name in names:
        if not is_item_ref(name):
            misused(f"{name} is no item ref: they are like volume:1111")
