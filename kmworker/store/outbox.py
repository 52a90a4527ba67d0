"""What has become of key-ids and may not have been announced yet.

Whatever changes a key-id puts the record that it leaves into the project's outbox, in the same
step: field `<key-id> <version>`. Whoever has announced it takes it out. `km:outboxes` says which
projects are to be looked at, and when; what it lacks is found when all projects are counted. With
it goes what is to be recorded alone (`kmworker.store.unrecorded`): apart, so that however much the
audit trail leaves there, nothing that is to be announced lies behind it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from kmworker.clock import Clock
from kmworker.domain.audit import Unsaid
from kmworker.domain.model import KeyChanged
from kmworker.errors import PermanentError
from kmworker.store.client import Client
from kmworker.store.connection import store_errors, wrong_type_in
from kmworker.store.names import Names
from kmworker.store.paging import Pages
from kmworker.store.pipe import Command
from kmworker.store.records import RecordCodec
from kmworker.store.unrecorded import Recordable, UnrecordedActs

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
        self._pages = Pages(client, PAGE_SIZE)
        self._names = names
        self._codec = codec
        self._clock = clock
        self._again_s = again_s
        self._unrecorded = UnrecordedActs(client, names, codec)
        self._full: set[str] = set()
        """Projects in which more is to be recorded than was read."""

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

    def unsaid(self) -> list[Unsaid]:
        """Return some of what may not have been announced, or recorded; of a few projects."""
        with store_errors():
            now = self._clock.now()
            index = self._names.top(INDEX)
            found: list[Unsaid] = [*self._unrecorded.of_no_project()]
            self._full = set()
            for project in self._due(index, now):
                entries = self._entries(project)
                grants, is_full = self._unrecorded.of(project)
                found += [*self._read(project, entries), *grants]
                if is_full:
                    self._full.add(project)
                if entries or grants or self._is_part(project):
                    self._client.zadd(index, {project: now + self._again_s}, xx=True)
                else:
                    self._client.zrem(index, project)
            return found

    def _is_part(self, project: str) -> bool:
        own = self._pages.is_part(self._names.of(project, "outbox"))
        return own or self._unrecorded.is_part(project)

    def _due(self, index: str, now: float) -> list[str]:
        try:
            due = self._client.zrangebyscore(index, "-inf", now, start=0, num=PROJECTS_AT_ONCE)
        except RedisError as error:
            if "WRONGTYPE" not in str(error):
                raise
            log.warning("the index of outboxes cannot be read", detail=str(error))
            return []
        return [name.decode(errors="replace") for name in due]

    def _entries(self, project: str) -> dict[bytes, bytes]:
        key = self._names.of(project, "outbox")
        try:
            return self._pages.next(key)
        except RedisError as error:
            if "WRONGTYPE" not in str(error):
                raise
            log.error("an outbox cannot be read", project=project, error=str(error))  # noqa: TRY400
            return {}

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

    def said(self, changes: Iterable[Unsaid]) -> None:
        """Take out what has been announced and recorded."""
        shares: defaultdict[str, list[str]] = defaultdict(list)
        recorded: list[Recordable] = []
        for changed in changes:
            if isinstance(changed, KeyChanged):
                shares[changed.project].append(entry_of(changed))
            else:
                recorded.append(changed)
        self._unrecorded.done(recorded)
        if not shares and not self._full:
            return
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for project, entries in shares.items():
                pipeline.hdel(self._names.of(project, "outbox"), *entries)
            for project in self._full:
                # There is room for what is behind it.
                pipeline.execute_command(*marking(self._names, project, self._clock.now()))
            pipeline.execute()
        self._full = set()
