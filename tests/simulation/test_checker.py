"""What is wrong with a store is found, whatever it is: a check that cannot fail checks nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from pika.spec import BasicProperties

from kmworker.domain.model import Item as ProductItem
from kmworker.domain.model import Kind
from tests.kit.checker.contents import read_contents
from tests.kit.checker.rules import problems
from tests.kit.outside.check_assignments import assignment_problems
from tests.kit.outside.check_letters import letter_problems
from tests.kit.outside.check_records import record_problems
from tests.kit.outside.client import delivery_of, properties_in
from tests.kit.outside.heard import Delivery, Heard
from tests.kit.outside.history import Sent as Told
from tests.kit.outside.history import history
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import CANARY, Ask, Event, Item
from tests.kit.simulator.events import Sent, release, volume
from tests.kit.simulator.explore import quietly
from tests.kit.simulator.installation import Installation

V, S, W = Item("p", "volume", "v"), Item("p", "snapshot", "s"), Item("p", "volume", "w")
R = Item("p", "replica", "r")
EVENTS: Final = (
    Event(V, "1", "/test"),
    Event(S, "2", "/test", V),
    Event(W, "3", "/test", S),
    Event(R, "4", "/test", V, transport="reencrypt", node="n"),
    Event(Item("p", "volume", "plain"), "5", "/test", encryption=None),
    Event(Item("p", "replica", "4711@n"), "6", "/test", Item("p", "partition", "4711"), node="n"),
    Event(Item("q", "replica", "r"), "7", "/test", V, transport="reencrypt", node="n"),
    Event(Item("p", "snapshot", "lost"), "8", "/test", Item("p", "volume", "never")),
    Event(Item("p", "volume", "denied"), "9", "/test", encryption=Ask("aes-xts-plain64", 8)),
)
ITEMS, KEYS, SCOPES = "km:{p}:items", "km:{p}:keys", "km:{p}:scopes"
HOLDERS, STATS, LINEAGE = "km:{p}:holders", "km:{p}:stats", "km:{p}:lineage"
DEKS, PARKED, WAITING = "kmsecret:{p}:deks", "kmsecret:{p}:parked", "km:{p}:waiting"
OTHER: Final = "00000000-0000-4000-8000-000000000000"


Spoil = Callable[["Filled"], object]


class Filled:
    """A store that a worker has filled, and what was heard of it."""

    def __init__(self) -> None:
        site = Installation(reports=False)
        self.history = history(EVENTS).patient
        for sent in self.history.first:
            site.publish(_sent(sent), **properties_in(sent.message))
        with quietly():
            site.process().run()
        self.redis: Any = site.redis
        self.assignments, self.letters = (
            [delivery_of(it.body, it.routing_key, it.properties) for it in messages]
            for messages in (site.announcements, site.letters)
        )
        self.announced: dict[Item, dict[str, Any]] = {}
        for delivery in self.assignments:
            data = delivery.parsed()["data"]
            item = Item(data["project_id"], data["item"]["kind"], data["item"]["id"])
            self.announced[item] = data

    def problems(self) -> Iterator[str]:
        """Everything that is wrong, also beside what had to come of these events."""
        outlook, heard = self.history.outlook, Heard()
        for delivery in self.assignments:
            heard.take_assignment(delivery)
        for letter in self.letters:
            heard.take_letter(letter)
        reader = Reader(self.redis, self.redis, "km")
        yield from record_problems(outlook, self.announced, reader)
        yield from assignment_problems(outlook, heard.announced())
        yield from letter_problems(self.history, heard.refused(), exactly=True)

    def id_of(self, item: Item, name: str = "key_id") -> str:
        """Return an item's key-id, or its scope's."""
        return str(self.announced[item][name])

    def forget(self, key: str, field: str | None = None) -> None:
        """Delete a field of a hash, the first one unless told."""
        self.redis.hdel(key, field or self.redis.hkeys(key)[0])

    def change(self, key: str, field: str, old: str, new: str) -> None:
        """Write something else into a record, whose seal stays as it is."""
        text = self.redis.hget(key, field).decode()
        assert old in text, text
        self.redis.hset(key, field, text.replace(old, new, 1))


def _sent(told: Told) -> Sent:
    assert told.event is not None
    item, message = told.event.item, told.message
    known = ProductItem(item.project, Kind(item.kind), item.id)
    return Sent(known, message.body, message.routing_key)


def _said_again(ref: str, old: str = "", new: str = "", **properties: Any) -> Spoil:
    """Announce an item once more, with something else in the body or beside it."""

    def spoil(it: Filled) -> None:
        (said,) = (each for each in it.assignments if each.parsed()["subject"] == ref)
        it.assignments.append(_with(said, old, new, properties))

    return spoil


def _refused_as(old: str = "", new: str = "", **headers: Any) -> Spoil:
    """Put another dead letter in the place of the one that there is."""

    def spoil(it: Filled) -> None:
        (letter,) = it.letters
        it.letters = [_with(letter, old, new, {"headers": {**letter.headers, **headers}})]

    return spoil


def _with(delivery: Delivery, old: str, new: str, properties: dict[str, Any]) -> Delivery:
    assert old in delivery.body.decode()
    body = delivery.body.replace(old.encode(), new.encode())
    return replace(
        delivery, body=body, properties=BasicProperties(**vars(delivery.properties) | properties)
    )


def _of_key(item: Item, old: str, new: str) -> Spoil:
    return lambda it: it.change(KEYS, it.id_of(item), old, new)


def _of_scope(item: Item, old: str, new: str) -> Spoil:
    return lambda it: it.change(SCOPES, it.id_of(item, "scope_id"), old, new)


def _of_item(item: Item, old: str, new: str) -> Spoil:
    return lambda it: it.change(ITEMS, item.ref, old, new)


WRONG: Final[dict[str, tuple[Spoil, str]]] = {
    "an item is gone": (lambda it: it.forget(ITEMS, S.ref), "items: ['snapshot:s'] missing"),
    "a key is gone": (lambda it: it.forget(KEYS), "keys: ["),
    "a scope is gone": (lambda it: it.forget(SCOPES), "scopes: ["),
    "a wrapped DEK is gone": (lambda it: it.forget(DEKS), "wrapped DEKs: ["),
    "a holder is gone": (lambda it: it.forget(HOLDERS), "holders {"),
    "the lineage is gone": (lambda it: it.redis.delete(LINEAGE), "lineage {"),
    "a waiting entry is gone": (lambda it: it.forget(WAITING), "[] are waiting"),
    "a waiting event is gone": (lambda it: it.forget(PARKED), "the waiting room's indexes"),
    "a deadline is gone": (lambda it: it.redis.delete(f"{WAITING}:deadlines"), "room's indexes"),
    "a source is forgotten": (lambda it: it.redis.delete(f"{WAITING}:sources"), "waited for"),
    "a share is gone": (lambda it: it.redis.delete(f"{WAITING}:shares"), "shares {}"),
    "a total is less": (lambda it: it.redis.hincrby(STATS, "create", -1), "stats {'create': 2"),
    "too few wait": (lambda it: it.redis.hincrby(STATS, "waiting", -1), "waiting 0, not 1"),
    "a project is unlisted": (lambda it: it.redis.srem("km:projects", "p"), "p is not listed"),
    "a key is nobody's": (lambda it: it.redis.hset(KEYS, OTHER, "{}"), f"'{OTHER}'] too many"),
    "a scope is nobody's": (
        lambda it: it.redis.hset(SCOPES, OTHER, '{"dek_id": "x"}'), f"'{OTHER}'] too many",
    ),
    "a DEK is nobody's": (lambda it: it.redis.hset(DEKS, OTHER, b""), f"'{OTHER}'] too many"),
    "a holder is one too many": (lambda it: it.redis.hincrby(HOLDERS, OTHER, 1), "holders {"),
    "a member has a score": (
        lambda it: it.redis.zincrby(LINEAGE, 1, f"{it.id_of(V, 'scope_id')} {V.ref}"), "lineage {",
    ),
    "an item has another's record": (
        lambda it: it.redis.hset(ITEMS, W.ref, it.redis.hget(ITEMS, S.ref)),
        "volume:w is about {'kind': 'snapshot'",
    ),
    "an item is of another project": (
        _of_item(V, '"project_id":"p"', '"project_id":"q"'), "project_id is 'q'",
    ),
    "an item is suspended": (_of_item(V, '"active"', '"suspended"'), "is suspended"),
    "a record is not what was announced": (
        _of_item(V, '"rule":"', '"rule":"other-'), "p/volume:v: the record is not what was",
    ),
    "a reuse has a key-id of its own": (
        lambda it: it.change(ITEMS, S.ref, it.id_of(V), it.id_of(W)), "is a reuse by key-id",
    ),
    "a clone has its source's key-id": (
        lambda it: it.change(ITEMS, W.ref, it.id_of(W), it.id_of(V)), "is a clone by key-id",
    ),
    "two items were given one key-id": (
        lambda it: it.change(ITEMS, R.ref, it.id_of(R), it.id_of(V)), "key-id of another item",
    ),
    "a snapshot is of another scope": (
        lambda it: it.change(ITEMS, S.ref, it.id_of(V, "scope_id"), it.id_of(R, "scope_id")),
        "snapshot:s: its data: scope_id is",
    ),
    "a snapshot has another cipher": (
        _of_item(S, '"key_bits":512', '"key_bits":256'), "its data: encryption is",
    ),
    "a source is not on record": (
        _of_item(S, '"source":{"kind":"volume","id":"v"', '"source":{"kind":"volume","id":"x"'),
        "is reuse, and its source is not on record",
    ),
    "a copy is re-encrypted from another key": (
        lambda it: it.change(ITEMS, R.ref, it.id_of(V), it.id_of(W)), "reencrypt_from is",
    ),
    "what is not encrypted has a key": (
        _of_item(Item("p", "volume", "plain"), '"key_id":null', f'"key_id":"{OTHER}"'),
        "volume:plain: its data: key_id is",
    ),
    "a key is of another scope": (_of_key(V, '"scope_id":"', '"scope_id":"x'), "its key-id is of"),
    "a key names another DEK": (_of_key(V, '"dek_id":"', '"dek_id":"x'), "dek_id is"),
    "a key is compromised": (_of_key(V, '"active"', '"compromised"'), "is compromised"),
    "a clone is of no key": (_of_key(W, '"cloned_from":"', '"cloned_from":"x'), "cloned_from is"),
    "a key is of no time": (_of_key(V, '"created_at":"', '"created_at":"x'), "is not a time"),
    "a key's version is a word": (_of_key(V, '"version":1', '"version":"1"'), "version is '1'"),
    "a scope began with another": (_of_scope(V, '"root":"volume:v', '"root":"volume:w'), "root is"),
    "a scope has another cipher": (_of_scope(V, '"cipher":"', '"cipher":"x'), "cipher is"),
    "a scope is of no time": (_of_scope(V, '"created_at":"', '"created_at":"x'), "not a time"),
    "a scope is derived from nowhere": (
        lambda it: it.change(SCOPES, it.id_of(R, "scope_id"), it.id_of(V, "scope_id"), OTHER),
        "is derived from",
    ),
    "a blank scope is derived": (
        _of_scope(V, '"derived_from":null', f'"derived_from":"{OTHER}"'), "not from None",
    ),
    "two scopes have one DEK": (
        lambda it: it.redis.hset(
            SCOPES, it.id_of(R, "scope_id"), it.redis.hget(SCOPES, it.id_of(V, "scope_id"))
        ),
        "two scopes have one DEK",
    ),
    "a scope is wrapped by another KEK": (_of_scope(V, '"kek_id":"', '"kek_id":"x'), "sealed by"),
    "a record has a field too many": (_of_key(V, '{"', '{"more":1,"'), "has the fields"),
    "a seal is no seal": (_of_item(V, '"seal":"v2.', '"seal":"v1.'), "does not end in a seal"),
    "an assignment was not heard": (lambda it: it.assignments.pop(), "was not announced"),
    "an assignment is of no event": (
        _said_again("p/volume:v", '"id":"v"', '"id":"x"'), "p/volume:v was announced in different",
    ),
    "an item is announced that has no event": (
        _said_again("p/volume:v", "volume:v", "volume:x"), "p/volume:x must not be announced",
    ),
    "an item has a second key": (
        lambda it: _said_again("p/volume:v", it.id_of(V), it.id_of(W))(it), "in different words",
    ),
    "an announcement is said beside the same words": (
        _said_again("p/volume:v", app_id="another"), "in different words",
    ),
    "an event was refused unheard": (lambda it: it.letters.clear(), "not refused as policy-denied"),
    "an event was refused twice": (
        lambda it: it.letters.append(it.letters[0]), "was refused 2 times, not 1 at most",
    ),
    "an event was refused as another": (_refused_as("denied", "other"), "must not be refused"),
    "a reason is wrong": (
        _refused_as(**{"x-kmworker-reason": "internal"}), "the reason is internal",
    ),
    "a detail says what only the event says": (
        _refused_as(**{"x-kmworker-detail": CANARY}), "the detail repeats what the event says",
    ),
    "a detail is missing": (_refused_as(**{"x-kmworker-detail": ""}), "no detail"),
    "an event's id is another's": (
        _refused_as(**{"x-kmworker-event-id": "1"}), "x-kmworker-event-id is '1'",
    ),
    "a letter is of no time": (_refused_as(**{"x-kmworker-dead-at": "now"}), "'now' is not a time"),
    "a seal is not all that is last": (
        lambda it: it.redis.hset(KEYS, it.id_of(V), it.redis.hget(KEYS, it.id_of(V)) + b" "),
        "does not end in a seal",
    ),
}  # fmt: skip


# Of which there is something where lives have ended only; an outbox is empty at rest.
OF_ENDS: Final = {"unsaid", "due", "tombstones"}


def _after_some_ends() -> Installation:
    site = Installation(reports=False)
    v = ProductItem("p1", Kind.VOLUME, "v")
    early = ProductItem("p1", Kind.VOLUME, "early")
    with quietly():
        site.handle(volume("v"), volume("w", v), volume("x"), release(early))
        site.handle(release(v), release(ProductItem("p1", Kind.VOLUME, "w")))
        site.handle(volume("v", event_id="again", generation=1))
    return site


def _first_key(redis: Any, state: str) -> tuple[bytes, bytes]:
    records = redis.hgetall("km:{p1}:keys")
    return next((name, it) for name, it in records.items() if f'"state":"{state}"'.encode() in it)


def _destroy_by_hand(redis: Any) -> None:
    name, record = _first_key(redis, "active")
    redis.hset("km:{p1}:keys", name, record.replace(b'"active"', b'"destroyed"'))


WRONG_ENDS: Final[dict[str, tuple[Callable[[Any], object], str]]] = {
    "a key is not due": (lambda it: it.delete("km:{p1}:keys:due"), "keys:due lacks"),
    "a tombstone is in no index": (lambda it: it.delete("km:{p1}:tombstones"), "tombstones lacks"),
    "clones are not counted": (lambda it: it.delete("km:{p1}:clones"), "clones {}"),
    "early ones are not counted": (lambda it: it.hdel("km:{p1}:stats", "early"), "early None"),
    "a released item counts as a holder": (
        lambda it: it.hincrby("km:{p1}:holders", _first_key(it, "deactivated")[0], 1), "holders {",
    ),
    "a DEK outlives its key-ids": (_destroy_by_hand, "do not end together"),
    "a scope has lost its items": (lambda it: it.hset("km:{p1}:stats", "create_forgotten", 0),
        "scopes: ["),
}  # fmt: skip


def test_a_store_that_a_worker_has_filled_is_sound_and_has_something_of_everything() -> None:
    filled = Filled()
    assert list(filled.problems()) == []
    contents = read_contents(filled.redis, "km")
    assert set(contents) == {"p", "q"}
    assert all(getattr(contents["p"], name) for name in set(contents["p"].__slots__) - OF_ENDS)
    assert {it.disposition for it in filled.history.outlook.assigned.values()} == {
        "create", "clone", "reuse", "none",
    }  # fmt: skip


def test_a_store_in_which_lives_have_ended_is_sound() -> None:
    site = _after_some_ends()
    contents = read_contents(site.redis, "km")
    assert list(problems(contents)) == []
    assert contents["p1"].due
    assert contents["p1"].tombstones


@pytest.mark.parametrize(("spoil", "told"), WRONG_ENDS.values(), ids=WRONG_ENDS)
def test_whatever_is_wrong_with_what_has_ended_is_found(
    spoil: Callable[[Any], object], told: str
) -> None:
    site = _after_some_ends()
    spoil(site.redis)
    assert any(told in problem for problem in problems(read_contents(site.redis, "km")))


@pytest.mark.parametrize(("spoil", "told"), WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_is_found(spoil: Spoil, told: str) -> None:
    filled = Filled()
    spoil(filled)
    assert any(told in problem for problem in filled.problems())


def test_what_contradicts_nothing_but_the_store_itself_is_found_without_a_model() -> None:
    filled = Filled()
    filled.forget(DEKS)
    assert any("wrapped DEKs" in it for it in problems(read_contents(filled.redis, "km")))
