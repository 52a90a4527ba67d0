"""Events in: bytes from a stranger to a typed event, or a refusal.

Nothing raises. Whatever a producer can send ends in one of the two values, so that
no input can stop a worker. What a refusal says is ours: it never repeats content.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kmworker.errors import Reason
from kmworker.model import Cause, Disposition, Item, Kind, Transport

__all__ = [
    "EVENT_TYPES",
    "MAX_BODY_BYTES",
    "UNENCRYPTED",
    "Event",
    "RequestedEncryption",
    "Unencrypted",
    "Unreadable",
    "parse",
]

MAX_BODY_BYTES: Final = 64 * 1024
MAX_SIZE_BYTES: Final = 2**63 - 1
MAX_KEY_BITS: Final = 65_536
CONTENT_TYPES: Final = frozenset({"application/cloudevents+json", "application/json"})

# Types that have no fields of their own fall back to this where a name is needed.
UNKNOWN_TYPE: Final = "unknown"


class Unencrypted(Enum):
    """The producer's word that an item is not encrypted, as opposed to no word at all."""

    UNENCRYPTED = "unencrypted"


UNENCRYPTED: Final = Unencrypted.UNENCRYPTED


class RequestedEncryption(NamedTuple):
    """What an event asks for; without ``key_bits`` the source or the policy fills it in."""

    cipher: str
    key_bits: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """A lifecycle event, reduced to what a decision needs."""

    cause: Cause
    item: Item
    derived_from: Item | None
    """The source; `Kind.IMAGE` for data from outside, None for a blank item."""
    encryption: RequestedEncryption | Unencrypted | None
    wish: Disposition | None
    node: str | None = None
    volume_type: str | None = None
    transport: Transport | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that cannot be taken, with what could be read of its name."""

    reason: Reason
    detail: str
    event_id: str = ""
    event_type: str = UNKNOWN_TYPE


# --- the wire ---------------------------------------------------------------------

ItemId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}$")]
ProjectId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
# No control characters or line separators: these names end up in logs and terminals.
Printable = Annotated[str, Field(pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,255}$")]
SizeBytes = Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES)]
_TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)


def _real_time(text: str) -> str:
    """Refuse the 30th of February (RFC 3339, section 5.6); second 60 is a leap second."""
    date.fromisoformat(text[:10])
    second = min(int(text[17:19]), 60)
    time(int(text[11:13]), int(text[14:16]), 59 if second == 60 else int(text[17:19]))  # noqa: PLR2004
    if text[-1] not in "Zz":
        time(int(text[-5:-3]), int(text[-2:]))
    return text


Rfc3339 = Annotated[str, Field(pattern=_TIME_PATTERN, max_length=64), AfterValidator(_real_time)]


class _Wire(BaseModel):
    """Strict, so that `"1"` is no number; unknown fields are left to newer producers."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class Envelope(_Wire):
    """The CloudEvents 1.0 attributes that every event has."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^[ -~]{1,255}$")]
    source: Annotated[str, Field(min_length=1, max_length=255)]
    type: Annotated[str, Field(min_length=1)]
    time: Rfc3339 | None = None


class WireEncryption(_Wire):
    """A cipher in dm-crypt's notation; the DEK's length in bits."""

    cipher: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    key_bits: Annotated[int, Field(ge=1, le=MAX_KEY_BITS)] | None = None


class _Source(_Wire):
    id: ItemId
    project_id: ProjectId | None = None


class VolumeSource(_Source):
    """What a volume was made from."""

    kind: Literal["volume", "snapshot", "replica", "image"]


class ReplicaSource(_Source):
    """What a replica is a copy of."""

    kind: Literal["volume", "snapshot", "partition"]


class _Data(_Wire):
    project_id: ProjectId
    size_bytes: SizeBytes | None = None
    disposition: Literal["create", "clone", "reuse"] | None = None


class VolumeCreated(_Data):
    """A volume exists, and no byte of it is written yet."""

    volume_id: ItemId
    source: VolumeSource | None = None
    volume_type: Printable | None = None
    encryption: WireEncryption | None = None

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.VOLUME, self.volume_id),
            derived_from=_source_item(self.source, self.project_id),
            encryption=_requested(self),
            wish=_wish(self),
            volume_type=self.volume_type,
            size_bytes=self.size_bytes,
        )


class SnapshotTaken(_Data):
    """A snapshot of a volume exists."""

    snapshot_id: ItemId
    volume_id: ItemId

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.SNAPSHOT, self.snapshot_id),
            derived_from=Item(self.project_id, Kind.VOLUME, self.volume_id),
            encryption=None,
            wish=_wish(self),
            size_bytes=self.size_bytes,
        )


class ReplicaAdded(_Data):
    """A replica of an item will be held by a node."""

    replica_id: ItemId
    source: ReplicaSource
    node: Printable
    transport: Literal["block", "file", "reencrypt"] | None = None
    encryption: WireEncryption | None = None

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.REPLICA, self.replica_id),
            derived_from=_source_item(self.source, self.project_id),
            encryption=_requested(self),
            wish=_wish(self),
            node=self.node,
            transport=None if self.transport is None else Transport(self.transport),
            size_bytes=self.size_bytes,
        )


EVENT_TYPES: Final[Mapping[str, type[VolumeCreated | SnapshotTaken | ReplicaAdded]]] = {
    "volume-created": VolumeCreated,
    "snapshot-taken": SnapshotTaken,
    "replica-added": ReplicaAdded,
}


def _source_item(source: _Source | None, project: str) -> Item | None:
    if source is None:
        return None
    kind: str = source.kind  # type: ignore[attr-defined]  # both subclasses have it
    return Item(source.project_id or project, Kind(kind), source.id)


def _requested(data: VolumeCreated | ReplicaAdded) -> RequestedEncryption | Unencrypted | None:
    """Tell an explicit null (not encrypted) from a field that is not there."""
    if data.encryption is not None:
        return RequestedEncryption(data.encryption.cipher, data.encryption.key_bits)
    return UNENCRYPTED if "encryption" in data.model_fields_set else None


def _wish(data: _Data) -> Disposition | None:
    return None if data.disposition is None else Disposition(data.disposition)


M = TypeVar("M", bound=BaseModel)

# --- reading ----------------------------------------------------------------------


class _NotTaken(Exception):  # noqa: N818  # control flow within this module only
    def __init__(self, detail: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason


def parse(body: bytes, content_type: object, routing_key: str) -> Event | Unreadable:
    """Read one event.

    Args:
        body: the message as it came, of any size and content.
        content_type: the AMQP property; None where there is none.
        routing_key: must equal the event's type, or bindings and policies would lie.
    """
    document: dict[str, Any] = {}
    try:
        _check_content_type(content_type)
        document = _load(body)
        return _read(document, routing_key)
    except _NotTaken as refusal:
        return Unreadable(
            refusal.reason,
            refusal.detail,
            event_id=_readable(document.get("id"), ""),
            event_type=_readable(document.get("type"), UNKNOWN_TYPE),
        )


def _read(document: dict[str, Any], routing_key: str) -> Event:
    envelope = _validated(Envelope, document, "")
    if routing_key != envelope.type:
        raise _NotTaken("the routing key differs from the event's type")
    wire = EVENT_TYPES.get(envelope.type)
    if wire is None:
        raise _NotTaken("this version does not know the event's type", Reason.UNSUPPORTED_TYPE)
    data = document.get("data")
    if not isinstance(data, dict):
        raise _NotTaken("data is not an object" if "data" in document else "data is missing")
    cause = Cause(envelope.id, envelope.source, envelope.type)
    event = _validated(wire, data, "data.").to_event(cause)
    _check_source(event)
    return event


def _check_source(event: Event) -> None:
    source = event.derived_from
    if source == event.item:
        raise _NotTaken("the item names itself as its source")
    if source is None or source.kind is not Kind.PARTITION:
        return
    # A partition is founded by its first replica, and only its own cluster may do that.
    if source.project != event.item.project:
        raise _NotTaken("data.source.project_id: a partition is of the replica's own project")


def _check_content_type(content_type: object) -> None:
    if content_type is None:
        return
    if isinstance(content_type, str):
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type in CONTENT_TYPES or not content_type:
            return
    raise _NotTaken("the content type is neither application/cloudevents+json nor application/json")


def _load(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise _NotTaken(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _NotTaken("the body is not UTF-8") from None
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise _NotTaken("the body is nested too deeply") from None
    except ValueError:
        # Also an integer of more digits than Python converts (CVE-2020-10735).
        raise _NotTaken("the body is not JSON") from None
    if not isinstance(document, dict):
        raise _NotTaken("the body is not a JSON object")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what two parsers would read differently (RFC 8259, section 4)."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _NotTaken("an object of the body has the same name twice")
    return result


def _no_constant(_name: str) -> None:
    raise _NotTaken("the body has NaN or Infinity, which are not JSON")


def _validated(model: type[M], value: dict[str, Any], prefix: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        # Field names are the model's own, and the message is pydantic's: no content.
        where = ".".join(part for part in first["loc"] if isinstance(part, str))
        raise _NotTaken(f"{prefix}{where}: {_sentence(first)}") from None


def _sentence(error: Any) -> str:
    kind = str(error["type"])
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return "not a real date or time"
    message = str(error["msg"])
    return message[0].lower() + message[1:]


def _readable(value: object, otherwise: str) -> str:
    """Return ``value`` if it can stand in a header and a routing key."""
    if isinstance(value, str) and 0 < len(value) <= 255 and value.isascii():  # noqa: PLR2004
        return value if value.isprintable() else otherwise
    return otherwise
