"""Everything that the outside has heard, kept as it came in.

Nothing is taken apart twice: thousands of announcements are asked about many times a second.
"""

import json
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pika.spec import BasicProperties

from tests.kit.outside.words import Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the subscriber got it."""

    body: bytes
    routing_key: str
    properties: BasicProperties

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})

    def parsed(self) -> dict[str, Any]:
        event = json.loads(self.body)
        assert isinstance(event, dict)
        return event

    def same_as(self, other: "Delivery") -> bool:
        return (
            self.body == other.body
            and self.routing_key == other.routing_key
            and vars(self.properties) == vars(other.properties)
        )


@dataclass(frozen=True, slots=True)
class News:
    """The first announcement of an item. Both in Unix seconds."""

    subject: str
    assigned_at: float
    heard_at: float


@dataclass(slots=True)
class Heard:
    """Announcements and dead letters, in the order of arrival."""

    assignments: list[Delivery] = field(default_factory=list)
    letters: list[Delivery] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    _by_subject: defaultdict[str, list[Delivery]] = field(default_factory=lambda: defaultdict(list))
    _by_body: defaultdict[bytes, list[Delivery]] = field(default_factory=lambda: defaultdict(list))

    def take_assignment(self, delivery: Delivery) -> None:
        event = delivery.parsed()
        subject = str(event["subject"])
        said = self._by_subject[subject]
        if not said:
            assigned_at = datetime.fromisoformat(event["data"]["assigned_at"]).timestamp()
            self.news.append(News(subject, assigned_at, time.time()))
        said.append(delivery)
        self.assignments.append(delivery)

    def take_letter(self, delivery: Delivery) -> None:
        self._by_body[delivery.body].append(delivery)
        self.letters.append(delivery)

    def announced(self) -> dict[str, list[Delivery]]:
        """All announcements by subject."""
        return {subject: list(said) for subject, said in list(self._by_subject.items())}

    def refused(self) -> dict[bytes, list[Delivery]]:
        """All dead letters by body."""
        return {body: list(letters) for body, letters in list(self._by_body.items())}

    def progress_since(self, moment: float) -> News | None:
        """Return the first announcement of an assignment that was made after the moment."""
        return next((news for news in list(self.news) if news.assigned_at >= moment), None)


class Outside(ABC):
    """Whoever talks to a broker from outside, as the checks need it."""

    heard: Heard

    @property
    def assignments(self) -> list[Delivery]:
        return self.heard.assignments

    @property
    def letters(self) -> list[Delivery]:
        return self.heard.letters

    def announced(self) -> dict[str, list[Delivery]]:
        return self.heard.announced()

    def refused(self) -> dict[bytes, list[Delivery]]:
        return self.heard.refused()

    @abstractmethod
    def publish(self, message: Message) -> None:
        """Hand one message to the broker."""

    @abstractmethod
    def pump(self) -> None:
        """Take in what the broker has for us."""

    @abstractmethod
    def ready(self, queue: str) -> int:
        """How many messages wait in one of the product's queues."""
