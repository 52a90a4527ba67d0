"""Watches a run: who was told what, in which order, and whether that was allowed.

It looks from outside, at what the broker and the store are given, and knows nothing of
how the worker works. It only takes notes, because the worker would take an exception for
a fault of its own; whoever drives the run asks for the broken promises.
"""

import hashlib
import json
from collections import Counter, defaultdict
from functools import partial
from typing import Any, Final

from kmworker.domain.model import Item, Kind
from kmworker.store.names import Names
from kmworker.worker.held_back import MAX_REFUSALS
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.events import Sent
from tests.kit.simulator.invariants import Invariant, Violation
from tests.kit.simulator.wire import Effect
from tests.kit.store.direct import Keyspace

# Commands that let nobody leave the waiting room.
HARMLESS: Final = frozenset({
    "lookup", "sweep", "take", "sadd", "scard", "sscan", "set", "pexpire", "hget", "hmget",
    "hgetall", "hincrby", "mget", "zadd", "zincrby", "zrangebyscore", "reindex", "hscan", "hello",
})  # fmt: skip

# Commands after which the numbers of commits are looked at.
COUNTING: Final = frozenset(("commit", "remove", "hincrby"))


class Ledger:
    """The notes on one installation.

    Attributes:
        accepted: every event that the broker took, and when (Unix seconds).
        announced: the first announcement of each item.
        refused_at: when each event became a dead letter, by body (Unix seconds).
        comes_again: the events of which another copy was to come when they became one, or
            was published afterwards.
        broken: the promises that were broken, and by what.
        mortal: items that somebody has said to be gone, or to live again; what must be true of
            their lives is looked at where they are told of.
    """

    def __init__(self, broker: Broker, keyspace: Keyspace, names: Names) -> None:
        self.accepted: dict[bytes, tuple[Sent, float]] = {}
        self.announced: dict[Item, bytes] = {}
        self.confirmed: set[bytes] = set()
        self.refused_at: dict[bytes, float] = {}
        self.broken: dict[tuple[Invariant, str], None] = {}
        self.comes_again: set[bytes] = set()
        self.mortal: set[Item] = set()
        self._bodies: dict[str, bytes] = {}
        """What was announced, by its id."""
        self._undone: Counter[bytes] = Counter()
        self._confirmed_letters: set[bytes] = set()
        self._refused: Counter[tuple[str, str]] = Counter()
        """By kind and project, how often an assignment had no room."""
        self._broker = broker
        self._keyspace = keyspace
        self._names = names
        self._seen: dict[Item, list[Any]] = {}
        self._waiting: dict[str, set[bytes]] = defaultdict(set)
        self._entries: dict[bytes, Sent] = {}
        self._written: dict[bytes, tuple[int, set[tuple[bytes, bytes]]]] = {}
        broker.observers.append(self._on_effect)

    def accept(self, sent: Sent) -> None:
        """Note an event that the broker has taken."""
        self.accepted.setdefault(sent.body, (sent, self._broker.clock.now()))
        self._undone[sent.body] += 1
        if sent.is_mortal:
            self.mortal.add(sent.item)
        if sent.body in self.refused_at:
            self.comes_again.add(sent.body)
        if sent.derived_from is not None:
            self._entries[entry_of(sent)] = sent

    def violated(self, invariant: Invariant, detail: str) -> None:
        """Note a broken promise."""
        self.broken[invariant, detail] = None

    def raise_violation(self) -> None:
        """Raise the broken promises, if there are any."""
        if self.broken:
            raise Violation(list(self.broken))

    def record(self, item: Item) -> dict[str, Any] | None:
        """Return an item's record."""
        text = self._keyspace.field(self._names.of(item.project, "items"), item.ref)
        return None if text is None else json.loads(text)

    def agrees(self, sent: Sent, record: dict[str, Any]) -> bool:
        """Return whether an event says nothing else of its item than the item's record."""
        data, said = record["data"], json.loads(sent.body)
        if (said["id"], said["source"]) == (data["cause"]["id"], data["cause"]["source"]):
            return True
        source = data["source"] and _item(data["source"]["project_id"], data["source"])
        # Without a size, it says nothing of the size.
        asked = said["data"].get("encryption", data["encryption"])
        asked = asked and {**(data["encryption"] or {}), **asked}
        is_same_node = said["data"].get("node") == data["node"]
        return bool(source == sent.derived_from and asked == data["encryption"] and is_same_node)

    def is_answered(self, sent: Sent) -> bool:
        """Return whether the broker has confirmed what became of an event."""
        if sent.body in self._confirmed_letters:
            return True
        record = self.record(sent.item) if sent.is_event else None
        if sent.item in self.mortal:
            return record is not None
        if record is None or not self.agrees(sent, record):
            return False
        items = [sent.item]
        source = sent.derived_from
        if source is not None and source.kind is Kind.PARTITION:
            founder = self.record(source)
            if founder is None or founder["data"]["cause"] == record["data"]["cause"]:
                items.append(source)
        return all(self._is_told(self.announced.get(item)) for item in items)

    def changed(self) -> list[Item]:
        """Return the announced items of which something is not as it was."""
        return [
            item
            for item, seen in self._seen.items()
            if item not in self.mortal and self._rows(item, seen[0]) != seen
        ]

    def on_store(self, command: str) -> None:
        """Look at what has changed after a worker's command."""
        if command in COUNTING:
            self._count(is_commit=command == "commit")
        if command in HARMLESS or not self._entries:
            return
        waited_for = (sent.derived_from for sent in self._entries.values())
        for project in {source.project for source in waited_for if source is not None}:
            there = self._keyspace.fields(self._names.of(project, "parked"))
            gone = self._waiting[project] - there
            self._waiting[project] = there
            for entry in gone & self._entries.keys():
                if not self.is_answered(self._entries[entry]):
                    event_id = self._entries[entry].event_id
                    self.violated(Invariant.KEPT_WAITING, f"{event_id} after {command}")

    def on_outsider(self) -> None:
        """Take it for no worker's commit what somebody else has written."""
        self._count(is_commit=False)

    # --- inside -------------------------------------------------------------------

    def _count(self, *, is_commit: bool) -> None:
        """Compare the numbers of commits with what was written."""
        total = 0
        for project in self._keyspace.members(self._names.top("projects")):
            key = partial(self._names.of, project.decode())
            number = int(self._keyspace.text(key("commits")) or 0)
            there = self._keyspace.pairs(key("items")) | self._keyspace.pairs(key("parked"))
            before, was_there = self._written.get(project, (0, set()))
            self._written[project] = number, there
            total += number
            if number != before + (is_commit and bool(there - was_there)):
                detail = f"{project.decode()} counts {number} commits after {before}"
                self.violated(Invariant.NUMBERED, detail)
        of_all = int(self._keyspace.field(self._names.top("commits"), "number") or 0)
        if of_all > total:
            self.violated(Invariant.NUMBERED, f"{of_all} are counted, and there are {total}")

    def _on_effect(self, effect: Effect) -> None:
        names = self._broker.topology
        match effect.kind:
            case "publishing" if effect.exchange == names.assignments:
                self._announcing(effect.body)
            case "publishing" if effect.exchange == names.dead:
                self.refused_at.setdefault(effect.body, self._broker.clock.now())
                if self._undone[effect.body] > 0:
                    self.comes_again.add(effect.body)
            case "acknowledged":
                self._undone[effect.body] -= 1
            case "confirmed" if effect.exchange == names.assignments:
                self.confirmed.add(effect.body)
            case "refused" if effect.exchange == names.assignments:
                self._refused[_kind_and_project(effect.body)] += 1
            case "confirmed" if effect.exchange == names.dead:
                self._confirmed_letters.add(effect.body)
            case "settling":
                self._settling(effect.body)
            case _:
                pass

    def _announcing(self, body: bytes) -> None:
        message = json.loads(body)
        data = message["data"]
        item = _item(data["project_id"], data["item"])
        if self._bodies.setdefault(message["id"], body) != body:
            self.violated(Invariant.SAME_BYTES, item.ref)
        if item in self.mortal:
            if self.record(item) is None:
                self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and not stored")
            return
        first = self.announced.setdefault(item, body)
        if json.loads(first)["data"]["key_id"] != data["key_id"]:
            self.violated(Invariant.ONE_KEY, item.ref)
        if first != body:
            self.violated(Invariant.SAME_BYTES, item.ref)
        rows = self._rows(item, data)
        if None in rows:
            self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and not stored")
        elif json.loads(rows[1])["data"] != data:
            self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and stored otherwise")
        if self._seen.setdefault(item, rows) != rows:
            self.violated(Invariant.IMMUTABLE, item.ref)

    def _rows(self, item: Item, data: dict[str, Any]) -> list[Any]:
        """Return what an announcement rests on: the records, and the wrapped DEK."""
        rows = [("items", item.ref)]
        if data["key_id"] is not None:
            key_id, scope_id = data["key_id"], data["scope_id"]
            rows += [("keys", key_id), ("scopes", scope_id), ("deks", scope_id)]
        of = partial(self._names.of, item.project)
        return [data, *(self._keyspace.field(of(key), field) for key, field in rows)]

    def _settling(self, body: bytes) -> None:
        if body not in self.accepted:
            return
        sent, _at = self.accepted[body]
        if not self.is_answered(sent) and not self._is_waiting(sent):
            self.violated(Invariant.ACKNOWLEDGED_LAST, sent.name)

    def _is_waiting(self, sent: Sent) -> bool:
        source = sent.derived_from
        if source is None:
            return False
        parked = self._names.of(source.project, "parked")
        return entry_of(sent) in self._keyspace.fields(parked)

    def _is_told(self, announcement: bytes | None) -> bool:
        """Return whether it is stored, or was refused so often that it counts as unrouted."""
        if announcement is None:
            return False
        return (
            announcement in self.confirmed
            or self._refused[_kind_and_project(announcement)] >= MAX_REFUSALS
        )


def entry_of(sent: Sent) -> bytes:
    """Return the name of an event's entry in the waiting room."""
    digest = hashlib.sha256(sent.item.ref.encode() + b"\0" + sent.body)
    if sent.user is not None:
        digest.update(b"\0" + repr({"user_id": sent.user}).encode())
    return digest.hexdigest()[:32].encode()


def _kind_and_project(announcement: bytes) -> tuple[str, str]:
    data = json.loads(announcement)["data"]
    return data["item"]["kind"], data["project_id"]


def _item(project: str, named: dict[str, str]) -> Item:
    return Item(project, Kind(named["kind"]), named["id"])
