"""An event whose source is absent waits in the source's slot, once, until a fixed deadline."""

import decimal
import json
from datetime import datetime
from typing import Any

import pytest

from kmworker.domain.model import Place
from kmworker.domain.plan import AssignWrite, Committed, ParkWrite, WriteStatus
from kmworker.settings import WaitingSettings
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import AT_S, draft, snapshot, volume
from tests.kit.store.stand import Stand, only, take

PARKED = Committed(WriteStatus.PARKED)
STALE = Committed(WriteStatus.STALE)

BODIES = {
    "spaced": b'{ "id" :\t"77aa",\r\n "x":1.0 }\n',
    "escapes": rb'{"a":"\u00e9\ud83d\ude00\ud800 \"quoted\" \/ \\"}',
    "utf-8": '{"a":"é 🔑 \u2028 \x7f"}'.encode(),
    "a-record-in-a-record": b'{"source":"volume:x","routing_key":"","seal":"v1.0.0"}',
    "nul": b'{"a":"\x00"}',
    "empty": b"",
    "large": b'{"a":"' + b"x" * 65_000 + b'"}',
}
PROPERTIES = {
    "content_type": "application/cloudevents+json",
    "delivery_mode": 2,
    "priority": 9,
    "timestamp": 1_795_449_600,
    "message_id": "é",
    "application_headers": {
        "text": "é\u2028",
        "bytes": b"\x00\xff",
        "true": True,
        "negative": -1,
        "long": 2**40,
        "double": 1.5,
        "decimal": decimal.Decimal("1.25"),
        "none": None,
        "at": datetime(2000, 1, 1),  # noqa: DTZ001  # as py-amqp reads it
        "list": [1, "two", {"three": [3]}],
        "table": {"nested": {"deep": ""}},
    },
}


def parked(stand: Stand, project: str = "p1") -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = stand.value(stand.secret(project, "parked"))
    return found


def test_a_parked_event_leaves_exactly_these_traces(stand: Stand) -> None:
    assert stand.commit(draft.park(volume("v1", "p1"), snapshot("s1"), "e1")) == [PARKED]
    assert stand.contents() == {
        stand.key("p1", "waiting"): {
            b"e1": b'{"item":"volume:v1","source":"snapshot:s1",'
            b'"since":"2026-11-23T16:00:00.000Z","deadline":"2026-11-23T17:00:00.000Z",'
            b'"attempts":0}'
        },
        stand.key("p1", "waiting:deadlines"): {b"e1": AT_S + 3600},
        stand.key("p1", "waiting:sources"): {b"snapshot:s1 e1": 0},
        stand.key("p1", "waiting:shares"): {
            b"p1": b'{"events":1,"bytes":%d}' % len(parked(stand)[b"e1"])
        },
        stand.key("p1", "stats"): {b"waiting": b"1"},
        stand.secret("p1", "parked"): parked(stand),
        stand.top("projects"): {b"p1"},
    }
    body = stand.custody.check_seal(Place("p1", "parked", "e1"), parked(stand)[b"e1"])
    fields = json.loads(body + b"}")
    assert list(fields) == ["source", "project", "routing_key", "properties", "body"]
    assert fields["source"] == "snapshot:s1"
    assert fields["routing_key"] == "volume-created"
    assert fields["body"] == '{"id": "77aa"}'


def test_an_event_waits_in_the_project_of_its_source(stand: Stand) -> None:
    stand.commit(draft.park(volume("v1", "p2"), snapshot("s1", "p1")))
    assert {name for name in stand.contents() if "p2" in name} == set()
    assert stand.value(stand.key("p1", "stats")) == {b"waiting": b"1"}


def test_an_event_is_parked_once_and_its_deadline_is_never_extended(stand: Stand) -> None:
    write = draft.park(volume("v1"), snapshot("s1"))
    stand.commit(write)
    with stand.untouched():
        stand.clock.sleep(1000)
        assert stand.commit(write, write) == [PARKED, PARKED]
        assert stand.store().commit([write]).result() == [PARKED]


def test_deadlines_are_kept_to_the_millisecond(stand: Stand) -> None:
    stand.clock.sleep(0.1256)
    stand.commit(draft.park(volume("v1"), snapshot("s1"), "e1"))
    assert stand.value(stand.key("p1", "waiting:deadlines")) == {b"e1": AT_S + 3600.126}
    waiting = json.loads(stand.value(stand.key("p1", "waiting"))[b"e1"])
    assert waiting["deadline"].startswith("2026-11-23T17:00:00.12")


def test_no_more_events_wait_in_a_project_than_there_is_room_for(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max=2))
    full = Committed(
        WriteStatus.FULL, detail="2 events of project p1 wait for their sources (waiting.max)"
    )
    one, two, three = (draft.park(volume(f"v{n}"), snapshot(f"s{n}")) for n in range(3))
    assert store.commit([one, two, three]).result() == [PARKED, PARKED, full]
    with stand.untouched():
        # Those that wait already are no news, however full it is.
        assert store.commit([three, two, one]).result() == [full, PARKED, PARKED]
    assert store.commit([draft.park(volume("v1", "p2"), snapshot("s1", "p2"))]).result() == [PARKED]


def test_there_is_room_again_once_an_event_has_left(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max=1))
    one, two = draft.park(volume("v1"), snapshot("s1")), draft.park(volume("v2"), snapshot("s1"))
    assert outcomes(store, one, two) == [WriteStatus.PARKED, WriteStatus.FULL]
    store.remove([taken.entry for taken in take(store, snapshot("s1"), 9)])
    assert stand.value(stand.key("p1", "waiting:shares")) is None
    assert outcomes(store, two) == [WriteStatus.PARKED]


def test_events_of_another_project_have_a_room_of_their_own(stand: Stand) -> None:
    """They fill neither the source's project's nor a third one's, nor the other way round."""
    store = stand.store(waiting=WaitingSettings(max=2, foreign_max=1))
    foreign = [draft.park(volume(f"v{n}", "p2"), snapshot(f"s{n}")) for n in range(2)]
    third = draft.park(volume("v1", "p3"), snapshot("s1"))
    own = [draft.park(volume(f"v{n}"), snapshot(f"s{n}")) for n in range(3)]
    refused = "1 events of project p2 wait for items of project p1 (waiting.foreign_max)"
    assert store.commit([*foreign, third]).result() == [
        PARKED, Committed(WriteStatus.FULL, detail=refused), PARKED
    ]  # fmt: skip
    assert outcomes(store, *own) == [WriteStatus.PARKED, WriteStatus.PARKED, WriteStatus.FULL]
    assert {
        name: json.loads(share)["events"]
        for name, share in stand.value(stand.key("p1", "waiting:shares")).items()
    } == {b"p1": 2, b"p2": 1, b"p3": 1}
    store.remove([taken.entry for taken in take(store, snapshot("s0"), 9)])
    assert outcomes(store, foreign[1], own[2]) == [WriteStatus.PARKED, WriteStatus.PARKED]


def test_few_large_events_fill_a_room_as_many_small_ones_do(stand: Stand) -> None:
    store = stand.store(waiting=WaitingSettings(max_bytes=1_048_576))
    body = b'{"a":"' + b"x" * 65_000 + b'"}'
    large = [draft.park(volume(f"v{n}"), snapshot("s1"), body=body) for n in range(17)]
    *fit, last = store.commit(large).result()
    assert fit == [PARKED] * 16
    detail = "the events of project p1 that wait for their sources have 1,048,576 bytes"
    assert last == Committed(WriteStatus.FULL, detail=f"{detail} (waiting.max_bytes)")
    assert outcomes(store, draft.park(volume("v"), snapshot("s1"))) == [WriteStatus.PARKED]
    shares = json.loads(stand.value(stand.key("p1", "waiting:shares"))[b"p1"])
    assert shares == {"events": 17, "bytes": sum(map(len, parked(stand).values()))}


@pytest.mark.parametrize("share", [b"", b"many", b'{"events":-1}', b'{"events":9,"bytes":9}'])
def test_a_share_that_someone_spoilt_refuses_nobody_for_ever(stand: Stand, share: bytes) -> None:
    stand.raw.hset(stand.key("p1", "waiting:shares"), "p1", share)
    store = stand.store(waiting=WaitingSettings(max=2))
    writes = [draft.park(volume(f"v{n}"), snapshot("s1")) for n in range(2)]
    assert outcomes(store, writes[0]) == [WriteStatus.PARKED]
    store.remove([taken.entry for taken in take(store, snapshot("s1"), 9)])
    assert outcomes(store, *writes) == [WriteStatus.PARKED, WriteStatus.PARKED]


def outcomes(store: RedisStore, *writes: ParkWrite) -> list[WriteStatus]:
    return [answer.status for answer in store.commit(list(writes)).result()]


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unencrypted"])
def test_parking_is_stale_and_writes_nothing_once_the_source_is_there(
    stand: Stand, keyed: bool
) -> None:
    stand.put(draft.create(snapshot("s1")) if keyed else draft.none(snapshot("s1")))
    with stand.untouched():
        assert stand.commit(draft.park(volume("v1"), snapshot("s1"))) == [STALE]


def test_parking_is_stale_once_the_source_comes_in_the_same_batch(stand: Stand) -> None:
    source, write = draft.create(snapshot("s1")), draft.park(volume("v1"), snapshot("s1"))
    written, stale = stand.commit(source, write)
    assert (written.status, written.has_waiting, stale) == (WriteStatus.WRITTEN, False, STALE)


def test_the_source_is_told_of_those_that_came_before_it_in_the_batch(stand: Stand) -> None:
    _parked, written = stand.commit(
        draft.park(volume("v1"), snapshot("s1")), draft.create(snapshot("s1"))
    )
    assert written.has_waiting


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_is_given_back_byte_for_byte(stand: Stand, body: bytes) -> None:
    stand.commit(draft.park(volume("v1"), snapshot("s1"), body=body))
    (taken,) = stand.take(snapshot("s1"))
    assert (taken.original.body, taken.problem) == (body, "")


def test_properties_are_given_back_with_their_types(stand: Stand) -> None:
    write = draft.park(volume("v1"), snapshot("s1"), properties=PROPERTIES)
    stand.commit(write)
    (taken,) = stand.take(snapshot("s1"))
    assert taken.original == write.original
    assert typed(taken.original.properties) == typed(PROPERTIES)


def typed(value: Any) -> Any:
    """Return a value with the type of each part, since True == 1 == 1.0."""
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    return type(value), value


def test_whoever_finds_a_source_hears_whether_events_wait_for_it(stand: Stand) -> None:
    source = draft.create(volume("a"))
    near = [draft.create(volume(name)) for name in ("a0", "ab", "a/1", "A", "a-")]
    stand.commit(*(draft.park(snapshot(f"s{n}"), volume("a")) for n in range(2)))
    assert flags(stand.first, [source, *near]) == [True] + [False] * 5
    # By those who come second, too, and by those who only look.
    assert flags(stand.store(), [source, *near]) == [True] + [False] * 5
    first, second = stand.take(volume("a"))
    stand.first.remove([first.entry])
    assert flags(stand.first, [source]) == [True]
    stand.first.remove([second.entry])
    assert flags(stand.first, [source]) == [False]


def flags(store: RedisStore, writes: list[AssignWrite]) -> list[bool]:
    answers = [answer.has_waiting for answer in store.commit(writes).result()]
    states = store.look_up([write.assignment.item for write in writes]).result().values()
    assert [getattr(state, "has_waiting", None) for state in states] == answers
    return answers


def test_an_absent_source_is_still_unknown_while_events_wait_for_it(stand: Stand) -> None:
    stand.commit(draft.park(volume("v1"), snapshot("s1")))
    assert stand.look_up(snapshot("s1"), volume("v1")) == {snapshot("s1"): None, volume("v1"): None}


def test_events_and_assignments_may_share_a_commit_across_projects(stand: Stand) -> None:
    writes: list[AssignWrite | ParkWrite] = [
        draft.park(volume("v1", "p2"), snapshot("s1", "p1")),
        draft.create(volume("v1", "p2")),
        draft.park(volume("v2", "p1"), snapshot("s9", "p1")),
        draft.none(snapshot("s1", "p1")),
    ]
    answers = stand.commit(*writes)
    assert [a.status for a in answers] == [WriteStatus.PARKED, WriteStatus.WRITTEN] * 2
    assert [a.has_waiting for a in answers] == [False, False, False, True]
    assert only(stand.commit(writes[3])).has_waiting
