"""The anchor: what the broker remembers of the store for a worker that cannot."""

import json

import pytest

from kmworker.errors import SetupError
from tests.kit.simulator.events import volume
from tests.kit.simulator.installation import Installation, Process
from tests.kit.simulator.troubles import Lost


def anchored(site: Installation) -> int:
    """Return what the broker remembers."""
    (body,) = site.broker.anchors
    return int(json.loads(body)["commits"])


def test_the_first_worker_drops_an_anchor_before_there_is_anything_to_lose() -> None:
    site = Installation()
    site.process().turn()
    assert anchored(site) == 0


def test_new_commits_are_anchored_once_a_second_and_at_the_end() -> None:
    site = Installation()
    process = site.process()
    process.turn()
    site.publish(volume("v"))
    process.turn(2)
    made = process.worker._store.commits()
    assert anchored(site) == 0 < made
    site.let_pass(1.1)
    process.turn()
    assert anchored(site) == made
    site.publish(volume("w"))
    process.run()
    assert anchored(site) == made + 1


def test_nothing_is_anchored_while_nothing_is_new(site: Installation, process: Process) -> None:
    process.turn()
    before = process.troubles.counts()["bus.anchor"]
    for _ in range(5):
        site.let_pass(1.1)
        process.turn()
    assert process.troubles.counts()["bus.anchor"] == before


def test_a_worker_that_starts_while_another_commits_does_not_take_the_store_for_an_old_one(
    site: Installation,
) -> None:
    first, second = site.process(), site.process()
    first.turn()

    def reached(point: str) -> None:
        # The second one has read the store's count, and not the anchor.
        if point == "bus.anchor":
            site.publish(volume("v"))
            first.turn(2)
            site.let_pass(1.1)
            first.turn()

    second.troubles.at_each = reached
    second.turn()
    assert anchored(site) == 1
    site.come_to_rest(first, second)
    assert "volume:v" in site.announced()


def test_an_anchor_is_never_moved_back(site: Installation, process: Process) -> None:
    site.publish(volume("v"))
    process.turn(2)
    identity = json.loads(site.broker.anchors[0])["store"]
    site.broker.anchors = [json.dumps({"commits": 99, "store": identity}).encode()]
    site.let_pass(1.1)
    site.publish(volume("w"))
    process.turn(2)
    assert anchored(site) == 99


@pytest.mark.parametrize("others", [[], [5]], ids=["alone", "beside an older one"])
def test_a_store_behind_the_anchor_is_refused(site: Installation, others: list[int]) -> None:
    site.process().run()
    identity = json.loads(site.broker.anchors[0])["store"]
    site.broker.anchors = [
        json.dumps({"commits": number, "store": identity}).encode() for number in [*others, 7]
    ]
    with pytest.raises(SetupError, match="of 7 commits it has 0"):
        site.process().run()
    assert anchored(site) == 7


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b'"text"', b"{}", b'{"commits":9}', b'{"commits":"many","store":[]}',
     b'{"commits":9,"store":[]}', b'{"commits":9,"store":7}', b'{"commits":9,"store":["other"]}',
     b'{"commits":9,"store":[["nested"]]}', b'{"commits":null,"store":["this one"]}'],
)  # fmt: skip
def test_what_is_no_anchor_of_this_store_stops_nobody(site: Installation, body: bytes) -> None:
    site.broker.anchors = [body]
    site.handle(volume("v"))
    assert anchored(site) > 0
    assert site.announced()


def test_an_anchor_that_cannot_be_dropped_at_the_end_is_no_reason_to_stay() -> None:
    site = Installation()
    process = site.process()
    # Nothing is to be anchored yet, and nothing again before the end.
    process.turn(3)
    site.publish(volume("v"))
    process.troubles.at("bus.anchor", Lost())
    process.run()
    assert process.troubles.over()
    assert anchored(site) == 0
