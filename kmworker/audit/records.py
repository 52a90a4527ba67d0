"""What the trail has to know of a record: who wrote it, under which number, and what it is about.

All else in it is passed on as it came: a newer release may say more.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from kmworker.domain.values import value

__all__ = ["RecordFilter", "data_of_record", "identity_in", "identity_of"]

MAX_WRITER: Final = 255
MAX_NUMBER: Final = 2**53
MAX_DEPTH: Final = 16
"""A record is nested four deep."""


def data_of_record(body: bytes) -> Mapping[str, Any] | None:
    """Return what a message says; None: it is no record that can stand in one line."""
    if b"\n" in body or b"\r" in body or not body.startswith(b"{"):
        return None
    try:
        # As text: of bytes, `json` takes UTF-16, too, which would not stand in a line of UTF-8.
        fields = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    # Else a line that could be written could not be read, whose stack is another.
    return data_in_record(fields) if _is_within(fields, MAX_DEPTH) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_within(found: object, depth: int) -> bool:
    """Return whether a value is nested no deeper than that."""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return depth > 0 and all(_is_within(it, depth - 1) for it in inner)


def data_in_record(fields: Any) -> Mapping[str, Any] | None:  # noqa: ANN401  # parsed JSON
    """Return what a record says that was read as part of its line."""
    data = fields.get("data") if isinstance(fields, dict) else None
    return data if isinstance(data, dict) else None


def identity_of(body: bytes) -> tuple[str, int, bytes] | None:
    """Return a record's writer, number and digest; None: it has none."""
    return _identity(data_of_record(body), body)


def identity_in(fields: Any, body: bytes) -> tuple[str, int, bytes] | None:  # noqa: ANN401  # JSON
    """Return the same of a record that was read as part of its line."""
    return _identity(data_in_record(fields), body)


def _identity(data: Mapping[str, Any] | None, body: bytes) -> tuple[str, int, bytes] | None:
    if data is None:
        return None
    writer, number = data.get("writer"), data.get("number")
    if not isinstance(writer, str) or not 0 < len(writer) <= MAX_WRITER:
        return None
    if not (writer.isascii() and writer.isprintable()):
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= MAX_NUMBER:
        return None
    return writer, number, sha256(body).digest()


@value
class RecordFilter:
    """Which records are wanted; None: whichever."""

    since: str | None = None
    """RFC 3339, UTC: when it was written into the trail."""
    until: str | None = None
    project: str | None = None
    client: str | None = None
    key_id: str | None = None
    what: str | None = None

    def wants(self, body: bytes) -> bool:
        """Return whether a record is one of them; its time is looked at elsewhere."""
        if not (self.project or self.client or self.key_id or self.what):
            return True
        data = data_of_record(body) or {}
        who = data.get("who")
        actor = who.get("name") if isinstance(who, dict) and who.get("kind") == "client" else None
        return (
            self.project in {None, data.get("project_id")}
            and self.key_id in {None, data.get("key_id")}
            and self.what in {None, data.get("what")}
            and self.client in {None, data.get("client"), actor}
        )

    @property
    def fields(self) -> dict[str, str]:
        """Return what is asked for, as an export says it."""
        named = {
            "since": self.since, "until": self.until, "project": self.project,
            "client": self.client, "key": self.key_id, "what": self.what,
        }  # fmt: skip
        return {name: text for name, text in named.items() if text is not None}
