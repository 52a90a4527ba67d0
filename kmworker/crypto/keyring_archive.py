"""The archive of a keyring: KEKs that no process needs, and an old backup of the store may.

It is a keyring file like the other, under the same root. A KEK is in one of the two at every
moment: it is on disk in the one that it goes to before it leaves the other.
"""

from pathlib import Path

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.roots import Root
from kmworker.errors import NotFound, SetupError

__all__ = ["archive_kek", "move_archive", "restore_kek"]


def archive_kek(path: Path, archive: Path, kek_id: str, root: Root | None = None) -> None:
    """Move a KEK from a keyring file into its archive; what a run before has done stays.

    Args:
        path: of the keyring file.
        archive: of the archive, which is made if it is not there.
        kek_id: which KEK.
        root: under which both are.

    Raises:
        NotFound: neither has it.
        RootAway, SetupError: as `Keyring.put` and `Keyring.drop` do.
    """
    kek = Keyring.load(path, root).keks.get(kek_id)
    if kek is None:
        _archived(archive, kek_id, root)
        return
    Keyring.put(archive, kek, root)
    Keyring.drop(path, kek_id, root)


def restore_kek(path: Path, archive: Path, kek_id: str, root: Root | None = None) -> None:
    """Put a KEK from an archive into a keyring file; it stays in the archive.

    Raises:
        NotFound: the archive has none like it.
        RootAway, SetupError: as `Keyring.put` does; or there is no keyring file.
    """
    # One that is missing is restored from its backup, not made with this KEK alone.
    if kek_id in Keyring.load(path, root).keks:
        return
    Keyring.put(path, _archived(archive, kek_id, root).keks[kek_id], root)


def move_archive(archive: Path, root: Root | None, to: Root | None) -> None:
    """Bring an archive, if there is one, under another root; see `Keyring.move`."""
    if not archive.exists():
        return
    try:
        Keyring.move(archive, root, to)
    except SetupError as refusal:
        if not _is_under(archive, to):
            raise refusal from None


def _is_under(archive: Path, root: Root | None) -> bool:
    """Return whether an archive was moved by a run that was stopped before the keyring file."""
    try:
        Keyring.load(archive, root)
    except SetupError:
        return False
    return True


def _archived(archive: Path, kek_id: str, root: Root | None) -> Keyring:
    if not archive.exists():
        said = f"no archive of removed KEKs: {archive}"
        raise NotFound(said, "name it by keyring.archive, or restore it from its backup")
    found = Keyring.load(archive, root)
    if kek_id not in found.keks:
        hint = "an archive's backup, or a backup of the keyring file from before, may have it"
        raise NotFound(f"{archive} has no KEK {kek_id}", hint)
    return found
