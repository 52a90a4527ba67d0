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
        misused("the item: volume:ID, snapshot:ID, replica:ID or partition:ID")
    destination = _destination(output)
    if not settings.broker.addresses:
        hint = "set broker.url, with this client's own user"
        raise SetupError("no broker is configured", hint)
    harden_process()
    keys = open_keys(settings)
    try:
        with keys, keys.get(item, purpose=purpose) as delivered:
            _write(destination, delivered.key.view)
            said = delivered.encryption
            note(f"key-id {delivered.key_id}: {said.cipher}, {said.key_bits} bits")
    except KeyRefused as refused:
        complain(f"{ref} of project {project}: {refused}", refused.hint)
        raise typer.Exit(Ending.FAILED) from None


def _destination(output: str) -> int | Path:
    """Return where it is to be written, before anything is asked for."""
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
    if path.exists() or path.is_symlink():
        raise SetupError(f"--output {output}: already exists", "name a new file")
    return path


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _write(destination: int | Path, key: memoryview) -> None:
    if isinstance(destination, int):
        _write_all(destination, key)
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(destination, flags, 0o600)
    except OSError as error:
        hint = "name a new file in a folder of your own"
        raise SetupError(f"--output {destination}: {error.strerror}", hint) from None
    try:
        _write_all(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, key: memoryview) -> None:
    left = key
    while left:
        left = left[os.write(descriptor, left) :]
