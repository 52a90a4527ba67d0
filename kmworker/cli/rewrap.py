"""``kmworker rewrap``: everything goes under the active KEK, while everything runs."""

import os
import platform
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Annotated

import typer

from kmworker.cli.arguments.operators import act_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.installation.left import resumable, tell_flaw
from kmworker.cli.terminal.output import complain, line, note, one_json, plural, progress
from kmworker.clock import SystemClock
from kmworker.crypto import KeyringCustody
from kmworker.domain.audit import Act
from kmworker.settings import Settings
from kmworker.store.admission import enter
from kmworker.store.inspection import Views
from kmworker.store.rewrapping import RewrappedPage, Rewrapping
from kmworker.verify.rules.findings import Finding
from kmworker.verify.scan.verification import Audit

__all__ = ["app"]

app = group()

WAIT_S = 1.0
SHOWN = 3


@dataclass(slots=True)
class RewrapSummary:
    """What a run has come to so far, as it is told."""

    as_json: bool
    is_rehearsal: bool
    kek_id: str
    looked_at: int = 0
    rewrapped: int = 0
    flawed: int = 0

    def add(self, page: RewrappedPage) -> None:
        """Count a page, and print what stays as it is."""
        self.looked_at += page.looked_at
        self.rewrapped += page.rewrapped
        for flaw in page.flaws:
            self.flawed += 1
            tell_flaw(flaw, as_json=self.as_json)

    def end(self) -> None:
        """Print what it came to."""
        if self.as_json:
            summary = {
                "kek_id": self.kek_id,
                "looked_at": self.looked_at,
                "rewrapped": self.rewrapped,
                "flawed": self.flawed,
                "dry_run": self.is_rehearsal,
            }
            line(one_json(summary))
            return
        did = "would rewrap" if self.is_rehearsal else "rewrapped"
        of = plural(self.looked_at, "record")
        line(f"{did} {self.rewrapped:,} of {of} under KEK {self.kek_id}")
        if self.flawed:
            complain(
                f"{plural(self.flawed, 'record')} not authentic, and left under another KEK",
                "kmworker verify says more of each; restore it from a backup, and run this again",
            )


@app.command(
    epilog=examples(
        "kmworker rewrap --dry-run", "kmworker rewrap --throttle 5000", "kmworker rewrap"
    )
)
def rewrap(
    context: typer.Context,
    *,
    throttle: Annotated[
        int, typer.Option("--throttle", metavar="N", min=0, help="At most N records a second.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at every record, and write nothing.")
    ] = False,
    unverified: Annotated[
        bool,
        typer.Option("--unverified", help="Although a KEK is compromised, without a look first."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is left as it is, and a summary, as JSON.")
    ] = False,
) -> None:
    """Have all records and DEKs under the active KEK, beside workers.

    No DEK changes, no key-id, and nothing that was announced. It can be stopped at any moment, and
    goes on when it is run again; several may run at once. What is not authentic is printed and left
    as it is.

    While a KEK is compromised, the whole store is verified first, as kmworker verify does, and
    nothing is rewrapped if anything is wrong: under the active KEK, what was forged would pass.
    """
    settings = settings_of(context)
    views = views_of(settings)
    custody = custody_of(settings.keyring)
    leaked = enter(custody, views).keks.compromised
    if leaked and not (dry_run or unverified):
        _refuse_unsound(settings, views, custody, leaked)
    run = Rewrapping(views, custody, is_rehearsal=dry_run)
    summary = RewrapSummary(as_json, dry_run, custody.kek_id)
    pace = _Pace(throttle)
    holder = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
    act = act_of(Act.REWRAPPED, kek_id=custody.kek_id)
    with recorded(settings, act, is_done=not dry_run) as recording, resumable():
        projects = run.projects()
        with progress("rewrapping", run.size(projects)) as advance:
            for page in _pages(run, projects, holder):
                summary.add(page)
                recording.count = summary.rewrapped
                advance(page.looked_at)
                pace.wait(page.looked_at)
        summary.add(run.finish())
        recording.count = summary.rewrapped
    summary.end()
    if summary.flawed:
        raise typer.Exit(ExitCode.FAILED)


def _refuse_unsound(
    settings: Settings, views: Views, custody: KeyringCustody, leaked: Sequence[str]
) -> None:
    """Verify the store; end the command if anything is wrong with it.

    It is looked at here and now. A note that it was sound would be of the past, and whoever has the
    KEK can have forged since.
    """
    note(f"KEK {', '.join(leaked)} is compromised: the store is verified first")
    waits_s = settings.waiting.deadline_s
    audit = Audit(views.client, views.names, custody, clock=SystemClock(), waits_s=waits_s)
    audit.begin()
    found: list[str] = []
    number = 0
    with progress("verifying", audit.size) as advance:
        for looked_at, findings in audit.steps():
            number += len(findings)
            found += [_named(finding) for finding in findings[: SHOWN - len(found)]]
            advance(looked_at)
    if number:
        more = f" and {number - len(found)} more" if number > len(found) else ""
        complain(
            f"nothing was rewrapped: {plural(number, 'finding')}: {', '.join(found)}{more}",
            "kmworker verify says what to do about each; then run this again, or, where that"
            " cannot be, with --unverified",
        )
        raise typer.Exit(ExitCode.FAILED)


def _named(finding: Finding) -> str:
    return " ".join(part for part in (finding.problem, *finding.place) if part)


def _pages(run: Rewrapping, projects: list[str], holder: str) -> Iterator[RewrappedPage]:
    """Go over all projects; what another run has just now is looked at when it has ended."""
    left = projects
    while left:
        taken_by_others = []
        for project in left:
            if run.take(project, holder):
                yield from run.rewrap(project)
            else:
                taken_by_others.append(project)
        if len(taken_by_others) == len(left):
            sleep(WAIT_S)
        left = taken_by_others


class _Pace:
    """Keeps to so many records a second."""

    def __init__(self, records_per_s: int) -> None:
        self._records_per_s = records_per_s
        self._began = monotonic()
        self._done = 0

    def wait(self, records: int) -> None:
        """Wait until as much time has passed as all records so far may take."""
        if not self._records_per_s:
            return
        self._done += records
        ahead_s = self._done / self._records_per_s - (monotonic() - self._began)
        if ahead_s > 0:
            sleep(ahead_s)
