"""Time that decides is the store's: a worker's own clock refuses nobody."""

import json
from datetime import datetime

import pytest

from tests.kit.simulator.events import snapshot, volume
from tests.kit.simulator.installation import Installation

HOURS_S = 7200.0


@pytest.mark.parametrize("ahead_s", [HOURS_S, -HOURS_S])
def test_what_a_worker_whose_clock_is_off_parks_expires_when_it_should(ahead_s: float) -> None:
    site = Installation()
    site.publish(snapshot("s", "v"))
    site.process(clock_ahead_s=ahead_s).run()
    (entry,) = site.waiting().values()
    until = datetime.fromisoformat(entry["deadline"]).timestamp() - site.clock.now()
    assert until == pytest.approx(site.limits.waiting_deadline_s, abs=0.01)
    site.let_pass(site.limits.waiting_deadline_s - 20)
    site.process().run()
    assert not site.letters
    site.let_pass(40)
    site.process().run()
    assert set(site.reasons().values()) == {"source-missing"}


def test_an_assignment_bears_the_stores_time(site: Installation) -> None:
    site.publish(volume("v"))
    site.process(clock_ahead_s=HOURS_S).run()
    ((body,),) = site.announced().values()
    at = datetime.fromisoformat(json.loads(body)["data"]["assigned_at"]).timestamp()
    assert at == pytest.approx(site.clock.now(), abs=1)


def test_a_clock_that_is_off_is_reported(site: Installation) -> None:
    process = site.process(clock_ahead_s=HOURS_S)
    process.run()
    assert process.tally.clock_ahead_s == HOURS_S
    name = site.names.worker("worker-1")
    assert float(site.redis.hget(name, "clock_ahead_s")) == HOURS_S
    # What is reported beside it is the store's time.
    assert float(site.redis.hget(name, "seen_at")) == pytest.approx(site.clock.now(), abs=1)
