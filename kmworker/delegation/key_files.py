"""The files of private keys: JSON, for their owner alone, with the care of a keyring's file.

Nothing is raised while a frame holds a file's content, as in `kmworker.files.keyfile`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from kmworker.errors import SetupError
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose
from kmworker.wire.strict_json import NotTakenAsJson, load

__all__ = ["Fields", "KeyFile", "check_written", "content_of"]

T = TypeVar("T")
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeyFile(Generic[T]):
    """One kind of such files, each of which holds one `T`."""

    purpose: Purpose
    """What errors say of it."""
    document: str
    """What its field `document` says."""
    shapes: Collection[frozenset[str]]
    """Its other fields, beside `version`: one of these sets, and all of them text."""
    parsed: Callable[[Fields], T | str]
    """Returns what fields hold, or what is wrong with them, quoting nothing. It may raise only
    where no field is a secret as it is."""
    hint: str
    """What to do about a file that is damaged."""

    def load(self, path: Path) -> T:
        """Read and check a file.

        Raises:
            SetupError: it is not there, not what it should be, or open to others.
        """
        # No frame holds what was read when this is raised.
        found = self._found(keyfile.read(path, self.purpose))
        if isinstance(found, str):
            raise SetupError(f"{self.purpose.name} {path}: {found}", self.hint)
        return found

    def write(self, path: Path, export: Callable[[], Fields]) -> None:
        """Write a new file with mode 0600, on disk with its name when this returns.

        Of several processes that do this at once, one does, and the others are told.

        Args:
            path: of the file.
            export: returns its fields, with the keys in the clear.

        Raises:
            SetupError: something is there already, or it cannot be written.
        """
        check_written(self._created(path, export), path, self.purpose)

    def _created(self, path: Path, export: Callable[[], Fields]) -> str | None:
        """Make it in a frame of its own, which is gone when something is raised."""
        written = {"document": self.document, "version": 1, **export()}
        return keyfile.create(path, content_of(written))

    def _found(self, content: bytes) -> T | str:
        fields = _fields_in(content, self.document, self.shapes)
        return fields if isinstance(fields, str) else self.parsed(fields)


def content_of(fields: Mapping[str, object]) -> bytes:
    """Return a file's content."""
    return json.dumps(fields, indent=2).encode() + b"\n"


def check_written(problem: str | None, path: Path, purpose: Purpose) -> None:
    """Raise if `keyfile.create` returned a problem.

    Raises:
        SetupError: something is there already, or it cannot be written.
    """
    if problem is not None:
        hint = (
            "keep it, or name another file: what was made with it would be lost"
            if problem == "already exists"
            else "name a new file in a directory of your own"
        )
        raise SetupError(f"{purpose.name} {path}: {problem}", hint)


def _fields_in(
    content: bytes, document: str, shapes: Collection[frozenset[str]]
) -> dict[str, str] | str:
    """Return a file's fields, which are text; or else what is wrong with it, quoting nothing."""
    try:
        found = load(content, keyfile.MAX_FILE_BYTES)
    except (NotTakenAsJson, RecursionError):
        return "not JSON as it is written here"
    if not isinstance(found, dict) or found.pop("document", None) != document:
        return f"no {document.removeprefix('kmworker/')} file"
    if found.pop("version", None) != 1:
        return "of a version that this release does not know"
    fields = {name: it for name, it in found.items() if isinstance(it, str)}
    if fields.keys() != found.keys() or fields.keys() not in shapes:
        return "does not have the fields that it should have"
    return fields
