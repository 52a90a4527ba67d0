"""``file:`` and a passphrase: a copy of the keyring alone opens nothing.

For backups, and for keyrings that lie on a disk which others get to see. On the machine itself
the passphrase lies in a file, too, so this keeps nobody out who may read the worker's files.
"""

from functools import partial
from pathlib import Path
from typing import Final

from kmworker.crypto.kek import KEK_BYTES, Kek
from kmworker.crypto.roots.root import no_unwrap, read_secret
from kmworker.crypto.roots.root_url import HINT, RootUrl
from kmworker.delegation.passphrase import PassphraseBox, is_box
from kmworker.errors import SetupError
from kmworker.secrecy import Secret

__all__ = ["PassphraseRoot", "opened"]

OPTION: Final = "passphrase-file"


class PassphraseRoot(Secret):
    """Wraps by the passphrase in a file; a blob is a `PassphraseBox`'s."""

    url = "file:?passphrase-file"

    def __init__(self, path: Path) -> None:
        """Use the passphrase in this file; it is read when it is needed."""
        passphrase = partial(read_secret, path, "passphrase", OPTION)
        self._box = PassphraseBox(passphrase, f"passphrase {path}")

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        """Wrap; raises as `kmworker.crypto.roots.Root.wrap` does, but is never away."""
        return self._box.put(kek.export, context)

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        """Unwrap; raises as `kmworker.crypto.roots.Root.unwrap` does, but is never away."""
        if not is_box(blob, KEK_BYTES):
            raise no_unwrap(self.url)
        kek = self._box.take(blob, context)
        if kek is not None:
            return kek
        said = f"root {self.url}: a wrapped KEK does not unwrap"
        raise SetupError(said, "the passphrase is another one, or the keyring is damaged")


def opened(url: RootUrl) -> PassphraseRoot | None:
    """Return the root; None where the KEKs are in the file as they are.

    Raises:
        SetupError: the URL is not ``file:`` or ``file:?passphrase-file=PATH``.
    """
    url.check_options(OPTION)
    if url.place:
        said = "keyring.root: file: names no file; keyring.path does"
        raise SetupError(said, HINT)
    return PassphraseRoot(url.file(OPTION)) if url.options else None
