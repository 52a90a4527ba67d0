"""Whether a worker lives: by its progress, not by an open socket."""

from enum import StrEnum
from pathlib import Path
from typing import Final

from kmworker.store.views_status import WorkerSeen
from kmworker.tally import STOPPED, WAITING

__all__ = ["STUCK_AFTER_S", "Verdict", "is_running", "judge"]

# Longer than every wait of a worker's: the longest is for confirms, `broker.confirm_timeout_s`.
STUCK_AFTER_S: Final = 60.0
# These are away, not the worker; it goes on when they are back.
AWAY: Final = ("BrokerUnavailable", "StoreUnavailable")
PROC: Final = Path("/proc")


class Verdict(StrEnum):
    """What becomes of a worker, as far as can be seen."""

    WORKING = "working"
    IDLE = "idle"
    WAITING = "waiting"
    """For a server that is away."""
    STUCK = "stuck"
    STOPPED = "stopped"

    @property
    def is_well(self) -> bool:
        """Say whether a supervisor has nothing to do."""
        return self in {Verdict.WORKING, Verdict.IDLE, Verdict.WAITING}


def judge(worker: WorkerSeen, now: float, stuck_after_s: float) -> tuple[Verdict, str]:
    """Judge a worker whose process runs, by what it last reported; say why.

    Args:
        worker: as the store has it.
        now: Unix seconds.
        stuck_after_s: how long it may be silent, or have events at hand and finish no batch.
    """
    if worker.state == STOPPED:
        return Verdict.STOPPED, "it has ended in good order"
    silent_s = now - worker.seen_at
    if silent_s > stuck_after_s:
        return Verdict.STUCK, f"it has not reported for {silent_s:.0f} s"
    if worker.state == WAITING and worker.last_error.startswith(AWAY):
        return Verdict.WAITING, worker.last_error
    if not worker.busy_since:
        return Verdict.IDLE, "it has no events at hand"
    busy_s = now - worker.busy_since
    if busy_s <= stuck_after_s:
        return Verdict.WORKING, "it has events at hand"
    why = f": {worker.last_error}" if worker.last_error else ""
    return Verdict.STUCK, f"it has had events at hand for {busy_s:.0f} s and finishes none{why}"


def is_running(pid: int, proc: Path = PROC) -> bool:
    """Say whether a process of this host is a worker: the number may be another's by now."""
    try:
        return b"kmworker" in (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
