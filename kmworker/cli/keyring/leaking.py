"""``kmworker keyring compromise``: a KEK that others may know, and the DEKs it has wrapped."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer

from kmworker.cli.arguments.operators import (
    OperatorOption,
    ReasonOption,
    YesOption,
    actor_of,
    operator_of,
)
from kmworker.cli.arguments.options import DryRunOption, JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.installation.left import resumable, tell_flaw
from kmworker.cli.keyring.stepping import KekArgument, refuse
from kmworker.cli.terminal.output import (
    complain,
    confirmed,
    line,
    note,
    one_json,
    plural,
    progress,
)
from kmworker.domain.keks import KekState, KekStates, KekStep, is_leak_told, step_kek
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.store.compromising import Compromising, Hit, Marked
from kmworker.store.inspection import Views
from kmworker.store.kek_register import KekRegister
from kmworker.store.records import RecordCodec
from kmworker.store.views.lists import count_in

__all__ = ["EXAMPLES", "compromise"]

EXAMPLES = examples(
    "kmworker keyring compromise 0123456789abcdef --reason leak --dry-run",
    "kmworker keyring compromise 0123456789abcdef --reason 'backup lost'",
)


@dataclass(slots=True)
class LeakSummary:
    """What a run has come to so far, as it is told."""

    as_json: bool
    items: int = 0
    projects: set[str] = field(default_factory=set)
    scopes: int = 0
    key_ids: int = 0
    flawed: int = 0

    def hit(self, hit: Hit) -> None:
        """Count an item, and print it."""
        self.items += 1
        self.projects.add(hit.project)
        if self.as_json:
            line(one_json({
                "project": hit.project,
                "ref": hit.ref,
                "scope_id": hit.scope_id,
                "released": hit.is_gone,
            }))  # fmt: skip
        else:
            line("  ".join([hit.project, hit.ref, *["released"] * hit.is_gone]))

    def left(self, page: Marked) -> None:
        """Print what of a page stays as it is."""
        for flaw in page.flaws:
            self.flawed += 1
            tell_flaw(flaw, as_json=self.as_json)

    @property
    def extent(self) -> str:
        """Return in words what is hit."""
        return f"{plural(self.items, 'item')} of {plural(len(self.projects), 'project')}"

    def document(self, kek: str, state: KekState, *, dry_run: bool) -> dict[str, Any]:
        """Return what it came to."""
        return {
            "kek_id": kek,
            "state": state.value,
            "dry_run": dry_run,
            "items": self.items,
            "projects": len(self.projects),
            "scopes_changed": self.scopes,
            "key_ids_changed": self.key_ids,
            "flawed": self.flawed,
        }


def compromise(  # noqa: PLR0913  # its options
    context: typer.Context,
    kek: KekArgument,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that a KEK may be known to others, and with it every DEK that was ever under it.

    Prints the items that this hits, in all projects, also those whose DEKs were rewrapped since
    then: an older copy of the store has them as they were. Their scopes and key-ids are compromised
    from then on, as by kmworker key compromise. The active KEK is none to be compromised: activate
    another first. One that is retired stays so. It can be stopped at any moment, and goes on when
    it is run again.
    """
    by = operator_of(operator, reason)
    settings = settings_of(context)
    views, custody = views_of(settings), custody_of(settings.keyring)
    register = KekRegister(views, custody)
    state = _state(register.found().keks, kek, by, dry_run=dry_run)
    run = Compromising(views, RecordCodec(custody), by)
    summary = LeakSummary(as_json)
    with resumable():
        _list(run, views, kek, summary)
        if dry_run:
            _end(summary, kek, state, dry_run=True)
            return
        question = f"say that the DEKs of {summary.extent} are compromised?"
        if not yes and not confirmed(question, "--yes"):
            note("nothing was changed")
            return
        if not is_leak_told(state):
            after = register.step(kek, KekStep.COMPROMISE, by, actor_of(by.name))
            if isinstance(after, NoStep):
                refuse(kek, after)
            state = after.keks[kek].state
        _mark(run, views, kek, summary)
    _end(summary, kek, state, dry_run=False)


def _state(states: KekStates, kek: str, by: Operator, *, dry_run: bool) -> KekState:
    """Return what may be done with a KEK now; ends the command if its leak cannot be told."""
    entry = states.keks.get(kek)
    if entry is not None and (dry_run or is_leak_told(entry.state)):
        return entry.state
    after = step_kek(states, kek, KekStep.COMPROMISE, by, "")
    if isinstance(after, NoStep):
        refuse(kek, after)
    return states.keks[kek].state


def _list(run: Compromising, views: Views, kek: str, summary: LeakSummary) -> None:
    projects = run.projects()
    with progress("looking", count_in(views, projects, "items")) as advance:
        for project in projects:
            for looked_at, hits in run.hits(project, kek):
                for hit in hits:
                    summary.hit(hit)
                advance(looked_at)


def _mark(run: Compromising, views: Views, kek: str, summary: LeakSummary) -> None:
    # After the step: who lists a project later than this reads which KEK is active behind that.
    projects = run.projects()
    total = sum(count_in(views, projects, key) for key in ("scopes", "keys"))
    with progress("marking", total) as advance:
        for project in projects:
            for page in _pages(run, project, kek, summary):
                summary.left(page)
                advance(page.looked_at)


def _pages(run: Compromising, project: str, kek: str, summary: LeakSummary) -> Iterator[Marked]:
    run.fence(project)
    for page in run.scopes_under(project, kek):
        summary.scopes += page.marked
        yield page
    for page in run.keys(project):
        summary.key_ids += page.marked
        yield page


def _end(summary: LeakSummary, kek: str, state: KekState, *, dry_run: bool) -> None:
    if summary.as_json:
        line(one_json(summary.document(kek, state, dry_run=dry_run)))
    elif dry_run:
        line(f"KEK {kek} is {state}; {summary.extent} would be hit")
    else:
        scopes, key_ids = plural(summary.scopes, "scope"), plural(summary.key_ids, "key-id")
        line(f"KEK {kek} is {state}; compromised: {scopes}, {key_ids}")
        if state is KekState.COMPROMISED:
            note(f"next: kmworker rewrap, then kmworker keyring retire {kek}")
    if summary.flawed:
        complain(
            f"{plural(summary.flawed, 'record')} not authentic, and not marked",
            "kmworker verify says more of each; restore it from a backup, and run this again",
        )
        raise typer.Exit(ExitCode.FAILED)
