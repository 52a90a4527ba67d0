"""``kmworker health``: for process supervisors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.store import now_of, views_of
from kmworker.cli.installation.crowds import crowded
from kmworker.cli.installation.workers import (
    STUCK_AFTER_S,
    Verdict,
    judge,
    keyring_troubles,
    runs_here,
)
from kmworker.cli.terminal.output import complain, line, note, print_json
from kmworker.store.crowds import Crowd
from kmworker.store.inspection import Views
from kmworker.store.made_anew import DELETE_HINT, WrongType, wrong_types
from kmworker.store.views.status import (
    UNREADABLE,
    Incident,
    WorkerSeen,
    read_crowds,
    read_incident,
    read_workers,
)
from kmworker.worker.incarnation import incarnation

__all__ = ["app"]

app = group()
KEYRING_HINT: Final = "mend the file, or what its root is; it is taken up by itself then"


@dataclass(frozen=True, slots=True)
class JudgedWorker:
    """One worker of this host."""

    worker: str
    pid: int
    verdict: Verdict
    detail: str


@app.command(epilog=examples("kmworker health", "kmworker health --pid 4711 --json"))
def health(
    context: typer.Context,
    *,
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="PID", help="Look at this process alone.")
    ] = None,
    stuck_after: Annotated[
        float,
        typer.Option(
            "--stuck-after",
            metavar="SECONDS",
            min=1,
            help="How long a worker may be silent, or have events at hand and finish no batch.",
        ),
    ] = STUCK_AFTER_S,
    as_json: JsonOption = False,
) -> None:
    """Return whether a worker on this host makes progress or is idle.

    The exit code is 0 while one does, 1 while none does, and 3 if the store does not answer.
    A worker that waits for a broker that is away is well: it goes on by itself. While an
    incident stands (see kmworker accept), no worker starts, however often it is tried: it is
    named on standard error, and leaves the exit code alone. So is a key in whose place somebody
    has put something else. Where that is what workers report in, it cannot be told whether one
    makes progress: the exit code is 0 then, because a restart would help nothing, and "ok" is
    null. A process that --pid names and that is not there is told all the same: 1. A worker that
    cannot take up its changed keyring file goes on with the KEKs that it has: it is named on
    standard error, and leaves the exit code alone.
    """
    views = views_of(settings_of(context))
    now, wrong = now_of(views), wrong_types(views.client, views.names)
    seen, crowds = _read(views, wrong, now)
    judged, incident = list(_judged(seen or (), now, pid, stuck_after)), read_incident(views)
    here = {it.worker for it in judged}
    behind = [it for it in seen or () if it.worker_id in here and it.keyring_trouble]
    is_well = (
        None if not judged and _is_untold(seen, pid) else any(it.verdict.is_well for it in judged)
    )
    if as_json:
        print_json({
            "ok": is_well,
            "incident": None if incident is None else asdict(incident),
            "wrong_types": [asdict(it) for it in wrong],
            "workers": None if seen is None else [asdict(it) for it in judged],
            "keyring_troubles": None if seen is None else [_keyring(it) for it in behind],
            "near_bound": None if crowds is None else [asdict(crowd) for crowd in crowds],
        })  # fmt: skip
    else:
        for found in judged:
            line(f"{found.verdict:<9}{found.worker}  {found.detail}")
    if crowds:
        note(f"waiting events near their bound: {crowded(crowds)}")
    for said in keyring_troubles(behind):
        complain(said, KEYRING_HINT)
    _complain_of_keys(wrong, seen or ())
    _complain(judged, incident, pid, is_told=is_well is not None)
    raise typer.Exit(ExitCode.FAILED if is_well is False else ExitCode.DONE)


def _read(
    views: Views, wrong: Sequence[WrongType], now: float
) -> tuple[list[WorkerSeen] | None, list[Crowd] | None]:
    """Return the workers, and the projects near a bound; None where the key has another type."""
    spoilt, names = {it.key for it in wrong}, views.names
    return (
        None if names.top("workers") in spoilt else read_workers(views, now),
        None if names.top("crowded") in spoilt else read_crowds(views),
    )


def _keyring(worker: WorkerSeen) -> dict[str, str | float]:
    flaw, since_s = worker.keyring_trouble, worker.keyring_trouble_since
    return {"worker": worker.worker_id, "trouble": flaw, "since": since_s}


def _is_untold(seen: Sequence[WorkerSeen] | None, pid: int | None) -> bool:
    """Return whether a worker that nothing is seen of may be here all the same."""
    if seen is not None and all(it.state != UNREADABLE for it in seen):
        return False
    return pid is None or bool(incarnation(pid))


def _complain_of_keys(wrong: Iterable[WrongType], seen: Iterable[WorkerSeen]) -> None:
    for said in [*map(str, wrong), *(it.last_error for it in seen if it.state == UNREADABLE)]:
        complain(said, DELETE_HINT)


def _complain(
    judged: Sequence[JudgedWorker], incident: Incident | None, pid: int | None, *, is_told: bool
) -> None:
    if not is_told:
        note("it cannot be told whether a worker makes progress: what they report is not readable")
    elif not judged:
        which = "worker" if pid is None else f"worker with pid {pid}"
        # Starting one would help nothing while an incident stands.
        hint = "start one with kmworker worker" if incident is None else ""
        complain(f"no {which} runs on this host", hint)
    if incident is not None:
        complain(incident.detail, incident.hint)


def _judged(
    seen: Iterable[WorkerSeen], now: float, pid: int | None, stuck_after_s: float
) -> Iterator[JudgedWorker]:
    for worker in seen:
        if pid not in {None, worker.pid} or not runs_here(worker):
            continue
        verdict, detail = judge(worker, now, stuck_after_s)
        if verdict is not Verdict.STOPPED:
            yield JudgedWorker(worker.worker_id, worker.pid, verdict, detail)
