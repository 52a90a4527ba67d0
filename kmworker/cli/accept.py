"""``kmworker accept``: go on with a store that was rolled back."""

from typing import Annotated

import typer

from kmworker.bootstrap.worker import open_anchor, open_store
from kmworker.cli.arguments.operators import act_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.terminal.output import line, note
from kmworker.crypto.hardening import harden_process
from kmworker.domain.audit import Act
from kmworker.worker.rollback import Anchored

__all__ = ["app"]

app = group()


@app.command(epilog=examples("kmworker accept 3f2a9c1b"))
def accept(
    context: typer.Context,
    incident: Annotated[str, typer.Argument(help="Its name, as the workers' log has it.")],
) -> None:
    """Go on with a store that was rolled back.

    Workers refuse a store that counts fewer commits than were made: restored from an old copy,
    say, or failed over to a replica that lagged. Its items whose assignments are lost get
    another key when their events come again, and the data written under the first one cannot
    be read with that. So restore the newest copy instead, if there is one. See
    docs/operations.md. It needs the worker's own configuration; end all workers first.
    """
    settings = settings_of(context)
    harden_process()
    parts = open_store(settings, "accept")
    act = act_of(Act.STORE_ACCEPTED, reason=f"incident {incident}")
    with recorded(settings, act), open_anchor(settings, parts) as anchor:
        anchored = anchor.newest()
        number = parts.store.accept(incident, anchored.commits)
        if anchored.commits > number:
            said = anchored.commits
            note(f"the anchor on the broker said {said}, which nobody can have counted")
        if anchored.commits > number or anchored.endings:
            # How many endings are left, the first worker sees.
            anchor.replace(Anchored(min(anchored.commits, number)))
    line(f"accepted incident {incident}: workers may start")
