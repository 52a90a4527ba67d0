"""The keyring, for the few commands that need keys."""

from pathlib import Path
from typing import Final

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.hardening import harden_process
from kmworker.crypto.roots import open_root
from kmworker.errors import NotFound, RootAway, SetupError
from kmworker.settings import KeyringSettings, Settings
from kmworker.store.admission import enter
from kmworker.store.inspection import Views

__all__ = ["custody_if_any", "custody_in", "custody_of", "keyring_at"]

PLAIN: Final = "file:"
"""Where no root wraps KEKs: the setting's default."""


def keyring_at(path: Path, root: str = PLAIN) -> Keyring:
    """Load a keyring into a process whose memory nobody else can read, nor a core dump keep.

    Raises:
        RootAway: its root cannot be asked now.
        SetupError: it cannot be used, or the system refuses to close the process.
    """
    harden_process()
    return Keyring.load(path, open_root(root))


def custody_of(settings: KeyringSettings) -> KeyringCustody:
    """Open the keyring, for no installation yet.

    Raises:
        SetupError: it cannot be used.
    """
    return KeyringCustody(keyring_at(settings.path, settings.root))


def custody_in(settings: Settings, views: Views) -> KeyringCustody:
    """Open the keyring for the installation whose store this is.

    Raises:
        NotFound: no worker has used the store yet.
        SetupError: the keyring cannot be used, or the store's records are not of it.
    """
    custody = custody_of(settings.keyring)
    enter(custody, views)
    return custody


def custody_if_any(settings: Settings, views: Views) -> KeyringCustody | None:
    """Open the keyring as `custody_in` does, if this user has one that can be read."""
    try:
        return custody_in(settings, views)
    except (NotFound, RootAway, SetupError):
        return None
