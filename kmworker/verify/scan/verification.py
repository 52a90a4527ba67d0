"""One check of a whole store, from its first project to its last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import redis
from redis.exceptions import NoPermissionError, ResponseError

from kmworker.clock import Clock
from kmworker.domain.model import Place
from kmworker.errors import NotFound, UnknownKek
from kmworker.store.admission import installed
from kmworker.store.commits import read_commits
from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views, text_of
from kmworker.store.kek_states import check_values_in, states_in
from kmworker.store.layout import (
    Layout,
    LayoutAltered,
    check_values,
    disbelieved,
    other_keyring,
    refuse_layout,
)
from kmworker.store.made_anew import MADE_ANEW
from kmworker.store.names import Names
from kmworker.store.projects import listed_projects, projects_with_keys
from kmworker.store.reading import TYPES, StoreReader, text
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.installation import (
    commits_findings,
    is_project,
    keks_finding,
    keyring_findings,
    layout_finding,
    name_finding,
    totals_findings,
    type_finding,
    unlisted_finding,
)
from kmworker.verify.rules.opened import Sound
from kmworker.verify.scan.clones import CloneStage
from kmworker.verify.scan.counters import CounterStage, passes_over
from kmworker.verify.scan.endings import EndingsStage, projectless_findings
from kmworker.verify.scan.fences import Fences
from kmworker.verify.scan.indexes import IndexStages
from kmworker.verify.scan.opening import Opening, ScanCustody
from kmworker.verify.scan.position import Position
from kmworker.verify.scan.records import RecordStages
from kmworker.verify.scan.stages import Stage
from kmworker.verify.scan.sums import released_in
from kmworker.verify.scan.waiting import WaitingStages
from kmworker.verify.scan.waiting_numbers import WaitingNumberStage, WaitingSharesStage

__all__ = ["Audit"]

TOP_TYPES: Final = {"projects": "set", "layout": "hash", "keyring": "hash"}
DELEGATION_TYPES: Final = {"clients": "hash", "trust": "hash", "endings": "list"}
# What two records show is said once; so many are remembered.
MAX_SAID: Final = 10_000
RUN_ID_LENGTH: Final = 8


class Audit:
    """Checks a store while others write to it.

    Every method raises `StoreUnavailable` when the store does not answer; what was found
    before stands, and `position` says where to go on.

    Attributes:
        position: everything before it has been checked; None before the first project.
        size: about how many records and entries are to be looked at.
        sees_unlisted: whether this user may look for projects that are not listed.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: redis.Redis,
        names: Names,
        custody: ScanCustody,
        *,
        clock: Clock,
        waits_s: float,
        project: str | None = None,
    ) -> None:
        self.position: Position | None = None
        self.size = 0
        self.sees_unlisted = True
        self._client: Any = client  # its types leave open whether replies are bytes
        self._reader = StoreReader(client, names)
        self._opening = Opening(custody)
        self._custody = custody
        self._only = project
        self._stages: Sequence[Stage] = [
            *RecordStages(self._reader, self._opening, clock).stages(),
            *IndexStages(self._reader, self._opening).stages(),
            CounterStage(self._reader, self._opening, clock),
            CloneStage(self._reader, self._opening),
            EndingsStage(self._reader, self._opening),
            *WaitingStages(self._reader, self._opening, clock, waits_s).stages(),
            WaitingNumberStage(self._reader),
            WaitingSharesStage(self._reader, self._opening),
        ]
        self._fences = Fences(self._reader, custody)
        self._layout: Layout | None = None
        self._projects: list[str] = []
        self._listed: set[str] = set()
        self._run_id = ""
        self._totals: dict[bytes, bytes] | None = None
        self._sums: dict[str, int] = {}
        self._top: list[Finding] = []
        self._said: set[tuple[Problem, Place]] = set()
        self._is_whole = True

    def begin(self, start: Position | None = None) -> None:
        """See what there is to check.

        Args:
            start: where to go on; its project's earlier stages and all projects before it,
                in order of their names, have been checked.

        Raises:
            SetupError: the store's records are under a KEK that our keyring lacks.
            NotFound: there is nothing of the one project that was asked for.
            ValueError: there is no such position.
        """
        if start is not None and start.stage not in {stage.name for stage in self._stages}:
            raise ValueError("there is no such stage")
        self._run_id = self._ask_run_id()
        self._look_at_top()
        names = {self._only} if self._only is not None else self._all_projects()
        if self._only is None and self._is_whole:
            self._top += self._commits_findings(names)
        if start is not None:
            names = {name for name in names if name >= start.project}
            # Another server process orders its fields differently: its cursors say nothing here.
            same = self._run_id != "" and start.run_id == self._run_id
            self.position = start if same else start._replace(cursor=0, run_id=self._run_id)
        if self._layout is None and names:
            # Which installation's seals they should have is not known: nothing can be said of them.
            self._is_whole, names = False, set()
            if not any(finding.place.key == "layout" for finding in self._top):
                self._top.append(layout_finding("there are records, and no layout"))
        self._projects = sorted(names)
        sizes = self._reader.sizes(self._projects)
        if self._is_unknown(sizes):
            raise NotFound(f"no project {self._only}", "kmworker show finds an item's project")
        self.size = sum(_effort(size) for size in sizes)
        is_all = start is None and self._only is None and self.sees_unlisted
        self._sums = {
            key: sum(size[key] for size in sizes) if is_all else -1
            for key in ("items", "keys", "scopes")
        }

    def _is_unknown(self, sizes: Sequence[Mapping[str, int]]) -> bool:
        """Return whether there is nothing of the one project that was asked for."""
        return (
            bool(sizes) and self._only not in {None, *self._listed} and not any(sizes[0].values())
        )

    def steps(self) -> Iterator[tuple[int, list[Finding]]]:
        """Check; give, page by page, how much was looked at and what is wrong."""
        start = self.position
        yield 0, self._new(self._top)
        for project in self._projects:
            begins = start if start is not None and start.project == project else None
            if begins is None:
                yield 0, self._new(self._named(project))
                yield 0, self._new(self._fences.findings(project))
            yield from self._check(project, begins)
        yield 0, self._new(self._last())

    def _check(self, project: str, start: Position | None) -> Iterator[tuple[int, list[Finding]]]:
        if not is_project(project):
            return
        wrong = {
            key: found
            for key, found in self._reader.types(project).items()
            if found not in {"none", TYPES[key]}
        }
        self._is_whole &= not wrong
        yield 0, self._new(type_finding(project, key, wrong[key], TYPES[key]) for key in wrong)
        names = [stage.name for stage in self._stages]
        first = 0 if start is None else names.index(start.stage)
        for stage in self._stages[first:]:
            cursor = start.cursor if start is not None and stage.name == start.stage else 0
            self.position = Position(project, stage.name, cursor, self._run_id)
            if wrong.keys() & set(stage.keys):
                continue
            for step in stage.run(project, cursor):
                yield step.looked_at, self._new(step.findings)
                if step.cursor:
                    self.position = self.position._replace(cursor=step.cursor)

    def _named(self, project: str) -> Iterator[Finding]:
        if not is_project(project):
            yield name_finding(project)
        elif project not in self._listed and self.sees_unlisted:
            sound = _has_sound_record(self._reader, self._opening, project)
            yield unlisted_finding(project, has_sound_record=sound)

    def _all_projects(self) -> set[str]:
        with_keys = projects_with_keys(self._reader)
        self.sees_unlisted = with_keys is not None
        # Asked after: a project is listed before its first record.
        self._listed = self._ask_listed()
        return self._listed | (with_keys or set())

    def _ask_listed(self) -> set[str]:
        return listed_projects(self._reader) if "projects" not in self._wrong_top() else set()

    def _look_at_top(self) -> None:
        names = self._reader.names
        wrong = self._wrong_top()
        anew = self._wrong_top(MADE_ANEW)
        of_clients = self._wrong_top(DELEGATION_TYPES)
        types = TOP_TYPES | MADE_ANEW | DELEGATION_TYPES
        self._top = [
            type_finding("", key, kind, types[key])
            for key, kind in (wrong | anew | of_clients).items()
        ]
        self._is_whole = not wrong
        self._listed = self._ask_listed()
        with store_errors():
            if "totals" not in anew:
                self._totals = self._client.hgetall(names.top("totals"))
            layout, keyring = (
                {} if key in wrong else text_of(self._client.hgetall(names.top(key)))
                for key in ("layout", "keyring")
            )
        if "layout" not in wrong and (layout or keyring or self._listed):
            self._enter(layout, keyring)
        if "keyring" not in wrong and (self._layout is not None or not keyring):
            installation = "" if self._layout is None else self._layout.installation
            theirs, source = check_values_in(keyring), keyring.get("source", "")
            ours = check_values(self._custody, installation, source)
            if theirs and not theirs.keys() & ours.keys():
                raise other_keyring(next(iter(theirs)), names.top("keyring"))
            in_use = bool(self._listed or layout)
            self._top += keyring_findings(keyring, theirs, ours, in_use=in_use)
            if keyring:
                self._use(layout, keyring, installation)
        if self._layout is not None and not of_clients:
            views = Views(self._client, names)
            self._top += projectless_findings(views, self._opening)

    def _use(
        self, layout: Mapping[str, str], keyring: Mapping[str, str], installation: str
    ) -> None:
        """Open under those KEKs that anything may be under."""
        key = self._reader.names.top("keyring")
        try:
            keks = states_in(keyring, installation, self._custody, key)
        except LayoutAltered:
            self._top.append(keks_finding())
            return
        altered = disbelieved(layout, keks.opening, self._reader.names.top("layout"))
        if altered is not None:
            self._top.append(layout_finding(str(altered)))
        # What is written is not looked at with it: one that is missing shows where it is missed.
        self._fences.use(installation, keks.term)
        with suppress(UnknownKek):
            self._custody.use(keks.active, keks.opening, keks.term)

    def _enter(self, layout: Mapping[str, str], keyring: Mapping[str, str]) -> None:
        """Take the store's installation for the one that its records are to be of."""
        try:
            self._layout = installed(layout, keyring, self._custody, self._reader.names)
        except LayoutAltered as altered:
            self._top.append(layout_finding(str(altered)))
            return
        refuse_layout(self._layout)
        self._custody.enter(self._layout.installation)

    def _commits_findings(self, projects: set[str]) -> Iterator[Finding]:
        with store_errors():
            # Also of those that the list lacks: that is another finding, and can be repaired.
            found = read_commits(self._client, self._reader.names, projects)
        return commits_findings(found.number, found.sum, found.incident)

    def _wrong_top(self, types: Mapping[str, str] = TOP_TYPES) -> dict[str, str]:
        with store_errors():
            found = {k: text(self._client.type(self._reader.names.top(k))) for k in types}
        return {key: kind for key, kind in found.items() if kind not in {"none", types[key]}}

    def _last(self) -> Iterator[Finding]:
        # Where a key could not be read, the sums are not the store's.
        if self._totals is not None and self._is_whole and min(self._sums.values()) >= 0:
            released = released_in(self._reader, self._projects)
            yield from totals_findings(self._totals, self._sums, released)

    def _new(self, findings: Iterable[Finding]) -> list[Finding]:
        """Leave out what has been said."""
        new = []
        for finding in findings:
            what = (finding.problem, finding.place)
            if what in self._said:
                continue
            if len(self._said) >= MAX_SAID:
                self._said.clear()
            self._said.add(what)
            new.append(finding)
        return new

    def _ask_run_id(self) -> str:
        """Return which server process this is; empty if we may not know."""
        with store_errors():
            try:
                found = self._client.info("server")
            except ResponseError as error:
                if not isinstance(error, NoPermissionError) and "unknown" not in str(error):
                    raise
                return ""
        return str(found.get("run_id", ""))[:RUN_ID_LENGTH]


def _effort(size: dict[str, int]) -> int:
    """Return how much is looked at in a project of this size."""
    scanned = sum(size[key] for key in TYPES if key not in {"holders", "clones", "stats"})
    return scanned + size["items"] * passes_over(size["items"])


def _has_sound_record(reader: StoreReader, opening: Opening, project: str) -> bool:
    """Return whether a worker has recorded or parked anything in a project, by a look at some."""
    openings = {"items": opening.item, "parked": opening.parked}
    for key, open_one in openings.items():
        _cursor, page = reader.scan(project, key, 0)
        if any(isinstance(open_one(project, text(name), raw), Sound) for name, raw in page):
            return True
    return False
