"""What the janitor needs of the store: what is due, a full count of who holds it, and its end.

Nothing is destroyed on the word of a counter or an index. They say what may be due, and show
that something has changed; who holds a key-id, and which key-ids name a DEK, is counted in the
sealed records of the whole project.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.domain.endings import key_thing
from kmworker.domain.keys import By, Cause
from kmworker.domain.lifecycle import Step, step
from kmworker.domain.model import Held as AsHeld
from kmworker.domain.model import (
    Item,
    KeyRecord,
    KeyState,
    Kind,
    Place,
    Released,
    ScopeRecord,
    Tombstone,
)
from kmworker.domain.retention import Buried, Change, Count, KeySeen, Moment, StillHeld
from kmworker.errors import PermanentError
from kmworker.store import leases
from kmworker.store.connection import store_errors, translate
from kmworker.store.endings import Endings
from kmworker.store.inspection import Views, pages
from kmworker.store.key_states import AnyChange, HoldersChange, ItemChange, KeyStates
from kmworker.store.records import RecordCodec, item_at
from kmworker.store.scripts import Scripts

__all__ = ["RECONCILED", "RedisRetention"]

DESTROY_KEYS: Final = (
    "keys", "scopes", "deks", "outbox", "keys:due", "holders", "clones", "commits", "fence",
    "endings",
)  # fmt: skip
ROUNDS: Final = 10
"""How often it is tried to be the next at the end of a chain."""
FORGET_KEYS: Final = (
    "items", "keys", "scopes", "deks", "lineage", "stats", "keys:due", "tombstones",
    "waiting:sources", "commits", "grants",
)  # fmt: skip
# What a worker writes: in records of its own form, the first of these is the one that counts, since
# no name of an item or a project holds quotes.
NAMES_KEY: Final = b'"key_id":"'
NAMES_SCOPE: Final = b'"scope_id":"'
# Projects asked in one round trip what is due there.
PROJECTS_AT_ONCE: Final = 200
EARLY: Final = "early"
PARTITION_ENDED: Final = "/kmworker/key-destroy"
"""CloudEvents' source in the tombstone of a partition that a person has ended with its key."""
RECONCILED: Final = "reconciled"
"""Hash: when a project was last compared with an inventory."""


class RedisRetention:
    """A `kmworker.ports.Retention` on Redis or Valkey."""

    def __init__(self, views: Views, codec: RecordCodec) -> None:
        self._views = views
        self._codec = codec
        self._scripts = Scripts(views.client)
        self._endings = Endings(views.client, views.names, codec)
        self.keys = KeyStates(views, codec)

    def lease(self, project: str, holder: str, seconds: float) -> bool:
        """Return whether ``holder`` may go over a project for the next seconds, alone."""
        with store_errors():
            return leases.take(self._views.client, self._lease(project), holder, seconds)

    def keep_lease(self, project: str, seconds: float) -> None:
        """Let nobody else go over a project for the next seconds."""
        with store_errors():
            leases.keep(self._views.client, self._lease(project), seconds)

    def give_lease_back(self, project: str) -> None:
        """Let others go over a project at once."""
        with store_errors():
            leases.give_back(self._views.client, self._lease(project))

    def _lease(self, project: str) -> str:
        return self._views.names.lease(f"janitor:{project}")

    def seen(self, project: str, key_ids: Sequence[str]) -> dict[str, KeySeen]:
        """Return those of these key-ids that are there, as they are now."""
        return self.keys.read(project, key_ids)

    def reconciled_at(self, project: str) -> float | None:
        """Return when the project was last compared with an inventory, Unix seconds."""
        said = self._views.field(RECONCILED, project)
        try:
            return None if said is None else float(said)
        except ValueError:
            return None

    def report(self, fields: Mapping[str, str | int | float]) -> None:
        """Write what dashboards see of the janitor."""
        with store_errors():
            self._views.client.hset(self._views.names.top("janitor"), mapping=dict(fields))

    def size(self, project: str) -> int:
        """Return how many records a count looks at."""
        return self._views.count(project, "keys") + self._views.count(project, "items")

    def projects_due(self, now_s: float, gone_before_s: float) -> Iterator[str]:
        """Give the projects in which a key-id is due, or a tombstone that nothing stands on."""
        names = self._views.names
        for page in pages(self._views.projects(), PROJECTS_AT_ONCE):
            pipeline = self._views.client.pipeline(transaction=False)
            for project in page:
                pipeline.zcount(names.of(project, "keys:due"), "-inf", now_s)
                pipeline.zcount(names.of(project, "tombstones"), "-inf", gone_before_s)
            with store_errors():
                found = pipeline.execute(raise_on_error=False)
            for number, project in enumerate(page):
                if any(_count(it) for it in found[2 * number : 2 * number + 2]):
                    yield project

    def due(self, project: str, now_s: float, limit: int) -> list[str]:
        """Return key-ids about which something is to be done, the longest due first."""
        key = self._views.names.of(project, "keys:due")
        with store_errors(of_project=True):
            found = self._views.client.zrangebyscore(key, "-inf", now_s, start=0, num=limit)
        return [name.decode(errors="replace") for name in found]

    def not_due(self, project: str, key_ids: Iterable[str], now_s: float) -> None:
        """Take key-ids out of the index: nothing is to be done about them.

        Not if one has been let go of while it was counted: its time is another then.
        """
        key = self._views.names.of(project, "keys:due")
        with store_errors():
            due = self._views.client.zrangebyscore(key, "-inf", now_s)
            still = {name.decode(errors="replace") for name in due}.intersection(key_ids)
            for page in pages(still):
                self._views.client.zrem(key, *page)

    def count(
        self,
        project: str,
        key_ids: Iterable[str],
        scope_ids: Iterable[str],
        on_page: Callable[[int], None],
    ) -> Count:
        """Count in all sealed records who holds these key-ids, and what names these scopes' DEKs.

        What is there from the first page to the last is counted. What comes to be meanwhile shows
        in the records and counters that were read before.

        Args:
            project: whose.
            key_ids: of which the holders are counted.
            scope_ids: of which the key-ids are.
            on_page: called after each page with how many records it had.
        """
        wanted, scopes = set(key_ids), set(scope_ids)
        count = Count()
        for page in self._views.all_records(project, "keys"):
            for key_id, raw in page:
                self._count_key(project, key_id, raw, scopes, count)
            on_page(len(page))
        # A scan may give one twice.
        seen: dict[str, str] = {}
        for page in self._views.all_records(project, "items"):
            for ref, raw in page:
                if (held := self._held(project, ref, raw, wanted, count)) is not None:
                    seen[ref] = held
            on_page(len(page))
        partitions = {item.ref for item in count.partitions.values()}
        count.holders.update(key_id for ref, key_id in seen.items() if ref not in partitions)
        return count

    def _count_key(
        self, project: str, key_id: str, raw: bytes, scopes: set[str], count: Count
    ) -> None:
        try:
            body = self._codec.checked(Place(project, "keys", key_id), raw)
        except PermanentError:
            count.flawed.append(f"keys {key_id}")
            return
        if _first(body, NAMES_SCOPE) not in scopes:
            return
        key = self._codec.read_key(project, key_id, raw)
        if key.state is not KeyState.DESTROYED:
            count.named[key.scope_id].add(key_id)
            return
        count.ended[key.scope_id][key_id] = raw
        at = "" if key.changed is None else key.changed.at
        last = count.last_end.get(key.scope_id, ("", ""))
        count.last_end[key.scope_id] = max(last, (at, key_id))

    def _held(
        self, project: str, ref: str, raw: bytes, wanted: set[str], count: Count
    ) -> str | None:
        """Return which of these key-ids an item holds, if it does.

        Every seal is checked, whatever the record says: an edited one may have held any of them.
        What a worker wrote is read only where it could matter.
        """
        try:
            body = self._codec.checked(Place(project, "items", ref), raw)
            if _first(body, NAMES_KEY) not in wanted:
                return None
            item = item_at(project, ref.encode())
            read = self._codec.read_item(item, raw)
        except PermanentError:
            count.flawed.append(f"items {ref}")
            return None
        assignment = read.assignment
        if read.tombstone is not None or assignment is None or assignment.key_id not in wanted:
            return None
        if item.kind is Kind.PARTITION:
            count.partitions[assignment.key_id] = item
        return assignment.key_id

    def destroy(
        self, project: str, seen: KeySeen, after: KeyRecord, *, is_last: bool, forget_at_s: float
    ) -> bool:
        """Destroy a key-id, and the DEK with the last of them; return whether it is done.

        Args:
            project: whose.
            seen: as it was before it was counted who holds it.
            after: its record.
            is_last: whether no other key-id names the DEK.
            forget_at_s: when its record may go; Unix seconds.
        """
        change = after.changed
        without = replace(seen.scope, destroyed_at=None if change is None else change.at)
        argv = [
            seen.key.key_id,
            seen.key_record,
            self._codec.key(project, after),
            seen.holders_counter,
            seen.scope.scope_id,
            seen.scope_record,
            seen.clones_counter,
            self._codec.scope(project, without) if is_last else b"",
            f"{forget_at_s:.3f}",
            self._codec.term,
        ]
        names = self._views.names.all_of(project, *DESTROY_KEYS)
        over, done = {key_thing(after.key_id): after.version}, 0
        for _ in range(ROUNDS):
            ending = self._endings.follow_if_sound(project, over) or (b"", b"")
            (done,) = self._scripts.run([("destroy", names, [*argv, *ending])])
            if done >= 0:
                break
        if done > 0:
            self.keys.tell(project)
        return bool(done > 0)

    def put_right(self, project: str, held: StillHeld, seen: KeySeen) -> bool:
        """Set the counter of a key-id's holders to what was counted; make it active, if need be."""
        changes: list[AnyChange] = [
            HoldersChange(seen.key.key_id, seen.holders_counter, held.holders)
        ]
        if held.after is not None:
            # Not if somebody has let go of it meanwhile: the counter is another then.
            right = replace(seen, holders_counter=b"%d" % held.holders)
            changes.append(Change(right, held.after, compares_holders=True))
        return all(self.keys.change(project, changes))

    def end_partition(
        self, project: str, partition: Item, seen: KeySeen, moment: Moment, by: By
    ) -> bool:
        """Release a partition that no replica is in, at a person's word, with its key-id.

        Its next replica founds it anew: nobody else says of a partition that it is gone.
        """
        (raw,) = self._views.records(project, "items", [partition.ref])
        read = None if raw is None else self._codec.read_item(partition, raw)
        if raw is None or read is None or read.assignment is None or read.tombstone is not None:
            return False
        key = step(
            seen.key, seen.scope, Step.LET_GO,
            by=by, at=moment.at, destroy_at=moment.at,
        )  # fmt: skip
        cause = Cause(seen.key.key_id, PARTITION_ENDED, "key-destroy")
        tombstone = Tombstone(read.assignment.generation, cause, moment.at)
        held = AsHeld(read.assignment, seen.key, seen.scope, read.data)
        changes: list[AnyChange] = [
            ItemChange(raw, Released(partition, tombstone, held)),
            HoldersChange(seen.key.key_id, seen.holders_counter, 0),
        ]
        if isinstance(key, KeyRecord):
            changes.append(Change(seen, key))
        return all(self.keys.change(project, changes))

    def lapse(self, project: str, seen: KeySeen, after: KeyRecord) -> bool:
        """Deactivate what was restored until now, if nobody has joined it meanwhile."""
        return all(self.keys.change(project, [Change(seen, after, compares_holders=True)]))

    def gone(self, project: str, gone_before_s: float, limit: int) -> list[Buried]:
        """Return tombstones that no scope stands on; what is none any more leaves their index."""
        key = self._views.names.of(project, "tombstones")
        with store_errors(of_project=True):
            found = self._views.client.zrangebyscore(key, "-inf", gone_before_s, start=0, num=limit)
        refs = [name.decode(errors="replace") for name in found]
        records = self._views.records(project, "items", refs)
        gone = [
            it
            for ref, raw in zip(refs, records, strict=True)
            if raw is not None and (it := self._gone(project, ref, raw)) is not None
        ]
        kept = {it.ref for it in gone if it.scope_id is None}
        if others := [ref for ref in refs if ref not in kept]:
            with store_errors():
                self._views.client.zrem(key, *others)
        return [it for it in gone if it.ref in kept]

    def members(self, project: str, scope_id: str) -> Iterator[list[Buried] | None]:
        """Give the tombstones of a scope in pages; None for a page in which not all are gone."""
        for page in self.keys.members(project, scope_id):
            found = [self._gone(project, item.ref, raw) if raw else None for item, raw in page]
            whole = [it for it in found if it is not None and it.scope_id == scope_id]
            yield whole if len(whole) == len(page) else None

    def _gone(self, project: str, ref: str, raw: bytes) -> Buried | None:
        try:
            read = self._codec.read_item(item_at(project, ref.encode()), raw)
        except PermanentError:
            return None
        tombstone, assignment = read.tombstone, read.assignment
        if tombstone is None:
            return None
        counter = EARLY if assignment is None else f"{assignment.disposition}_forgotten"
        scope_id = None if assignment is None else assignment.scope_id
        return Buried(ref, raw, scope_id, counter)

    def forget(
        self,
        project: str,
        gone: Sequence[Buried],
        scope: tuple[ScopeRecord, bytes] | None = None,
        keys: Mapping[str, bytes] | None = None,
    ) -> int:
        """Forget tombstones; with ``scope``, it and its key-ids, too, or nothing.

        Returns:
            How many were forgotten: what has changed, or is waited for, stays.
        """
        scope_id = scope[0].scope_id if scope is not None else gone[0].scope_id or ""
        argv: list[Any] = [scope_id, b"" if scope is None else scope[1], len(gone)]
        for it in gone:
            argv += (it.ref, it.record, it.counter)
        for key_id, record in (keys or {}).items():
            argv += (key_id, record)
        names = self._views.names.all_of(project, *FORGET_KEYS)
        (forgotten,) = self._scripts.run([("forget", names, argv)])
        return int(forgotten)


def _first(body: bytes, name: bytes) -> str:
    """Return the first value of this name in a record's body, '' if there is none."""
    _head, found, tail = body.partition(name)
    return tail[: tail.index(b'"')].decode() if found else ""


def _count(reply: Any) -> int:  # noqa: ANN401  # a command's reply, or its error
    """Return a count; of a key that someone has put another type into, `verify` tells.

    Raises:
        StoreUnavailable: it may not be asked for: that would look as if nothing were due.
    """
    if isinstance(reply, RedisError):
        if "WRONGTYPE" in str(reply):
            return 0
        raise translate(reply)
    return int(reply)
