"""How the parts of a janitor belong together."""

import os
import platform
import secrets

from kmworker.clock import StoreClock, SystemClock
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.janitor.loop import JanitorLoop
from kmworker.settings import Settings
from kmworker.store.admission import Admission
from kmworker.store.client import Gate
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from kmworker.wire.ids import random_id

__all__ = ["build_janitor"]


def build_janitor(settings: Settings) -> JanitorLoop:
    """Put a janitor together; nothing is sent yet.

    Raises:
        SetupError: no store is configured, or the keyring cannot be used.
    """
    janitor_id = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
    client = connect(settings.store)
    names = Names(settings.store.prefix)
    custody = KeyringCustody(Keyring.load(settings.keyring.path))
    clock = StoreClock(SystemClock())
    admission = Admission(
        client,
        names,
        source=settings.broker.source,
        allow_volatile=settings.store.allow_volatile,
        is_vouched=settings.store.durability == "vouched",
        custody=custody,
        worker_id=janitor_id,
        gate=Gate(),
        new_id=random_id,
        clock=clock,
    )
    views = Views(client, names)

    def admit() -> bool:
        # Only workers make a store theirs.
        return views.has_projects() and bool(admission.admit())

    return JanitorLoop(
        RedisRetention(views, RecordCodec(custody, admission.is_registered)),
        admit,
        clock,
        views.clock_s,
        janitor_id=janitor_id,
        keeping=settings.retention,
        settings=settings.janitor,
        deadline_s=settings.waiting.deadline_s,
    )
