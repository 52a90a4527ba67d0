"""How the parts of a worker, and of a janitor, belong together: for programs and all tests."""

import random
from collections.abc import Callable

from kmworker.bootstrap.admitting import (
    anchor_identity,
    assemble_admission,
    assemble_delegation_store,
)
from kmworker.clock import Clock, StoreClock, rfc3339
from kmworker.crypto import KeyringCustody
from kmworker.domain.plan import Fresh
from kmworker.domain.policy import Policy
from kmworker.janitor.dates import destroy_at
from kmworker.janitor.loop import JanitorLoop
from kmworker.keyserver.answering import Answering, AnswerStep
from kmworker.keyserver.intake import RequestIntake
from kmworker.keyserver.loop import KeyServer, SignerFor
from kmworker.keyserver.newest import NewestSeen
from kmworker.keyserver.ports import RequestQueue, RevocationQueue
from kmworker.keyserver.rates import Rates
from kmworker.keyserver.tally import AnswerTally
from kmworker.keyserver.telling import RevokeStep, Telling
from kmworker.ports import AuditTrail, Bus, Keep, Reports, Store
from kmworker.settings import Settings
from kmworker.store.client import Client, Gate
from kmworker.store.copies import RedisCopies
from kmworker.store.inspection import Views
from kmworker.store.keyserver_reports import RedisKeyServerReports
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.redis_store import RedisStore
from kmworker.store.retention import RedisRetention
from kmworker.wire.ids import random_id
from kmworker.wire.topology import Topology
from kmworker.worker.loop import OUTBOX_S, Worker
from kmworker.worker.outbox import OutboxAnnouncer
from kmworker.worker.recorded import RecordedFirst
from kmworker.worker.reporter import Reporter
from kmworker.worker.rollback import Anchor
from kmworker.worker.stages import Exchanges, Milestone, Stages
from kmworker.worker.sweeper import Sweeper
from kmworker.worker.tally import Tally
from kmworker.worker.timekeeping import Timekeeper

__all__ = [
    "assemble", "assemble_anchor", "assemble_janitor", "assemble_key_server", "assemble_store",
]  # fmt: skip


def assemble(  # noqa: PLR0913  # what differs between the program and a simulation
    settings: Settings,
    *,
    worker_id: str,
    bus: Bus,
    store: Store,
    reports: Reports,
    custody: KeyringCustody,
    policy: Policy,
    clock: StoreClock,
    time_s: Callable[[], float],
    trail: AuditTrail | None = None,
    new_id: Callable[[], str] = random_id,
    on_milestone: Callable[[Milestone], None] = lambda _: None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Worker:
    """Put a worker together out of what it talks to; nothing is sent yet.

    Args:
        settings: as loaded.
        worker_id: whose leases, reports and log these are.
        bus: the broker.
        store: the records.
        reports: what dashboards read.
        custody: the store's.
        policy: how items get their key-ids.
        clock: by which the worker goes.
        time_s: asks the store what time it is, Unix seconds; the clock is set by it.
        trail: where changes of key-ids are recorded; None: nowhere.
        new_id: draws key-ids and DEK-ids.
        on_milestone: called each time a batch has passed one; tests stop the process there.
        jitter: draws between two numbers, so that workers do not come back in step.
    """
    tally = Tally(clock)
    topology = Topology(settings.broker.namespace)
    recorded = RecordedFirst(store, clock, trail)
    stages = Stages(
        bus=bus,
        store=store,
        recorded=recorded,
        policy=policy,
        clock=clock,
        tally=tally,
        exchanges=Exchanges(
            topology.assignments, topology.keys, topology.revocations, topology.dead
        ),
        fresh=lambda: _fresh_at(clock.now(), new_id, custody.kek_id, settings),
        max_attempts=settings.worker.max_attempts,
        on_milestone=on_milestone,
    )
    return Worker(
        bus=bus,
        store=store,
        stages=stages,
        sweeper=Sweeper(store, clock, worker_id=worker_id, every_s=settings.waiting.sweep_s),
        timekeeper=Timekeeper(clock, time_s, tally),
        anchor=assemble_anchor(settings, bus.anchor, store, custody, worker_id),
        outbox=OutboxAnnouncer(
            store, bus, recorded, worker_id=worker_id, exchange=topology.keys, every_s=OUTBOX_S
        ),
        reporter=Reporter(
            reports,
            bus,
            tally,
            clock,
            worker_id=worker_id,
            kek_ids=lambda: custody.kek_ids,
            keyring_trouble=store.keyring_trouble,
        ),
        tally=tally,
        clock=clock,
        settings=settings.worker,
        jitter=jitter,
    )


def _fresh_at(now: float, new_id: Callable[[], str], kek_id: str, settings: Settings) -> Fresh:
    """Return what a plan needs of this moment; Unix seconds."""
    end = destroy_at(now, settings.retention, settings.waiting.deadline_s)
    return Fresh(rfc3339(now), new_id, kek_id, end, settings.retention.tombstone_days)


def assemble_store(  # noqa: PLR0913  # what differs between the program and tests
    settings: Settings,
    client: Client,
    custody: KeyringCustody,
    clock: Clock,
    *,
    worker_id: str,
    gate: Gate | None = None,
    new_id: Callable[[], str] = random_id,
) -> RedisStore:
    """Put a store together on a client; nothing is sent yet.

    Args:
        settings: as loaded.
        client: of the store's server.
        custody: the keyring's.
        clock: by which waiting events expire.
        worker_id: whose commits are counted.
        gate: opened for admission alone, so that no other connection is ever made.
        new_id: draws the id of an installation whose first worker this is.
    """
    admission = assemble_admission(
        settings, client, custody, clock, worker_id=worker_id, gate=gate, new_id=new_id
    )
    names = Names(settings.store.prefix)
    return RedisStore(
        client,
        custody,
        names=names,
        admission=admission,
        clock=clock,
        waiting=settings.waiting,
        records=settings.audit.records,
    )


def assemble_janitor(  # noqa: PLR0913  # what differs between the program and a simulation
    settings: Settings,
    views: Views,
    custody: KeyringCustody,
    clock: StoreClock,
    *,
    janitor_id: str,
    new_id: Callable[[], str] = random_id,
) -> JanitorLoop:
    """Put a janitor together; nothing is sent yet.

    Args:
        settings: as loaded.
        views: of the store.
        custody: the keyring's.
        clock: by which the janitor goes.
        janitor_id: whose leases these are.
        new_id: as `assemble_store` has it.
    """
    admission = assemble_admission(
        settings, views.client, custody, clock, worker_id=janitor_id, new_id=new_id
    )

    def admit() -> bool:
        # Only workers make a store theirs.
        return views.has_projects() and bool(admission.admit())

    return JanitorLoop(
        RedisRetention(views, RecordCodec(custody, admission.may_open)),
        admit,
        clock,
        views.clock_s,
        janitor_id=janitor_id,
        kek_ids=lambda: custody.kek_ids,
        keyring_trouble=lambda: admission.keyring_trouble,
        keeping=settings.retention,
        settings=settings.janitor,
        deadline_s=settings.waiting.deadline_s,
    )


def assemble_key_server(  # noqa: PLR0913  # what differs between the program and a simulation
    settings: Settings,
    views: Views,
    custody: KeyringCustody,
    clock: StoreClock,
    *,
    queue: RequestQueue,
    revocations: RevocationQueue,
    trail: AuditTrail,
    signer_for: SignerFor,
    server_id: str,
    kept: Callable[[], list[bytes]],
    on_step: Callable[[AnswerStep], None] = lambda _step: None,
    on_revoke_step: Callable[[RevokeStep], None] = lambda _step: None,
) -> KeyServer:
    """Put a key server together; nothing is sent yet.

    Args:
        settings: as loaded.
        views: of the store.
        custody: the keyring's.
        clock: by which it goes.
        queue: of the requests.
        revocations: what it hears of what has ended.
        trail: where it records.
        signer_for: returns what signs.
        server_id: whose reports these are.
        kept: asks the broker what it keeps of the store, for who was not there.
        on_step: called before each step; tests end the process there.
        on_revoke_step: the same of telling clients.
    """
    names, topology = views.names, Topology(settings.broker.namespace)
    store = NewestSeen(
        assemble_delegation_store(settings, views, custody, clock, server_id=server_id, kept=kept)
    )
    keyserver, tally = settings.keyserver, AnswerTally()
    copies = RedisCopies(views.client, names, clock, keyserver.keep_s)
    rates = Rates(keyserver.rate_per_s, keyserver.burst, clock.monotonic)
    answering = Answering(
        queue=queue,
        store=store,
        custody=custody,
        trail=trail,
        intake=RequestIntake(store, rates, clock.now, topology.client_queues),
        clock=clock,
        tally=tally,
        copies=copies,
        keep_s=keyserver.keep_s,
        wait_s=keyserver.wait_s,
        on_step=on_step,
    )
    return KeyServer(
        queue=queue,
        store=store,
        trail=trail,
        answering=answering,
        telling=Telling(
            queue=revocations,
            answers=queue,
            store=store,
            copies=copies,
            own_queues=topology.client_queues,
            clock=clock,
            tally=tally,
            on_step=on_revoke_step,
        ),
        signer_for=signer_for,
        reporting=RedisKeyServerReports(
            views.client, names, server_id, clock.now, lambda: custody.kek_ids
        ),
        clock=clock,
        tally=tally,
    )


def assemble_anchor(
    settings: Settings, keep: Keep, store: Store, custody: KeyringCustody, worker_id: str
) -> Anchor:
    """Put the comparing of a store with its anchor together; nothing is sent yet."""
    return Anchor(keep, store, worker_id=worker_id, identity=anchor_identity(settings, custody))
