"""Events that end their worker, where the broker throws away what came back 20 times."""

import os
import subprocess
import sys
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from kmworker.domain import planner
from kmworker.domain.decision import decide
from kmworker.domain.event import Event
from kmworker.settings import load_settings
from tests.integration.running import running
from tests.integration.test_crash_at_each_step import working
from tests.kit.outside.wire import said
from tests.kit.outside.words import Message
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ

PROJECT = "acme"
EVENTS = 300
# Neighbours, and in two places.
POISON = (30, 31, 32, 33, 200, 201)
MAX_ATTEMPTS = 5
DELIVERY_LIMIT = 20
# As many as to be sure that it is not a matter of luck who gets past.
OTHERS_LEAST = 20


@pytest.fixture
def site(site: Site, rabbitmq: RabbitMQ, namespace: str) -> Site:
    site.settings["KMWORKER_WORKER__MAX_ATTEMPTS"] = str(MAX_ATTEMPTS)
    work = f"{namespace}.events.work"
    # The vhost is there from the first time on that somebody asks for it.
    site.broker_url("worker")
    # What RabbitMQ 4 does without our policy, on whatever version this is.
    above = ("-p", namespace, "--priority", "101")
    rabbitmq.ctl("set_policy", *above, work, f"^{work}$", f'{{"delivery-limit": {DELIVERY_LIMIT}}}')
    return site


def test_a_worker_that_dies_of_poison_again_and_again_takes_nothing_else_along(
    site: Site, rabbitmq: RabbitMQ, namespace: str
) -> None:
    with working(site):
        pass
    with site.client() as client:
        for number in range(EVENTS):
            client.publish(event(number))
        # The broker counts now and then.
        until(lambda: _counted(rabbitmq, namespace) == EVENTS, "all is counted")
        command = [sys.executable, "-m", "tests.integration.poisoned_worker"]
        with subprocess.Popen(
            command, env=site.environment(), stdout=subprocess.PIPE, text=True
        ) as supervisor:
            try:
                until(
                    lambda: (
                        _settled(site) >= EVENTS
                        or (client.ready("events.work") == 0 and _counted(rabbitmq, namespace) == 0)
                    ),
                    "every event is assigned or dead, or thrown away",
                    within_s=240,
                )
            finally:
                supervisor.terminate()
                assert supervisor.stdout is not None
                deaths = len(supervisor.stdout.read().splitlines())
    innocent = {f"volume:v{number}" for number in range(EVENTS) if number not in POISON}
    assert innocent - site.reader.table(PROJECT, "items").keys() == set(), "thrown away"
    assert site.reader.fields("dead") == {"internal": str(len(POISON))}
    # Whoever had been beside it each time would have come back as often.
    assert deaths > DELIVERY_LIMIT


def test_what_fails_by_our_fault_pauses_between_its_tries_and_all_else_flows_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def failing(event: Event, *known: Any) -> Any:
        if event.item.id.startswith("poison"):
            tries.append(monotonic())
            raise ValueError("a bug")
        return decide(event, *known)

    monkeypatch.setattr(planner, "decide", failing)
    settings = load_settings(None, {**os.environ, **site.environment()})
    others = 0
    with site.client() as client, running(settings):
        # The first of all, when no more than one is sent.
        client.publish(event(POISON[0]))
        until(lambda: bool(tries), "it is tried")
        while len(tries) < MAX_ATTEMPTS:
            number = EVENTS + others
            client.publish(event(number))
            until(
                lambda name=f"volume:v{number}": name in site.reader.table(PROJECT, "items"),  # type: ignore[misc]
                "it is assigned",
            )
            others += 1
        until(lambda: bool(site.reader.fields("dead")), "it is given up")
    assert site.reader.fields("dead") == {"internal": "1"}
    assert others > OTHERS_LEAST
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(pauses) == MAX_ATTEMPTS - 1
    assert pauses[-1] > 2 * pauses[0]
    assert sum(pauses) > 3.0


def event(number: int) -> Message:
    name = f"poison-{number}" if number in POISON else f"v{number}"
    return said("volume-created", f"e{number}", PROJECT, volume_id=name)


def _settled(site: Site) -> int:
    dead = sum(map(int, site.reader.fields("dead").values()))
    return dead + len(site.reader.table(PROJECT, "items"))


def _counted(rabbitmq: RabbitMQ, namespace: str) -> int:
    """Return how many events are queued or with a worker."""
    counts = rabbitmq.ctl("list_queues", "-p", namespace, "--no-table-headers", "name", "messages")
    found = dict(line.split() for line in counts.splitlines())
    return int(found[f"{namespace}.events.work"])
