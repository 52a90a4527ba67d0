"""What a dead letter's headers say, beside those that the event brought."""

from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from kmworker.errors import Reason
from kmworker.wire.fields import OneOf, UtcTime

__all__ = ["MAX_HEADER_BYTES", "OURS", "DeadLetterHeaders", "header_of"]

# A worker's word, so an event's own headers of such names go. But for the note of what was left
# off earlier, which decides nothing.
OURS: Final = "x-kmworker-"
MAX_HEADER_BYTES: Final = 255

HeaderText = Annotated[str, Field(max_length=MAX_HEADER_BYTES)]


def header_of(name: str) -> str:
    """Return the header's name for one of `DeadLetterHeaders`."""
    return OURS + name.replace("_", "-")


@with_config(ConfigDict(strict=True, alias_generator=header_of, use_attribute_docstrings=True))
class DeadLetterHeaders(TypedDict):
    """Why an event could not be processed, beside the original's own headers.

    Values are cut at 255 bytes. They never hold key material; of an event's content they name
    at most ids, fields, ciphers and nodes.
    """

    reason: Annotated[str, OneOf(Reason)]
    """Also the first word of the routing key."""
    detail: HeaderText
    """One sentence for a person."""
    event_id: HeaderText
    """The event's `id`; empty where it could not be read."""
    event_type: HeaderText
    """The event's `type`, or `unknown`."""
    routing_key: HeaderText
    """The original's routing key."""
    dead_at: UtcTime
    """When it was given up, in RFC 3339, UTC."""
    user: HeaderText
    """Whose event it is, as the broker validated it; empty if it came without `user_id`."""
    attempts: Annotated[int, Field(ge=1)]
    """How often it was tried, the last time included."""
    left_off: NotRequired[HeaderText | None]
    """Names of headers and properties that had no room, or could not be written again."""
    body_sha256: NotRequired[HeaderText | None]
    """Of a body beyond 64 KiB, in hexadecimal; the dead letter's own body is empty then."""
    body_bytes: NotRequired[int | None]
    """Of a body beyond 64 KiB: its length."""
