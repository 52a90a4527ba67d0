"""Who is a client of this installation, and which trust list its key servers hand out.

In the hands of an operator: read, and changed only where nobody was faster.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.audit import Act, Actor, AuditRecord, KeptRecord
from kmworker.domain.endings import client_thing
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Place
from kmworker.errors import StoreUnavailable
from kmworker.store.connection import store_errors
from kmworker.store.copies import REVOKED
from kmworker.store.endings import Endings
from kmworker.store.endings_seen import OF_CLIENTS
from kmworker.store.inspection import PAGE_SIZE, Views
from kmworker.store.kek_states import STATES
from kmworker.store.recordable import UNRECORDED, seal_kept
from kmworker.store.records import CLIENTS, ENDINGS, LIST, TRUST, RecordCodec
from kmworker.store.scripts import Scripts

__all__ = ["ClientRegister", "record_of_list"]

ROUNDS: Final = 10
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class ClientRegister:
    """Reads and changes; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, views: Views, codec: RecordCodec) -> None:
        self._views = views
        self._codec = codec
        self._scripts = Scripts(views.client)
        self._endings = Endings(views.client, views.names, codec)

    def read(self, name: str) -> ClientRecord | None:
        """Return a client.

        Raises:
            PermanentError: with `Reason.INTEGRITY`: its record fails authentication.
            UnknownKek: it is under a KEK that the keyring lacks.
        """
        raw = self._raw(CLIENTS, name)
        return None if not raw else self._codec.read_client(name, raw)

    def names(self) -> list[str]:
        """Return the names of all clients, sorted."""
        with store_errors():
            found = self._views.client.hscan_iter(self._views.names.top(CLIENTS), count=PAGE_SIZE)
            return sorted({name.decode(errors="replace") for name, _record in found})

    def clients(self) -> Iterator[ClientRecord]:
        """Give all clients, by their names; raises as `read` does."""
        for name in self.names():
            client = self.read(name)
            if client is not None:
                yield client

    def change(
        self,
        name: str,
        become: Callable[[ClientRecord | None], ClientRecord | NoStep],
        record: AuditRecord,
    ) -> ClientRecord | NoStep:
        """Make of a client what it becomes; raises as `read` does.

        Args:
            name: its own.
            become: returns what it becomes, or why not; called again where somebody was faster.
            record: what is to be recorded of it, which is left in the store with it.
        """
        for _ in range(ROUNDS):
            states, raw = self._states(), self._raw(CLIENTS, name)
            before = None if not raw else self._codec.read_client(name, raw)
            after = become(before)
            if isinstance(after, NoStep):
                return after
            kept = KeptRecord(f"{record.what} {name} {after.version}", record)
            record_after = self._codec.client(after)
            # Nobody has ever read an older one of who is new.
            over = {client_thing(name): after.version} if before is not None else NOTHING
            # Key servers tell it to give up what it has, without waiting for any broker here.
            told = f"{name} {after.version}" if after.is_revoked else ""
            place = Place("", CLIENTS, name)
            if self._write(place, states, raw, record_after, kept, over=over, told=told):
                return after
        raise StoreUnavailable(f"client {name} changes all the time: try again")

    def trust(self) -> HandedOut | None:
        """Return the trust list that is handed out; raises as `read` does."""
        raw = self._raw(TRUST, LIST)
        return None if not raw else self._codec.read_trust(raw)

    def hand_out(self, trust: HandedOut, number: int, record: AuditRecord) -> bool:
        """Have key servers hand out this list; return whether nobody else was faster.

        Args:
            trust: the list.
            number: its own.
            record: what is to be recorded of it, which is left in the store with it.
        """
        states, raw = self._states(), self._raw(TRUST, LIST)
        kept = KeptRecord(f"{record.what} {number} {record.at}", record)
        return self._write(Place("", TRUST, LIST), states, raw, self._codec.trust(trust), kept)

    def _states(self) -> bytes:
        with store_errors():
            found: bytes | None = self._views.client.hget(self._views.names.top("keyring"), STATES)
        return found or b""

    def _raw(self, key: str, field: str) -> bytes:
        with store_errors():
            found: bytes | None = self._views.client.hget(self._views.names.top(key), field)
        return found or b""

    def _write(  # noqa: PLR0913  # the record, and what goes with it
        self,
        place: Place,
        states: bytes,
        before: bytes,
        after: bytes,
        kept: KeptRecord,
        *,
        over: Mapping[str, int] = NOTHING,
        told: str = "",
    ) -> bool:
        top = self._views.names.top
        keys = [top(it) for it in (place.key, "keyring", UNRECORDED, REVOKED, ENDINGS)]
        sealed = seal_kept(self._codec, kept)
        ending = self._endings.follow_if_sound(OF_CLIENTS, over) if over else None
        argv = [states, place.field, before, after, kept.name, sealed, told]
        argv += ending or (b"", b"")
        (made,) = self._scripts.run([("enroll", keys, argv)])
        return bool(made)


def record_of_list(number: int, until: str, who: Actor, at: str) -> AuditRecord:
    """Return what the audit trail is to be told of a trust list that is handed out.

    Args:
        number: the list's.
        until: how long it holds, RFC 3339, UTC.
        who: hands it out.
        at: when, RFC 3339, UTC.
    """
    return AuditRecord(Act.TRUST_LIST_PUBLISHED, who, at, reason=f"list {number}, until {until}")
