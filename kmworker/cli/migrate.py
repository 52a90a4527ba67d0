"""``kmworker migrate``: a store of a former layout becomes one of this release's.

What cannot be carried over is printed as it is found; stopped anywhere, it goes on when it is
run again.
"""

from dataclasses import dataclass
from time import time
from typing import Annotated

import typer

from kmworker.cli.arguments.operators import act_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of, keyring_at
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import Recording, recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.installation.left import resumable, tell_flaw
from kmworker.cli.terminal.output import complain, line, one_json, plural, progress
from kmworker.clock import rfc3339
from kmworker.crypto import FormerCustody
from kmworker.domain.audit import Act
from kmworker.errors import SetupError
from kmworker.settings import Settings
from kmworker.store.inspection import Views
from kmworker.store.layout import NUMBER
from kmworker.store.migration import Migration
from kmworker.store.reading import Flaw
from kmworker.store.views.status import read_workers
from kmworker.wire.ids import random_id

__all__ = ["app"]

app = group()


@dataclass(slots=True)
class MigrationSummary:
    """What a run has come to so far, as it is told."""

    as_json: bool
    is_rehearsal: bool
    leaves_flawed: bool
    carried: int = 0
    flawed: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the store may become one of this layout."""
        return not self.flawed or self.leaves_flawed

    def tell(self, flaw: Flaw) -> None:
        """Print what is left as it is."""
        self.flawed += 1
        tell_flaw(flaw, as_json=self.as_json)

    def end(self, migration: Migration) -> None:
        """Print what it came to."""
        if self.as_json:
            summary = {
                "layout": migration.number,
                "carried": self.carried,
                "flawed": self.flawed,
                "dry_run": self.is_rehearsal,
            }
            line(one_json(summary))
        elif migration.is_done:
            line(f"the store is of layout {NUMBER}: nothing to do")
        else:
            self._say()

    def _say(self) -> None:
        records = plural(self.carried, "record")
        if self.is_rehearsal:
            line(f"would carry over {records} to layout {NUMBER}; nothing was written")
        else:
            line(f"carried over {records} to layout {NUMBER}")
        if not self.is_whole:
            number = plural(self.flawed, "record")
            complain(
                f"not finished: {number} not authentic",
                "restore what is left as it is from a backup and run it again, or go on without:"
                " kmworker migrate --leave-flawed",
            )


@app.command(
    epilog=examples("kmworker migrate --dry-run", "kmworker migrate", "kmworker migrate --json")
)
def migrate(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at every record, and write nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on although workers seem to be running.")
    ] = False,
    leave_flawed: Annotated[
        bool,
        typer.Option("--leave-flawed", help="Finish without records that are not authentic."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is left as it is, and a summary, as JSON.")
    ] = False,
) -> None:
    """Carry a store over to this release's layout.

    End all workers and back the store up first. Needs the keyring and the Redis user migrator.
    It can be stopped at any moment, and goes on when it is run again; workers take the store
    once it has come to its end. A store that is of this layout is left alone, beside its workers.

    A record that is not authentic is printed and left as it is, as useless as it was before;
    while there are any, the end is not reached without --leave-flawed.
    """
    settings = settings_of(context)
    views = views_of(settings)
    if not yes and not dry_run:
        _refuse_beside_workers(settings, views)
    summary = MigrationSummary(as_json, dry_run, leave_flawed)
    migration = _migration(settings, views, is_rehearsal=dry_run)
    with resumable():
        migration.begin()
        if not migration.is_done:
            act = act_of(Act.STORE_MIGRATED)
            with recorded(settings, act, is_done=not dry_run) as recording:
                _carry(migration, summary, recording)
    summary.end(migration)
    if not summary.is_whole:
        raise typer.Exit(ExitCode.FAILED)


def _migration(settings: Settings, views: Views, *, is_rehearsal: bool) -> Migration:
    keyring = keyring_at(settings.keyring.path, settings.keyring.root)
    return Migration(
        views,
        custody_of(settings.keyring),
        lambda installation: FormerCustody(keyring, installation),
        new_id=random_id,
        now=lambda: rfc3339(time()),
        is_rehearsal=is_rehearsal,
    )


def _refuse_beside_workers(settings: Settings, views: Views) -> None:
    """Refuse while workers run, unless they are of this release, on a store that is done."""
    rehearsal = _migration(settings, views, is_rehearsal=True)
    rehearsal.begin()
    if rehearsal.is_done:
        return
    live = [worker for worker in read_workers(views, views.clock_s()) if worker.is_live]
    if live:
        raise SetupError(
            f"{plural(len(live), 'worker')} seen running, {live[0].worker_id} among them",
            hint="end all workers; of one that has died nothing is seen after 15 s, or say --yes",
        )


def _carry(migration: Migration, summary: MigrationSummary, recording: Recording) -> None:
    with progress("migrating", migration.size) as advance:
        for step in migration.steps():
            summary.carried += step.carried
            recording.count = summary.carried
            for flaw in step.flaws:
                summary.tell(flaw)
            advance(step.looked_at)
    if summary.is_whole:
        migration.finish()
