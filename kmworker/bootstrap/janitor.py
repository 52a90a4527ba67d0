"""A janitor, as its program runs it."""

import os
import platform
import secrets

from kmworker.bootstrap.assembly import assemble_janitor
from kmworker.clock import StoreClock, SystemClock
from kmworker.crypto import followed
from kmworker.crypto.roots import open_root
from kmworker.janitor.loop import JanitorLoop
from kmworker.settings import Settings
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names

__all__ = ["build_janitor"]


def build_janitor(settings: Settings) -> JanitorLoop:
    """Put a janitor together; nothing is sent yet.

    Raises:
        RootAway: the keyring's root cannot be asked now.
        SetupError: no store is configured, or the keyring cannot be used.
    """
    return assemble_janitor(
        settings,
        Views(connect(settings.store), Names(settings.store.prefix)),
        followed(settings.keyring.path, open_root(settings.keyring.root)),
        StoreClock(SystemClock()),
        janitor_id=f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}",
    )
