"""Files that are changed a little, and how much of them is moved."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from bench.replication.ciphers import SEED, WAYS, Way
from bench.replication.daemon import Moved, Receiver
from bench.replication.luks import Volumes
from tests.kit.servers.locate import rsync

__all__ = ["CHANGES", "Measured", "measure"]

MIB: Final = 1 << 20
PIECE_BYTES: Final = 4096
CHANGES: Final = ("unchanged", "overwritten", "inserted")
SWIFTS: Final = ("--whole-file", "--ignore-existing")
"""What Swift's replicator gives to rsync (swift.obj.replicator)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run."""

    size_bytes: int
    rsync: str
    """Its version."""
    moved: dict[str, dict[str, Moved]]
    """By the way of encryption, and by what has become of the file."""
    whole: dict[str, Moved]
    """With ``--whole-file``: of a changed file, and as Swift has it."""


def measure(receiver: Receiver, folder: Path, mib: int) -> Measured:
    """Bring replicas up to date in every way.

    Args:
        receiver: of the replicas.
        folder: for the sources.
        mib: size of the file.
    """
    size_bytes = mib * MIB
    drawn = Random(SEED)
    contents = changed(drawn.randbytes(size_bytes), drawn.randbytes(PIECE_BYTES))
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"plain-{name}"
        paths[name].write_bytes(content)
    moved = {way.id: _row(receiver, folder / way.id, way, contents) for way in WAYS}
    moved |= Volumes(folder, size_bytes).rows(receiver, paths["unchanged"], paths)
    return Measured(size_bytes, _version(), moved, _whole(receiver, folder / "whole", contents))


def changed(plain: bytes, piece: bytes) -> dict[str, bytes]:
    """Return what becomes of a file, each with a piece at about a quarter of it."""
    at = len(plain) // 4 // PIECE_BYTES * PIECE_BYTES
    return {
        "unchanged": plain,
        "overwritten": plain[:at] + piece + plain[at + len(piece) :],
        "inserted": plain[:at] + piece + plain[at:],
    }


def _row(
    receiver: Receiver, source: Path, way: Way, contents: dict[str, bytes]
) -> dict[str, Moved]:
    before, row = way.before(contents["unchanged"]), {}
    for name, content in contents.items():
        receiver.put(source.name, before)
        source.write_bytes(way.after(content))
        row[name] = receiver.update(source)
    return row


def _whole(receiver: Receiver, source: Path, contents: dict[str, bytes]) -> dict[str, Moved]:
    receiver.put(source.name, contents["unchanged"])
    source.write_bytes(contents["overwritten"])
    touched = receiver.update(source, "--whole-file")
    # An object is never changed; were it, its replica would stay as it is.
    there = receiver.sent(receiver.touch(source), *SWIFTS)
    receiver.replica(source.name).unlink()
    return {"touched": touched, "there": there, "missing": receiver.update(source, *SWIFTS)}


def _version() -> str:
    said = subprocess.run([rsync(), "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]
