"""What was announced of lives and keys, held against what had to be.

Key-ids are random to a client: they are known by the life whose assignment brought them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from tests.kit.outside.check_assignments import delivery_problems
from tests.kit.outside.heard import Delivery
from tests.kit.outside.lives.hearing import Ear
from tests.kit.outside.lives.outlook import Outlook
from tests.kit.outside.lives.world import Cause, Told
from tests.kit.outside.oracle import Expected
from tests.kit.outside.words import Event, Item

Data = dict[str, Any]
SOURCE: Final = "/kmworker"
# The contract names the words, and neither the namespace nor what stands between them.
NAMESPACE: Final = UUID("6b6d776f-726b-5572-8000-6b65792d6964")


def named_id(*words: str) -> str:
    digest = hashlib.sha1(NAMESPACE.bytes + "\0".join(words).encode(), usedforsecurity=False)
    return str(UUID(bytes=digest.digest()[:16], version=5))


@dataclass(slots=True)
class Ledger:
    """All rounds' expectations together, and whose key-id is whose."""

    ear: Ear
    events: dict[str, Event] = field(default_factory=dict)
    """By id."""
    fates: dict[Item, Expected] = field(default_factory=dict)
    causes: dict[Item, frozenset[Cause]] = field(default_factory=dict)
    must: set[Told] = field(default_factory=set)
    may: set[Told] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Events that wait in vain: refused as soon as their time has passed."""
    versions: dict[Item, int] = field(default_factory=dict)
    """Of key-ids, when the round began."""

    def expect(self, outlook: Outlook) -> None:
        """Take up what must come of one more round."""
        world = outlook.world
        self.events |= {it.event_id: it for it in outlook.actions if isinstance(it, Event)}
        self.fates |= world.fates
        self.causes |= {it.fate.item: it.causes for it in world.items.values() if it.fate}
        self.must |= outlook.must
        self.may |= outlook.may
        self.refused |= {event.event_id: reason for event, reason in world.refused.items()}
        self.lost |= {event.event_id for event in world.waiting}

    # --- who has what -----------------------------------------------------------------

    def assigned(self) -> dict[Item, Delivery]:
        """Return the announced assignments by life."""
        found = {}
        for delivery in self.ear.assigned.values():
            event = delivery.parsed()
            life = self._life(event)
            if life is not None:
                found[life] = delivery
        return found

    def _life(self, event: Data) -> Item | None:
        told = self.events.get(event["data"]["cause"]["id"])
        if told is None:
            return None
        if told.item.subject == event["subject"]:
            return told.item
        source = told.source
        return source if source is not None and source.subject == event["subject"] else None

    def key_ids(self) -> dict[Item, Data]:
        """Return the data of the assignment that brought each key-id, by its life."""
        found = self.assigned()
        known: dict[Item, Data] = {}
        for life, delivery in found.items():
            owner = self.fates[life].key_owner if life in self.fates else None
            if owner is not None:
                known.setdefault(owner, delivery.parsed()["data"])
        return known

    # --- assignments and releases -----------------------------------------------------

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with what was said of items, and what is missing of it."""
        yield from self.ear.problems
        assigned = self.assigned()
        wanted = {told for told in self.must if told[0] == "assigned"}
        for told in wanted - {self._told(life) for life in assigned if life in self.fates}:
            yield f"{told} was not announced"
        for life, delivery in assigned.items():
            if life not in self.fates:
                yield f"{life} must not be announced"
                continue
            fate = replace(self.fates[life], causes=self.causes.get(life, frozenset()))
            yield from delivery_problems(delivery, fate)
        if len(assigned) != len(self.ear.assigned):
            yield "an assignment of something that nobody spoke of, or of one life in two ways"
        yield from self._sharing_problems(assigned)
        yield from self._release_problems()
        yield from self._letter_problems()

    def _told(self, life: Item) -> Told:
        return ("assigned", life.name, self.fates[life].key_owner, life.generation)

    def _sharing_problems(self, assigned: dict[Item, Delivery]) -> Iterator[str]:
        of_owner: dict[tuple[str, Item], str] = {}
        owner_of: dict[str, Item] = {}
        for life, delivery in assigned.items():
            fate, data = self.fates.get(life), delivery.parsed()["data"]
            if fate is None:
                continue
            for name, owner in (("key_id", fate.key_owner), ("scope_id", fate.scope_owner)):
                if owner is None:
                    continue
                if of_owner.setdefault((name, owner), data[name]) != data[name]:
                    yield f"{life}: its {name} is not that of {owner}"
                if owner_of.setdefault(data[name], owner) != owner:
                    yield f"{life}: its {name} is that of {owner_of[data[name]]}, too"
            source = fate.reencrypt_from
            if source in assigned:
                key_id = assigned[source].parsed()["data"]["key_id"]
                if data["reencrypt_from"] != key_id:
                    yield f"{life}: reencrypt_from is {data['reencrypt_from']}, not {key_id}"

    def _release_problems(self) -> Iterator[str]:
        known = self.key_ids()
        ids: dict[str, Told] = {}
        for told in self.may:
            what, name, owner, generation = told
            if what != "released" or (owner is not None and owner not in known):
                if what == "released" and told in self.must:
                    yield f"{told}: the key-id was not announced"
                continue
            key_id = "None" if owner is None else known[owner]["key_id"]
            words = ("released", SOURCE, name.project, name.ref, key_id, str(generation))
            ids[named_id(*words)] = told
            if told in self.must and named_id(*words) not in self.ear.released:
                yield f"{told} was not announced"
        for event_id, delivery in self.ear.released.items():
            if event_id not in ids:
                yield f"must not be announced: {delivery.body!r}"
            else:
                yield from _release_problems(delivery, ids[event_id], known)

    def _letter_problems(self) -> Iterator[str]:
        for event_id, reason in self.refused.items():
            if set(self.ear.letters.get(event_id, ())) != {reason}:
                yield f"{event_id} was refused as {self.ear.letters.get(event_id)}, not {reason}"
        for event_id, reasons in self.ear.letters.items():
            is_lost = event_id in self.lost and set(reasons) == {"source-missing"}
            if event_id not in self.refused and not is_lost:
                yield f"{event_id} must not be refused: {reasons} {self.events.get(event_id)}"


def _release_problems(delivery: Delivery, told: Told, known: dict[Item, Data]) -> Iterator[str]:
    _what, name, owner, _generation = told
    event = delivery.parsed()
    data = event["data"]
    wanted = {
        "item": {"kind": name.kind, "id": name.id},
        "project_id": name.project,
        "key_id": None if owner is None else known[owner]["key_id"],
    }
    yield from (f"{told}: {it} is {data[it]}" for it in wanted if data[it] != wanted[it])
    yield from transport_problems(
        delivery, name.subject, f"key-released.{name.kind}.{name.project}"
    )
    if event["type"] != "key-released":
        yield f"{told}: is of type {event['type']}"


def transport_problems(delivery: Delivery, subject: str, routing_key: str) -> Iterator[str]:
    event, properties = delivery.parsed(), delivery.properties
    found = {
        "subject": event["subject"], "source": event["source"], "time": event["time"],
        "routing key": delivery.routing_key, "message_id": properties.message_id,
        "type": properties.type, "app_id": properties.app_id,
        "content type": properties.content_type, "mode": properties.delivery_mode,
    }  # fmt: skip
    wanted = {
        "subject": subject, "source": SOURCE, "time": event["data"]["at"],
        "routing key": routing_key, "message_id": event["id"], "type": event["type"],
        "app_id": "kmworker", "content type": "application/cloudevents+json", "mode": 2,
    }  # fmt: skip
    yield from (f"{subject}: {it} is {found[it]}" for it in wanted if found[it] != wanted[it])
