"""Every record and wrapped DEK of a store goes under the active KEK, beside its workers.

A project is fenced first: from then on no script writes there for whoever writes under an older
KEK, however long he has slept. What is found after that by a scan is all that there is, since a
scan gives whatever is there from its beginning to its end. Nothing is written that is not as it was
read; so this can be killed anywhere, run again, and run several times at once. What is not
authentic is left as it is: under another seal it would look as if it were.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from kmworker.domain.model import Place, ScopeRecord
from kmworker.errors import PermanentError, StoreUnavailable, UnknownKek
from kmworker.ports import Custody
from kmworker.store import leases
from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.inspection import Views
from kmworker.store.kek_states import KekCustody
from kmworker.store.layout import fields_of, layout_in
from kmworker.store.projectless import projectless_under, reseal_projectless
from kmworker.store.projects import listed_projects, projects_with_keys
from kmworker.store.reading import Flaw, Named, StoreReader, flaw_of, text
from kmworker.store.records import CHAIN, ENDINGS, SEAL_BYTES, RecordCodec
from kmworker.store.scripts import Scripts
from kmworker.store.wraps import Wraps

__all__ = ["Flaw", "Reference", "RewrapCustody", "RewrappedPage", "Rewrapping"]

KEYS: Final = (
    "items", "keys", "scopes", "deks", "parked", "outbox", "commits", "fence", "grants", "stats",
    "unrecorded", "endings",
)  # fmt: skip
# Nothing moves from one of these into another.
SEALED: Final = (
    "items", "keys", "scopes", "parked", "outbox", "grants", "unrecorded", "endings",
)  # fmt: skip
LEASE_S: Final = 30.0
ROUNDS: Final = 100


class RewrapCustody(Custody, KekCustody, Protocol):
    """What a custody must do for rewrapping."""

    def rewrap(self, project: str, before: ScopeRecord, after: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK of a wrapped one, wrapped under another KEK.

        Raises:
            UnknownKek: ``before.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`: it does not unwrap.
        """
        ...


class RewrappedPage(NamedTuple):
    """What one page came to."""

    looked_at: int
    rewrapped: int
    flaws: list[Flaw]


class Reference(NamedTuple):
    """A record that names a KEK."""

    place: Place
    is_authentic: bool


class _Rewrap(NamedTuple):
    key: str
    field: bytes
    before: bytes
    after: bytes
    dek: bytes = b""
    dek_after: bytes = b""


class Rewrapping:
    """One run.

    Every method raises `StoreUnavailable` when the store does not answer; another run goes on.
    """

    def __init__(self, views: Views, custody: RewrapCustody, *, is_rehearsal: bool = False) -> None:
        """Prepare; nothing is sent yet.

        Args:
            views: the store, as someone sees it who may replace records.
            custody: has entered it, and goes by what it says of KEKs.
            is_rehearsal: do everything but write.
        """
        self._views = views
        self._custody = custody
        self._codec = RecordCodec(custody)
        self._wraps = Wraps(views.client, views.names, custody)
        self._reader = StoreReader(views.client, views.names)
        self._scripts = Scripts(views.client)
        self._is_rehearsal = is_rehearsal
        self._active = custody.kek_id.encode()
        self._sealed_under_active = b',"seal":"v2.' + self._active + b"."

    def projects(self) -> list[str]:
        """Return all projects, listed or not, in the order of their names."""
        with_keys = projects_with_keys(self._reader) or set()
        return sorted(listed_projects(self._reader) | with_keys)

    def size(self, projects: Sequence[str]) -> int:
        """Return about how many records there are in these."""
        return sum(sum(size[key] for key in SEALED) for size in self._reader.sizes(projects))

    def take(self, project: str, holder: str) -> bool:
        """Return whether this run may go over a project; another may have it just now."""
        if self._is_rehearsal:
            return True
        with store_errors():
            return leases.take(self._views.client, self._lease(project), holder, LEASE_S)

    def _lease(self, project: str) -> str:
        return self._views.names.lease(f"rewrap:{project}")

    def rewrap(self, project: str) -> Iterator[RewrappedPage]:
        """Fence a project, and have all that is in it under the active KEK, page by page.

        Raises:
            StoreUnavailable: another KEK has become active meanwhile.
        """
        self._make(project, [], is_fencing=True)
        for key in SEALED:
            for page in self._reader.all(project, key):
                yield self._page(project, key, page)
                self._keep_lease(project)
        if not self._is_rehearsal:
            with store_errors():
                leases.give_back(self._views.client, self._lease(project))

    def _keep_lease(self, project: str) -> None:
        if not self._is_rehearsal:
            with store_errors():
                leases.keep(self._views.client, self._lease(project), LEASE_S)

    def _page(self, project: str, key: str, page: Sequence[Named]) -> RewrappedPage:
        looked_at, made, flaws = len(page), 0, []
        for _ in range(ROUNDS):
            changes, wrong = self._changes(project, key, page)
            flaws += wrong
            done = self._make(project, changes)
            made += done
            if done == len(changes):
                return RewrappedPage(looked_at, made, flaws)
            # Somebody was faster with one of them: see what is left to do.
            page = self._reader.again(project, key, [change.field for change in changes])
        raise StoreUnavailable(f"records of project {project} change all the time: run it again")

    def _make(self, project: str, changes: Sequence[_Rewrap], *, is_fencing: bool = False) -> int:
        if self._is_rehearsal or not (changes or is_fencing):
            return len(changes)
        argv: list[Any] = [self._custody.term, int(is_fencing), self._active]
        for change in changes:
            argv += (KEYS.index(change.key) + 1, *change[1:])
        names = self._views.names.all_of(project, *KEYS)
        (made,) = self._scripts.run([("rewrap", names, argv)])
        if made < 0:
            raise StoreUnavailable("another KEK is active since this began: run it again")
        return int(made)

    def _changes(
        self, project: str, key: str, page: Sequence[Named]
    ) -> tuple[list[_Rewrap], list[Flaw]]:
        """Return what is to be written for a page, and what stays as it is."""
        if key == "scopes":
            return self._of_scopes(project, [field for field, raw in page if self._is_old(raw)])
        changes, flaws = [], []
        for field, raw in page:
            if raw[-SEAL_BYTES:].startswith(self._sealed_under_active):
                continue
            place = _place_of(project, key, field)
            try:
                body = self._custody.check_seal(place, raw)
            except (PermanentError, UnknownKek) as wrong:
                flaws.append(flaw_of(place, wrong))
            else:
                changes.append(_Rewrap(key, field, raw, self._custody.seal(place, body)))
        return changes, flaws

    def _is_old(self, scope: bytes) -> bool:
        """Return whether a scope's record, or its DEK, is under another KEK."""
        of_dek = b'"kek_id":"' + self._active + b'"'
        is_sealed_under_it = scope[-SEAL_BYTES:].startswith(self._sealed_under_active)
        return not is_sealed_under_it or of_dek not in scope

    def _of_scopes(self, project: str, fields: Sequence[bytes]) -> tuple[list[_Rewrap], list[Flaw]]:
        changes: list[_Rewrap] = []
        flaws: list[Flaw] = []
        scope_ids = [text(field) for field in fields]
        # At one moment: else a scope and a wrapped DEK could be those of two KEKs.
        wanted = {"scopes": scope_ids, "deks": scope_ids}
        found = self._reader.fetch(project, wanted, atomic=True)
        for field, scope_id in zip(fields, scope_ids, strict=True):
            raw, dek = found["scopes"][scope_id], found["deks"][scope_id]
            if raw is None:
                continue
            place = Place(project, "scopes", scope_id)
            try:
                scope = self._codec.read_scope(project, scope_id, raw)
                after = scope.under(self._custody.kek_id)
                moved = self._moved(project, scope, after, dek)
            except (PermanentError, UnknownKek) as wrong:
                flaws.append(flaw_of(place, wrong))
                continue
            sealed = self._codec.scope(project, after)
            changes.append(_Rewrap("scopes", field, raw, sealed, dek or b"", moved))
        return changes, flaws

    def _moved(
        self, project: str, before: ScopeRecord, after: ScopeRecord, dek: bytes | None
    ) -> bytes:
        if dek is None or before.kek_id == after.kek_id:
            return dek or b""
        if not self._is_rehearsal:
            self._wraps.take()
        return self._custody.rewrap(project, before, after, dek)

    def finish(self) -> RewrappedPage:
        """Have what belongs to no project under the active KEK, too; after all projects.

        Raises:
            SetupError: the layout is not as it was sealed.
        """
        found = reseal_projectless(self._views, self._custody, is_rehearsal=self._is_rehearsal)
        self._finish_layout()
        return RewrappedPage(*found)

    def _finish_layout(self) -> None:
        key = self._views.names.top("layout")
        fields, source = self._views.fields("layout"), self._views.field("keyring", "source")
        found = layout_in(fields, self._custody, key)
        if self._is_rehearsal or f".{self._custody.kek_id}." in fields["seal"]:
            return
        sealed = fields_of(found, self._custody)
        keys = [key, self._views.names.top("keyring")]
        # Whoever was faster has sealed it under this KEK, or under a newer one.
        self._scripts.run([("layout", keys, [fields["seal"], source, len(sealed), *sealed])])

    def references(self, project: str, kek_id: str) -> Iterator[list[Reference]]:
        """Give, page by page, what names a KEK in a project.

        Raises:
            StoreUnavailable: the project is not fenced against what is written under older KEKs.
        """
        if not self.is_fenced(project):
            raise StoreUnavailable(f"project {project} is not rewrapped yet: kmworker rewrap")
        sealed, wrapped = f',"seal":"v2.{kek_id}.'.encode(), f'"kek_id":"{kek_id}"'.encode()
        for key in SEALED:
            for page in self._reader.all(project, key):
                yield [
                    Reference(place, self._is_authentic(place, raw))
                    for field, raw in page
                    if sealed in raw[-SEAL_BYTES:] or (key == "scopes" and wrapped in raw)
                    for place in [_place_of(project, key, field)]
                ]

    def _is_authentic(self, place: Place, raw: bytes) -> bool:
        try:
            self._custody.check_seal(place, raw)
        except (PermanentError, UnknownKek):
            return False
        return True

    def references_of_no_project(self, kek_id: str) -> list[Reference]:
        """Return what names a KEK and belongs to no project."""
        found = [
            Reference(place, self._is_authentic(place, record))
            for place, record in projectless_under(self._views, kek_id)
        ]
        if f".{kek_id}." in self._views.fields("layout").get("seal", ""):
            found.append(Reference(Place("", "layout", "seal"), is_authentic=True))
        return found

    def is_fenced(self, project: str) -> bool:
        """Return whether nothing can be written in a project any more under an older KEK."""
        with store_errors():
            (fence,) = self._views.client.mget([self._views.names.of(project, "fence")])
        return (number_in(fence) or 0) >= self._custody.term


def _place_of(project: str, key: str, field: bytes) -> Place:
    name = text(field)
    if key == ENDINGS:
        # Its number says which it is; its place in the list is what it is called here.
        return Place(project, key, CHAIN)
    if key == "outbox":
        # Records of key-ids, as they are to be announced.
        return Place(project, "keys", name.partition(" ")[0])
    return Place(project, key, name)
