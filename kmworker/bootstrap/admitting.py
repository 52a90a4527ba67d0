"""How it is found out whether a store may be used, and the store as a key server sees it."""

from collections.abc import Callable, Iterable

from kmworker.clock import Clock
from kmworker.crypto import KeyringCustody
from kmworker.settings import Settings
from kmworker.store.admission import Admission
from kmworker.store.client import Client, Gate
from kmworker.store.delegating import DelegationStore
from kmworker.store.endings_read import EndingsRead
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.endings_watch import EndingsWatch
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.remembering import RememberingCodec
from kmworker.wire.ids import random_id
from kmworker.worker.rollback import anchored_in

__all__ = ["anchor_identity", "assemble_admission", "assemble_delegation_store"]


def assemble_admission(  # noqa: PLR0913  # what differs between programs
    settings: Settings,
    client: Client,
    custody: KeyringCustody,
    clock: Clock,
    *,
    worker_id: str,
    gate: Gate | None = None,
    new_id: Callable[[], str],
) -> Admission:
    """Put together what looks whether a store may be used; nothing is sent yet."""
    return Admission(
        client,
        Names(settings.store.prefix),
        source=settings.broker.source,
        allow_volatile=settings.store.allow_volatile,
        is_vouched=settings.store.durability == "vouched",
        custody=custody,
        worker_id=worker_id,
        gate=gate or Gate(),
        new_id=new_id,
        clock=clock,
    )


def assemble_delegation_store(  # noqa: PLR0913  # as above
    settings: Settings,
    views: Views,
    custody: KeyringCustody,
    clock: Clock,
    *,
    server_id: str,
    kept: Callable[[], list[bytes]],
) -> DelegationStore:
    """Put the store of a key server together; nothing is sent yet.

    Args:
        settings: as loaded.
        views: of the store.
        custody: the keyring's.
        clock: by which it goes.
        server_id: who says so where it finds the store rolled back.
        kept: asks the broker what it keeps of the store, for who was not there.
    """
    client, names = views.client, views.names
    admission = assemble_admission(
        settings, client, custody, clock, worker_id=server_id, new_id=random_id
    )
    codec = RecordCodec(custody, admission.may_open)
    seen = EndingsSeen(client, names, codec)
    identity = anchor_identity(settings, custody)

    def anchored() -> int:
        return anchored_in(kept(), identity()).endings

    return DelegationStore(
        client,
        names,
        RememberingCodec(custody, admission.may_open),
        admission,
        views.has_projects,
        endings=EndingsRead(client, names, codec, seen),
        watch=EndingsWatch(seen, admission.history, anchored, clock.monotonic),
    )


def anchor_identity(settings: Settings, custody: KeyringCustody) -> Callable[[], Iterable[str]]:
    """Return what says which store an anchor is of: only who holds the keyring can."""
    # Of the KEKs that it has by now: one of then may be removed when another process compares.
    return lambda: custody.check_values(f"anchor/{settings.store.prefix}").values()
