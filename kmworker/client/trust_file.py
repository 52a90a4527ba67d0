"""The newest trust list that this host has seen, kept beside its enrolment.

Who has stolen a key that a newer list has left out could send the older list with it: so the
newest is remembered, by all processes of a host.
"""

import json
import logging
from pathlib import Path

from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.trust_list import TrustList, check_list
from kmworker.errors import SetupError, Untrusted
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose

__all__ = ["TrustFile"]

log = logging.getLogger("kmworker.client")

PURPOSE = Purpose(
    "trust list",
    "the enrolment's path",
    "it is written beside the enrolment when an answer has come",
    "nothing is lost: it is no secret",
    "this program",
)


class TrustFile:
    """Reads it, anew where another process has written it, and writes it where it is behind.

    For one thread at a time.
    """

    def __init__(self, enrolment_path: Path, enrolment: Enrolment) -> None:
        """Read what is there.

        Raises:
            SetupError: what is there is not a list, or others could have written it.
        """
        self._path = enrolment_path.with_name(f"{enrolment_path.stem}.trust.json")
        self._enrolment = enrolment
        self._is_told = False
        self._newest: TrustList | None = None
        self._version = self._on_disk()
        if self._version is not None:
            self._newest = _list_in(self._path, enrolment)

    def newest(self) -> TrustList | None:
        """Return the newest list that any process of this host has seen; None: none has."""
        version = self._on_disk()
        if version is not None and version != self._version:
            self._version = version
            try:
                self._take(_list_in(self._path, self._enrolment))
            except SetupError as error:
                self._tell(str(error))
        return self._newest

    def keep(self, trust: TrustList) -> None:
        """Remember a list to go by, if it is newer than what is remembered."""
        # Of two threads the one that has checked its answer first may come here last.
        if not self._take(trust):
            return
        try:
            problem = self._write(trust)
        except SetupError as error:
            problem = str(error)
        if problem is not None:
            self._tell(problem)

    def _on_disk(self) -> tuple[int, int] | None:
        """Return what changes whenever the file does, None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _take(self, trust: TrustList) -> bool:
        if self._newest is not None and trust.number <= self._newest.number:
            return False
        self._newest = trust
        return True

    def _tell(self, problem: str) -> None:
        """Say, once, what is wrong: this process goes by what it remembers all the same."""
        if not self._is_told:
            self._is_told = True
            log.warning("the newest trust list is not kept: %s: %s", self._path, problem)

    def _write(self, trust: TrustList) -> str | None:
        """Put it on disk, unless a newer one is there; return what is wrong."""
        content = json.dumps(trust.document, indent=2).encode() + b"\n"
        with keyfile.changing(self._path, PURPOSE):
            if not self._path.exists():
                return keyfile.create(self._path, content)
            there = _list_in(self._path, self._enrolment)
            if there.number >= trust.number:
                return None
            return keyfile.replace(self._path, content)


def _list_in(path: Path, enrolment: Enrolment) -> TrustList:
    content = keyfile.read(path, PURPOSE)
    try:
        said = json.loads(content)
        return check_list(said["text"], said["signature"], enrolment.root, enrolment.installation)
    except (KeyError, TypeError, ValueError, RecursionError, Untrusted):
        hint = "delete it: it is written again with the next answer"
        raise SetupError(f"trust list {path}: not one of this installation's", hint) from None
