"""``kmworker client get``: a key, on the host that needs it."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from kmworker.bootstrap.keys import open_keys
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.endings import Ending, misused
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import complain, note
from kmworker.client.keys import KeyRefused, item_of
from kmworker.crypto.hardening import harden_process
from kmworker.errors import SetupError

__all__ = ["EXAMPLES", "get"]

EXAMPLES = examples(
    "kmworker client get volume:1111 --project p1 --output - | \\",
    "    cryptsetup open --type plain --key-file - --key-size 512 \\",
    "    --cipher aes-xts-plain64 /dev/vdb data",
    "kmworker client get snapshot:54af --project p1 --output key.bin",
    "kmworker client get volume:1111 --project p1 --output fd:3",
)
DESCRIPTOR: Final = "fd:"


def get(
    context: typer.Context,
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="An item: volume:ID, snapshot:ID, replica:ID.")
    ],
    *,
    project: Annotated[str, typer.Option("--project", metavar="P", help="The item's project.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", metavar="OUT", help="- (a pipe), a new file of mode 0600, or fd:N."
        ),
    ],
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="TEXT", help="What for; it is recorded.")
    ] = None,
) -> None:
    """Ask a key server for the key of an item, and write its bytes.

    The key comes sealed to this host's identity. It is written once, and kept nowhere else. Exit
    code 1: it is refused, or nobody answers in time.
    """
    settings = settings_of(context)
    item = item_of(project, ref)
    if item is None:
        misused("REF: volume:ID, snapshot:ID, replica:ID or partition:ID")
    destination = _opened(output)
    harden_process()
    keys = open_keys(settings)
    try:
        with keys, keys.get(item, purpose=purpose) as delivered:
            _write(destination, delivered.key.view)
            note(f"key-id {delivered.key_id}, {delivered.encryption.cipher},"
                 f" {delivered.encryption.key_bits} bits")  # fmt: skip
    except KeyRefused as refused:
        if not isinstance(destination, int):
            destination.unlink()
        complain(f"{ref} of project {project}: {refused}", refused.hint)
        raise typer.Exit(Ending.FAILED) from None


def _opened(output: str) -> int | Path:
    """Return where it is to be written; a file is made before anything is asked for."""
    if output == "-":
        if sys.stdout.isatty():
            misused("--output -: a key is not shown on a terminal: send it into a pipe")
        return sys.stdout.fileno()
    if output.startswith(DESCRIPTOR):
        number = output.removeprefix(DESCRIPTOR)
        if not number.isdigit() or not _is_open(int(number)):
            misused(f"--output {output}: no open file descriptor")
        return int(number)
    path = Path(output)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise SetupError(f"--output {output}: {error.strerror}", "name a new file") from None
    return path


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _write(destination: int | Path, key: memoryview) -> None:
    descriptor = destination if isinstance(destination, int) else os.open(destination, os.O_WRONLY)
    left = key
    while left:
        left = left[os.write(descriptor, left) :]
    if not isinstance(destination, int):
        os.fsync(descriptor)
        os.close(descriptor)
