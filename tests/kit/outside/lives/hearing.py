"""All that is announced of lives and keys, as a subscriber gets it, and what is refused."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from jsonschema.protocols import Validator

from tests.kit.outside.check_assignments import GENERATED, HERE, validator_of
from tests.kit.outside.client import Client
from tests.kit.outside.heard import Delivery
from tests.kit.outside.worker import Site

RELEASED: Final = "key-released.#"
MARK: Final = "mark-"


@dataclass(slots=True)
class Ear:
    """What was heard, in the order of arrival."""

    client: Client
    assigned: dict[str, Delivery] = field(default_factory=dict)
    """By CloudEvents id, each as it was heard first; so are the two below."""
    released: dict[str, Delivery] = field(default_factory=dict)
    changes: dict[str, dict[int, Delivery]] = field(default_factory=dict)
    """By key-id and version."""
    letters: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Reasons by event id."""
    problems: list[str] = field(default_factory=list)
    count: int = 0
    """Of all announcements, repeats and all."""
    repeated: set[str] = field(default_factory=set)
    """Ids that were heard more than once since this was emptied."""
    _first: dict[str, Delivery] = field(default_factory=dict)

    def listen(self) -> None:
        """Bind our queues."""
        self.client.hear_assignments(self._take_assigned)
        self.client.hear_assignments(self._take_released, RELEASED)
        self.client.hear_keys(self._take_change)
        self.client.hear_letters(self._take_letter)

    def _is_new(self, delivery: Delivery) -> bool:
        """Whether it is none that was heard before; if it was, it must be the same."""
        self.count += 1
        event_id = str(delivery.parsed()["id"])
        first = self._first.setdefault(event_id, delivery)
        if first is not delivery:
            self.repeated.add(event_id)
            if not delivery.same_as(first):
                self.problems.append(
                    f"{event_id} has two meanings: {first.body!r}, {delivery.body!r}"
                )
        return first is delivery

    def _take_assigned(self, delivery: Delivery) -> None:
        # What marks the end of a round is nobody's.
        if f"/volume:{MARK}" not in str(delivery.parsed()["subject"]) and self._is_new(delivery):
            self.assigned[delivery.parsed()["id"]] = delivery

    def _take_released(self, delivery: Delivery) -> None:
        if self._is_new(delivery):
            self.problems += schema_problems(delivery)
            self.released[delivery.parsed()["id"]] = delivery

    def _take_change(self, delivery: Delivery) -> None:
        if not self._is_new(delivery):
            return
        self.problems += schema_problems(delivery)
        data = delivery.parsed()["data"]
        versions = self.changes.setdefault(data["key_id"], {})
        if data["version"] in versions:
            self.problems.append(f"key {data['key_id']} has two versions {data['version']}")
        versions[data["version"]] = delivery

    def _take_letter(self, delivery: Delivery) -> None:
        self.letters[header(delivery, "event-id")].append(header(delivery, "reason"))


@cache
def validators(event_type: str) -> tuple[Validator, ...]:
    """Our own reading of the contract, and the product's own schema."""
    own = "key-released" if event_type == "key-released" else "key-changed"
    paths = (HERE / "schemas" / f"{own}.v1.json", GENERATED.parent / f"{event_type}.v1.json")
    return tuple(validator_of(json.loads(path.read_text())) for path in paths)


def schema_problems(delivery: Delivery) -> Iterator[str]:
    event = delivery.parsed()
    for validator in validators(event["type"]):
        for error in validator.iter_errors(event):
            yield f"{event['subject']}: {error.json_path}: {error.message}"


def header(letter: Delivery, name: str) -> str:
    value: Any = letter.headers.get(f"x-kmworker-{name}", "")
    return value.decode() if isinstance(value, bytes) else str(value)


@contextmanager
def hearing(site: Site) -> Iterator[Ear]:
    """Listen to an installation, before anything is said."""
    with site.connected() as client:
        ear = Ear(client)
        ear.listen()
        yield ear
