"""What a root of trust does for the keyring: two verbs, and nobody gets its own key.

A wrapped KEK opens under the root and the context that it was wrapped for, and nowhere else.
A root that is away says so (`RootAway`) and is asked again later; where asking again cannot
help, or would lock something, it says that a person must act (`SetupError`).
"""

from pathlib import Path
from typing import Final, Protocol

from kmworker.crypto.kek import Kek
from kmworker.encoding import length_prefixed
from kmworker.errors import SetupError
from kmworker.files import keyfile

__all__ = ["Root", "context_of", "no_unwrap", "read_secret"]

LABEL: Final = "kmworker/root/v1"


class Root(Protocol):
    """Wraps KEKs under a key that stays where it is.

    An implementation gives the key material of a KEK, the PIN and the token no name in a frame
    that raises: crash reporters collect the locals of every frame that an exception passes.
    """

    @property
    def url(self) -> str:
        """Where it is, for messages and the keyring file: without secrets and options."""

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        """Return the KEK wrapped; it unwraps with this context alone.

        Raises:
            RootAway: it cannot be asked now.
            SetupError: it refuses, until somebody has changed something.
        """

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        """Return the bytes of a KEK that `wrap` has wrapped with the same context.

        Raises:
            RootAway: it cannot be asked now.
            SetupError: it refuses, or the blob is damaged, another root's or another context's.
        """


def context_of(kek_id: str) -> bytes:
    """Return what a wrapped KEK is bound to: as another KEK of the file it does not unwrap."""
    return length_prefixed(LABEL, kek_id)


def no_unwrap(url: str) -> SetupError:
    """Return the one error for a blob that is damaged, of another root or of another context."""
    said = f"root {url}: a wrapped KEK does not unwrap"
    return SetupError(said, "restore the keyring from its backup, or name the root it was made for")


def read_secret(path: Path, name: str, option: str) -> bytes:
    """Return a secret's file without the line break at its end; as strict as for the keyring.

    Args:
        path: of the file.
        name: what it is, for errors.
        option: of the URL that names it.

    Raises:
        SetupError: it is missing, or others can read it or choose it.
    """
    purpose = keyfile.Purpose(
        name, f"{option} in keyring.root", f"write it there with mode 0600: {name}", "replace it"
    )
    return keyfile.read(path, purpose).rstrip(b"\r\n")
