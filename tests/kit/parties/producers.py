"""Those who may publish, and do it without measure or sense. Each has a producer's account."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from random import Random
from typing import Final

import amqp
from redis.exceptions import RedisError

from tests.kit.amqp_frames import Encoded, grown_headers
from tests.kit.outside.heard import Outside
from tests.kit.outside.history import Sent
from tests.kit.outside.mischief import BROKERS_LIMIT_BYTES, UNREADABLE
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Event, Item, Message, Refusal
from tests.kit.parties.party import Hose, Party, Place
from tests.kit.parties.sides import Lost

VOLUME_CREATED: Final = "volume-created"
PRODUCER: Final = "/party"
HUGE_BYTES: Final = 16 * 1024 * 1024
# A queue that takes them all has them on disk three times.
HUGE: Final = 3
# Whoever checks the whole afterwards looks into each of them.
PROJECT_SHARE: Final = 6
BAD_SHARE: Final = 40


def said(item: Item, source: Item | None = None) -> Sent:
    """Write what a party says of an item."""
    event = Event(item, f"{item.subject} created", PRODUCER, source)
    return Sent(plain(event), event)


class Flood(Party):
    """Volumes of absent volumes, more than may wait."""

    def __init__(self, place: Place, draw: Random) -> None:
        super().__init__(place, draw)
        self.room = place.room
        self.of_project = self.project

    def outcome(self, heard: Outside) -> Iterator[Sent]:
        """Tell of each event whether it found room: which do is nobody's promise."""
        refused = heard.refused()
        for sent in self.said:
            if sent.event is None or sent.message.body not in refused:
                yield sent
                continue
            types = frozenset({sent.event.type})
            yield replace(sent, event=None, refusal=Refusal("no-room", types, sent.event.event_id))

    def problems(self, heard: Outside) -> Iterator[str]:
        """How many do is: as many as there is room for."""
        refused = sum(sent.refusal is not None for sent in self.outcome(heard))
        if refused != len(self.said) - self.room:
            yield f"{self.project}: of {len(self.said)}, {refused} found no room for {self.room}"

    def _act(self, hose: Hose) -> None:
        numbers = range(self.room + self.room // 4)
        self.said = [
            said(
                Item(self.project, "volume", f"v{number}"),
                Item(self.of_project, "volume", f"absent-{self.project}-{number}"),
            )
            for number in numbers
        ]
        self._say(hose, self.said)


class ForeignFlood(Flood):
    """Volumes of another tenant's absent volumes, more than may wait for these."""

    def __init__(self, place: Place, draw: Random) -> None:
        super().__init__(place, draw)
        self.room = place.foreign_room
        self.of_project = place.victim


class HotSource(Party):
    """Nearly as many snapshots as may wait, all of one volume, which then comes."""

    def _act(self, hose: Hose) -> None:
        volume = Item(self.project, "volume", "hot")
        numbers = range(self.place.room * 9 // 10)
        crowd = [said(Item(self.project, "snapshot", f"s{n}"), volume) for n in numbers]
        self.said = [*crowd, said(volume)]
        self._say_at_once(hose, crowd)
        while self._waiting() < len(crowd):
            hose.listen()
            if self._over.is_set():
                return
        self._say(hose, self.said[-1:])

    def _waiting(self) -> int:
        try:
            name = f"{self.place.prefix}:{{{self.project}}}:waiting"
            return int(self.place.reader.dashboard.hlen(name))
        except RedisError:
            # It is another's turn to be away.
            return 0


class ManyProjects(Party):
    """A volume in each of many projects."""

    def _act(self, hose: Hose) -> None:
        names = [f"{self.project}-{number}" for number in range(self.place.room // PROJECT_SHARE)]
        self.said = [said(Item(name, "volume", "only")) for name in names]
        self._say(hose, self.said)


class Poison(Party):
    """Bodies that are no JSON, with 62 KB of headers that py-amqp writes 2.5 times as large."""

    def _act(self, hose: Hose) -> None:
        bodies = [
            f"not json {self.project} {n}".encode() for n in range(self.place.room // BAD_SHARE)
        ]
        refusal = Refusal("malformed", UNREADABLE)
        self.said = [
            Sent(Message(body, VOLUME_CREATED, content_type=None), refusal=refusal)
            for body in bodies
        ]
        self._say(hose, self.said)

    def _written(self, message: Message) -> amqp.Message:
        return Encoded(message.body, grown_headers())


class LargeBodies(Party):
    """Bodies of 16 MiB, and of as much as the broker takes where it takes no such ones."""

    def _act(self, hose: Hose) -> None:
        huge = [self._large(f"huge {n}", HUGE_BYTES) for n in range(HUGE)]
        self.said = [sent for sent in huge if self._is_taken(sent)]
        numbers = range(self.place.room // BAD_SHARE)
        large = [self._large(f"large {n}", BROKERS_LIMIT_BYTES) for n in numbers]
        self.said += large
        self._say(hose, large)

    def _large(self, name: str, size_bytes: int) -> Sent:
        body = f"{self.project} {name}".encode().ljust(size_bytes)
        return Sent(Message(body, VOLUME_CREATED), refusal=Refusal("malformed", UNREADABLE))

    def _is_taken(self, sent: Sent) -> bool:
        with closing(self._connected()) as hose:
            try:
                self._say(hose, [sent])
            except Lost as lost:
                if not isinstance(lost.__cause__, amqp.PreconditionFailed):
                    raise
                return False
        return True
