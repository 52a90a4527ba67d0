"""The passphrase that the root key's file is under, from a file or a person."""

from functools import cache, partial
from pathlib import Path
from typing import Annotated, Final

import typer

from kmworker.cli.frame.exits import misused
from kmworker.cli.terminal.output import typed_secret
from kmworker.delegation.passphrase import Passphrase
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose

__all__ = ["AskOption", "FileOption", "new_passphrase", "present_passphrase"]

OPTION: Final = "--passphrase-file"
QUESTION: Final = "the root key's passphrase"
PASSPHRASE_FILE: Final = Purpose(
    "passphrase",
    OPTION,
    "write it there, with mode 0600",
    "make another root key, and enrol all clients anew",
    "this program",
)
FileOption = Annotated[
    Path | None,
    typer.Option(OPTION, metavar="FILE", help="A file, mode 0600, with the root key's passphrase."),
]
AskOption = Annotated[
    bool, typer.Option("--passphrase", help="Ask for a passphrase to put the root key under.")
]


def new_passphrase(file: Path | None, *, asks: bool) -> Passphrase | None:
    """Return what a new root key is put under; None: nothing."""
    if file is not None and asks:
        misused(f"--passphrase and {OPTION} do not go together")
    if asks:
        return cache(partial(typed_secret, QUESTION, OPTION, twice=True))
    return None if file is None else partial(_read, file)


def present_passphrase(file: Path | None) -> Passphrase:
    """Return what says a root key's passphrase, if its file is under one."""
    if file is not None:
        return partial(_read, file)
    return cache(partial(typed_secret, QUESTION, OPTION, twice=False))


def _read(file: Path) -> bytes:
    return keyfile.read(file, PASSPHRASE_FILE).rstrip(b"\r\n")
