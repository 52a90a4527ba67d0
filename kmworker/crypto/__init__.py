"""KEKs and DEKs: the only package in which they are in the clear, but for what is delivered.

A KEK (`kek`) comes from the keyring (`keyring`) and only ever feeds HKDF. From
it come, for each project, the key that wraps DEKs (`wrapping`) and the key that seals
records (`record_mac`). `KeyringCustody` is what the rest of the program sees of them.
"""

from kmworker.crypto.custody import KeyringCustody, followed
from kmworker.crypto.former import FormerCustody
from kmworker.crypto.keyring import Keyring
from kmworker.crypto.keyring_file import KeyringFile

__all__ = ["FormerCustody", "Keyring", "KeyringCustody", "KeyringFile", "followed"]
