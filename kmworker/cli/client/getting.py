"""``kmworker client get``: a key, on the host that needs it."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Annotated, Any, Final

import typer

from kmworker.bootstrap.keys import open_keys
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import complain, note, print_json
from kmworker.client.keys import KeyRefused, NoAnswer, item_of
from kmworker.crypto.hardening import harden_process
from kmworker.delegation.checking import DeliveredKey
from kmworker.domain.model import Item
from kmworker.errors import PermanentError, SetupError, Untrusted
from kmworker.wire.answers.messages import Refusal

__all__ = ["EXAMPLES", "get"]

EXAMPLES = examples(
    "kmworker client get volume:1111 --project p1 --output - | \\",
    "    base64 --wrap=0 | cryptsetup open --key-file - /dev/vdb data",
    "kmworker client get snapshot:54af --project p1 --output key.bin",
    "kmworker client get volume:1111 --project p1 --output fd:3",
)
DESCRIPTOR: Final = "fd:"
TOLD_AFTER_S: Final = 1.0
"""An answer takes milliseconds; whoever waits for longer is told for what."""
ENDINGS: Final[Mapping[Refusal, int]] = {
    Refusal.NOT_GRANTED: ExitCode.FAILED,
    Refusal.SUSPENDED: 4,
    Refusal.COMPROMISED: 5,
    Refusal.DESTROYED: 6,
    Refusal.UNKNOWN_CLIENT: 7,
    # Something here has to be put right: the clock, or the release.
    Refusal.STALE_REQUEST: ExitCode.WRONG,
    Refusal.MALFORMED: ExitCode.WRONG,
    Refusal.REUSED_ID: ExitCode.WRONG,
    Refusal.TRY_LATER: ExitCode.UNREACHABLE,
}
"""The contract's exit codes of this command."""


def get(  # noqa: PLR0913  # its options
    context: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="An item: volume:, snapshot:, replica: or partition:ID."
        ),
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
    as_json: JsonOption = False,
) -> None:
    """Ask a key server for the key of an item, and write its bytes.

    The key comes sealed to this host's identity. It is written once, and kept nowhere else. A
    volume that is not attached here yet is waited for. Exit codes: 1 not granted, 3 nobody answers
    in time, 4 suspended, 5 compromised, 6 destroyed, 7 this client was revoked; 2 what is asked
    for, or this host, has to be put right.
    """
    settings = settings_of(context)
    item = item_of(project, ref)
    if item is None:
        misused("the item: volume:ID, snapshot:ID, replica:ID or partition:ID")
    destination = _destination(output, as_json=as_json)
    if not settings.broker.addresses:
        hint = "set broker.url, with this client's own user"
        raise SetupError("no broker is configured", hint)
    harden_process()
    keys = open_keys(settings)
    try:
        with keys:
            with _waiting_told(ref, settings.client.deadline_s):
                delivered = keys.get(item, purpose=purpose)
            with delivered:
                _write(destination, delivered.key.view)
            _tell(item, delivered, as_json=as_json)
    except KeyRefused as refused:
        if as_json:
            print_json({"refused": refused.reason.value, "hint": refused.hint})
        complain(f"{ref} of project {project}: {refused}", refused.hint)
        raise typer.Exit(ENDINGS[refused.reason]) from None
    except NoAnswer as late:
        if as_json:
            print_json({"refused": None, "hint": str(late)})
        complain(str(late), "ask again; does a key server run, and is the broker there?")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except PermanentError as wrong:
        # It was never sent.
        misused(wrong.detail)
    except Untrusted as untrusted:
        # Not 1, which says that a key server has refused.
        raise SetupError(
            f"what has answered is not believed: {untrusted}", untrusted.hint
        ) from None


def _tell(item: Item, delivered: DeliveredKey, *, as_json: bool) -> None:
    said = delivered.encryption
    if not as_json:
        note(f"key-id {delivered.key_id}: {said.cipher}, {said.key_bits} bits")
        return
    fields: dict[str, Any] = {
        "project_id": item.project,
        "item": item.ref,
        "key_id": delivered.key_id,
        "cipher": said.cipher,
        "key_bits": said.key_bits,
        "state": delivered.state.value,
        "not_after": delivered.not_after,
    }
    print_json(fields)


@contextmanager
def _waiting_told(ref: str, deadline_s: float) -> Iterator[None]:
    """Tell a person what is waited for; what is in the way, the log says."""
    whom = f"a key server, or for {ref} to be attached here"
    said = f"no answer yet: waiting up to {deadline_s:.0f} s for {whom}"
    timer = Timer(TOLD_AFTER_S, note, [said])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _destination(output: str, *, as_json: bool) -> int | Path:
    """Return where it is to be written, before anything is asked for."""
    if output == "-":
        if sys.stdout.isatty():
            misused("--output -: a key is not shown on a terminal: send it into a pipe")
        if as_json:
            misused("--json: with --output - the key is there already: name a file or fd:N")
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
    """Write the key; of one that could not be written whole, no file is left."""
    if isinstance(destination, int):
        _write_all(destination, key)
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(destination, flags, 0o600)
    except OSError as error:
        hint = "name a new file in a folder of your own"
        raise SetupError(f"--output {destination}: {error.strerror}", hint) from None
    with ExitStack() as undoing:
        undoing.callback(destination.unlink, missing_ok=True)
        undoing.callback(os.close, descriptor)
        _write_all(descriptor, key)
        os.fsync(descriptor)
        undoing.pop_all()
    os.close(descriptor)


def _write_all(descriptor: int, key: memoryview) -> None:
    left = key
    while left:
        left = left[os.write(descriptor, left) :]
