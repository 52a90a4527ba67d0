"""``kmworker verify``: is the store what the workers made of it?

Findings are printed as they are made, so a check that is interrupted has said what it
found; it ends with the command that goes on from there.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from kmworker.cli.arguments.operators import act_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import line, note, one_json, plural, progress
from kmworker.clock import SystemClock
from kmworker.domain.audit import Act
from kmworker.errors import StoreUnavailable
from kmworker.verify.repair import Repairer
from kmworker.verify.rules.findings import ADVICE, NOT_YET, REPAIRABLE, Finding
from kmworker.verify.scan.position import Position
from kmworker.verify.scan.verification import Audit

__all__ = ["app"]

app = group()
UNSEEN: Final = "projects that km:projects lacks are not looked for: this user may not SCAN"


@dataclass(slots=True)
class VerificationSummary:
    """What has been found so far, as it is told."""

    as_json: bool
    repairer: Repairer | None
    looked_at: int = 0
    found: int = 0
    repaired: int = 0
    interrupted_at: Position | None = field(default=None)

    @property
    def left(self) -> int:
        """How much is still wrong."""
        return self.found - self.repaired

    def tell(self, findings: list[Finding]) -> None:
        """Print findings, having put right what is to be put right."""
        repaired = (
            self.repairer.repair(findings) if self.repairer is not None and findings else set()
        )
        self.found += len(findings)
        self.repaired += len(repaired)
        for finding in findings:
            is_repaired = finding in repaired
            if self.as_json:
                line(one_json(self._document(finding, is_repaired=is_repaired)))
            else:
                line(self._sentence(finding, is_repaired=is_repaired))

    def end(self, *, complete: bool) -> None:
        """Print what it comes to."""
        if self.as_json:
            position = self.interrupted_at
            summary = {
                "complete": complete,
                "looked_at": self.looked_at,
                "findings": self.found,
                "repaired": self.repaired,
                "from": None if position is None else position.token,
            }
            line(one_json(summary))
        elif complete:
            line(f"looked at {self.looked_at:,} records and entries: {self._outcome()}")

    def _outcome(self) -> str:
        if not self.found:
            return "nothing is wrong"
        findings = plural(self.found, "finding")
        return f"{findings}, {self.repaired:,} repaired" if self.repairer is not None else findings

    def _sentence(self, finding: Finding, *, is_repaired: bool) -> str:
        project, key, name = finding.place
        where = " ".join(part for part in (project, key, name) if part)
        return f"{finding.problem}  {where}: {finding.says}; {self._advice(finding, is_repaired)}"

    def _advice(self, finding: Finding, is_repaired: bool) -> str:  # noqa: FBT001  # one caller
        if is_repaired:
            return "repaired"
        if self.repairer is not None and finding.repair is not None:
            return "not repaired, it changed meanwhile: run it again"
        if finding.repair is None and finding.problem in REPAIRABLE:
            return NOT_YET
        return ADVICE[finding.problem]

    def _document(self, finding: Finding, *, is_repaired: bool) -> dict[str, Any]:
        project, key, name = finding.place
        return {
            "problem": finding.problem,
            "project": project or None,
            "key": key,
            "field": name or None,
            "says": finding.says,
            "advice": self._advice(finding, is_repaired),
            "repairable": finding.repair is not None,
            "repaired": is_repaired,
        }


@app.command(
    epilog=examples(
        "kmworker verify",
        "kmworker verify --project p1 --json | jq -r .problem | sort | uniq -c",
        "kmworker verify --repair",
    )
)
def verify(
    context: typer.Context,
    *,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="P", help="Only this project, instead of all."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild indexes and counters, and nothing else.")
    ] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TOKEN", help="Go on where one was stopped.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print findings as JSON, one a line, and a summary.")
    ] = False,
) -> None:
    """Check the whole store: records, seals, wrapped DEKs, indexes and counters.

    Needs the keyring. Workers may go on: what they change meanwhile is not mistaken for a
    fault. Prints a line for each finding and ends with exit code 1 if anything is still wrong.
    Stopped by Ctrl-C or a lost connection, it says how to go on.

    Writes nothing without --repair; with it, what follows from sealed records is made to:
    lineage, holders, stats, projects, and the waiting room's indexes.
    """
    position = _position(start, project)
    settings = settings_of(context)
    views = views_of(settings)
    audit = Audit(
        views.client,
        views.names,
        custody_of(settings.keyring),
        clock=SystemClock(),
        waits_s=settings.waiting.deadline_s,
        project=project,
    )
    summary = VerificationSummary(as_json, Repairer(views.client, views.names) if repair else None)
    _begin(audit, position)
    with (
        recorded(
            settings, act_of(Act.STORE_REPAIRED, project=project), is_done=repair
        ) as recording,
        _resumable(audit, summary, _again(context, project, repair=repair, as_json=as_json)),
    ):
        for looked_at, findings in _with_progress(audit):
            summary.looked_at += looked_at
            summary.tell(findings)
            recording.count = summary.repaired
    summary.end(complete=True)
    if summary.left:
        raise typer.Exit(ExitCode.FAILED)


def _position(start: str | None, project: str | None) -> Position | None:
    position = None if start is None else Position.of(start)
    if start is not None and position is None:
        misused(f"--from {start}: not what a stopped verify has printed")
    if position is not None and project is not None and project != position.project:
        misused(f"--from {start} is of another project than --project {project}")
    return position


def _begin(audit: Audit, position: Position | None) -> None:
    try:
        audit.begin(position)
    except ValueError:
        misused("--from: this release has no such stage")
    if not audit.sees_unlisted:
        note(UNSEEN)


def _with_progress(audit: Audit) -> Iterator[tuple[int, list[Finding]]]:
    with progress("verifying", audit.size) as advance:
        for looked_at, findings in audit.steps():
            yield looked_at, findings
            advance(looked_at)


@contextmanager
def _resumable(audit: Audit, summary: VerificationSummary, again: str) -> Iterator[None]:
    """Say, where it is stopped, how to go on."""
    try:
        yield
    except (KeyboardInterrupt, StoreUnavailable):
        summary.interrupted_at = audit.position
        summary.end(complete=False)
        if audit.position is not None:
            note(f"stopped in project {audit.position.project}, at {audit.position.stage}")
            note(f"to go on: {again} --from {audit.position.token}")
        raise


def _again(context: typer.Context, project: str | None, *, repair: bool, as_json: bool) -> str:
    """Return the command as it was called."""
    invocation = context.find_object(Invocation) or Invocation()
    words = ["kmworker"]
    if invocation.config is not None:
        words += ["--config", str(invocation.config)]
    words.append("verify")
    if project is not None:
        words += ["--project", project]
    words += ["--repair"] * repair + ["--json"] * as_json
    return shlex.join(words)
