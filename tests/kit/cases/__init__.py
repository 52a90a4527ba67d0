"""Events from people who run storages: small inputs, and what has to become of each line.

Played twice: over the pure plan (`tests/unit/domain/test_cases.py`), and on real servers by a
client from outside (`tests/integration/outside/test_cases.py`). Each file's first version gave a
wrong key, or a refusal that nobody could act on.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = [
    "CASES", "FOLDER", "Assigned", "Case", "Outcome", "Refused", "Waits", "documented", "lines_of",
]  # fmt: skip

FOLDER: Final = Path(__file__).parent
PRODUCING: Final = FOLDER.parents[2] / "docs" / "producing.md"


@dataclass(frozen=True, slots=True)
class Assigned:
    """The line's item has a key."""

    disposition: str
    data_action: str = "none"
    shares_key_of: str | None = None
    """The item ref of whose key-id it is."""
    why: str = ""
    """Part of what `explain` says."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The line is a dead letter."""

    detail: str
    """All of it, or with `…` at its end its beginning."""
    reason: str = "malformed"

    def is_told(self, detail: str) -> bool:
        """Return whether this is the detail."""
        start = self.detail.removesuffix("…")
        return detail.startswith(start) if start != self.detail else detail == start


@dataclass(frozen=True, slots=True)
class Waits:
    """The line waits for its source."""


Outcome = Assigned | Refused | Waits


@dataclass(frozen=True, slots=True)
class Case:
    """Files that are played one after another, and the outcome of each line."""

    files: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def lines_of(case: Case) -> list[bytes]:
    """Return the bodies of a case's events."""
    texts = (FOLDER / f"{name}.jsonl" for name in case.files)
    return [line for text in texts for line in text.read_bytes().splitlines()]


def documented() -> Iterator[dict[str, Any]]:
    """Return the events in docs/producing.md."""
    text = PRODUCING.read_text("utf-8")
    decoder = json.JSONDecoder()
    for block in text.split("```json\n")[1:]:
        rest = block.partition("\n```")[0].lstrip()
        while rest:
            document, end = decoder.raw_decode(rest)
            yield document
            rest = rest[end:].lstrip()


def _id_with(letter: str, encoded: str) -> Refused:
    return Refused(
        'data.volume_id: ids of items are printable ASCII without space, ", \\, { and }; '
        f"percent-encode {letter} as {encoded}, as in tank/My%20Data"
    )


CREATED: Final = Assigned("create")
RFC_3339: Final = "time: not RFC 3339, as in 2026-11-23T16:00:00Z: "
SPACE: Final = _id_with("a space", "%20")

WITH_512: Final = "with aes-xts-plain64 of 512 bits"


def _conflict(item: str, recorded: str, said: str) -> Refused:
    return Refused(f"{item} is assigned already, {recorded}; this event says: {said}", "conflict")


def _denied(detail: str) -> Refused:
    return Refused(detail, "policy-denied")


CASES: Final[dict[str, Case]] = {
    "a volume that was retyped to an encrypted type": Case(
        ("01a-retype-plain-to-luks",),
        (Assigned("none"), _conflict("volume:v", "with no encryption", WITH_512)),
    ),
    "a volume that was retyped to another key size": Case(
        ("01b-retype-256-to-512",),
        (CREATED, _conflict("volume:w", "with aes-xts-plain64 of 256 bits", WITH_512)),
    ),
    "an unencrypted volume of an encrypted snapshot": Case(
        ("02a-encrypted-snapshot-to-plain-volume", "02b-block-replica-with-null-encryption"),
        (
            CREATED,
            Assigned("reuse", shares_key_of="volume:v"),
            _denied("volume:w would be an unencrypted copy of snapshot:s, which is encrypted: …"),
            Refused(
                f"replica:v@oslo is a copy of volume:v as it is, {WITH_512};"
                " this event says: with no encryption",
                "conflict",
            ),
        ),
    ),
    "a replica that moved to another node": Case(
        ("07-replica-moved-to-another-node",),
        (
            Assigned("reuse", shares_key_of="partition:policy-0/4711"),
            _conflict("replica:policy-0/4711-1", "on node obj-07", "on node obj-12"),
        ),
    ),
    "a cipher by OpenZFS's name": Case(
        ("12a-zfs-cipher-name",),
        (CREATED, *[Assigned("reuse", shares_key_of="volume:tank/db")] * 2),
    ),
    "a cipher in capitals": Case(
        ("12c-uppercase-cipher",),
        (
            _denied(
                "the policy does not list the cipher AES-XTS-PLAIN64; did you mean aes-xts-plain64?"
            ),
            Waits(),
        ),
    ),
    "a volume of an encrypted type from a snapshot that is not encrypted": Case(
        ("29a-plain-snapshot-to-luks-type", "29c-blank-luks-type"),
        (Assigned("none"), Assigned("none"), Assigned("create", "encrypt"), CREATED),
    ),
    "a volume from an image of an encrypted volume": Case(
        ("04-volume-from-image-of-encrypted-volume",),
        (
            CREATED,
            Assigned("create", "encrypt", why="if it holds a volume's ciphertext, announce it as"),
            Assigned("reuse", shares_key_of="volume:v1"),
            Assigned("clone"),
        ),
    ),
    "a replica of a replica": Case(
        ("06a-reencrypted-replica", "06b-replica-of-a-replica"),
        (
            CREATED,
            Assigned("create", "reencrypt"),
            Assigned("reuse", shares_key_of="replica:db@oslo"),
        ),
    ),
    "a snapshot of a replica": Case(
        (
            "06a-reencrypted-replica",
            "06c-snapshot-of-a-replica",
            "06d-snapshot-of-a-replica-by-its-source",
        ),
        (
            CREATED,
            Assigned("create", "reencrypt"),
            Waits(),
            Assigned("reuse", shares_key_of="replica:db@oslo"),
        ),
    ),
    "ids that were refused": Case(
        ("09a-refused-identifiers",),
        (
            SPACE,
            _id_with("U+00FC", "%C3%BC"),
            _id_with("U+5377", "%E5%8D%B7"),
            CREATED,
            CREATED,
            _id_with("{", "%7B"),
            *[CREATED] * 6,
            SPACE,
            SPACE,
            Refused("data.volume_id: longer than 255 characters"),
        ),
    ),
    "data that were refused": Case(
        ("11-refused-payloads",),
        (
            Refused(f"{RFC_3339}the time zone is missing, Z or like +01:00"),
            Refused(f"{RFC_3339}a T stands between date and time"),
            Refused(f"{RFC_3339}an offset has a colon, like +01:00"),
            CREATED,
            Refused("data.size_bytes: text, where a number is needed; write it without quotes"),
            Refused("data.size_bytes: less than 0"),
            Refused("data.volume_type: empty"),
            Refused("data.encryption: true or false, where an object is needed"),
            Refused("data.encryption.cipher: null, which counts as missing"),
            Refused("data.encryption.key_bits: text, where a number is needed…"),
            Refused("data.source.id: null, which counts as missing"),
            Refused("data.source.kind: none of volume, snapshot, replica, image; announce a …"),
        ),
    ),
    "a misspelt source": Case(
        ("21a-misspelt-source",),
        (
            CREATED,
            Assigned("reuse", shares_key_of="volume:v"),
            Refused("data.sorce is unknown; did you mean source?"),
        ),
    ),
}
