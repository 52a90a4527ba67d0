"""Key material: the only package in which it is in the clear.

A KEK (`kek`) comes from the keyring (`keyring`, `keyfile`) and only ever feeds HKDF. From
it come, for each project, the key that wraps DEKs (`wrapping`) and the key that seals
records (`seals`). `KeyringVault` is what the rest of the program sees of them.
"""

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.vault import KeyringVault

__all__ = ["Keyring", "KeyringVault"]
