"""A worker beside newer ones: what they may understand it leaves to them."""

import json
from dataclasses import replace

import pytest

from kmworker.errors import SetupError
from kmworker.store.layout import MINIMUM, NUMBER, Layout, fields_of
from tests.kit.simulator.events import Sent, garbage, volume
from tests.kit.simulator.installation import SIMULATED, Installation


def _of_type(event: Sent, name: str) -> Sent:
    body = json.dumps({**json.loads(event.body), "type": name}).encode()
    return replace(event, body=body, routing_key=name, is_event=False)


UNKNOWN = {
    "a type": _of_type(volume("v"), "volume-frozen"),
    "a field": replace(volume("v", frozen=True), is_event=False),
}


def _site(number: int) -> Installation:
    site = Installation()
    site.store().admit()
    fields = fields_of(Layout(number, MINIMUM, SIMULATED, "", "9.0"), site.custody)
    site.redis.hset(
        site.names.top("layout"), mapping=dict(zip(fields[::2], fields[1::2], strict=True))
    )
    return site


@pytest.mark.parametrize("event", UNKNOWN.values(), ids=UNKNOWN)
def test_while_the_layout_is_newer_what_is_unknown_stays_with_the_broker(event: Sent) -> None:
    site = _site(NUMBER + 1)
    site.publish(event)
    process = site.process()
    with pytest.raises(SetupError, match="beyond this release") as refused:
        process.worker.run()
    assert refused.value.hint == "the event stays with the broker: update this worker"
    assert not site.letters
    assert len(site.broker.work.ready) == 1


@pytest.mark.parametrize("event", UNKNOWN.values(), ids=UNKNOWN)
def test_while_the_layout_is_its_own_what_is_unknown_is_a_dead_letter(event: Sent) -> None:
    site = _site(NUMBER)
    site.handle(event)
    assert len(site.letters) == 1


def test_while_the_layout_is_newer_what_nobody_can_read_is_a_dead_letter() -> None:
    site = _site(NUMBER + 1)
    site.handle(garbage(), volume("v"))
    assert len(site.letters) == 1
    assert set(site.announced()) == {"volume:v"}
