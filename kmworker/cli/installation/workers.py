"""Whether a worker lives: by its progress, not by an open socket."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from kmworker.cli.installation.keks import not_taken_up
from kmworker.store.views.status import WorkerSeen
from kmworker.worker.incarnation import incarnation, is_of_here
from kmworker.worker.tally import STOPPED, WAITING
from kmworker.worker.timekeeping import SKEW_S

__all__ = ["STUCK_AFTER_S", "Verdict", "judge", "keyring_troubles", "runs_here", "troubles_of"]

# Longer than every wait of a worker's: the longest is for confirms, `broker.confirm_timeout_s`.
STUCK_AFTER_S: Final = 60.0
# These are away, not the worker; it goes on when they are back.
AWAY: Final = ("BrokerUnavailable", "StoreUnavailable")
MAX_TROUBLES: Final = 5


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
        """Return whether a supervisor has nothing to do."""
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


def troubles_of(workers: Iterable[WorkerSeen]) -> list[str]:
    """Return what keeps live workers from some of their work, and what is wrong with their hosts.

    That is: whose clock is wrong, and whose keyring file is not taken up.
    """
    live = [worker for worker in workers if worker.is_live]
    # Most of them meet the same one, and each says how much of it is its own.
    met = sorted({worker.trouble for worker in live} - {""})[:MAX_TROUBLES]
    skewed = [it for it in live if abs(it.clock_ahead_s) >= SKEW_S]
    return met + [_skew(it) for it in skewed[:MAX_TROUBLES]] + keyring_troubles(live)


def keyring_troubles(workers: Iterable[WorkerSeen]) -> list[str]:
    """Return whose keyring file has changed and is not taken up."""
    behind = [it for it in workers if it.keyring_trouble]
    return [
        not_taken_up(it.worker_id, it.keyring_trouble, it.keyring_trouble_since)
        for it in behind[:MAX_TROUBLES]
    ]


def _skew(worker: WorkerSeen) -> str:
    ahead_s = worker.clock_ahead_s
    which = "ahead of" if ahead_s > 0 else "behind"
    return f"the clock of {worker.host} is {abs(ahead_s):,.0f} s {which} the store's"


def runs_here(worker: WorkerSeen) -> bool | None:
    """Return whether a worker's very process runs on this host; None: not to be seen from here.

    Its number and the host's name are no proof: a predecessor had them, too, and neighbours in
    other containers may.
    """
    if not is_of_here(worker.incarnation):
        return None
    return incarnation(worker.pid) == worker.incarnation
