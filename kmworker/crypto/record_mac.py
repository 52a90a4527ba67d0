"""Seals: records that others can read, and nobody without the KEK can write or move.

The seal covers the record's raw bytes, never a parsed and printed form of them: there
is no second reading of a record that its seal would also fit. It is looked for only at
the end, at fixed lengths, so a record that holds the text of a seal is just a record.

This is the hot path: several seals per event. HMAC's two keyed states are computed once
per project and copied (RFC 2104, section 4), by the library whose copies cost least.
"""

import hmac
import re
from binascii import hexlify
from collections.abc import Mapping
from functools import lru_cache, partial

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from kmworker.crypto.kek import KEK_ID_LENGTH, Kek
from kmworker.domain.model import Place
from kmworker.encoding import length_of, length_prefixed, text_bytes
from kmworker.errors import PermanentError, Reason, UnknownKek
from kmworker.secrecy import Secret

__all__ = ["Sealer"]

LABEL = "kmworker/seal/v2"
LABEL_OF_LAYOUT_1 = "kmworker/seal/v1"
MAC_BYTES = 16
"""Half of SHA-256's output, the least that RFC 2104 (section 5) advises."""

MAX_PROJECTS = 10_000
"""Keyed states kept ready, some 1 kB each; deriving one again takes some 15 µs."""

_OPENING = b',"seal":"v2.'
_OPENING_OF_LAYOUT_1 = b',"seal":"v1.'
_CLOSING = b'"}'
_KEK_ID_START = len(_OPENING)
_KEK_ID_END = _KEK_ID_START + KEK_ID_LENGTH
SEAL_BYTES = _KEK_ID_END + len(b".") + 2 * MAC_BYTES + len(_CLOSING)
# Of keys there are a few, and each seal names one.
_key_prefixed = lru_cache(maxsize=32)(length_prefixed)
_WELL_FORMED = re.compile(rb',"seal":"v[12]\.([0-9a-f]{16})\.[0-9a-f]{32}"}')


class Sealer(Secret):
    """Appends and checks ``,"seal":"v2.<kek_id>.<hex>"}``, 63 bytes.

    The hex is HMAC-SHA256 (RFC 2104) cut to 128 bits, under a key of the project's own in this
    installation, derived from the KEK; over the length-prefixed project, key and field, then
    the body.
    """

    __slots__ = ("_active", "_kek_ids", "_opening", "_state")

    def __init__(self, keks: Mapping[str, Kek], active: str, installation: str | None) -> None:
        """Seal for an installation.

        Args:
            keks: those that may be opened with.
            active: the one that is sealed under, which may be missing: then nothing is sealed.
            installation: None: as layout 1 did, which knew of none.
        """
        self._active = active.encode()
        self._kek_ids = frozenset(kek_id.encode() for kek_id in keks)
        self._opening = _OPENING_OF_LAYOUT_1 if installation is None else _OPENING
        self._state = lru_cache(MAX_PROJECTS)(partial(_project_state, keks, installation))

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
        if not hmac.compare_digest(seal, self._seal_of(kek_id, place, body)):
            raise _broken(place)
        return body

    def _seal_of(self, kek_id: bytes, place: Place, body: bytes) -> bytes:
        project, key, field = place
        mac = self._state(kek_id, project).copy()
        # The place: a valid record copied to another item, key or scope must not verify
        # there. As `length_prefixed` would, but joined with the body in one step.
        f = text_bytes(field)
        mac.update(b"".join((_key_prefixed(key), length_of(len(f)), f, body)))
        return b"".join(
            (self._opening, kek_id, b".", hexlify(mac.finalize()[:MAC_BYTES]), _CLOSING)
        )


def _project_state(
    keks: Mapping[str, Kek], installation: str | None, kek_id: bytes, project: str
) -> HMAC:
    """Return the keyed MAC that has taken in the project, to be copied and finished.

    The installation is in the key, not in each message: of two stores under one KEK neither
    takes the other's records, and no record costs more for it.
    """
    kek = keks[kek_id.decode()]
    if installation is None:
        key = kek.derive(LABEL_OF_LAYOUT_1, project)
    else:
        key = kek.derive(LABEL, installation, project)
    state = HMAC(key, SHA256())
    state.update(length_prefixed(project))
    return state


def _unknown(place: Place, seal: bytes) -> UnknownKek | PermanentError:
    match = _WELL_FORMED.fullmatch(seal)
    if match is None:
        return _broken(place)
    kek_id = match[1].decode()
    said = f"{place.field!r} in {place.key} is under KEK {kek_id}, not in the keyring"
    return UnknownKek(said, kek_id)


def _broken(place: Place) -> PermanentError:
    # repr: a field is a name out of the store, and could hold line breaks for the log.
    detail = f"{place.field!r} in {place.key} fails authentication"
    return PermanentError(Reason.INTEGRITY, detail)
