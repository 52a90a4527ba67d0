"""Seals: records that others can read, and nobody without the KEK can write or move.

The seal covers the record's raw bytes, never a parsed and printed form of them: there
is no second reading of a record that its seal would also fit. It is looked for only at
the end, at fixed lengths, so a record that holds the text of a seal is just a record.

This is the hot path: several seals per event. HMAC's two keyed states are computed once
per project and copied (RFC 2104, section 4), which takes a third of the time of `hmac.digest`
and two thirds of that of `hmac`'s own copies.
"""

import re
from functools import lru_cache, partial
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

from kmworker.crypto.encoding import length_of, length_prefixed, text_bytes
from kmworker.crypto.kek import KEK_ID_LENGTH, Secret
from kmworker.crypto.keyring import Keyring
from kmworker.errors import PermanentError, Reason, UnknownKek
from kmworker.model import Place

__all__ = ["Sealer"]

LABEL = "kmworker/seal/v1"
BLOCK_BYTES = 64
"""SHA-256's; longer keys, of which there are none here, would have to be hashed first."""

MAC_BYTES = 16
"""Half of SHA-256's output, the least that RFC 2104 (section 5) advises."""

PROJECTS_MAX = 10_000
"""Keyed states kept ready, some 1 kB each; deriving one again takes some 15 µs."""

_OPENING = b',"seal":"v1.'
_CLOSING = b'"}'
_KEK_ID_START = len(_OPENING)
_KEK_ID_END = _KEK_ID_START + KEK_ID_LENGTH
SEAL_BYTES = _KEK_ID_END + len(b".") + 2 * MAC_BYTES + len(_CLOSING)
_WELL_FORMED = re.compile(rb',"seal":"v1\.([0-9a-f]{16})\.[0-9a-f]{32}"}')


class Sealer(Secret):
    """Appends and checks ``,"seal":"v1.<kek_id>.<hex>"}``, 63 bytes.

    The hex is HMAC-SHA256 (RFC 2104) cut to 128 bits, under a key of the project's own,
    derived from the KEK; over the length-prefixed project, key and field, then the body.
    """

    __slots__ = ("_active", "_kek_ids", "_state")

    def __init__(self, keyring: Keyring) -> None:
        self._active = keyring.active.encode()
        self._kek_ids = frozenset(kek_id.encode() for kek_id in keyring.keks)
        self._state = lru_cache(PROJECTS_MAX)(partial(_project_state, keyring))

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return ``body`` and its seal.

        ``body`` is a JSON object with at least one member, without its closing brace.
        """
        return body + self._seal_of(self._active, place, body)

    def check(self, place: Place, record: bytes) -> bytes:
        """Return the body of a record that was sealed for this place.

        Raises:
            UnknownKek: a well-formed seal, but of a KEK that the keyring lacks.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong.
        """
        body, seal = record[:-SEAL_BYTES], record[-SEAL_BYTES:]
        kek_id = seal[_KEK_ID_START:_KEK_ID_END]
        if kek_id not in self._kek_ids:
            raise _unknown(place, seal)
        # The whole seal is compared, so that a valid one can be written in one way only;
        # in constant time, lest a forger learn a seal byte by byte from our answers.
        if not compare_digest(seal, self._seal_of(kek_id, place, body)):
            raise _broken(place)
        return body

    def _seal_of(self, kek_id: bytes, place: Place, body: bytes) -> bytes:
        project, key, field = place
        keyed = self._state(kek_id, project)
        inner, outer = keyed.inner.copy(), keyed.outer.copy()
        # The place: a valid record copied to another item, key or scope must not verify
        # there. As `length_prefixed` would, but joined with the body in one step.
        k, f = text_bytes(key), text_bytes(field)
        inner.update(b"".join((length_of(len(k)), k, length_of(len(f)), f, body)))
        outer.update(inner.digest())
        return b"".join(
            (_OPENING, kek_id, b".", outer.digest()[:MAC_BYTES].hex().encode(), _CLOSING)
        )


class _Keyed(NamedTuple):
    """HMAC's two hashes after their keyed blocks, to be copied and finished."""

    inner: Any
    outer: Any

    def __repr__(self) -> str:
        return "_Keyed()"


def _project_state(keyring: Keyring, kek_id: bytes, project: str) -> _Keyed:
    """Return the MAC that has taken in the project: RFC 2104, sections 2 and 4."""
    key = keyring.keks[kek_id.decode()].derive(LABEL, project).ljust(BLOCK_BYTES, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in key))
    inner.update(length_prefixed(project))
    return _Keyed(inner, sha256(bytes(byte ^ 0x5C for byte in key)))


def _unknown(place: Place, seal: bytes) -> UnknownKek | PermanentError:
    match = _WELL_FORMED.fullmatch(seal)
    if match is None:
        return _broken(place)
    kek_id = match[1].decode()
    return UnknownKek(f"{place.field!r} in {place.key} is under KEK {kek_id}, not in the keyring")


def _broken(place: Place) -> PermanentError:
    # repr: a field is a name out of the store, and could hold line breaks for the log.
    detail = f"{place.field!r} in {place.key} fails authentication"
    return PermanentError(Reason.INTEGRITY, detail)
