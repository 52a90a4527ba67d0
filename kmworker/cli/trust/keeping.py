"""``kmworker trust init``, ``key`` and ``sign``: keys, and what the root key signs; no server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Annotated

import typer

from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import misused
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import line, note, print_json
from kmworker.cli.trust.passphrases import (
    AskOption,
    FileOption,
    new_passphrase,
    present_passphrase,
)
from kmworker.clock import rfc3339
from kmworker.crypto.hardening import harden_process
from kmworker.delegation.encoded import as_text
from kmworker.delegation.enrolment import read_enrolment_request, request_enrolment
from kmworker.delegation.identity import Identity, PublicIdentity, shown
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.trust_list import make_list
from kmworker.errors import SetupError, Untrusted
from kmworker.wire.trust_documents import MAX_LISTED

__all__ = ["INIT_EXAMPLES", "KEY_EXAMPLES", "SIGN_EXAMPLES", "init", "key", "sign"]

INIT_EXAMPLES = examples(
    "kmworker trust init --root /media/offline/root-key.json",
    "kmworker trust init --root /media/offline/root-key.json --passphrase",
)
KEY_EXAMPLES = examples("kmworker trust key > keyserver-1.json")
SIGN_EXAMPLES = examples(
    "kmworker trust sign keyserver-1.json keyserver-2.json \\",
    "    --root /media/offline/root-key.json \\",
    "    --installation 3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10 > list.json",
)
RootOption = Annotated[
    Path, typer.Option("--root", metavar="FILE", help="The root key, on what is kept offline.")
]


def init(
    *, root: RootOption, passphrase: AskOption = False, passphrase_file: FileOption = None
) -> None:
    """Make the installation's root key: it signs lists of key servers' keys, and nothing else.

    Keep it offline, and a copy of it apart. Whoever has it can make clients believe any key
    server; where it is lost, all clients are enrolled anew. Under a passphrase, of 16 bytes at
    least, a copy of the file alone is no root key.
    """
    harden_process()
    under = new_passphrase(passphrase_file, asks=passphrase)
    made = RootKey.generate(rfc3339(time()))
    made.write(root, under)
    line(as_text(made.public))
    kept = "" if under is None else ", and its passphrase apart from it"
    note(f"made {root}: keep it offline{kept}")


def key(context: typer.Context) -> None:
    """Make this key server's keys at keyserver.identity, and print what is to be listed of them."""
    path = settings_of(context, wants_instance=False).keyserver.identity
    harden_process()
    made = Identity.generate(rfc3339(time()))
    made.write(path)
    note(f"made {path}")
    note(f"fingerprint: {shown(made.public.fingerprint)}")
    for text in request_enrolment(made).decode().splitlines():
        line(text)


def sign(  # noqa: PLR0913  # its options
    servers: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What kmworker trust key has printed.")
    ],
    *,
    root: RootOption,
    installation: Annotated[
        str,
        typer.Option("--installation", metavar="ID", help="As kmworker trust show says it."),
    ],
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3650, help="How long it holds.")
    ] = 90,
    number: Annotated[
        int | None,
        typer.Option(
            "--number",
            metavar="N",
            min=1,
            help="Above that of every list before; left out: the time.",
        ),
    ] = None,
    passphrase_file: FileOption = None,
) -> None:
    """Sign the list of all key servers whose answers clients are to believe, and print it.

    It needs no server, so it can be done where the root key is kept, and asks for the passphrase if
    it is under one. Whoever is not in it is
    believed no more once clients have seen it: while a key is exchanged, list the old one, too.
    """
    if len(servers) > MAX_LISTED:
        misused(f"FILE: at most {MAX_LISTED} key servers belong into a list")
    harden_process()
    listed = [_public(path) for path in servers]
    now = datetime.now(UTC)
    root_key = RootKey.load(root, present_passphrase(passphrase_file))
    try:
        made = make_list(
            root_key,
            installation,
            number or int(now.timestamp()),
            listed,
            not_before=_moment(now),
            not_after=_moment(now + timedelta(days=days)),
        )
    except Untrusted as wrong:
        raise SetupError(str(wrong), wrong.hint) from None
    for path, public in zip(servers, listed, strict=True):
        note(f"{path}: fingerprint {shown(public.fingerprint)}")
    print_json({"root": as_text(root_key.public), **made.document})


def _moment(at: datetime) -> str:
    return rfc3339(at.timestamp())


def _public(path: Path) -> PublicIdentity:
    try:
        return read_enrolment_request(path.read_bytes()).identity
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", "name what trust key has printed") from None
    except Untrusted as wrong:
        raise SetupError(f"{path}: {wrong}", wrong.hint) from None
