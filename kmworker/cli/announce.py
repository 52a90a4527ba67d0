"""``kmworker announce``: saying stored assignments again.

What is said is what was stored, and each record's seal is checked first: subscribers act
on announcements, so a record that someone has altered is skipped and complained of.
Projects are taken in the order of their names, so that one who is stopped can go on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import Annotated, Final

import typer

from kmworker.bootstrap.brokers import Publishing
from kmworker.cli.arguments.moments import changed_s, key_changed_s, moment_option
from kmworker.cli.arguments.operators import act_of
from kmworker.cli.arguments.options import OfProjectOption, refuse_other_than_refs
from kmworker.cli.frame.broker import publisher_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.keys import custody_in
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import Recording, recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import (
    complain,
    confirmed,
    line,
    note,
    plural,
    print_json,
    progress,
)
from kmworker.domain.audit import Act
from kmworker.domain.message import Outgoing
from kmworker.domain.model import Item, KeyChanged, Kind, announced_of
from kmworker.errors import KMWorkerError, NotFound, PermanentError, UnknownKek
from kmworker.settings import Settings
from kmworker.store.inspection import Views, pages
from kmworker.store.records import RecordCodec
from kmworker.store.views.lineage import json_object
from kmworker.store.views.lists import Named, count_in, records_in
from kmworker.wire.announcements import announce as announcement_of
from kmworker.wire.key_changes import announce_key
from kmworker.wire.topology import Topology

__all__ = ["app"]

app = group()

PROJECTS_AT_ONCE: Final = 100


@dataclass(slots=True)
class Told:
    """What has been announced so far."""

    announced: int = 0
    unrouted: int = 0
    """Of these, how many no queue was bound for."""
    broken: int = 0
    """Records that fail authentication."""


@app.command(
    epilog=examples(
        "kmworker announce --project p1",
        "kmworker announce --project p1 volume:v1 snapshot:s1",
        "kmworker announce --since 2026-11-23T16:00:00Z",
        "kmworker announce --yes",
    )
)
def announce(  # noqa: PLR0913  # its options
    context: typer.Context,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="REF", help="Items, instead of all of them.")
    ] = None,
    *,
    project: OfProjectOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Only what changed since: 2h, 7d or RFC 3339."
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="P", help="Go on from this project, by name."),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="What has become of key-ids, instead of items.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="All projects' without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Publish stored assignments again: same ids, same bytes.

    For subscribers that are new or were restored; all others drop the repeats by their ids.
    Without --project it is all projects', after a question. If that is stopped, it says from
    which project to go on. --since goes by assigned_at, of what is gone by released_at: the
    store's time, both of them. With --keys it is the last change of each key-id that has one.
    """
    _check(refs, project, since, first)
    if keys and refs:
        misused("--keys is for key-ids: name no items")
    since_s = moment_option("--since", since)
    settings = settings_of(context)
    views = views_of(settings)
    chosen = _chosen(views, project, refs, first, "keys" if keys else "items")
    topology = Topology(settings.broker.namespace)
    announcing = Announcing(
        codec=RecordCodec(custody_in(settings, views)),
        since_s=since_s,
        source=views.keyring()["source"],
        exchange=topology.keys if keys else topology.assignments,
        of_keys=keys,
    )
    if project is None and not (yes or confirmed(chosen.question(since), "--yes")):
        note("nothing was announced")
        return
    try:
        with recorded(settings, act_of(Act.ANNOUNCED_AGAIN, project=project)) as recording:
            _announce_all(settings, views, chosen, announcing, recording)
    except (KeyboardInterrupt, KMWorkerError):
        _say_where_it_stopped(chosen, announcing.told)
        raise
    _print(announcing.told, "key change" if keys else "assignment", as_json=as_json)
    if announcing.told.broken:
        raise typer.Exit(ExitCode.FAILED)


def _announce_all(
    settings: Settings,
    views: Views,
    chosen: "Chosen",
    announcing: "Announcing",
    recording: Recording,
) -> None:
    with (
        publisher_of(settings, "announce") as publisher,
        progress("announcing", chosen.total) as advance,
    ):
        for page in chosen.pages(views):
            announcing.say(publisher, page)
            recording.count = announcing.told.announced
            advance(len(page))


def _say_where_it_stopped(chosen: "Chosen", told: Told) -> None:
    if told.announced and len(chosen.projects) > 1:
        so_far = plural(told.announced, "assignment")
        complain(f"stopped after {so_far}", f"go on with: --from {quote(chosen.reached)}")


def _check(
    refs: Sequence[str] | None, project: str | None, since: str | None, first: str | None
) -> None:
    refuse_other_than_refs(refs or [])
    if refs and project is None:
        misused("name the items' project with --project")
    if refs and since is not None:
        misused("name items or --since, not both")
    if first is not None and project is not None:
        misused("--from is for all projects: leave out --project")


def _chosen(
    views: Views, project: str | None, refs: Sequence[str] | None, first: str | None, what: str
) -> "Chosen":
    if project is not None and refs:
        named = _named(views, project, refs)
        return Chosen([project], len(named), what, named)
    projects = [project] if project is not None else sorted(views.projects())
    projects = [name for name in projects if first is None or name >= first]
    total = count_in(views, projects, what)
    if project is not None and not total:
        hint = "kmworker show finds the project of an item"
        raise NotFound(f"project {project} has no {what}", hint)
    if not total:
        where = "" if first is None else f" from {first} on"
        raise NotFound(f"no project{where} has {what}", "kmworker list projects shows them")
    return Chosen(projects, total, what)


def _named(views: Views, project: str, refs: Sequence[str]) -> list[Named]:
    records = dict(zip(refs, views.records(project, "items", refs), strict=True))
    missing = ", ".join(ref for ref, record in records.items() if record is None)
    if missing:
        raise NotFound(f"not in project {project}: {missing}", "nothing was announced")
    return [Named(project, ref, record) for ref, record in records.items() if record is not None]


@dataclass(slots=True)
class Chosen:
    """What is to be announced."""

    projects: Sequence[str]
    """By name."""
    total: int
    """How many of these they have."""
    what: str
    """``items`` or ``keys``."""
    named: Sequence[Named] = ()
    """Single items, instead of all of these projects."""
    reached: str = ""
    """All that is in the projects before this one has been given."""

    def question(self, since: str | None) -> str:
        """Return what a person is asked before everybody's assignments are announced."""
        of_them = f"{plural(self.total, self.what[:-1])} in {plural(len(self.projects), 'project')}"
        which = "all" if since is None else f"what was assigned since {since}"
        return f"announce {which} of {of_them}?"

    def pages(self, views: Views) -> Iterator[Sequence[Named]]:
        """Give the items."""
        if self.named:
            yield from pages(self.named)
            return
        for projects in pages(self.projects, PROJECTS_AT_ONCE):
            self.reached = projects[0]
            yield from records_in(views, projects, self.what)


@dataclass(slots=True, kw_only=True)
class Announcing:
    """Announces items, or key-ids, page by page, and counts."""

    codec: RecordCodec
    since_s: float | None
    """Only what was assigned since; Unix seconds."""
    source: str
    exchange: str
    of_keys: bool = False
    """Whether it is key-ids' changes."""
    told: Told = field(default_factory=Told)

    def say(self, publisher: Publishing, page: Iterable[Named]) -> None:
        """Announce these; returns when the broker has confirmed them."""
        wanted = filter(self._is_meant, page)
        messages = [message for named in wanted for message in self._messages(named)]
        routed = publisher.publish(messages) if messages else []
        self.told.announced += len(routed)
        self.told.unrouted += routed.count(False)

    def _is_meant(self, named: Named) -> bool:
        # What does not say when it was made is announced, or complained of.
        moment = key_changed_s if self.of_keys else changed_s
        at = None if self.since_s is None else moment(json_object(named.raw))
        return self.since_s is None or at is None or at >= self.since_s

    def _messages(self, named: Named) -> list[Outgoing]:
        try:
            return self._of_key(named) if self.of_keys else self._of_item(named)
        # Of the KEKs that the store's keyring has, ours lacks none: another's record is forged.
        except (PermanentError, UnknownKek, ValueError) as broken:
            complain(f"not announced: {named.field} of project {named.project}: {broken}")
            self.told.broken += 1
            return []

    def _of_item(self, named: Named) -> list[Outgoing]:
        kind, _colon, identifier = named.field.partition(":")
        item = Item(named.project, Kind(kind), identifier)
        read = self.codec.read_item(item, named.raw)
        return [announcement_of(it, self.source, self.exchange) for it in announced_of(item, read)]

    def _of_key(self, named: Named) -> list[Outgoing]:
        key = self.codec.read_key(named.project, named.field, named.raw)
        changed = KeyChanged(named.project, key)
        return [] if key.changed is None else [announce_key(changed, self.source, self.exchange)]


def _print(told: Told, word: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(told))
        return
    line(f"announced {plural(told.announced, word)}")
    if told.unrouted:
        line(f"no queue is bound for {told.unrouted:,} of them")
    if told.broken:
        complain(
            f"{plural(told.broken, 'record')} failed authentication, skipped",
            "find out who wrote to the store; kmworker verify checks all of it",
        )
