"""Watches a run: who was told what, in which order, and whether that was allowed.

It looks from outside, at what the broker and the store are given, and knows nothing of
how the worker works. It only takes notes, because the worker would take an exception for
a fault of its own; whoever drives the run asks for the broken promises.
"""

import json
from collections import Counter, defaultdict
from functools import partial
from typing import Any, Final

from kmworker.domain.model import Item, Kind
from kmworker.store.names import Names
from kmworker.worker.held_back import MAX_REFUSALS
from tests.kit.checker.states import KEPT_OF_KEYS, KEPT_OF_SCOPES
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.chronicle import Chronicle, Life, Version
from tests.kit.simulator.commit_count import CommitCount
from tests.kit.simulator.events import Sent
from tests.kit.simulator.invariants import Invariant, Violation
from tests.kit.simulator.said import (
    agrees,
    entry_of,
    item_in,
    item_of,
    key_id_in,
    kind_and_project,
)
from tests.kit.simulator.wire import Effect
from tests.kit.store.direct import Keyspace

# Commands that let nobody leave the waiting room.
HARMLESS: Final = frozenset({
    "lookup", "sweep", "take", "sadd", "scard", "sscan", "set", "pexpire", "hget", "hmget",
    "hgetall", "hincrby", "mget", "zadd", "zincrby", "zrangebyscore", "reindex", "hscan", "hello",
    "change", "destroy", "forget", "zrem", "zcount", "zrangebylex", "time", "hset",
    "delegate", "get", "zremrangebyscore",
})  # fmt: skip

Rows = list[Any]
"""What an announcement says, and what it rests on; None for what is not there."""


class Ledger:
    """The notes on one installation.

    Attributes:
        accepted: every event that the broker took, and when (Unix seconds).
        announced: the first announcement of each life of an item.
        refused_at: when each event became a dead letter, by body (Unix seconds).
        comes_again: the events of which another copy was to come when they became one, or
            was published afterwards.
        broken: the promises that were broken, and by what.
        chronicle: what was ever in the store.
    """

    def __init__(self, broker: Broker, keyspace: Keyspace, names: Names) -> None:
        self.accepted: dict[bytes, tuple[Sent, float]] = {}
        self.announced: dict[Life, bytes] = {}
        self.confirmed: set[bytes] = set()
        self.refused_at: dict[bytes, float] = {}
        self.broken: dict[tuple[Invariant, str], None] = {}
        self.comes_again: set[bytes] = set()
        self.chronicle = Chronicle(keyspace, names, self.violated)
        self.chronicle.on_forgotten = self._on_forgotten
        self.changes: dict[Version, bytes] = {}
        """What was announced of key-ids."""
        self._causes: dict[tuple[str, Item], Sent] = {}
        """Events by their id and their item."""
        self._releases: defaultdict[Item, dict[bytes, int]] = defaultdict(dict)
        """What was announced of the ends of an item's lives, and of which one."""
        self._answered: set[bytes] = set()
        """Events whose item was forgotten after they were answered."""
        self._old_releases: defaultdict[Item, dict[bytes, int]] = defaultdict(dict)
        """As `_releases`, of what was forgotten: its confirm may still be on its way."""
        self._bodies: dict[str, bytes] = {}
        """What was announced, by its id."""
        self._undone: Counter[bytes] = Counter()
        self._confirmed_letters: set[bytes] = set()
        self._refused: Counter[tuple[str, str]] = Counter()
        """By kind and project, how often an assignment had no room."""
        self._broker = broker
        self.keyspace = keyspace
        self.names = names
        self._seen: dict[Life, Rows] = {}
        self._waiting: dict[str, set[bytes]] = defaultdict(set)
        self._entries: dict[bytes, Sent] = {}
        self._commits = CommitCount(keyspace, names, self.violated)
        broker.observers.append(self._on_effect)

    def accept(self, sent: Sent) -> None:
        """Note an event that the broker has taken."""
        self.accepted.setdefault(sent.body, (sent, self._broker.clock.now()))
        self._undone[sent.body] += 1
        if sent.is_event:
            self._causes[sent.event_id, sent.item] = sent
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
        text = self.keyspace.field(self.names.of(item.project, "items"), item.ref)
        return None if text is None else json.loads(text)

    def data_of(self, item: Item, generation: int) -> dict[str, Any] | None:
        """Return what a life of an item was assigned, whatever has become of it."""
        return self.chronicle.data.get((item.project, item.ref, generation))

    def is_passed(self, item: Item, generation: int) -> bool:
        """Return whether a later life of an item's name was heard of."""
        return self.chronicle.newest.get((item.project, item.ref), generation) > generation

    def is_over(self, item: Item, generation: int) -> bool:
        """Return whether a life of an item's name was released."""
        return self.chronicle.over.get((item.project, item.ref), -1) >= generation

    def was_forgotten(self, item: Item) -> bool:
        """Return whether the store has known of an item, and has once forgotten all of it."""
        return (item.project, item.ref) in self.chronicle.forgotten

    def has_ended(self, item: Item, generation: int, key_id: str | None) -> bool:
        """Return whether the broker has confirmed that a life is over, or a later one is."""
        return any(
            body in self.confirmed and number >= generation and key_id_in(body) == key_id
            for body, number in self._releases[item].items()
        )

    def is_answered(self, sent: Sent) -> bool:
        """Return whether the broker has confirmed what became of an event."""
        if sent.body in self._confirmed_letters or sent.body in self._answered:
            return True
        if not sent.is_event:
            return False
        if sent.attachment is not None:
            return self._is_stored(sent)
        item, generation = sent.item, sent.generation
        data = self.data_of(item, generation)
        if self.is_passed(item, generation):
            return True
        if sent.is_release:
            # A tombstone may take a later life's number, and tells of the key-id that there was.
            ends = self._old_releases[item] | self._releases[item]
            return any(it in self.confirmed and ends[it] >= generation for it in ends)
        return data is not None and agrees(sent, data) and self._is_heard(sent, data)

    def _is_heard(self, sent: Sent, data: dict[str, Any]) -> bool:
        """Return whether an assignment was heard of, or that it is over."""
        item, generation, source = sent.item, sent.generation, sent.derived_from
        if self.has_ended(item, generation, data["key_id"]):
            return True
        lives = [self._life(item, generation)]
        if source is not None and source.kind is Kind.PARTITION:
            founder = self.data_of(source, 0)
            if founder is None or founder["cause"] == data["cause"]:
                lives.append(self._life(source, 0))
        return all(self._is_told(self.announced.get(life)) for life in lives)

    def is_accounted(self, sent: Sent) -> bool:
        """Return whether the store has come to what an event says, or had passed by it."""
        if not sent.is_event:
            return False
        if sent.attachment is not None:
            return self._is_stored(sent)
        if self.is_passed(sent.item, sent.generation) or self.was_forgotten(sent.item):
            return True
        if sent.is_release:
            return self.is_over(sent.item, sent.generation)
        data = self.data_of(sent.item, sent.generation)
        return data is not None and agrees(sent, data)

    def _is_stored(self, sent: Sent) -> bool:
        """Return whether an attachment is as an event says, or over."""
        known = self.chronicle.attachments.get(
            (sent.item.project, sent.item.ref, sent.attachment or "")
        )
        if known is None or "over" in known or sent.is_release:
            return known is not None and "over" in known
        return not self.is_attached_otherwise(sent)

    def is_attached_otherwise(self, sent: Sent) -> bool:
        """Return whether an attachment is, or was, another than an event says."""
        known = self.chronicle.attachments.get(
            (sent.item.project, sent.item.ref, sent.attachment or ""), {}
        )
        said = json.loads(sent.body)["data"]
        kept = None if sent.is_release else known.get("grant")
        return kept is not None and any(
            kept[it] != said.get(it) for it in ("node", "mode", "expires_at")
        )

    def source_generation_of(self, project: str, ref: str, event_id: str) -> int:
        """Return which life of its source an item's event has named."""
        cause = self._causes.get((event_id, item_in((project, ref, 0))))
        return 0 if cause is None else cause.source_generation

    def changed(self) -> list[Item]:
        """Return the announced items of which something is not as it was."""
        return [
            item_in(life)
            for life, seen in self._seen.items()
            if self._is_present(life) and self._rows(item_in(life), seen[0]) != seen
        ]

    def on_store(self, command: str) -> None:
        """Look at what has changed after a worker's command."""
        for version in self.chronicle.look(command):
            if self.changes.get(version) not in self.confirmed:
                self.violated(Invariant.TOLD, f"{version} leaves its outbox after {command}")
        self._commits.look(command)
        if command in HARMLESS or not self._entries:
            return
        waited_for = (sent.derived_from for sent in self._entries.values())
        for project in {source.project for source in waited_for if source is not None}:
            there = self.keyspace.fields(self.names.of(project, "parked"))
            gone = self._waiting[project] - there
            self._waiting[project] = there
            for entry in gone & self._entries.keys():
                if not self.is_answered(self._entries[entry]):
                    event_id = self._entries[entry].event_id
                    self.violated(Invariant.KEPT_WAITING, f"{event_id} after {command}")

    def on_outsider(self) -> None:
        """Take it for no worker's commit what somebody else has written."""
        self.chronicle.forgive()
        self._commits.look(None)

    # --- inside -------------------------------------------------------------------

    def _on_forgotten(self, project: str, ref: str) -> None:
        """Let whatever comes of that name from now on be compared with nothing before."""
        named = (it for it, _at in self.accepted.values() if it.is_event)
        self._answered.update(
            it.body
            for it in named
            if (it.item.project, it.item.ref) == (project, ref) and self.is_answered(it)
        )
        for life in [it for it in self.announced if it[:2] == (project, ref)]:
            del self.announced[life]
            self._seen.pop(life, None)
        item = item_in((project, ref, 0))
        self._old_releases[item] |= self._releases.pop(item, {})

    def _on_effect(self, effect: Effect) -> None:
        names = self._broker.topology
        match effect.kind:
            case "publishing" if effect.exchange == names.assignments:
                self._announcing(effect.body)
            case "publishing" if effect.exchange == names.keys:
                self._telling(effect.body)
            case "publishing" if effect.exchange == names.dead:
                self.refused_at.setdefault(effect.body, self._broker.clock.now())
                if self._undone[effect.body] > 0:
                    self.comes_again.add(effect.body)
            case "acknowledged":
                self._undone[effect.body] -= 1
            case "confirmed" if effect.exchange in {names.assignments, names.keys}:
                self.confirmed.add(effect.body)
            case "refused" if effect.exchange == names.assignments:
                self._refused[kind_and_project(effect.body)] += 1
            case "confirmed" if effect.exchange == names.dead:
                self._confirmed_letters.add(effect.body)
            case "settling":
                self._settling(effect.body)
            case _:
                pass

    def _announcing(self, body: bytes) -> None:
        message = json.loads(body)
        data = message["data"]
        item = item_of(data["project_id"], data["item"])
        if self._bodies.setdefault(message["id"], body) != body and not self.was_forgotten(item):
            self.violated(Invariant.SAME_BYTES, item.ref)
        if message["type"] == "key-released":
            self._ending(item, data, body)
            return
        cause = self._causes.get((data["cause"]["id"], item))
        life = self._life(item, 0 if cause is None else cause.generation)
        first = self.announced.setdefault(life, body)
        if json.loads(first)["data"]["key_id"] != data["key_id"]:
            self.violated(Invariant.ONE_KEY, item.ref)
        if first != body:
            self.violated(Invariant.SAME_BYTES, item.ref)
        if not self._is_present(life):
            # It was when it was written, and is told late; or a later life came in that commit.
            stored = self.chronicle.data.get(life)
            if stored != data and not (stored is None and self.is_passed(item, life[2])):
                self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and not stored")
            return
        rows = self._rows(item, data)
        if None in rows:
            self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and not stored")
        elif rows[1] != data:
            self.violated(Invariant.STORED_FIRST, f"{item.ref} is announced and stored otherwise")
        if self._seen.setdefault(life, rows) != rows:
            self.violated(Invariant.IMMUTABLE, item.ref)

    def _ending(self, item: Item, data: dict[str, Any], body: bytes) -> None:
        generation = self.chronicle.ends.get((item.project, item.ref, data["key_id"], data["at"]))
        cause = self._causes.get((data["cause"]["id"], item))
        if generation is None and cause is not None and cause.is_release:
            # In the commit that wrote it, more has become of the item: what is left tells of it.
            is_there = self.is_over(item, cause.generation) or self.is_passed(
                item, cause.generation
            )
            generation = cause.generation if is_there else None
        if generation is None:
            self.violated(Invariant.STORED_FIRST, f"the end of {item.ref} is not stored")
            return
        self._releases[item][body] = generation

    def _telling(self, body: bytes) -> None:
        """Look at what is said of a key-id: it is stored, and said in one form only."""
        data = json.loads(body)["data"]
        version: Version = data["project_id"], data["key_id"], data["version"]
        if self.changes.setdefault(version, body) != body:
            self.violated(Invariant.TOLD, f"{version} is told in two forms")
        stored = self.chronicle.versions.get(version)
        if stored is None or json.loads(stored)["changed"]["at"] != data["at"]:
            self.violated(Invariant.TOLD, f"{version} is told and not stored")

    def _is_present(self, life: Life) -> bool:
        """Return whether an item is assigned, and this is the life that it has."""
        record = self.record(item_in(life))
        if record is None:
            return not self.was_forgotten(item_in(life))
        return bool(record["state"] == "active" and record.get("generation", 0) == life[2])

    def _life(self, item: Item, generation: int) -> Life:
        return item.project, item.ref, generation

    def _rows(self, item: Item, data: dict[str, Any]) -> "Rows":
        """Return what an announcement rests on, as far as it stays: records, wrapped DEK."""
        of = partial(self.names.of, item.project)
        found = self.keyspace.field(of("items"), item.ref)
        rows: Rows = [data, found and json.loads(found)["data"]]
        if data["key_id"] is not None:
            key_id, scope_id = data["key_id"], data["scope_id"]
            record: Any = None
            for table, name, kept in (
                ("keys", key_id, KEPT_OF_KEYS), ("scopes", scope_id, KEPT_OF_SCOPES)
            ):  # fmt: skip
                found = self.keyspace.field(of(table), name)
                record = found and json.loads(found)
                rows.append(record and {it: record.get(it) for it in kept})
            blob, scope = self.keyspace.field(of("deks"), scope_id), record
            opened = self.chronicle.open_dek
            rows.append(blob and scope and opened(item.project, scope_id, scope, blob))
        return rows

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
        parked = self.names.of(source.project, "parked")
        return entry_of(sent) in self.keyspace.fields(parked)

    def _is_told(self, announcement: bytes | None) -> bool:
        """Return whether it is stored, or was refused so often that it counts as unrouted."""
        if announcement is None:
            return False
        return (
            announcement in self.confirmed
            or self._refused[kind_and_project(announcement)] >= MAX_REFUSALS
        )
