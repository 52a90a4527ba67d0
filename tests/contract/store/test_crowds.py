"""Projects whose waiting events are near their bound are named without a look at all others."""

import json

import pytest

from kmworker.settings import WaitingSettings
from kmworker.store.crowds import Crowd
from kmworker.store.views.status import read_crowds
from tests.kit.store.builders import draft, snapshot, volume
from tests.kit.store.stand import Stand, take

S1 = snapshot("s1")


def crowds(stand: Stand) -> list[Crowd]:
    return read_crowds(stand.views())


def test_a_project_is_named_from_four_fifths_of_its_bound_on(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max=5, foreign_max=5))
    own = [draft.park(volume(f"v{n}"), S1) for n in range(5)]
    store.commit([*own[:3], *(draft.park(volume(f"v{n}", "p2"), S1) for n in range(3))]).result()
    assert crowds(stand) == []
    store.commit(own[3:4]).result()
    store.review_crowds()
    (crowd,) = crowds(stand)
    assert (crowd.project, crowd.source_project, crowd.events, crowd.events_max) == (
        "p1", "p1", 4, 5
    )  # fmt: skip
    assert crowd.share == 0.8
    store.commit([draft.park(volume("v4", "p2"), S1), draft.park(volume("v5", "p2"), S1)]).result()
    store.commit(own[4:]).result()
    store.commit([draft.park(volume("v6"), S1)]).result()
    assert [(it.project, it.source_project, it.events) for it in crowds(stand)] == [
        ("p1", "p1", 5), ("p2", "p1", 5)
    ]  # fmt: skip


def test_a_project_is_named_by_the_bytes_that_it_has(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max_bytes=1_048_576))
    body = b'{"a":"' + b"x" * 65_000 + b'"}'
    store.commit([draft.park(volume(f"v{n}"), S1, body=body) for n in range(13)]).result()
    (crowd,) = crowds(stand)
    assert 0.8 <= crowd.share < 0.9


def test_a_room_that_has_emptied_is_not_named_after_the_next_sweep(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max=2))
    store.commit([draft.park(volume(f"v{n}"), S1) for n in range(2)]).result()
    assert crowds(stand)
    store.remove([taken.entry for taken in take(store, S1, 9)])
    store.review_crowds()
    assert stand.value(stand.top("crowded")) is None


@pytest.mark.parametrize("text", ["", "text", "[]", json.dumps({"events": "x"})])
def test_what_someone_wrote_there_stops_nobody(stand: Stand, text: str) -> None:
    stand.raw.hset(stand.top("crowded"), "p1 p1", text)
    stand.raw.hset(stand.top("crowded"), "p1", text)
    assert crowds(stand) == []
    stand.store().review_crowds()
    assert stand.value(stand.top("crowded")) is None
    stand.raw.set(stand.top("crowded"), "text")
    store = stand.store(waiting=WaitingSettings(max=1))
    store.commit([draft.park(volume("v1"), S1)]).result()
    store.review_crowds()
    assert len(take(store, S1, 9)) == 1


@pytest.mark.parametrize("text", ["", "text", "[]", "7", json.dumps({"events": "x"})])
def test_a_share_that_someone_spoilt_counts_for_nothing(stand: Stand, text: str) -> None:
    store = stand.store(waiting=WaitingSettings(max=1))
    store.commit([draft.park(volume("v1"), S1)]).result()
    assert crowds(stand)
    stand.raw.hset(stand.key("p1", "waiting:shares"), "p1", text)
    store.review_crowds()
    assert crowds(stand) == []
