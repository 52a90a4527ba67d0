"""``kmworker client init`` and ``pin``: what is done on the host itself."""

import sys
from pathlib import Path
from time import time
from typing import Annotated

import typer

from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import line, note
from kmworker.clock import rfc3339
from kmworker.crypto.hardening import harden_process
from kmworker.delegation.enrolment import Enrolment, request_enrolment
from kmworker.delegation.identity import Identity, shown
from kmworker.delegation.renewal import make_next, next_path, take_over
from kmworker.errors import SetupError, Untrusted

__all__ = ["INIT_EXAMPLES", "PIN_EXAMPLES", "init", "pin"]

INIT_EXAMPLES = examples(
    "kmworker client init > request.json", "kmworker client init --renew > request.json"
)
PIN_EXAMPLES = examples(
    "kmworker client pin enrolment.json", "kmworker client pin - < enrolment.json"
)


def init(
    context: typer.Context,
    *,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make another identity beside the one that is used.")
    ] = False,
) -> None:
    """Make this host's identity, and print the request that an operator enrolls it by.

    The identity is a file of mode 0600 at client.identity, and never leaves this host. The request
    holds no secret. Compare the fingerprint when it has arrived: whoever can alter it on the way
    could be enrolled in this host's place.
    """
    path = settings_of(context, wants_instance=False).client.identity
    harden_process()
    if renew:
        made = make_next(path, rfc3339(time()))
        note(f"made {next_path(path)}: it is used once kmworker client pin has its enrolment")
    else:
        made = Identity.generate(rfc3339(time()))
        made.write(path)
        note(f"made {path}")
    note(f"fingerprint: {shown(made.public.fingerprint)}")
    for text in request_enrolment(made).decode().splitlines():
        line(text)


def pin(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What kmworker client enroll has printed; - is standard input."
        ),
    ],
) -> None:
    """Keep, at client.enrolment, whose answers this host believes.

    It has to come from the operator unaltered: whoever can replace it chooses whom this host
    believes. Of a renewed identity, the new one is used from then on.
    """
    settings = settings_of(context, wants_instance=False).client
    content = _read(file)
    harden_process()
    identity, is_new = _identity_of(content, settings.identity)
    try:
        enrolment = Enrolment.read(content, identity.public)
    except Untrusted as wrong:
        raise SetupError(f"{file}: {wrong}", wrong.hint) from None
    if _is_at(settings.enrolment, file):
        _close(settings.enrolment)
    else:
        if is_new:
            # The one before would be refused beside the identity that takes over.
            settings.enrolment.unlink(missing_ok=True)
        enrolment.write(settings.enrolment)
    if is_new:
        take_over(settings.identity)
    line(f"client {enrolment.client} of installation {enrolment.installation}")
    note(f"wrote {settings.enrolment}")


def _identity_of(content: bytes, path: Path) -> tuple[Identity, bool]:
    """Return the identity that an enrolment is of, and whether it is a new one that waits."""
    if next_path(path).exists():
        waiting = Identity.load(next_path(path))
        if waiting.public.fingerprint.encode() in content:
            return waiting, True
    return Identity.load(path), False


def _is_at(path: Path, file: str) -> bool:
    """Return whether it is there already: a shell has put it where it is to be."""
    return file != "-" and path.exists() and path.samefile(file)


def _close(path: Path) -> None:
    try:
        path.chmod(0o600)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", "run as who owns it") from None


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SetupError(f"{file}: {error.strerror}", "name what the operator gave you") from None
