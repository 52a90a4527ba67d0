"""Sealed records of no project: clients, what of theirs ended, the trust list, what to record.

There are few of them, and an operator alone writes them; so they are read as a whole.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from kmworker.domain.model import Place
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.connection import store_errors
from kmworker.store.copies import REVOKED
from kmworker.store.inspection import PAGE_SIZE, Views
from kmworker.store.kek_states import STATES
from kmworker.store.reading import Flaw, flaw_of, text
from kmworker.store.recordable import UNRECORDED
from kmworker.store.records import CHAIN, CLIENTS, ENDINGS, TRUST
from kmworker.store.scripts import Scripts

__all__ = [
    "Projectless",
    "SealCustody",
    "projectless_records",
    "projectless_under",
    "reseal_projectless",
]

NOTHING_ELSE: Final = ("",) * 5
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


class Projectless(NamedTuple):
    """One of them."""

    place: Place
    """What it is sealed as."""
    name: str
    """Where it is: a hash's field, or the place in the list."""
    record: bytes


def projectless_records(views: Views) -> Iterator[Projectless]:
    """Give all of them, the endings first: the records are no older than these."""
    with store_errors():
        entries = views.client.lrange(views.names.top(ENDINGS), 0, -1)
    for at, record in enumerate(entries):
        yield Projectless(Place("", ENDINGS, CHAIN), str(at), record)
    for key in HASHES:
        with store_errors():
            found = views.client.hscan_iter(views.names.top(key), count=PAGE_SIZE)
            for field, record in found:
                yield Projectless(Place("", key, text(field)), text(field), record)


def projectless_under(views: Views, kek_id: str) -> list[tuple[Place, bytes]]:
    """Return those that are sealed under a KEK."""
    mark = f',"seal":"v2.{kek_id}.'.encode()
    return [(it.place, it.record) for it in projectless_records(views) if mark in it.record]


def reseal_projectless(
    views: Views, custody: SealCustody, *, is_rehearsal: bool
) -> tuple[int, int, list[Flaw]]:
    """Have all of them under the active KEK; what is not authentic stays as it is.

    Returns:
        How many there are, how many were sealed anew, and what stays.
    """
    looked_at, made, flaws = 0, 0, []
    active = f',"seal":"v2.{custody.kek_id}.'.encode()
    for it in projectless_records(views):
        looked_at += 1
        if active in it.record:
            continue
        try:
            body = custody.check_seal(it.place, it.record)
        except (PermanentError, UnknownKek) as wrong:
            flaws.append(flaw_of(it.place, wrong))
            continue
        if is_rehearsal or _write(views, it, custody.seal(it.place, body)):
            made += 1
    return looked_at, made, flaws


def _write(views: Views, it: Projectless, after: bytes) -> bool:
    """Write it, if nobody was faster: then it is under this KEK, or under a newer one."""
    names = views.names
    states: Any = views.field("keyring", STATES) or ""
    if it.place.key == ENDINGS:
        keys = [names.top(ENDINGS), names.top("keyring")]
        call = "reseal", keys, [states, it.name, it.record, after]
    else:
        keys = [names.top(key) for key in (it.place.key, "keyring", UNRECORDED, REVOKED, ENDINGS)]
        # That it lies under another KEK is nothing to be recorded, to tell anybody, or an end.
        call = "enroll", keys, [states, it.name, it.record, after, *NOTHING_ELSE]
    (done,) = Scripts(views.client).run([call])
    return bool(done)
