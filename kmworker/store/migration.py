"""A store of a former layout becomes one of the present layout, while no worker runs.

From layout 1, each record is carried over. Layout 3 adds to records what layout 2 did not have
(what is gone, and which life of a name something is of), and changes none that is there; it has one
more counter, of clones.

The layout is written first, as one that is under way: from then on no worker, of whichever
release, takes the store for its own, and the installation's id is settled for every run that
follows. Then each record is replaced where it lies, if it is still what was read; what a run
before this one has replaced is left alone. The layout's number is raised last. So it can be
killed anywhere, run again, and run twice at a time; also beside workers of this release, which
another run has let in: a counter that is there is theirs.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from kmworker import __version__
from kmworker.domain.model import Place
from kmworker.errors import NotFound, PermanentError, SetupError, UnknownKek
from kmworker.store.admission import installed, is_of_layout_1, missing, source_in
from kmworker.store.carrying import Carrier, Former, Present
from kmworker.store.counting import count_clones, count_wraps, number_commits
from kmworker.store.inspection import Views, pages
from kmworker.store.kek_states import (
    STATES,
    KekCustody,
    check_values_in,
    keyring_fields,
    refuse_missing,
)
from kmworker.store.layout import (
    MINIMUM,
    NUMBER,
    Layout,
    check_values,
    fields_of,
    refuse_layout,
)
from kmworker.store.projects import listed_projects, projects_with_keys
from kmworker.store.reading import Flaw, Named, StoreReader, text
from kmworker.store.scripts import Scripts

__all__ = ["FORMER", "CarriedPage", "Flaw", "Migration", "MigrationCustody"]

KEYS: Final = ("scopes", "deks", "keys", "items", "parked", "clones")
# DEKs go with their scopes; key-ids after these, of which they are to name the DEK.
STAGES: Final = ("scopes", "keys", "items", "parked")
FORMER: Final = 1
# Where a key-id's scope is looked for; what its record says is read when its seal has been checked.
SCOPE_ID: Final = re.compile(rb'"scope_id":"([A-Za-z0-9-]{1,64})"')


class MigrationCustody(KekCustody, Present, Protocol):
    """What a migration needs of the custody."""


class CarriedPage(NamedTuple):
    """What one page came to."""

    looked_at: int
    carried: int
    flaws: list[Flaw]


class _Task(NamedTuple):
    place: Place
    field: bytes
    before: bytes
    carry: Callable[[], bytes | None]


class _Change(NamedTuple):
    key: str
    field: bytes
    before: bytes
    after: bytes


class Migration:
    """One run.

    Every method raises `StoreUnavailable` when the store does not answer; another run goes on.

    Attributes:
        size: about how many records there are.
        is_done: whether there is nothing to do: the store is of the present layout.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        views: Views,
        custody: MigrationCustody,
        former: Callable[[str], Former],
        *,
        new_id: Callable[[], str],
        now: Callable[[], str],
        is_rehearsal: bool = False,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            views: the store, as someone sees it who may replace records.
            custody: that is to enter the installation.
            former: the custody of layout 1, which wraps for the installation that it is given.
            new_id: draws the installation's id.
            now: RFC 3339, UTC.
            is_rehearsal: do everything but write.
        """
        self.size = 0
        self.is_done = False
        self._views = views
        self._reader = StoreReader(views.client, views.names)
        self._scripts = Scripts(views.client)
        self._custody = custody
        self._former = former
        self._new_id = new_id
        self._now = now
        self._is_rehearsal = is_rehearsal
        self._seal = ""
        self._source = ""
        self._has_states = False
        self._layout: Layout
        self._carrier: Carrier
        self._projects: list[str] = []

    @property
    def number(self) -> int:
        """The layout that the store is of, once this has begun."""
        return self._layout.number

    def begin(self) -> None:
        """Settle which installation this is, and see what there is to carry over.

        Raises:
            NotFound: no worker has used the store yet.
            SetupError: it is not one of ours, or not one that can be migrated.
        """
        layout, keyring = self._views.fields("layout"), self._views.keyring()
        if not layout and not keyring and not self._views.has_projects():
            raise NotFound("no worker has used this store yet", "there is nothing to migrate")
        if layout:
            self._take_up(layout, keyring)
        else:
            self._found(keyring)
        if self.is_done:
            return
        self._custody.enter(self._layout.installation)
        self._projects = sorted(self._all_projects())
        sizes = self._reader.sizes(self._projects)
        stages: tuple[str, ...] = ("keys",)
        if self._layout.number == FORMER:
            self._carrier = Carrier(self._former(self._layout.installation), self._custody)
            stages = (*STAGES, "keys")
        self.size = sum(size[key] for size in sizes for key in stages)
        if not self._is_rehearsal:
            # Former layouts did not count them; those of layout 1 are wrapped anew by this run.
            count_wraps(self._views, self._custody.kek_ids, sum(it["scopes"] for it in sizes))

    def steps(self) -> Iterator[CarriedPage]:
        """Carry records over, page by page, until none of layout 1 is left but flawed ones.

        A record that changed while it was carried over is looked at again.
        """
        for project in self._projects:
            types = self._reader.types(project)
            if self._layout.number == FORMER:
                yield from self._carry(project, types)
            if types["keys"] == "hash":
                yield self._count_clones(project)

    def _carry(self, project: str, types: Mapping[str, str]) -> Iterator[CarriedPage]:
        for key in STAGES:
            keys = ("scopes", "deks") if key == "scopes" else (key,)
            wrong = [k for k in keys if types[k] not in {"none", "hash"}]
            if wrong:
                says = f"it is a {types[wrong[0]]}, and should be a hash"
                yield CarriedPage(0, 0, [Flaw(Place(project, wrong[0], ""), says)])
                continue
            yield from self._stage(project, key)

    def _count_clones(self, project: str) -> CarriedPage:
        """Count what layout 3 counts, where no worker of layout 3 has begun to."""
        looked_at = 0

        def seen() -> Iterator[Sequence[Named]]:
            nonlocal looked_at
            for page in self._reader.all(project, "keys"):
                looked_at += len(page)
                yield page

        counted = count_clones(project, seen(), self._custody)
        for page in pages(counted.items()):
            named = ((scope_id.encode(), b"%d" % number) for scope_id, number in page)
            self._make(project, [_Change("clones", it, b"", number) for it, number in named])
        return CarriedPage(looked_at, 0, [])

    def finish(self) -> None:
        """Say that the store is of the present layout; the last step.

        Raises:
            SetupError: somebody else has written the layout meanwhile.
        """
        if self._is_rehearsal:
            return
        if self._layout.number == FORMER:
            sizes = self._reader.sizes(self._projects)
            number_commits(self._views, dict(zip(self._projects, sizes, strict=True)))
        now = replace(self._layout, number=NUMBER, minimum=MINIMUM, changed_at=self._now())
        keyring = [] if self._has_states else self._keyring_fields()
        self._write(replace(now, release=__version__), keyring)

    def _take_up(self, layout: Mapping[str, str], keyring: Mapping[str, str]) -> None:
        """Go on with what another run has begun, or see that it is done."""
        names = self._views.names
        self._layout = installed(layout, keyring, self._custody, names)
        installation = self._layout.installation
        self._source = source_in(keyring, installation, self._custody, names)
        if self._layout.number < NUMBER:
            ours = check_values(self._custody, installation, self._source)
            refuse_missing(check_values_in(keyring), ours, names.top("keyring"))
        self._has_states = STATES in keyring
        self._seal = layout["seal"]
        if self._layout.number >= NUMBER:
            refuse_layout(self._layout)
            self.is_done = True
        elif self._layout.is_settled and not self._is_rehearsal:
            self._write(replace(self._layout, minimum=MINIMUM, release=__version__), [])

    def _found(self, keyring: Mapping[str, str]) -> None:
        """Give a store of layout 1 an installation's id, and both hashes that are bound to it."""
        names = self._views.names
        if not is_of_layout_1(keyring, self._custody, names):
            raise missing(names.top("layout") if keyring else names.top("keyring"))
        self._source = keyring["source"]
        self._layout = Layout(FORMER, MINIMUM, self._new_id(), self._now())
        if not self._is_rehearsal:
            self._write(self._layout, self._keyring_fields())

    def _keyring_fields(self) -> list[str]:
        """Return what `km:keyring` is to say: former layouts knew no states of KEKs."""
        installation = self._layout.installation
        self._has_states = True
        return keyring_fields(self._source, installation, self._custody, self._now())

    def _write(self, layout: Layout, keyring: Sequence[str]) -> None:
        names = self._views.names
        fields = fields_of(layout, self._custody)
        keys = [names.top("layout"), names.top("keyring")]
        argv = [self._seal, self._source, len(fields), *fields, *keyring]
        (written,) = self._scripts.run([("layout", keys, argv)])
        if not written:
            raise SetupError(
                f"{keys[0]} was written to meanwhile",
                hint="if another migration runs, wait for its end; then run it again",
            )
        self._seal, self._layout = fields[-1], layout

    def _all_projects(self) -> set[str]:
        with_keys = projects_with_keys(self._reader)
        if with_keys is None:
            raise SetupError(
                "this user may not list the store's keys (SCAN), and projects could be left out",
                hint="use the Redis user migrator; see config/redis/README.md",
            )
        return listed_projects(self._reader) | with_keys

    def _stage(self, project: str, key: str) -> Iterator[CarriedPage]:
        cursor: int | None = None
        while cursor != 0:
            cursor, page = self._reader.scan(project, key, cursor or 0)
            while page:
                changes, flaws = self._changes(project, key, page)
                made = self._make(project, changes)
                yield CarriedPage(len(page), made, flaws)
                # Somebody was faster with one of them: see what is left to do.
                left = [] if made == len(changes) else [change.field for change in changes]
                page = self._reader.again(project, key, left) if left else []

    def _make(self, project: str, changes: Sequence[_Change]) -> int:
        if self._is_rehearsal or not changes:
            return len(changes)
        keys = self._views.names.all_of(project, *KEYS)
        argv: list[Any] = []
        for change in changes:
            argv += (KEYS.index(change.key) + 1, change.field, change.before, change.after)
        (made,) = self._scripts.run([("carry", keys, argv)])
        return int(made)

    def _changes(
        self, project: str, key: str, page: Sequence[Named]
    ) -> tuple[list[_Change], list[Flaw]]:
        """Return what is to be written for a page, and what cannot be carried over."""
        changes: list[_Change] = []
        flaws: list[Flaw] = []
        for task in self._tasks(project, key, page):
            try:
                after = task.carry()
            except PermanentError as flaw:
                flaws.append(Flaw(task.place, flaw.detail))
            except UnknownKek as flaw:
                flaws.append(Flaw(task.place, str(flaw)))
            except (AttributeError, KeyError, TypeError, ValueError):
                flaws.append(Flaw(task.place, "its seal fits, but this release cannot read it"))
            else:
                if after is not None:
                    changes.append(_Change(task.place.key, task.field, task.before, after))
        return changes, flaws

    def _tasks(self, project: str, key: str, page: Sequence[Named]) -> Iterator[_Task]:
        """Give what there is to do for the records of a page, and for their DEKs."""
        beside: dict[str, Any] = {}
        if key == "keys":
            scope_ids = [found[1].decode() for _, raw in page if (found := SCOPE_ID.search(raw))]
            beside = self._reader.fetch(project, {"scopes": scope_ids})["scopes"]
        if key == "scopes":
            names = [text(field) for field, _raw in page]
            beside = self._reader.fetch(project, {"deks": names})["deks"]
        carrier = self._carrier
        carries: dict[str, Callable[[Place, bytes], bytes | None]]
        carries = {"items": carrier.item, "keys": partial(carrier.key, scopes=beside)}
        carry = carries.get(key, carrier.as_it_is)
        for field, raw in page:
            place = Place(project, key, text(field))
            yield _Task(place, field, raw, partial(carry, place, raw))
            blob = beside.get(place.field)
            if key == "scopes" and blob is not None:
                at_dek = place._replace(key="deks")
                yield _Task(at_dek, field, blob, partial(carrier.dek, place, raw, blob))
