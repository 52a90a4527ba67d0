"""The KEKs of an installation, as they lie in a file: bytes alone.

What may be done with each is said by the store (`kmworker.domain.keks`), for all processes at
once. A `Keyring` exists only whole and checked. Each KEK must have the fingerprint it is filed
under: a damaged key that was taken for good would wrap DEKs that no backup of the file
can ever unwrap.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kmworker.crypto.kek import KEK_BYTES, Kek
from kmworker.crypto.roots import Root, context_of
from kmworker.errors import RootAway, SetupError
from kmworker.files import keyfile
from kmworker.secrecy import Secret

__all__ = ["Keyring"]

VERSION = 2
NAMING_ACTIVE = 1
"""The version of files that said which KEK is active; they are read still."""
_RESTORE = "restore it from a backup, or use the release that wrote it"


@dataclass(frozen=True, slots=True, eq=False)
class Keyring(Secret):
    """KEKs by kek_id.

    The file is JSON, mode 0600: ``{"version": 2, "keks": {"<kek_id>": {"key": "<base64 of 32
    bytes>", "created_at": "<RFC 3339>"}}}``. Under a root it says which, ``"root": "<URL>"``, and
    each KEK has ``"wrapped": "<base64>"`` in the place of its key.

    Attributes:
        newest: the kek_id of the one that was made last: the first store's active one.
        keks: all KEKs; read-only.
    """

    newest: str
    keks: Mapping[str, Kek] = field(repr=False)

    def __post_init__(self) -> None:
        if self.newest not in self.keks:
            raise ValueError("the newest KEK is not in the keyring")
        object.__setattr__(self, "keks", MappingProxyType(dict(self.keks)))

    @classmethod
    def generate(cls, path: Path, root: Root | None = None) -> "Keyring":
        """Create the file with one new KEK and return what reading it back gives.

        Creates the file if and only if none exists; it and its name are on disk when
        this returns.

        Raises:
            RootAway: the root cannot be asked now.
            SetupError: something is at ``path`` already, or the file cannot be written; or the
                root refuses.
        """
        kek = _drawn()
        problem = keyfile.create(path, _serialised({kek.kek_id: kek}, root))
        if problem is not None:
            raise SetupError(f"keyring {path}: {problem}", _hint_for(problem))
        return cls.load(path, root)

    @classmethod
    def grow(cls, path: Path, root: Root | None = None) -> "Keyring":
        """Draw one more KEK and write it to the file, with those that are there.

        The file has all of them or is as it was, whatever happens meanwhile; they are on disk when
        this returns.

        Raises:
            RootAway, SetupError: as `load` does; or it cannot be written, or is not there by its
                own name.
        """
        with keyfile.changing(path):
            kek = _drawn()
            _replace(path, {**cls.load(path, root).keks, kek.kek_id: kek}, root)
            return cls.load(path, root)

    @classmethod
    def move(cls, path: Path, root: Root | None, to: Root | None) -> "Keyring":
        """Write the file anew with all KEKs under another root; no store needs to know.

        Each opens under the new root before the file is written over, whole or not at all.

        Raises:
            RootAway: one of the roots cannot be asked now; the file is as it was.
            SetupError: one of them refuses, or the file cannot be written; it is as it was.
        """
        with keyfile.changing(path):
            _replace(path, cls.load(path, root).keks, to)
            return cls.load(path, to)

    @classmethod
    def put(cls, path: Path, kek: Kek, root: Root | None = None) -> "Keyring":
        """Have a file hold this KEK, too, which is made if it is not there.

        It is on disk, and has been read back, when this returns.

        Raises:
            RootAway, SetupError: as `grow` does.
        """
        with keyfile.changing(path):
            if not path.exists():
                problem = keyfile.create(path, _serialised({kek.kek_id: kek}, root))
                if problem is not None:
                    raise SetupError(f"keyring {path}: {problem}", _hint_for(problem))
                return cls.load(path, root)
            found = cls.load(path, root)
            if kek.kek_id in found.keks:
                return found
            # In front: of KEKs made in one second, the last in the file counts as the newest.
            _replace(path, {kek.kek_id: kek, **found.keks}, root)
            return cls.load(path, root)

    @classmethod
    def drop(cls, path: Path, kek_id: str, root: Root | None = None) -> "Keyring":
        """Have a file hold a KEK no more; another must stay.

        Raises:
            RootAway, SetupError: as `grow` does; or there is no other.
        """
        with keyfile.changing(path):
            found = cls.load(path, root)
            left = {it: kek for it, kek in found.keks.items() if it != kek_id}
            if not left:
                raise SetupError(f"keyring {path}: KEK {kek_id} is all it has", _RESTORE)
            if len(left) < len(found.keks):
                _replace(path, left, root)
            return cls.load(path, root)

    @classmethod
    def load(cls, path: Path, root: Root | None = None) -> "Keyring":
        """Read and check the file.

        Args:
            path: of the file.
            root: under which its KEKs are; None: they are in it as they are.

        Raises:
            RootAway: the root cannot be asked now.
            SetupError: the root refuses, or the file is not under it; it is missing, readable by
                others, not a regular file, not this user's or root's, or not a well-formed
                keyring whose KEKs have their fingerprints. The message never holds any of the
                file's content.
        """
        parsed = _parsed(keyfile.read(path), root)
        if isinstance(parsed, RootAway | SetupError):
            # Without the frames that held the content.
            raise parsed.with_traceback(None)
        if isinstance(parsed, str):
            raise SetupError(f"keyring {path}: {parsed}", _HINTS.get(parsed, _RESTORE))
        return parsed


_UNDER_A_ROOT: Final = "its KEKs are wrapped by a root, and keyring.root names none"
_IN_THE_CLEAR: Final = "its KEKs are in the clear, and keyring.root names a root"
_HINTS: Final = {
    _UNDER_A_ROOT: "set keyring.root to the root that its file names",
    # Whoever can write the file could choose KEKs that the root has never seen.
    _IN_THE_CLEAR: "with keyring.root = 'file:', bring them under it: kmworker keyring move --to",
}


class _FlawError(Exception):
    """What is wrong with the content, in fixed words; never leaves this module."""


def _hint_for(problem: str) -> str:
    if problem == "already exists":
        return "it is never overwritten: DEKs may depend on it"
    return "check that the directory exists and can be written to"


def _drawn() -> Kek:
    return Kek.generate(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def _replace(path: Path, keks: Mapping[str, Kek], root: Root | None) -> None:
    problem = keyfile.replace(path, _serialised(keks, root))
    if problem is not None:
        hint = "check that its directory can be written to; what a platform hands over"
        raise SetupError(f"keyring {path}: {problem}", f"{hint} is changed there")


def _serialised(keks: Mapping[str, Kek], root: Root | None) -> bytes:
    if root is not None:
        under: dict[str, Any] = {"root": root.url}
        entries = {
            kek_id: {"wrapped": _wrapped(kek, root), "created_at": kek.created_at}
            for kek_id, kek in keks.items()
        }
    else:
        under = {}
        entries = {
            kek_id: {"key": base64.b64encode(kek.export()).decode(), "created_at": kek.created_at}
            for kek_id, kek in keks.items()
        }
    return json.dumps({"version": VERSION, **under, "keks": entries}, indent=2).encode() + b"\n"


def _wrapped(kek: Kek, root: Root) -> str:
    context = context_of(kek.kek_id)
    blob = root.wrap(kek, context)
    # What is written over may be the only copy: a root that gives back another KEK is not used.
    if Kek(root.unwrap(blob, context), kek.created_at).kek_id != kek.kek_id:
        raise SetupError(f"root {root.url}: what it wraps does not unwrap to the same")
    return base64.b64encode(blob).decode()


def _parsed(content: bytes, root: Root | None) -> Keyring | RootAway | SetupError | str:
    """Return the keyring, or what is wrong with it.

    Parsers quote what they could not read, in messages and in attributes such as
    `json.JSONDecodeError.doc`. Their exceptions end here, and ours begins in the caller,
    whose frame has never held the content.
    """
    try:
        return _keyring(json.loads(content, object_pairs_hook=_without_repeats), root)
    except _FlawError as flaw:
        return str(flaw)
    except (RootAway, SetupError) as refusal:
        return refusal
    except (ValueError, RecursionError):
        return "not JSON"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers differ on which of two equal names wins: people would see one KEK in
    # the file and the worker would use the other.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _FlawError("a name appears twice")
    return fields


def _keyring(document: object, root: Root | None) -> Keyring:
    # The version first: a later format may have other fields altogether.
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version not in {NAMING_ACTIVE, VERSION}:
        raise _FlawError("not a keyring of a version that this release knows")
    names: dict[str, type] = {"keks": dict, "version": int}
    if version == NAMING_ACTIVE:
        names["active"] = str
    elif isinstance(document, dict) and "root" in document:
        # For people: which root is asked, the settings say.
        names["root"] = str
        if root is None:
            raise _FlawError(_UNDER_A_ROOT)
    if root is not None and "root" not in names:
        raise _FlawError(_IN_THE_CLEAR)
    entries, _version, *more = _fields(document, **names)
    active = more if version == NAMING_ACTIVE else []
    keks = {kek_id: _kek(kek_id, entry, root) for kek_id, entry in entries.items()}
    if not keks:
        raise _FlawError("there is no KEK in it")
    # Of those made in one second, the one that was added last.
    newest = active[0] if active else max(reversed(keks), key=lambda it: _made_at(keks[it]))
    if newest not in keks:
        raise _FlawError("the active KEK is not among its KEKs")
    return Keyring(newest, keks)


def _kek(kek_id: str, entry: object, root: Root | None) -> Kek:
    name = "key" if root is None else "wrapped"
    encoded, created_at = _fields(entry, **{name: str, "created_at": str})
    if not _is_timestamp(created_at):
        raise _FlawError("a KEK's created_at is not RFC 3339")
    found = _decoded(encoded)
    if found is not None and root is not None:
        found = root.unwrap(found, context_of(kek_id))
    if found is None or len(found) != KEK_BYTES:
        raise _FlawError(f"a KEK is not base64 of {KEK_BYTES} bytes")
    kek = Kek(found, created_at)
    if kek.kek_id != kek_id:
        raise _FlawError("a KEK does not have the fingerprint it is filed under")
    return kek


def _fields(document: object, **types: type) -> list[Any]:
    """Return exactly these fields' values, in the order named."""
    if not isinstance(document, dict) or document.keys() != types.keys():
        raise _FlawError("fields are missing or unknown")
    if not all(isinstance(document[name], kind) for name, kind in types.items()):
        raise _FlawError("a field has the wrong type")
    return [document[name] for name in types]


def _decoded(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return None


def _made_at(kek: Kek) -> datetime:
    return datetime.fromisoformat(kek.created_at)


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
