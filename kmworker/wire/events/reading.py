"""Events in: bytes from a stranger to a typed event, or a refusal.

Nothing raises. Whatever a producer can send ends in one of the two values, so that
no input can stop a worker. What a refusal says is ours, see `wording`.
"""

import json
from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kmworker.domain.event import UNKNOWN_TYPE, Event, Happening, Unreadable
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.model import Cause, Kind
from kmworker.errors import Reason
from kmworker.wire.events.definition import EVENTS, Envelope, data_of
from kmworker.wire.events.mistakes import (
    body_mistake,
    content_type_mistake,
    document_mistake,
    value_mistake,
)
from kmworker.wire.events.suggestions import type_meant
from kmworker.wire.events.wording import in_words, unknown_in
from kmworker.wire.properties import CLOUD_EVENT
from kmworker.wire.strict_json import TOO_DEEP, NotTakenAsJson, load, too_large

__all__ = ["MAX_EXTRA_BYTES", "TOO_LARGE", "parse"]

TOO_LARGE: Final = too_large(MAX_BODY_BYTES)
MAX_EXTRA_BYTES: Final = 4 * 1024
# No object of an event has nearly as many fields.
MAX_FIELDS: Final = 32
MAX_ERRORS: Final = 4 * MAX_FIELDS
CONTENT_TYPES: Final = frozenset({CLOUD_EVENT, "application/json"})

ENVELOPE: Final = TypeAdapter(Envelope)

T = TypeVar("T")


class _NotTaken(Exception):  # control flow within this module only
    def __init__(
        self, detail: str, reason: Reason = Reason.MALFORMED, *, may_be_newer: bool = False
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        self.may_be_newer = may_be_newer


def parse(
    body: bytes,
    content_type: object,
    routing_key: str,
    properties: Mapping[str, Any] = MappingProxyType({}),
) -> Happening | Unreadable:
    """Read one event.

    Args:
        body: the message as it came, of any size and content.
        content_type: the AMQP property; None where there is none.
        routing_key: must equal the event's type, or bindings and policies would lie.
        properties: the message's others, from which a refusal may tell what went wrong.
    """
    document: dict[str, Any] = {}
    try:
        _check_content_type(content_type)
        document = _load(body)
        return _read(document, routing_key, properties)
    except _NotTaken as refused:
        refusal = refused
    except RecursionError:
        refusal = _NotTaken(TOO_DEEP)
    return Unreadable(
        refusal.reason,
        refusal.detail,
        event_id=_readable(document.get("id"), ""),
        event_type=_readable(document.get("type"), UNKNOWN_TYPE),
        may_be_newer=refusal.may_be_newer,
    )


def _read(document: dict[str, Any], routing_key: str, properties: Mapping[str, Any]) -> Happening:
    try:
        envelope = _validated(ENVELOPE, document)
    except _NotTaken as refusal:
        raise _NotTaken(document_mistake(document, properties) or refusal.detail) from None
    if routing_key != envelope.type:
        raise _NotTaken("the routing key differs from the event's type")
    known = EVENTS.get(envelope.type)
    if known is None:
        raise _NotTaken(
            f"this version does not know the event's type{type_meant(envelope.type)}",
            Reason.UNSUPPORTED_TYPE,
            may_be_newer=True,
        )
    data = document.get("data")
    if not isinstance(data, dict):
        raise _no_data(document)
    said = _validated(data_of(known), data, envelope.type, "data.")
    # When it happened decides nothing.
    read = known(id=envelope.id, time="", **said)
    objection = read.objection()
    if objection is not None:
        raise _NotTaken(objection)
    if read.extra is not None:
        _check_extra(read.extra)
    event = read.to_event(Cause(envelope.id, envelope.source, envelope.type))
    if isinstance(event, Event):
        _check_source(event)
    return event


def _no_data(document: Mapping[str, Any]) -> _NotTaken:
    data = document.get("data")
    if isinstance(data, str):
        return _NotTaken("data: text, where an object is needed; is it encoded twice?")
    if data is not None:
        return _NotTaken("data: not an object")
    encoded = "; data_base64 is not taken" if "data_base64" in document else ""
    return _NotTaken(f"data: missing{encoded}")


def _check_extra(extra: Mapping[str, Any]) -> None:
    text = json.dumps(extra, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair is nobody's concern in what is ignored.
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_EXTRA_BYTES:
        raise _NotTaken(
            f"data.extra: {size_bytes:,} bytes as compact JSON in UTF-8; "
            f"at most {MAX_EXTRA_BYTES:,} are taken"
        )


def _check_source(event: Event) -> None:
    source = event.derived_from
    if source == event.item:
        raise _NotTaken("the item names itself as its source")
    if source is None or source.kind is not Kind.PARTITION:
        return
    # A partition is founded by its first replica, and only its own cluster may do that.
    if source.project != event.item.project:
        raise _NotTaken("data.source.project_id: a partition is of the replica's own project")
    # It has no event of its own that could number its lives.
    if event.source_generation:
        raise _NotTaken("data.source_generation: a partition has one life")


def _check_content_type(content_type: object) -> None:
    if content_type is None:
        return
    media_type = ""
    if isinstance(content_type, str):
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type in CONTENT_TYPES or not content_type:
            return
    raise _NotTaken(content_type_mistake(media_type))


def _load(body: bytes) -> dict[str, Any]:
    try:
        document = load(body, MAX_BODY_BYTES)
    except NotTakenAsJson as wrong:
        detail = str(wrong)
        raise _NotTaken(body_mistake(body, detail) if wrong.may_be_mistaken else detail) from None
    if not isinstance(document, dict):
        raise _NotTaken(value_mistake(document))
    return document


def _validated(
    adapter: TypeAdapter[T], value: dict[str, Any], event_type: str = "", prefix: str = ""
) -> T:
    try:
        # What `validate_python` calls, after it has looked at its other arguments.
        return adapter.validator.validate_python(value)  # type: ignore[no-any-return]
    except ValidationError as invalid:
        errors = _errors(adapter, value, invalid)
        unknown = unknown_in(errors)
        raise _NotTaken(
            in_words(unknown or errors[0], event_type, prefix), may_be_newer=unknown is not None
        ) from None


def _errors(
    adapter: TypeAdapter[T], value: dict[str, Any], invalid: ValidationError
) -> list[ErrorDetails]:
    """Return what is wrong, or, where that is very much, enough of it.

    A body may hold 5,000 unknown fields. To put each into an error takes so long that a
    crowd of such events would keep everybody else's waiting.
    """
    if invalid.error_count() > MAX_ERRORS:
        try:
            adapter.validator.validate_python(_few_fields(value))
        except ValidationError as fewer:
            invalid = fewer
    return invalid.errors(include_url=False)


def _few_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    few = dict(islice(data.items(), MAX_FIELDS))
    return {
        name: dict(islice(value.items(), MAX_FIELDS)) if isinstance(value, dict) else value
        for name, value in few.items()
    }


def _readable(value: object, otherwise: str) -> str:
    """Return ``value`` if it can stand in a header and a routing key."""
    if isinstance(value, str) and 0 < len(value) <= 255 and value.isascii():  # noqa: PLR2004
        return value if value.isprintable() else otherwise
    return otherwise
