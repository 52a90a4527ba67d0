"""What is to be in the audit trail and may not be there yet.

Whatever makes or ends a grant, and whatever an operator changes of KEKs, clients and the trust
list, leaves a sealed record here in the same step; whoever has it recorded takes it out. So none of
it waits for the broker, and nothing that was done is missing because somebody died. Of a project it
is `km:{P}:unrecorded`, of what belongs to none `km:unrecorded`.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from kmworker.domain.audit import KeptRecord
from kmworker.domain.grants import NO_GRANTS, GrantsChanged, ended_by_release, released_life
from kmworker.errors import PermanentError
from kmworker.store.client import Client
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.paging import Pages
from kmworker.store.recordable import (
    UNRECORDED,
    read_grants_changed,
    read_kept,
    read_release,
)
from kmworker.store.records import RecordCodec, item_at
from kmworker.store.server import is_forbidden

__all__ = ["Recordable", "UnrecordedActs"]

log = structlog.get_logger()

PAGE_SIZE: Final = 500
Recordable = GrantsChanged | KeptRecord


class UnrecordedActs:
    """All that is left to be recorded; raises `RedisError`, as its caller's connection does."""

    def __init__(self, client: Client, names: Names, codec: RecordCodec) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._pages = Pages(client, PAGE_SIZE)
        self._names = names
        self._codec = codec
        self._told: set[str] = set()
        """Keys of which it was said that they are closed to us, or something else."""

    def of_no_project(self) -> list[KeptRecord]:
        """Return some of what operators did."""
        found = []
        for name, record in self._entries(self._names.top(UNRECORDED)).items():
            said = name.decode(errors="replace")
            try:
                found.append(read_kept(self._codec, said, record))
            except (PermanentError, ValueError, KeyError, TypeError) as broken:
                _tell("", said, broken)
        return found

    def of(self, project: str) -> tuple[list[GrantsChanged], bool]:
        """Return some of what has become of a project's grants, and whether there may be more."""
        key = self._names.of(project, UNRECORDED)
        entries = self._entries(key)
        found = []
        for name, record in entries.items():
            ref, _space, change = name.partition(b" ")
            try:
                found.append(self._changed(project, ref, change.decode(), record))
            except (PermanentError, ValueError, KeyError, TypeError) as broken:
                _tell(project, name.decode(errors="replace"), broken)
        return found, self._pages.is_more(key)

    def is_part(self, project: str) -> bool:
        """Return whether what `of` returned last is of a part of it alone."""
        return self._pages.is_part(self._names.of(project, UNRECORDED))

    def done(self, recorded: Sequence[Recordable]) -> None:
        """Take out what is recorded."""
        shares: defaultdict[str, list[str]] = defaultdict(list)
        for it in recorded:
            if isinstance(it, KeptRecord):
                shares[self._names.top(UNRECORDED)].append(it.name)
            else:
                key = self._names.of(it.item.project, UNRECORDED)
                shares[key].append(f"{it.item.ref} {it.name}")
        if not shares:
            return
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for key, names in shares.items():
                pipeline.hdel(key, *names)
            for key, reply in zip(shares, pipeline.execute(raise_on_error=False), strict=True):
                if isinstance(reply, RedisError):
                    # It is recorded once more then, and no event waits for it.
                    self._bear(key, reply)

    def _changed(self, project: str, ref: bytes, name: str, record: bytes) -> GrantsChanged:
        item, generation = item_at(project, ref), released_life(name)
        if generation is None:
            return read_grants_changed(self._codec, item, name, record)
        over = read_release(self._codec, item, name, record)
        raw = self._client.hget(self._names.of(project, "grants"), item.ref)
        grants = NO_GRANTS if raw is None else self._codec.read_grants(item, raw).grants
        return ended_by_release(item, grants, generation, over)

    def _entries(self, key: str) -> dict[bytes, bytes]:
        try:
            return self._pages.next(key)
        except RedisError as error:
            self._bear(key, error)
            return {}

    def _bear(self, key: str, error: RedisError) -> None:
        """Say, once, what is wrong with a key; raise the error where it is the server's.

        Accounts of a release that had no such keys may not touch them: what is recorded waits for
        the administrator, and nothing else does.
        """
        if not (is_forbidden(error) or "WRONGTYPE" in str(error)):
            raise error
        if key not in self._told:
            log.error("what is to be recorded cannot be reached", key=key, error=str(error))
        self._told.add(key)


def _tell(project: str, entry: str, broken: Exception) -> None:
    # No worker's, nor an operator's. It stays for a person to see.
    why = broken.detail if isinstance(broken, PermanentError) else str(broken)
    log.error("what is to be recorded is not authentic", project=project, entry=entry, error=why)
