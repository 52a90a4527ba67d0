"""What a leak makes compromised: scopes, then the key-ids that name their DEKs.

Scopes first: whoever adds a key-id to one after that has read a record that says so. What a run
before has marked is left alone, so this can be killed anywhere and run again.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kmworker.clock import rfc3339
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep, compromise, compromised
from kmworker.domain.model import Place, ScopeRecord
from kmworker.domain.retention import Change, KeySeen
from kmworker.errors import PermanentError, StoreUnavailable, UnknownKek
from kmworker.store.inspection import Views
from kmworker.store.item_records import RELEASED
from kmworker.store.key_states import KeyStates, ScopeChange
from kmworker.store.projects import listed_projects, projects_with_keys
from kmworker.store.reading import Flaw, StoreReader, flaw_of
from kmworker.store.records import RecordCodec
from kmworker.store.scripts import Scripts
from kmworker.store.views.lineage import item_data, json_object

__all__ = ["Compromising", "Hit", "Marked"]

ROUNDS: Final = 10


class Hit(NamedTuple):
    """An item whose DEK has been under a KEK, by records whose seals are not looked at."""

    project: str
    ref: str
    scope_id: str
    is_gone: bool


class Marked(NamedTuple):
    """What a page came to."""

    looked_at: int
    marked: int
    flaws: list[Flaw]


class Compromising:
    """One run; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, views: Views, codec: RecordCodec, by: Operator) -> None:
        """Prepare; nothing is sent yet.

        Args:
            views: the store, as a key operator sees it.
            codec: for its installation.
            by: whose word it is.
        """
        self._views = views
        self._codec = codec
        self._states = KeyStates(views, codec)
        self._scripts = Scripts(views.client)
        self._by = by

    def projects(self) -> list[str]:
        """Return all projects, listed or not, in the order of their names."""
        reader = StoreReader(self._views.client, self._views.names)
        return sorted(listed_projects(reader) | (projects_with_keys(reader) or set()))

    def hits(self, project: str, kek_id: str) -> Iterator[tuple[int, list[Hit]]]:
        """Give, page by page, how many items were looked at, and those that a KEK's leak hits."""
        for page in self._views.all_records(project, "items"):
            of = {ref: item_data(raw).get("scope_id") for ref, raw in page}
            exposed = self._exposed(project, kek_id, {it for it in of.values() if it})
            yield (
                len(page),
                [
                    Hit(project, ref, str(of[ref]), json_object(raw).get("state") == RELEASED)
                    for ref, raw in sorted(page)
                    if of[ref] in exposed
                ],
            )

    def _exposed(self, project: str, kek_id: str, scope_ids: set[str]) -> set[str]:
        names = sorted(scope_ids)
        records = zip(names, self._views.records(project, "scopes", names), strict=True)
        return {name for name, raw in records if raw is not None and _names(raw, kek_id)}

    def fence(self, project: str) -> None:
        """Have nobody write in a project under an older KEK: what is found then is all there is.

        Raises:
            StoreUnavailable: another KEK has become active meanwhile.
        """
        keys = self._views.names.all_of(project, "commits", "fence")
        (done,) = self._scripts.run([("fence", keys, [self._codec.term])])
        if not done:
            raise StoreUnavailable("another KEK is active since this began: run it again")

    def scopes_under(self, project: str, kek_id: str) -> Iterator[Marked]:
        """Mark the scopes of a project whose DEKs are, or ever were, under a KEK; page by page."""
        for page in self._views.all_records(project, "scopes"):
            named = [scope_id for scope_id, raw in page if kek_id.encode() in raw]
            marked, flaws = self.scopes(project, named, kek_id)
            yield Marked(len(page), marked, flaws)

    def scopes(
        self, project: str, scope_ids: Sequence[str], kek_id: str | None = None
    ) -> tuple[int, list[Flaw]]:
        """Mark scopes, but for those whose DEK is destroyed.

        Args:
            project: theirs.
            scope_ids: of those that may be hit.
            kek_id: mark only what is, or ever was, under this KEK.

        Returns:
            How many are marked now that were not, and what cannot be read.

        Raises:
            StoreUnavailable: they change so often that nobody gets hold of them.
        """
        left, marked = list(scope_ids), 0
        for _ in range(ROUNDS):
            changes, flaws = self._scope_changes(project, left, kek_id)
            done = self._states.change(project, changes)
            marked += sum(done)
            left = [it.scope.scope_id for it, made in zip(changes, done, strict=True) if not made]
            if not left:
                return marked, flaws
        raise StoreUnavailable(f"scopes of project {project} change too often: run it again")

    def _scope_changes(
        self, project: str, scope_ids: Sequence[str], kek_id: str | None
    ) -> tuple[list[ScopeChange], list[Flaw]]:
        changes: list[ScopeChange] = []
        flaws: list[Flaw] = []
        at = rfc3339(self._views.clock_s())
        records = self._views.records(project, "scopes", scope_ids)
        for scope_id, raw in zip(scope_ids, records, strict=True):
            if raw is None:
                continue
            try:
                scope = self._codec.read_scope(project, scope_id, raw)
            except (PermanentError, UnknownKek) as wrong:
                flaws.append(flaw_of(Place(project, "scopes", scope_id), wrong))
                continue
            if _is_spared(scope, kek_id):
                continue
            after = compromise(scope, self._by, at)
            if not isinstance(after, NoStep):
                changes.append(ScopeChange(scope, raw, after))
        return changes, flaws

    def keys(self, project: str, scope_id: str | None = None) -> Iterator[Marked]:
        """Mark the key-ids of a project whose scopes are marked; page by page.

        Args:
            project: theirs.
            scope_id: only of this scope.
        """
        named = b"" if scope_id is None else f'"scope_id":"{scope_id}"'.encode()
        for page in self._views.all_records(project, "keys"):
            marked, flaws = self._page(project, [key_id for key_id, raw in page if named in raw])
            yield Marked(len(page), marked, flaws)

    def _page(self, project: str, key_ids: Sequence[str]) -> tuple[int, list[Flaw]]:
        left, marked = list(key_ids), 0
        for _ in range(ROUNDS):
            seen, flaws = self._seen(project, left)
            changes = [
                Change(it, after)
                for it in seen
                if (after := compromised(it.key, it.scope)) is not None
            ]
            done = self._states.change(project, changes)
            marked += sum(done)
            left = [it.after.key_id for it, made in zip(changes, done, strict=True) if not made]
            if not left:
                return marked, flaws
        raise StoreUnavailable(f"key-ids of project {project} change too often: run it again")

    def _seen(self, project: str, key_ids: Sequence[str]) -> tuple[list[KeySeen], list[Flaw]]:
        try:
            return list(self._states.read(project, key_ids).values()), []
        except (PermanentError, UnknownKek):
            # One that is damaged must not keep the others from being marked.
            return self._seen_one_by_one(project, key_ids)

    def _seen_one_by_one(
        self, project: str, key_ids: Sequence[str]
    ) -> tuple[list[KeySeen], list[Flaw]]:
        seen: list[KeySeen] = []
        flaws: list[Flaw] = []
        for key_id in key_ids:
            try:
                seen += self._states.read(project, [key_id]).values()
            except (PermanentError, UnknownKek) as wrong:
                flaws.append(flaw_of(Place(project, "keys", key_id), wrong))
        return seen, flaws


def _is_spared(scope: ScopeRecord, kek_id: str | None) -> bool:
    if scope.destroyed_at is not None:
        return True
    return kek_id is not None and not scope.is_exposed_by(kek_id)


def _names(raw: bytes, kek_id: str) -> bool:
    scope = json_object(raw)
    former = scope.get("former_keks")
    is_former = isinstance(former, list) and kek_id in former
    return (is_former or scope.get("kek_id") == kek_id) and scope.get("destroyed_at") is None
