"""``kmworker health``: for process supervisors."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from time import time
from typing import Annotated

import typer

from kmworker.cli.access import settings_of, views_of
from kmworker.cli.liveness import STUCK_AFTER_S, Verdict, is_running, judge
from kmworker.cli.output import complain, line, print_json
from kmworker.cli.program import Ending, examples, group
from kmworker.store.views import Views
from kmworker.store.views_status import read_workers

__all__ = ["app"]

app = group()


@dataclass(frozen=True, slots=True)
class Finding:
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether a worker on this host makes progress or is idle.

    The exit code is 0 while one does, 1 while none does, and 3 if the store does not answer.
    A worker that waits for a broker that is away is well: it goes on by itself.
    """
    findings = list(_findings(views_of(settings_of(context)), pid, stuck_after))
    is_well = any(finding.verdict.is_well for finding in findings)
    if as_json:
        print_json({"ok": is_well, "workers": [_shown(it) for it in findings]})
    else:
        for found in findings:
            line(f"{found.verdict:<9}{found.worker}  {found.detail}")
    if not findings:
        which = "worker" if pid is None else f"worker with pid {pid}"
        complain(f"no {which} runs on this host", "start one with kmworker worker")
    raise typer.Exit(Ending.DONE if is_well else Ending.FAILED)


def _findings(views: Views, pid: int | None, stuck_after_s: float) -> Iterator[Finding]:
    now, host = time(), platform.node()
    for worker in read_workers(views, now):
        if worker.host != host or pid not in {None, worker.pid} or not is_running(worker.pid):
            continue
        verdict, detail = judge(worker, now, stuck_after_s)
        if verdict is not Verdict.STOPPED:
            yield Finding(worker.worker_id, worker.pid, verdict, detail)


def _shown(finding: Finding) -> dict[str, str | int]:
    return {
        "worker": finding.worker,
        "pid": finding.pid,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
    }
