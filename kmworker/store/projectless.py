"""Sealed records that belong to no project: clients, the trust list, what is to be recorded.

There are few of them, and an operator alone writes them; so they are read as a whole.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

from kmworker.domain.model import Place
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.connection import store_errors
from kmworker.store.copies import REVOKED
from kmworker.store.inspection import PAGE_SIZE, Views
from kmworker.store.kek_states import STATES
from kmworker.store.reading import Flaw, flaw_of, text
from kmworker.store.recordable import UNRECORDED
from kmworker.store.records import CLIENTS, TRUST
from kmworker.store.scripts import Scripts

__all__ = ["SealCustody", "projectless_records", "projectless_under", "reseal_projectless"]

HASHES: Final = (CLIENTS, TRUST, UNRECORDED)


class SealCustody(Protocol):
    """What a custody must do for records that hold no DEK."""

    kek_id: str

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return a sealed record; see `kmworker.ports.Custody.seal`."""
        ...

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        ...


def projectless_records(views: Views) -> Iterator[tuple[Place, bytes]]:
    """Give all of them."""
    for key in HASHES:
        with store_errors():
            found = views.client.hscan_iter(views.names.top(key), count=PAGE_SIZE)
            yield from ((Place("", key, text(field)), record) for field, record in found)


def projectless_under(views: Views, kek_id: str) -> list[tuple[Place, bytes]]:
    """Return those that are sealed under a KEK."""
    mark = f',"seal":"v2.{kek_id}.'.encode()
    return [(place, record) for place, record in projectless_records(views) if mark in record]


def reseal_projectless(
    views: Views, custody: SealCustody, *, is_rehearsal: bool
) -> tuple[int, int, list[Flaw]]:
    """Have all of them under the active KEK; what is not authentic stays as it is.

    Returns:
        How many there are, how many were sealed anew, and what stays.
    """
    looked_at, made, flaws = 0, 0, []
    active = f',"seal":"v2.{custody.kek_id}.'.encode()
    for place, record in projectless_records(views):
        looked_at += 1
        if active in record:
            continue
        try:
            body = custody.check_seal(place, record)
        except (PermanentError, UnknownKek) as wrong:
            flaws.append(flaw_of(place, wrong))
            continue
        if is_rehearsal or _write(views, place, record, custody.seal(place, body)):
            made += 1
    return looked_at, made, flaws


def _write(views: Views, place: Place, before: bytes, after: bytes) -> bool:
    """Write it, if nobody was faster: then it is under this KEK, or under a newer one."""
    names = views.names
    states: Any = views.field("keyring", STATES) or ""
    # That it lies under another KEK is nothing to be recorded, or to tell anybody.
    argv = [states, place.field, before, after, "", "", ""]
    keys = [names.top(it) for it in (place.key, "keyring", UNRECORDED, REVOKED)]
    (done,) = Scripts(views.client).run([("enroll", keys, argv)])
    return bool(done)
