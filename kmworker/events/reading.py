"""Events in: bytes from a stranger to a typed event, or a refusal.

Nothing raises. Whatever a producer can send ends in one of the two values, so that
no input can stop a worker. What a refusal says is ours: it never repeats content.
"""

import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kmworker.errors import Reason
from kmworker.events.event import UNKNOWN_TYPE, Event, Unreadable
from kmworker.events.wire import EVENT_TYPES, Envelope
from kmworker.model import Cause, Kind

__all__ = ["MAX_BODY_BYTES", "parse"]

MAX_BODY_BYTES: Final = 64 * 1024
CONTENT_TYPES: Final = frozenset({"application/cloudevents+json", "application/json"})

M = TypeVar("M", bound=BaseModel)


class _NotTaken(Exception):  # control flow within this module only
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
        document = _DECODER.decode(text)
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


# Made once: json.loads would make one for each event.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _validated(model: type[M], value: dict[str, Any], prefix: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        # Field names are the model's own, and the message is pydantic's: no content.
        where = ".".join(part for part in first["loc"] if isinstance(part, str))
        raise _NotTaken(f"{prefix}{where}: {_sentence(first)}") from None


def _sentence(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return "not a real date or time"
    message = error["msg"]
    return message[0].lower() + message[1:]


def _readable(value: object, otherwise: str) -> str:
    """Return ``value`` if it can stand in a header and a routing key."""
    if isinstance(value, str) and 0 < len(value) <= 255 and value.isascii():  # noqa: PLR2004
        return value if value.isprintable() else otherwise
    return otherwise
