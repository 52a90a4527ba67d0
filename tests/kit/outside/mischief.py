"""Every kind of message that must be refused, each with the reason it must be refused for.

A case is made from a nonce, so that its letter can be told from all others, and
starts from a specimen in which nothing else is wrong.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.kit.outside.mischief_fields import ENVELOPE_EDITS, FIELD_EDITS, REMOVALS, Edit
from tests.kit.outside.specimens import (
    REPLICA,
    SNAPSHOT,
    VOLUME,
    edited,
    encoded,
    specimen,
    without,
)
from tests.kit.outside.words import BODY_LIMIT_BYTES, CANARY, Message, Refusal

# `max_message_size` in config/rabbitmq/rabbitmq.conf.
BROKERS_LIMIT_BYTES: Final = 128 * 1024
UNREADABLE: Final = frozenset({"unknown"})
LONG_TYPE: Final = "t" * 250


@dataclass(frozen=True, slots=True)
class Bad:
    """One kind of bad message."""

    name: str
    reason: str
    types: frozenset[str]
    make: Callable[[str], Message]

    def refusal(self, nonce: str) -> Refusal:
        known = self.reason in {"unsupported-type", "policy-denied"}
        return Refusal(self.reason, self.types, nonce if known else None)


def padded(message: Message, size_bytes: int) -> Message:
    """Fill up with white space, which JSON ignores."""
    return Message(message.body.ljust(size_bytes), message.routing_key)


def _raw(name: str, make: Callable[[str], bytes]) -> Bad:
    """Bytes out of which nothing can be read, not even a type."""
    return Bad(name, "malformed", UNREADABLE, lambda nonce: Message(make(nonce), VOLUME))


def _replaced(old: str, new: str) -> Callable[[str], bytes]:
    """Change the specimen's text where no JSON writer would."""

    def make(nonce: str) -> bytes:
        text = json.dumps(specimen(VOLUME, nonce))
        assert old in text, old
        return text.replace(old, new, 1).encode("utf-8", "surrogatepass")

    return make


def _text(nonce: str) -> str:
    return json.dumps(specimen(VOLUME, nonce))


RAW: Final = (
    _raw("an-empty-body", lambda _: b""),
    _raw("not-json", lambda nonce: b"this is not json " + nonce.encode()),
    _raw("a-list", lambda nonce: json.dumps([nonce]).encode()),
    _raw("a-string", lambda nonce: json.dumps(nonce).encode()),
    _raw("a-number", lambda _: b"7"),
    _raw("null", lambda _: b"null"),
    _raw("cut-off", lambda nonce: _text(nonce)[:-1].encode()),
    _raw("two-objects", lambda nonce: (_text(nonce) * 2).encode()),
    _raw("python-not-json", lambda nonce: str(specimen(VOLUME, nonce)).encode()),
    _raw("utf-16", lambda nonce: _text(nonce).encode("utf-16")),
    _raw("invalid-utf-8", lambda nonce: _text(nonce).encode().replace(b"luks", b"lu\xffks")),
    _raw("a-raw-surrogate", _replaced("luks", "lu\ud800ks")),
    _raw("a-raw-line-break-in-a-string", _replaced("luks", "lu\nks")),
    _raw("an-id-twice", _replaced('"id": ', '"id": "first", "id": ')),
    _raw("a-volume-twice", _replaced('"volume_id": ', '"volume_id": "v", "volume_id": ')),
    _raw("a-note-twice", _replaced('"note": ', '"note": 1, "note": ')),
    _raw("not-a-number", _replaced('"size_bytes": 1024', '"size_bytes": NaN')),
    _raw("infinity", _replaced('"size_bytes": 1024', '"size_bytes": -Infinity')),
    _raw("not-a-number-where-nobody-looks", _replaced(f'"{CANARY}"', "NaN")),
    _raw("nothing-but-nesting", lambda _: b"[" * 30_000 + b"]" * 30_000),
)

# How far the worker reads before it gives up on these is its own business.
SOMETIMES_READ: Final = (
    Bad(
        "deep-nesting",
        "malformed",
        frozenset({"unknown", VOLUME}),
        lambda nonce: Message(_replaced(f'"{CANARY}"', "[" * 30_000 + "]" * 30_000)(nonce), VOLUME),
    ),
    Bad(
        "a-huge-integer",
        "malformed",
        frozenset({"unknown", VOLUME}),
        lambda nonce: Message(
            _replaced('"size_bytes": 1024', '"size_bytes": ' + "9" * 6_000)(nonce), VOLUME
        ),
    ),
    Bad(
        "64-kib-and-a-byte",
        "malformed",
        frozenset({"unknown", VOLUME}),
        lambda nonce: padded(encoded(specimen(VOLUME, nonce)), BODY_LIMIT_BYTES + 1),
    ),
    Bad(
        "as-large-as-the-broker-takes",
        "malformed",
        frozenset({"unknown", VOLUME}),
        lambda nonce: padded(encoded(specimen(VOLUME, nonce)), BROKERS_LIMIT_BYTES),
    ),
)


def _edit(edit: Edit, types: frozenset[str]) -> Bad:
    def make(nonce: str) -> Message:
        event = specimen(edit.type, nonce)
        return encoded(edited(event, edit.path, edit.value), edit.type)

    return Bad(f"{edit.type}:{edit.name}", "malformed", types, make)


def _removal(type_: str, path: tuple[str, ...]) -> Bad:
    in_envelope = len(path) == 1
    types = {"unknown", type_} if in_envelope and path != ("type",) else {type_}
    return Bad(
        f"{type_}:no-{'-'.join(path)}",
        "malformed",
        UNREADABLE if path == ("type",) else frozenset(types),
        lambda nonce: encoded(without(specimen(type_, nonce), path), type_),
    )


def _itself(name: str, origin: dict[str, Any]) -> Bad:
    def make(nonce: str) -> Message:
        event = specimen(VOLUME, nonce)
        event["data"]["source"] = {**origin, "id": event["data"]["volume_id"]}
        return encoded(event)

    return Bad(name, "malformed", frozenset({VOLUME}), make)


def _routing(type_: str, routing_key: str) -> Bad:
    return Bad(
        f"routing-key-{routing_key or 'empty'}-on-{type_}",
        "malformed",
        frozenset({type_, "unknown"}),
        lambda nonce: encoded(specimen(type_, nonce), routing_key),
    )


def _content(content_type: str) -> Bad:
    return Bad(
        f"content-type-{content_type}",
        "malformed",
        frozenset({VOLUME, "unknown"}),
        lambda nonce: encoded(specimen(VOLUME, nonce), content_type=content_type),
    )


def _unsupported(name: str, type_: str) -> Bad:
    def make(nonce: str) -> Message:
        return encoded({**specimen(VOLUME, nonce), "type": type_}, type_)

    return Bad(name, "unsupported-type", frozenset({type_}), make)


def _denied(type_: str, cipher: str, key_bits: int | None) -> Bad:
    def make(nonce: str) -> Message:
        # Blank, or the first of its partition: nothing has to be there before it.
        asked = {"cipher": cipher} | ({} if key_bits is None else {"key_bits": key_bits})
        return encoded(edited(specimen(type_, nonce), ("data", "encryption"), asked))

    name = f"{type_}:{cipher}-with-{key_bits}-bits"
    return Bad(name, "policy-denied", frozenset({type_}), make)


BAD: Final = (
    *RAW,
    *SOMETIMES_READ,
    *(_edit(edit, frozenset({edit.type, "unknown"})) for edit in ENVELOPE_EDITS),
    *(_edit(edit, frozenset({edit.type})) for edit in FIELD_EDITS),
    *(_removal(type_, path) for type_, path in REMOVALS),
    _itself("itself-as-source", {"kind": "volume"}),
    _itself("itself-as-source-by-full-name", {"kind": "volume", "project_id": "specimens"}),
    _routing(VOLUME, SNAPSHOT),
    _routing(SNAPSHOT, VOLUME),
    _routing(REPLICA, f"{REPLICA}.now"),
    _routing(VOLUME, "key-assigned"),
    _content("text/plain"),
    _content("application/cloudevents-batch+json"),
    _content("application/jsonlines"),
    _unsupported("a-type-nobody-knows", "volume-exploded"),
    _unsupported("a-type-in-capitals", "Volume-Created"),
    _unsupported("a-reserved-type", "key-adopted"),
    _unsupported("an-outgoing-type", "key-assigned"),
    _unsupported("a-type-with-dots", "org.example.volume.created"),
    _unsupported("a-type-as-long-as-a-routing-key-allows", LONG_TYPE),
    _denied(VOLUME, "aes-xts-plain64", 384),
    _denied(VOLUME, "aes-ctr-plain64", 512),
    _denied(VOLUME, "aes-cbc-essiv:sha256", 64),
    _denied(REPLICA, "aes-xts-plain64", 128),
    _denied(VOLUME, "serpent-xts-plain64", 512),
    _denied(VOLUME, "AES-XTS-PLAIN64", None),
)
