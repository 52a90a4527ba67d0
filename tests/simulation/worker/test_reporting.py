"""What a worker tells, in reports and in its log: never in the way, nor without end."""

from collections import Counter

import pytest
from structlog.testing import capture_logs

from kmworker.errors import (
    BrokerUnavailable,
    PermanentError,
    Reason,
    StoreUnavailable,
    TransientError,
)
from tests.kit.simulator.checks import assert_all_assigned
from tests.kit.simulator.events import snapshot, volume
from tests.kit.simulator.installation import Installation

FAULTS = [
    StoreUnavailable("gone"),
    BrokerUnavailable("gone"),
    PermanentError(Reason.INTEGRITY, "wrong type"),
    ValueError("a bug"),
]


@pytest.mark.parametrize("point", ["reports.begin", "reports.write", "bus.counts"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_worker_whose_reports_fail_works_on(point: str, fault: Exception) -> None:
    site = Installation()
    process = site.process()
    process.troubles.at(point, fault, times=100)
    for event in (volume("v"), snapshot("s", "v")):
        site.publish(event)
        process.turn(2)
        site.let_pass(6)
    process.run()
    assert process.tally.totals["failures"] == 0
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


@pytest.mark.parametrize(
    "name", ["queues", "feed", "minutes", "workers", "worker:worker-1", "totals"]
)
def test_dashboards_keys_of_the_wrong_type_stop_nobody(site: Installation, name: str) -> None:
    site.redis.set(site.names.top(name), "not what it should be")
    process = site.handle(volume("v"))
    assert process.tally.totals == Counter(create=1, repeat=0, waiting=0, unrouted=0)
    assert_all_assigned(site, volume("v"))


@pytest.mark.parametrize(
    ("point", "error"),
    [
        ("bus.open", BrokerUnavailable("Login was refused")),
        ("store.admit", StoreUnavailable("cannot reach the store")),
        ("store.commit", StoreUnavailable("cannot reach the store")),
    ],
)
def test_a_worker_that_waits_logs_why_and_not_each_try(point: str, error: TransientError) -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.troubles.at(point, error, times=12)
    with capture_logs() as logs:
        process.turn(12)
    told = [it for it in logs if it["event"] in {"store admitted", "waiting"}]
    # Its time in the simulator is less than a minute, or little more.
    waiting = [it for it in told if it["event"] == "waiting"]
    assert waiting[0]["detail"] == str(error)
    assert len(waiting) <= 2, waiting
    assert sum(it["event"] == "store admitted" for it in told) <= 1
    assert process.tally.last_error
