"""Where the parts meet: the only module that knows them all."""

import os
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kmworker.bootstrap.assembly import assemble, assemble_anchor, assemble_store
from kmworker.bootstrap.audit import open_audit_trail
from kmworker.bootstrap.brokers import open_bus, open_keep
from kmworker.clock import Clock, StoreClock, SystemClock
from kmworker.crypto import KeyringCustody, followed
from kmworker.crypto.roots import open_root
from kmworker.domain.policy import Policy
from kmworker.domain.policy_file import load_policy
from kmworker.errors import SetupError
from kmworker.settings import Settings
from kmworker.settings.urls import STREAM_SCHEMES
from kmworker.store.client import Client, Gate
from kmworker.store.connection import connect
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from kmworker.store.reports import RedisReports
from kmworker.wire.events.definition import CREATING_TYPES, EVENT_TYPES
from kmworker.worker.loop import Worker
from kmworker.worker.rollback import Anchor
from kmworker.worker.stages import Milestone

__all__ = [
    "StoreParts", "build_worker", "open_anchor", "open_store", "prefetch_for", "read_policy",
    "refuse_unheard",
]  # fmt: skip

# One whose assignments are stored, two that are written, one that is read.
BATCHES_AT_HAND = 4
# A quorum queue gives no consumer more.
MAX_PREFETCH = 2_000


@dataclass(frozen=True, slots=True)
class StoreParts:
    """The store, and what it was built from."""

    client: Client
    names: Names
    custody: KeyringCustody
    store: RedisStore


def read_policy(settings: Settings) -> Policy:
    """Read the operator's policy, or the shipped one.

    Raises:
        SetupError: it cannot be read, or is not sound.
    """
    path = settings.policy.path
    if path is None:
        return load_policy(_shipped_policy(), "(shipped)", EVENT_TYPES, CREATING_TYPES)
    try:
        return load_policy(path.read_text(encoding="utf-8"), str(path), EVENT_TYPES, CREATING_TYPES)
    except (OSError, UnicodeDecodeError) as wrong:
        raise SetupError(
            f"cannot read policy {path}: {wrong}",
            hint="check policy.path; the file is TOML in UTF-8",
        ) from None


def refuse_unheard(policy: Policy, settings: Settings) -> None:
    """Refuse a policy that lists producers where the broker has no users: nobody would be heard.

    Raises:
        SetupError: the broker is streams, which whoever may write to them writes as anybody.
    """
    if policy.producer and _has_no_users(settings):
        raise SetupError(
            "the policy lists producers, and the embedded queue has no users to tell them by",
            hint="use RabbitMQ, or leave [[producer]] out of the policy",
        )


def _has_no_users(settings: Settings) -> bool:
    return (settings.broker.url or "").partition(":")[0] in STREAM_SCHEMES


def open_store(
    settings: Settings, worker_id: str, gate: Gate | None = None, clock: Clock | None = None
) -> StoreParts:
    """Build the store; nothing is sent to it yet.

    Args:
        settings: as loaded.
        worker_id: whose commits are counted.
        gate: opened for admission alone, so that no other connection is ever made.
        clock: by which waiting events expire; None: this machine's.

    Raises:
        RootAway: the keyring's root cannot be asked now.
        SetupError: no store is configured, or the keyring cannot be used.
    """
    client = connect(settings.store, gate)
    custody = followed(settings.keyring.path, open_root(settings.keyring.root))
    store = assemble_store(
        settings, client, custody, clock or SystemClock(), worker_id=worker_id, gate=gate
    )
    return StoreParts(client, Names(settings.store.prefix), custody, store)


def build_worker(
    settings: Settings, on_milestone: Callable[[Milestone], None] = lambda _: None
) -> Worker:
    """Put a worker together.

    Args:
        settings: as loaded.
        on_milestone: called each time a batch has passed one; tests stop the process there.

    Raises:
        SetupError: configuration, keyring or policy do not allow it.
    """
    # All times that a worker writes are the store's.
    clock = StoreClock(SystemClock())
    policy = read_policy(settings)
    refuse_unheard(policy, settings)
    if _has_no_users(settings):
        # Whoever may write to its streams owns it.
        policy = policy.of_one_owner()
    worker_id = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
    parts = open_store(settings, worker_id, Gate(), clock)
    prefetch = prefetch_for(settings.worker.batch_max)
    return assemble(
        settings,
        worker_id=worker_id,
        bus=open_bus(settings.broker, prefetch=prefetch, name=f"kmworker {worker_id}"),
        store=parts.store,
        reports=RedisReports(parts.client, parts.names, worker_id, clock.monotonic),
        custody=parts.custody,
        policy=policy,
        clock=clock,
        time_s=parts.store.time_s,
        trail=open_audit_trail(settings.broker, "worker") if settings.audit.records else None,
        on_milestone=on_milestone,
    )


def prefetch_for(batch_max: int) -> int:
    """Return how many events may be at hand."""
    return min(BATCHES_AT_HAND * batch_max, MAX_PREFETCH)


@contextmanager
def open_anchor(settings: Settings, parts: StoreParts) -> Iterator[Anchor]:
    """Connect to the anchor alone.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there.
    """
    with open_keep(settings.broker, "accept") as keep:
        yield assemble_anchor(settings, keep, parts.store, parts.custody, "accept")


def _shipped_policy() -> str:
    """Return the policy inside the package, or, in a checkout, the one beside it."""
    packaged = resources.files("kmworker").joinpath("policy.toml")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "config" / "policy.toml").read_text(encoding="utf-8")
