"""Roots of trust: what wraps the KEKs in the keyring's file.

`root` says what a root does, `choose` finds one by its URL. A passphrase (`passphrase`), a
token or HSM (`pkcs11`) and a server (`openbao`) are shipped; docs/roots.md says what each
protects against.
"""

from kmworker.crypto.roots.choose import open_root
from kmworker.crypto.roots.root import Root, context_of
from kmworker.crypto.roots.root_url import RootUrl

__all__ = ["Root", "RootUrl", "context_of", "open_root"]
