"""The files of private keys: JSON, for their owner alone, with the care of a keyring's file.

Nothing is raised while a frame holds a file's content, as in `kmworker.files.keyfile`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from kmworker.errors import SetupError
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose
from kmworker.wire.strict_json import NotTakenAsJson, load

__all__ = ["check_written", "content_of", "fields_in", "read_file"]


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


def read_file(path: Path, purpose: Purpose) -> bytes:
    """Return a file's content; raises as `keyfile.read` does."""
    return keyfile.read(path, purpose)


def fields_in(content: bytes, document: str, names: frozenset[str]) -> dict[str, str] | str:
    """Return a file's fields, which are text; or else what is wrong with it, quoting nothing."""
    try:
        found = load(content, keyfile.MAX_FILE_BYTES)
    except (NotTakenAsJson, RecursionError):
        return "not JSON as it is written here"
    if not isinstance(found, dict) or found.get("document") != document:
        return f"no {document.removeprefix('kmworker/')} file"
    if found.get("version") != 1:
        return "of a version that this release does not know"
    fields = {name: it for name, it in found.items() if name in names and isinstance(it, str)}
    if fields.keys() != names or len(found) != len(names) + 2:
        return "does not have the fields that it should have"
    return fields
