"""Requests in: the bytes that a client signed to a typed request, or what is wrong with them.

Nothing raises. It is read only once its signature holds, so whoever is told what is wrong is the
client that made the mistake.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.values import value
from kmworker.wire.events.wording import in_words, shown, unknown_in
from kmworker.wire.fields import QUEUE_NAME, UUID
from kmworker.wire.requests.definition import (
    REQUEST_TYPES,
    REQUESTS,
    RequestEnvelope,
    request_data_of,
)
from kmworker.wire.requests.request import ClientRequest, WantedItem
from kmworker.wire.strict_json import TOO_DEEP, NotTakenAsJson, load

__all__ = ["Misread", "read_request"]

# One letter in four may be wrong.
ALIKE: Final = 0.75
REQUEST_ENVELOPE: Final = TypeAdapter(RequestEnvelope)

T = TypeVar("T")


@value
class Misread:
    """A request that cannot be understood."""

    detail: str
    """One sentence that begins with the field's path."""
    id: str = ""
    """The request's; empty if it cannot be read."""
    reply_to: str = ""
    """Where it wants its answer; empty if it cannot be read."""


class _NotUnderstood(Exception):  # control flow within this module only
    pass


def read_request(body: bytes, client: str) -> ClientRequest | Misread:
    """Read one request.

    Args:
        body: as it was signed.
        client: whose signature it is; the request has to say the same.
    """
    document: Any = None
    try:
        document = load(body, MAX_BODY_BYTES)
        return _read(document, client)
    except (_NotUnderstood, NotTakenAsJson) as wrong:
        detail = str(wrong)
    except RecursionError:
        detail = TOO_DEEP
    return _misread(document, detail)


def _read(document: object, client: str) -> ClientRequest:
    if not isinstance(document, dict):
        raise _NotUnderstood("the body is not a JSON object")
    envelope = _validated(REQUEST_ENVELOPE, document, RequestEnvelope.model_fields, "")
    if envelope.source != client:
        raise _NotUnderstood("source: not the client whose signature it is")
    known = REQUESTS.get(envelope.type)
    if known is None:
        raise _NotUnderstood(f"type: not known{_meant(envelope.type, REQUEST_TYPES)}")
    data = document.get("data")
    if not isinstance(data, dict):
        raise _NotUnderstood("data: missing, or not an object")
    fields = [it.name for it in known.data_fields()]
    said = _validated(request_data_of(known), data, fields, "data.")
    read = known(id=envelope.id, time=envelope.time, **said)
    objection = read.objection()
    if objection is not None:
        raise _NotUnderstood(objection)
    return read


def _validated(
    adapter: TypeAdapter[T], found: dict[str, Any], known: Collection[str], prefix: str
) -> T:
    try:
        return adapter.validate_python(found)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    unknown = unknown_in(errors)
    if unknown is None:
        raise _NotUnderstood(in_words(errors[0], "", prefix)) from None
    *within, name = map(str, unknown["loc"])
    fields = WantedItem.model_fields if within else known
    place = "".join(f"{part}." for part in within)
    raise _NotUnderstood(f"{prefix}{place}{shown(name)} is unknown{_meant(name, fields)}") from None


def _meant(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name[:64].lower(), known, n=1, cutoff=ALIKE)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _misread(document: object, detail: str) -> Misread:
    """Keep of it what an answer needs, if it is what it should be."""
    if not isinstance(document, dict):
        return Misread(detail)
    data = document.get("data")
    reply_to = data.get("reply_to") if isinstance(data, dict) else None
    return Misread(detail, _like(UUID, document.get("id")), _like(QUEUE_NAME, reply_to))


def _like(pattern: str, found: object) -> str:
    return found if isinstance(found, str) and re.fullmatch(pattern[1:-1], found) else ""
