"""Options that several commands have, in the same words."""

from typing import Annotated

import typer

__all__ = ["DryRunOption", "JsonOption", "OldestOption"]

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OldestOption = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="The oldest, at most so many.")
]
