"""A DEK out of the custody and into a file: the one way that a person can take.

The file is made as the keyring's is: new, for its owner alone, through no symbolic link,
on disk with its name, or not there at all.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmworker.crypto.custody import KeyringCustody
from kmworker.domain.model import ScopeRecord
from kmworker.errors import SetupError
from kmworker.files import keyfile

__all__ = ["export_dek"]


def export_dek(
    custody: KeyringCustody, project: str, scope: ScopeRecord, blob: bytes, path: Path
) -> int:
    """Write the scope's DEK to a new file and return how many bytes that were.

    Raises:
        SetupError: something is at ``path`` already, or the file cannot be written; then
            nothing of the DEK is left there.
        UnknownKek, PermanentError: as `KeyringCustody.unwrap` does.
    """
    # The DEK never gets a name: no frame of ours shows it to a crash reporter.
    with _uninterrupted():
        problem = keyfile.create(path, custody.unwrap(project, scope, blob))
    if problem is not None:
        raise SetupError(f"{path}: {problem}", "name a new file in a directory of your own")
    return scope.encryption.key_bits // 8


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals wait: stopped half-way, the file would stay there with a part of the DEK."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
