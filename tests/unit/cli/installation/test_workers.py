"""A worker is judged by its progress, not by an open socket."""

import pytest

from kmworker.cli.installation.workers import Verdict, judge
from kmworker.store.views.status import WorkerSeen
from tests.kit.cli.stand import NOW_S


def seen(
    silent_s: float = 0.0, busy_s: float | None = None, state: str = "running", error: str = ""
) -> WorkerSeen:
    return WorkerSeen(
        worker_id="w1", seen_at=NOW_S - silent_s, is_live=True, host="blk01", pid=7, state=state,
        started_at=NOW_S - 900, last_batch_at=0.0,
        busy_since=0.0 if busy_s is None else NOW_S - busy_s, last_error=error,
    )  # fmt: skip


AWAY = "BrokerUnavailable: gone"
JUDGED = {
    "nothing at hand": (seen(), Verdict.IDLE),
    "a batch at hand": (seen(busy_s=59), Verdict.WORKING),
    "a batch at hand for too long": (seen(busy_s=61), Verdict.STUCK),
    "silent": (seen(silent_s=59), Verdict.IDLE),
    "silent for too long": (seen(silent_s=61), Verdict.STUCK),
    "broker away": (seen(busy_s=900, state="waiting", error=AWAY), Verdict.WAITING),
    "store away": (
        seen(busy_s=900, state="waiting", error="StoreUnavailable: gone"), Verdict.WAITING,
    ),
    "keyring too old": (
        seen(busy_s=900, state="waiting", error="UnknownKek: a record"), Verdict.STUCK,
    ),
    "the broker is back": (seen(busy_s=900, error=AWAY), Verdict.STUCK),
    "ended": (seen(silent_s=900, state="stopped"), Verdict.STOPPED),
}  # fmt: skip


@pytest.mark.parametrize(("worker", "verdict"), JUDGED.values(), ids=JUDGED)
def test_a_worker_is_judged_by_its_progress(worker: WorkerSeen, verdict: Verdict) -> None:
    assert judge(worker, NOW_S, 60)[0] is verdict
