"""What has become of key-ids and may not have been announced yet.

Whatever changes a key-id puts the record that it leaves into the project's outbox, in the same
step: field `<key-id> <version>`. Whoever has announced it takes it out. `km:outboxes` says which
projects are to be looked at, and when; what it lacks is found when all projects are counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from kmworker.clock import Clock
from kmworker.domain.model import KeyChanged
from kmworker.errors import PermanentError
from kmworker.store.client import Client
from kmworker.store.connection import store_errors, wrong_type_in
from kmworker.store.names import Names
from kmworker.store.pipe import Command
from kmworker.store.records import RecordCodec

__all__ = ["INDEX", "Outbox", "entry_of", "marking"]

log = structlog.get_logger()

INDEX: Final = "outboxes"
# Looked at in one go: fresh events wait for them.
PROJECTS_AT_ONCE: Final = 8
PAGE_SIZE: Final = 100


def marking(names: Names, project: str, at: float) -> Command:
    """Return what lets a project's outbox be looked at from then on; Unix seconds."""
    return "ZADD", names.top(INDEX), "LT", f"{at:.3f}", project


def entry_of(changed: KeyChanged) -> str:
    """Return the name of what is to be announced."""
    return f"{changed.key.key_id} {changed.key.version}"


class Outbox:
    """All projects' outboxes."""

    def __init__(
        self, client: Client, names: Names, codec: RecordCodec, clock: Clock, again_s: float
    ) -> None:
        """Prepare.

        Args:
            client: of the store's server.
            names: of its keys.
            codec: checks what is to be announced.
            clock: the store's time.
            again_s: after how long to look again at what was found and may not be announced.
        """
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._codec = codec
        self._clock = clock
        self._again_s = again_s

    def marking(self, projects: Iterable[str], after_s: float) -> list[Command]:
        """Return what lets projects be looked at after so many seconds, or as soon as before."""
        at = self._clock.now() + after_s
        return [marking(self._names, project, at) for project in projects]

    def marked(self, replies: Iterable[Any]) -> None:
        """Take up the replies to `marking`.

        Raises:
            StoreUnavailable: what was to be found may not be.
        """
        if (error := wrong_type_in(replies)) is not None:
            log.error("the index of outboxes cannot be written", error=str(error))

    def unsaid(self) -> list[KeyChanged]:
        """Return some of what is to be announced, and may have been; of a few projects."""
        with store_errors():
            now = self._clock.now()
            index = self._names.top(INDEX)
            try:
                due = self._client.zrangebyscore(index, "-inf", now, start=0, num=PROJECTS_AT_ONCE)
            except RedisError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                log.warning("the index of outboxes cannot be read", detail=str(error))
                return []
            found: list[KeyChanged] = []
            for name in due:
                project = name.decode(errors="replace")
                entries = self._entries(project)
                found += self._read(project, entries)
                if entries:
                    self._client.zadd(index, {name: now + self._again_s}, xx=True)
                else:
                    self._client.zrem(index, name)
            return found

    def _entries(self, project: str) -> dict[bytes, bytes]:
        key = self._names.of(project, "outbox")
        try:
            _cursor, page = self._client.hscan(key, 0, count=PAGE_SIZE)
        except RedisError as error:
            if "WRONGTYPE" not in str(error):
                raise
            log.error("an outbox cannot be read", project=project, error=str(error))  # noqa: TRY400
            return {}
        return dict(page)

    def _read(self, project: str, entries: dict[bytes, bytes]) -> Iterator[KeyChanged]:
        for name, record in entries.items():
            key_id, _space, version = name.decode(errors="replace").partition(" ")
            try:
                key = self._codec.read_key(project, key_id, record)
            except PermanentError as broken:
                key, why = None, broken.detail
            else:
                why = "it is another change's"
            if key is None or key.changed is None or str(key.version) != version:
                # No worker's. It stays for a person to see, and `kmworker verify` names it.
                log.error("an outbox holds what is none", project=project, entry=name, error=why)
            else:
                yield KeyChanged(project, key)

    def said(self, changes: Iterable[KeyChanged]) -> None:
        """Take out what has been announced."""
        shares: defaultdict[str, list[str]] = defaultdict(list)
        for changed in changes:
            shares[changed.project].append(entry_of(changed))
        if not shares:
            return
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for project, entries in shares.items():
                pipeline.hdel(self._names.of(project, "outbox"), *entries)
            pipeline.execute()
