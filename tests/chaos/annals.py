"""What is heard of items that come and go, and of their key-ids."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.kit.outside.heard import Delivery, Heard

Data = dict[str, Any]

OURS: Final = "lives-"
"""What their projects' names begin with."""


@dataclass(slots=True)
class Annals(Heard):
    """Keeps apart what is said of these projects: the checks of histories know no end."""

    assigned: dict[str, Data] = field(default_factory=dict)
    """By the id of the event that made the item."""
    released: dict[str, Data] = field(default_factory=dict)
    """By the id of the event that ended it."""
    letters_of: dict[str, str] = field(default_factory=dict)
    """Reasons, by the id of the event."""
    changes: defaultdict[str, dict[int, Data]] = field(default_factory=lambda: defaultdict(dict))
    """What became of each key-id, by version."""
    contradictions: list[str] = field(default_factory=list)
    _bodies: dict[str, bytes] = field(default_factory=dict)

    def take_assignment(self, delivery: Delivery) -> None:
        event = delivery.parsed()
        data = event["data"]
        if not data["project_id"].startswith(OURS):
            # Named, because a class with slots is made twice.
            Heard.take_assignment(self, delivery)
            return
        self._compare(event, delivery)
        by_cause = self.released if event["type"] == "key-released" else self.assigned
        # A partition has the cause of its first replica.
        if data["item"]["kind"] != "partition":
            by_cause.setdefault(data["cause"]["id"], data)

    def take_letter(self, delivery: Delivery) -> None:
        event = _event_in(delivery.body)
        if not str(event.get("data", {}).get("project_id", "")).startswith(OURS):
            Heard.take_letter(self, delivery)
            return
        self.letters_of[event["id"]] = delivery.routing_key.partition(".")[0]

    def take_change(self, delivery: Delivery) -> None:
        """Take in what has become of a key-id."""
        event = delivery.parsed()
        self._compare(event, delivery)
        data = event["data"]
        self.changes[data["key_id"]][data["version"]] = {**data, "type": event["type"]}

    def types(self) -> Counter[str]:
        """How many changes of each type were heard of."""
        return Counter(it["type"] for told in list(self.changes.values()) for it in told.values())

    def gaps(self, versions: dict[str, int]) -> Iterator[str]:
        """Name each change that was not announced, by what version each key-id has now."""
        for key_id, last in versions.items():
            missing = set(range(2, last + 1)) - self.changes[key_id].keys()
            yield from (f"version {it} of {key_id} was not announced" for it in sorted(missing))
            if beyond := [it for it in self.changes[key_id] if it > last]:
                yield f"version {max(beyond)} of {key_id} was announced; it has {last}"

    def _compare(self, event: Data, delivery: Delivery) -> None:
        if self._bodies.setdefault(event["id"], delivery.body) != delivery.body:
            self.contradictions.append(f"{event['subject']}: {event['id']} has two bodies")


def _event_in(body: bytes) -> Data:
    """Return a refused event, if it is one at all."""
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    known = isinstance(event, dict) and isinstance(event.get("data"), dict)
    return event if known and isinstance(event.get("id"), str) else {}
