"""``audit-recorded``: one act in the audit trail, as its writer publishes it. All of it once.

A record's bytes are made once, with its number, and sent again as they are until the broker has
confirmed them: so the auditor can drop what comes twice.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field, TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from kmworker.domain.audit import Act, Actor, ActorKind, ActOutcome, AuditRecord
from kmworker.domain.ids import named_id
from kmworker.domain.message import Outgoing
from kmworker.wire.envelope import enveloped, read_as, read_so
from kmworker.wire.fields import OneOf, ProjectId, ShortText, UtcTime, Uuid

__all__ = [
    "AUDIT_TYPE", "CHECKPOINT_KEY", "MAX_RECORD_BYTES", "RECORD_KEYS", "AuditRecordedMessage",
    "audit_message", "read_audit_message", "record_fields", "record_in",
]  # fmt: skip

AUDIT_TYPE: Final = "audit-recorded"
RECORD_KEYS: Final = "record.#"
"""What the auditor's queue is bound with: checkpoints are for others."""
CHECKPOINT_KEY: Final = "checkpoint"
MAX_RECORD_BYTES: Final = 24 * 1024
"""Each text has 255 characters at most, of up to 6 bytes where JSON escapes them."""


@read_so
class RecordedActor(TypedDict):
    """Who did it."""

    kind: Annotated[str, OneOf(ActorKind)]
    """What kind of somebody."""
    name: ShortText
    """An operator's or client's name, a producer's `source`, a process's id."""
    os_user: NotRequired[ShortText]
    """Of an operator: as whom the command ran, whatever name was given."""
    host: NotRequired[ShortText]
    """On which host."""


@read_so
class AuditData(TypedDict):
    """The act."""

    what: Annotated[str, Field(pattern="^[a-z0-9-]{1,64}$")]
    """What was done, or refused: `key-delivered`, `kek-activated`, … There will be more."""
    who: RecordedActor
    at: UtcTime
    """When, by its writer's clock, in RFC 3339, UTC."""
    outcome: Annotated[str, OneOf(ActOutcome)]
    """What came of it. Of a delivery, `done` is recorded before the answer leaves."""
    writer: ShortText
    """The process that has recorded it, anew each start: `<role>@<host>/<process>-<random id>`."""
    number: Annotated[int, Field(ge=1)]
    """Of the writer's records, from 1 on without gaps."""
    reason: NotRequired[ShortText]
    """An operator's words, or the word for a refusal."""
    request: NotRequired[ShortText]
    """The `id` of the request that it answers, or of the event by which a key has changed."""
    event: NotRequired[ShortText]
    """The `id` of the event that it follows from: the same in each record of one change."""
    project_id: NotRequired[ProjectId]
    """Whose."""
    item: NotRequired[Annotated[str, Field(min_length=1, max_length=300)]]
    """The item ref."""
    key_id: NotRequired[Uuid]
    """The key-id."""
    kek_id: NotRequired[ShortText]
    """The KEK's fingerprint."""
    client: NotRequired[ShortText]
    """A client's name, where it is not who did it."""
    attachment_id: NotRequired[ShortText]
    """Of the grant."""
    node: NotRequired[ShortText]
    """That the grant is for."""
    count: NotRequired[Annotated[int, Field(ge=0)]]
    """How many things it was done to, where they are not named."""


@read_so
class AuditRecordedMessage(TypedDict):
    """An act that concerns keys has been recorded.

    Sent at least once, with the same bytes: drop repeats by `id`. Never key material.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same whenever it is sent; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["audit-recorded"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The writer, a number sign, and the number."""
    time: UtcTime
    """The same as `data.at`."""
    data: AuditData


def audit_message(
    record: AuditRecord, writer: str, number: int, source: str, exchange: str
) -> Outgoing:
    """Build the message that has an act recorded.

    Args:
        record: the act.
        writer: who records it.
        number: of that writer's records.
        source: the CloudEvents source that the installation's announcements carry.
        exchange: the audit exchange.
    """
    data = record_fields(record) | {"writer": writer, "number": number}
    # The project comes last: it may contain dots.
    words = ["record", record.what.value, *([record.project] if record.project else [])]
    return enveloped(
        AUDIT_TYPE,
        named_id("\0".join(["audit", writer, str(number)])),
        source,
        subject=f"{writer}#{number}",
        at=record.at,
        data=to_json(data),
        exchange=exchange,
        routing_key=".".join(words),
    )


def record_fields(record: AuditRecord) -> dict[str, Any]:
    """Return what is said of an act, without who records it."""
    given: dict[str, Any] = {
        "reason": record.reason,
        "request": record.request,
        "event": record.event,
        "project_id": record.project,
        "item": record.item,
        "key_id": record.key_id,
        "kek_id": record.kek_id,
        "client": record.client,
        "attachment_id": record.attachment_id,
        "node": record.node,
        "count": record.count,
    }
    return {
        "what": record.what.value,
        "who": _actor(record.who),
        "at": record.at,
        "outcome": record.outcome.value,
        **{name: it for name, it in given.items() if it is not None},
    }


def record_in(fields: Mapping[str, Any]) -> AuditRecord:
    """Return an act from what `record_fields` has said of it.

    Raises:
        ValueError, KeyError, TypeError: another release wrote it.
    """
    given = dict(fields)
    who = dict(given.pop("who"))
    return AuditRecord(
        Act(given.pop("what")),
        Actor(ActorKind(who.pop("kind")), **who),
        given.pop("at"),
        ActOutcome(given.pop("outcome")),
        project=given.pop("project_id", None),
        **given,
    )


def read_audit_message(body: bytes) -> AuditRecordedMessage:
    """Read a record as whoever looks at the trail does.

    Raises:
        ValueError: it is none.
    """
    return read_as(_records(), body)


def _actor(who: Actor) -> dict[str, str]:
    given = {"kind": who.kind.value, "name": who.name, "os_user": who.os_user, "host": who.host}
    return {name: it for name, it in given.items() if it is not None}


# Writers write only, and need none.
@cache
def _records() -> TypeAdapter[AuditRecordedMessage]:
    return TypeAdapter(AuditRecordedMessage)
