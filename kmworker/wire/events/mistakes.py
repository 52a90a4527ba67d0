"""What a message is that is no event at all: clients' usual mistakes, by name.

Only refusals come here, so it may look at a body more than once. Nothing of it is repeated.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["body_mistake", "content_type_mistake", "document_mistake", "value_mistake"]

# The first bytes of what compresses.
COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"x\x01": "zlib", b"x\x5e": "zlib", b"x\x9c": "zlib", b"x\xda": "zlib",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}  # fmt: skip
UTF_8_MARK: Final = b"\xef\xbb\xbf"
UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
# CloudEvents' AMQP binding (section 3.1.3.1), and what bridges from HTTP and Kafka write.
BINARY_MODE: Final = ("cloudevents:", "cloudevents_", "ce-", "ce_")
BATCH: Final = "application/cloudevents-batch+json"


def content_type_mistake(media_type: str) -> str:
    """Return what to say of a content type that is not taken."""
    if media_type == BATCH:
        return "the content type is a batch's: publish each event by itself"
    return "the content type is neither application/cloudevents+json nor application/json"


def body_mistake(body: bytes, otherwise: str) -> str:
    """Return what a body that is not JSON is, or ``otherwise``."""
    if not body.strip():
        return "the body is empty"
    for start, name in COMPRESSED.items():
        if body.startswith(start):
            return f"the body is compressed ({name}): send it as plain UTF-8"
    if body.startswith(UTF_8_MARK):
        return "the body begins with a byte order mark: leave it out"
    if body.startswith(UTF_16_MARKS) or (b"\0" in body[:2] and len(body) > 1):
        return "the body is UTF-16 or UTF-32: send it as UTF-8"
    return otherwise


def value_mistake(value: object) -> str:
    """Return what a body is whose JSON is no object."""
    if isinstance(value, list):
        return "the body is an array: publish each event by itself"
    if isinstance(value, str):
        return "the body is text in JSON, not an object: is it encoded twice?"
    return "the body is not a JSON object"


def document_mistake(document: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    """Return what a JSON object is that lacks an event's attributes; None if nobody knows."""
    if "specversion" in document:
        return None
    if "oslo.message" in document or "oslo.version" in document:
        return "the body is an oslo.messaging envelope, not a CloudEvent"
    if "event_type" in document and "payload" in document:
        return "the body is an oslo.messaging notification, not a CloudEvent"
    headers = properties.get("application_headers")
    if isinstance(headers, Mapping) and any(map(_is_attribute, headers)):
        return (
            "CloudEvents' binary mode is not taken: put the attributes into the body, beside data"
        )
    if "project_id" in document and "data" not in document:
        return "the body is data alone: it goes into data of a CloudEvent"
    return None


def _is_attribute(header: object) -> bool:
    return isinstance(header, str) and header.lower().startswith(BINARY_MODE)
