"""``kmworker client enroll`` and ``renew``: who is a client, by an operator's word."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from kmworker.cli.arguments.operators import (
    OperatorOption,
    ReasonOption,
    actor_of,
    operator_of,
)
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import complain, note, print_json
from kmworker.clock import rfc3339
from kmworker.delegation.clients import (
    ClientRecord,
    Right,
    Rights,
    Stamp,
    enrolled,
    renewed,
)
from kmworker.delegation.enrolment import Enrolment, EnrolmentRequest, read_enrolment_request
from kmworker.delegation.identity import PublicIdentity, shown
from kmworker.domain.audit import Act, AuditRecord
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Kind
from kmworker.errors import NotFound, SetupError, Untrusted
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister
from kmworker.store.inspection import Views
from kmworker.store.records import RecordCodec
from kmworker.wire.fields import CLIENT_NAME

__all__ = [
    "ENROLL_EXAMPLES", "RENEW_EXAMPLES", "ClientRoom", "NameArgument", "changed", "client_room",
    "enroll", "no_client", "renew",
]  # fmt: skip

ENROLL_EXAMPLES = examples(
    "kmworker client enroll compute-17 --request request.json \\",
    "    --node compute-17 --project '*' --reason 'new host' > enrolment.json",
    "kmworker client enroll backup --request request.json --no-grant \\",
    "    --kind volume --project p1 --reason 'backups' > enrolment.json",
)
RENEW_EXAMPLES = examples(
    "kmworker client renew compute-17 --request request.json \\",
    "    --reason yearly > enrolment.json",
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The client's, which is its user of the broker.")
]
RequestOption = Annotated[
    str,
    typer.Option(
        "--request", metavar="FILE", help="What kmworker client init printed; - is standard input."
    ),
]
Word = TypeVar("Word", Kind, Right)
KINDS: Final = (Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA, Kind.PARTITION)


@dataclass(frozen=True, slots=True)
class ClientRoom:
    """A store, for whoever changes its clients."""

    views: Views
    register: ClientRegister
    installation: str

    def mark(self, by: Operator) -> Stamp:
        """Return who does it, now."""
        return Stamp(rfc3339(self.views.clock_s()), by)

    def record(self, what: Act, name: str, by: Operator) -> AuditRecord:
        """Return what the audit trail is to be told of a client."""
        at = rfc3339(self.views.clock_s())
        return AuditRecord(what, actor_of(by.name), at, reason=by.reason, client=name)

    def root(self) -> bytes:
        """Return the public root key, which clients pin.

        Raises:
            NotFound: no trust list is handed out yet.
        """
        trust = self.register.trust()
        if trust is None:
            raise NotFound("no trust list is handed out", "kmworker trust publish")
        try:
            return trust.root_key()
        except Untrusted as wrong:
            raise SetupError(str(wrong), wrong.hint) from None


def client_room(context: typer.Context) -> ClientRoom:
    """Open the store for changes of clients.

    Raises:
        NotFound: no worker has used it yet.
        SetupError: it cannot be used.
    """
    settings = settings_of(context)
    views = views_of(settings)
    custody = custody_of(settings.keyring)
    found = enter(custody, views)
    register = ClientRegister(views, RecordCodec(custody))
    return ClientRoom(views, register, found.layout.installation)


def enroll(  # noqa: PLR0913  # its options
    context: typer.Context,
    name: NameArgument,
    *,
    request: RequestOption,
    project: Annotated[
        list[str], typer.Option("--project", metavar="GLOB", help="Whose keys; may be repeated.")
    ],
    reason: ReasonOption,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="N", help="A node that it answers for; may be repeated."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="K", help="Of items; may be repeated. Left out: all."),
    ] = None,
    right: Annotated[
        list[str] | None,
        typer.Option(
            "--right",
            metavar="R",
            help="get, create, store, delete, list or describe; may be repeated. Left out: get.",
        ),
    ] = None,
    grant: Annotated[
        bool,
        typer.Option(
            "--grant/--no-grant",
            help="Whether it gets keys only of what is attached to its nodes, or held there.",
        ),
    ] = True,
    operator: OperatorOption = None,
) -> None:
    """Make a host a client, and print what it pins.

    Compare the fingerprint with what the host has shown before you go on. Then bring what this
    prints to the host: kmworker client pin. The broker needs a user of that name
    (config/rabbitmq/README.md).
    """
    by = operator_of(operator, reason)
    if re.fullmatch(CLIENT_NAME[1:-1], name) is None:
        misused("the name: 1 to 128 of A-Z a-z 0-9 . _ : @ + ~ = -")
    rights = Rights(
        frozenset(_chosen("--right", right or [Right.GET.value], list(Right))),
        frozenset(_chosen("--kind", kind or [it.value for it in KINDS], KINDS)),
        tuple(project),
        tuple(node or ()),
        grant,
    )
    if grant and not rights.nodes:
        misused("--node: who needs grants answers for a node at least; or say --no-grant")
    asked = _read_request(request)
    room = client_room(context)
    root = room.root()
    made = room.register.change(
        name,
        lambda before: enrolled(before, name, asked.identity, rights, room.mark(by)),
        room.record(Act.CLIENT_ENROLLED, name, by),
    )
    changed(made, name, asked.identity)
    _print_enrolment(room, made, asked.identity, root)


def renew(  # noqa: PLR0913  # its options
    context: typer.Context,
    name: NameArgument,
    *,
    request: RequestOption,
    reason: ReasonOption,
    alone: Annotated[
        bool, typer.Option("--alone", help="The identity before it holds no more, at once.")
    ] = False,
    operator: OperatorOption = None,
) -> None:
    """Give a client another identity beside its present one, and print what it pins.

    Both hold, so that nothing fails while the host changes over. Say it again with --alone once
    the host uses the new one.
    """
    by = operator_of(operator, reason)
    asked = _read_request(request)
    room = client_room(context)
    root = room.root()

    def become(before: ClientRecord | None) -> ClientRecord | NoStep:
        if before is None:
            raise no_client(name)
        return renewed(before, asked.identity, room.mark(by), is_alone=alone)

    made = room.register.change(name, become, room.record(Act.CLIENT_RENEWED, name, by))
    changed(made, name, asked.identity)
    _print_enrolment(room, made, asked.identity, root)


def no_client(name: str) -> NotFound:
    """Return what is wrong with a name."""
    return NotFound(f"no client {name}", "kmworker client list shows those there are")


def _chosen(option: str, words: Sequence[str], members: Sequence[Word]) -> list[Word]:
    """Return the members that these words name; ends the command if one is none."""
    known = {it.value: it for it in members}
    for word in words:
        if word not in known:
            misused(f"{option}: one of {', '.join(known)}")
    return [known[word] for word in words]


def _read_request(file: str) -> EnrolmentRequest:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return read_enrolment_request(content)
    except OSError as error:
        hint = "name the file that the host's request is in"
        raise SetupError(f"{file}: {error.strerror}", hint) from None
    except Untrusted as wrong:
        raise SetupError(f"{file}: {wrong}", wrong.hint) from None


def changed(made: ClientRecord | NoStep, name: str, identity: PublicIdentity | None = None) -> None:
    """Say what has become of a client; ends the command if nothing has."""
    if isinstance(made, NoStep):
        complain(f"client {name}: {made.why}", "kmworker client show says more")
        raise typer.Exit(ExitCode.FAILED)
    if identity is not None:
        note(f"fingerprint: {shown(identity.fingerprint)}: the host must have shown the same")


def _print_enrolment(
    room: ClientRoom, made: ClientRecord | NoStep, identity: PublicIdentity, root: bytes
) -> None:
    assert isinstance(made, ClientRecord)  # noqa: S101  # see `changed`
    enrolment = Enrolment(
        room.installation, made.name, identity.fingerprint, root, made.enrolled.at
    )
    print_json(enrolment.document)
