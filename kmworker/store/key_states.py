"""Key-ids in the hands of a person or of the janitor: their records, read and changed.

Nothing is changed that is not as it was read: whoever is beaten to it looks again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kmworker.domain.endings import is_end, key_thing
from kmworker.domain.model import Item, Released, ScopeRecord
from kmworker.domain.retention import ABSENT, Change, KeySeen
from kmworker.domain.values import value
from kmworker.errors import PermanentError, Reason, StoreUnavailable
from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.encoding import due_score
from kmworker.store.endings import Endings
from kmworker.store.inspection import PAGE_SIZE, Views, pages
from kmworker.store.outbox import marking
from kmworker.store.records import RecordCodec, item_at, refuse_other_dek
from kmworker.store.scripts import Scripts

__all__ = [
    "AnyChange",
    "HoldersChange",
    "ItemChange",
    "KeyStates",
    "ScopeChange",
    "holders_of",
]

CHANGE_KEYS: Final = (
    "keys", "scopes", "outbox", "keys:due", "holders", "commits", "items", "stats", "fence",
)  # fmt: skip
ROUNDS: Final = 10
"""How often it is tried to be the next at the end of a chain."""
BEATEN: Final = [-1]


@value
class ScopeChange:
    """What becomes of a scope."""

    scope: ScopeRecord
    before: bytes
    after: ScopeRecord


@value
class HoldersChange:
    """What a counter of holders is set to."""

    key_id: str
    before: bytes
    after: int


@value
class ItemChange:
    """What becomes of an item's record: a tombstone."""

    before: bytes
    after: Released


AnyChange = Change | ScopeChange | HoldersChange | ItemChange


def holders_of(seen: KeySeen) -> int:
    """Return how many items hold a key-id, by its counter."""
    found = seen.holders_counter
    return 0 if found == ABSENT else number_in(found) or 0


class KeyStates:
    """Reads and changes; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, views: Views, codec: RecordCodec) -> None:
        self._views = views
        self._codec = codec
        self._scripts = Scripts(views.client)
        self._endings = Endings(views.client, views.names, codec)

    def read(self, project: str, key_ids: Sequence[str]) -> dict[str, KeySeen]:
        """Return those of these key-ids that are there, with their scopes.

        Raises:
            PermanentError: with `Reason.INTEGRITY`: a record fails authentication, its scope is
                missing, or is of another DEK.
            UnknownKek: a record is under a KEK that the keyring lacks.
        """
        views = self._views
        raw_keys = dict(zip(key_ids, views.records(project, "keys", key_ids), strict=True))
        keys = {it: self._codec.read_key(project, it, raw) for it, raw in raw_keys.items() if raw}
        scope_ids = list({key.scope_id for key in keys.values()})
        raw_scopes = dict(zip(scope_ids, views.records(project, "scopes", scope_ids), strict=True))
        clones = dict(zip(scope_ids, views.records(project, "clones", scope_ids), strict=True))
        held = dict(zip(keys, views.records(project, "holders", list(keys)), strict=True))
        scopes = {
            it: self._codec.read_scope(project, it, raw) for it, raw in raw_scopes.items() if raw
        }
        found = {}
        for key_id, key in keys.items():
            scope, raw_key = scopes.get(key.scope_id), raw_keys[key_id]
            raw_scope = raw_scopes[key.scope_id]
            if scope is None or raw_scope is None or raw_key is None:
                detail = f"the scope of key-id {key_id} is missing from the store"
                raise PermanentError(Reason.INTEGRITY, detail)
            refuse_other_dek(key, scope)
            holders, beside = held[key_id] or ABSENT, clones[key.scope_id] or ABSENT
            found[key_id] = KeySeen(key, scope, raw_key, raw_scope, holders, beside)
        return found

    def members(self, project: str, scope_id: str) -> Iterator[list[tuple[Item, bytes | None]]]:
        """Give the items of a scope in pages, with their records."""
        views = self._views
        key, after = views.names.of(project, "lineage"), f"[{scope_id} "
        while True:
            with store_errors():
                found = views.client.zrangebylex(
                    key, after, f"({scope_id}!", start=0, num=PAGE_SIZE
                )
            if not found:
                return
            refs = [name.partition(b" ")[2] for name in found]
            records = views.records(project, "items", [ref.decode() for ref in refs])
            yield [(item_at(project, it), raw) for it, raw in zip(refs, records, strict=True)]
            after = f"({found[-1].decode()}"

    def change(self, project: str, changes: Iterable[AnyChange]) -> list[bool]:
        """Make changes, each if all it rests on is as it was read; say of each whether it was.

        Of some that are made together and end something, all key-ids are as they were read, or none
        is changed. What has become of key-ids is announced by whichever worker looks next.
        """
        made: list[bool] = []
        for page in pages(changes):
            made += [bool(it) for it in self._change(project, page)]
        if any(made):
            self.tell(project)
        return made

    def _change(self, project: str, changes: Sequence[AnyChange]) -> list[int]:
        over = {
            key_thing(it.after.key_id): it.after.version
            for it in changes
            if isinstance(it, Change) and is_end(it.seen.key, it.after)
        }
        argv: list[Any] = [self._codec.term]
        for change in changes:
            argv += self._arguments(project, change)
        keys = self._views.names.all_of(project, *CHANGE_KEYS)
        for _ in range(ROUNDS):
            call = "change", keys, argv
            if over and (followed := self._endings.follow_if_sound(project, over)) is not None:
                chain = self._views.names.endings(project)
                call = "change", [*keys, chain], [*argv, "E", *followed, "", "", ""]
            (done,) = self._scripts.run([call])
            if done != BEATEN:
                return list(done)
        raise StoreUnavailable(f"endings of project {project} change all the time: try again")

    def tell(self, project: str) -> None:
        """Have a worker look at the project's outbox at once."""
        with store_errors():
            now = self._views.clock_s()
            self._views.client.execute_command(*marking(self._views.names, project, now))

    def _arguments(self, project: str, change: AnyChange) -> list[Any]:
        if isinstance(change, ScopeChange):
            after = self._codec.scope(project, change.after)
            return ["S", change.scope.scope_id, change.before, after, "", ""]
        if isinstance(change, ItemChange):
            return [
                "I",
                change.after.item.ref,
                change.before,
                self._codec.tombstone(change.after),
                "",
                "",
            ]
        if isinstance(change, HoldersChange):
            return ["H", change.key_id, change.before, change.after, "", ""]
        seen, after_key = change.seen, change.after
        return [
            "K",
            seen.key.key_id,
            seen.key_record,
            self._codec.key(project, after_key),
            due_score(after_key),
            seen.holders_counter if change.compares_holders else "",
        ]
