"""The account of keys finds each thing that it is there for."""

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from pika.spec import BasicProperties

from tests.chaos.annals import Annals
from tests.chaos.lives_account import KeyBook, haste
from tests.kit.outside.heard import Delivery

P = "lives-0"
HELD = {"state": "active", "data": {"key_id": "k1"}}
GONE = {"state": "released", "data": {"key_id": "k2"}}
GOOD: dict[str, Any] = {
    "items": {"volume:v": HELD, "volume:w": GONE},
    "keys": {
        "k1": {"state": "active", "scope_id": "s1", "version": 1},
        "k2": {"state": "destroyed", "scope_id": "s2", "version": 3},
    },
    "scopes": {"s1": {}, "s2": {"destroyed_at": "2026-11-29T22:00:00Z"}},
    "deks": {"s1": b"wrapped"},
    "outbox": {},
}


def book(**changed: Any) -> KeyBook:
    """Read a store in which only this is otherwise; what is None is not there."""
    store = deepcopy(GOOD)
    for table, entries in changed.items():
        for name, record in entries.items():
            if record is None:
                del store[table][name]
            else:
                store[table][name] = {**store[table].get(name, {}), **record}
    reader: Any = SimpleNamespace(
        records=lambda _project, table: store[table],
        table=lambda _project, table: store[table],
        secret=lambda _project, table: store[table],
    )
    return KeyBook(reader, [P])


def found(it: KeyBook) -> list[str]:
    return [*it.losses(), *it.undone(), *it.leftovers(), *it.left_in_outboxes]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(book()) == []


WRONG: dict[str, dict[str, Any]] = {
    "hold k1, which is destroyed": {"keys": {"k1": {"state": "destroyed"}}},
    "hold k1, which is None": {"keys": {"k1": None}},
    "hold k1, whose DEK is gone": {"deks": {"s1": None}},
    "is deactivated, and nobody holds it": {"keys": {"k2": {"state": "deactivated"}}},
    "is active, and nobody holds it": {"items": {"volume:v": {"state": "released"}}},
    "is deactivated, and ['volume:v'] hold it": {"keys": {"k1": {"state": "deactivated"}}},
    "compromised": {
        "items": {"volume:v": {"state": "released"}},
        "keys": {"k1": {"state": "compromised", "own_state": "deactivated"}},
    },
    "is there": {"deks": {"s3": {"a": 1}}},
    "is destroyed, and there": {"scopes": {"s1": {"destroyed_at": "now"}}},
    "k2 3": {"outbox": {"k2 3": {"a": 1}}},
}


@pytest.mark.parametrize(("says", "changed"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_in_a_store_is_found(says: str, changed: dict[str, Any]) -> None:
    problems = found(book(**changed))
    wanted = "is deactivated" if says == "compromised" else says
    assert any(wanted in it for it in problems), problems


def test_what_a_partition_or_a_person_keeps_goes_on() -> None:
    partition = {"partition:1": HELD, "volume:v": {"state": "released"}}
    assert found(book(items=partition)) == []
    suspended = {"k2": {"state": "suspended", "scope_id": "s1"}}
    assert found(book(keys=suspended)) == []


def change(version: int, event: str, **data: Any) -> bytes:
    told = {"key_id": "k1", "project_id": P, "version": version, **data}
    return json.dumps({"id": f"id-{version}", "type": event, "subject": P, "data": told}).encode()


def annals(bodies: Iterable[bytes]) -> Annals:
    heard = Annals()
    for body in bodies:
        heard.take_change(Delivery(body, "", BasicProperties()))
    return heard


def lives_of(*, destroyed_at: str, let_go_until: str) -> Iterator[bytes]:
    event, janitor = {"kind": "event"}, {"kind": "janitor"}
    at = "2026-11-29T22:00:00Z"
    yield change(2, "key-deactivated", at=at, by=event, destroy_at=let_go_until)
    yield change(3, "key-destroyed", at=destroyed_at, by=janitor)


@pytest.mark.parametrize(
    ("destroyed_s", "until_s", "problems"), [(9, 8, 0), (7, 8, 1), (9, 3, 1)],
    ids=["in its time", "destroyed too soon", "given too little time"],
)  # fmt: skip
def test_haste_is_found(destroyed_s: int, until_s: int, problems: int) -> None:
    heard = annals(
        lives_of(
            destroyed_at=f"2026-11-29T22:00:0{destroyed_s}Z",
            let_go_until=f"2026-11-29T22:00:0{until_s}Z",
        )
    )
    assert len(list(haste(heard.changes, 8.0))) == problems


def test_a_change_that_was_not_announced_is_missed() -> None:
    heard = annals([change(3, "key-destroyed")])
    assert list(heard.gaps({"k1": 3})) == ["version 2 of k1 was not announced"]
    assert list(heard.gaps({"k1": 2})) == [
        "version 2 of k1 was not announced", "version 3 of k1 was announced; it has 2"
    ]  # fmt: skip


def test_one_change_in_two_ways_is_a_contradiction() -> None:
    heard = annals([change(2, "key-suspended"), change(2, "key-resumed")])
    assert len(heard.contradictions) == 1
