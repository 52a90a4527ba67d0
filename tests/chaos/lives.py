"""A storage in which things come and go, and which minds what its producers are told to.

It derives from what has a key, so nothing of it waits for a source and a small deadline hurts
nobody; but now and then from what it has deleted a moment ago, so that an item joins a key while
a janitor ends it.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from threading import Event
from typing import Any, Final

from tests.chaos.annals import OURS, Annals
from tests.kit.outside.wire import said
from tests.kit.outside.words import Message
from tests.kit.parties.sides import Line, Side

EVERY_S: Final = 0.12
PROJECTS: Final = 3
PARTITIONS: Final = 2
# Of all that is said: what is made from nothing, what is derived; the rest ends something.
BLANK: Final = 0.2
DERIVED: Final = 0.35
# Of what derives, from what is going or gone; of the blank, deleted at once, a name again.
LATE: Final = 0.25
AT_ONCE: Final = 0.1
AGAIN: Final = 0.3
PLAIN: Final = 0.1
DELETIONS: Final = {
    "volume": "volume-deleted", "snapshot": "snapshot-deleted", "replica": "replica-removed",
}  # fmt: skip
DERIVATIONS: Final = {
    "volume": ("snapshot", "volume", "replica"),
    "snapshot": ("volume", "replica"),
    "replica": ("volume", "replica"),
}


@dataclass(slots=True, eq=False)
class Life:
    """One life of an item's name."""

    project: str
    kind: str
    name: str
    generation: int
    made_by: str
    """The event that made it."""
    source: "Life | None" = None
    ended_by: str | None = None
    """The event that ended it, once that is under way."""

    @property
    def ref(self) -> str:
        return f"{self.kind}:{self.name}"


class Lives(Side[Line]):
    """One producer, in a thread of its own."""

    def __init__(self, connect: Callable[[], Line], heard: Annals, draw: Random) -> None:
        super().__init__(connect, "lives")
        self.lives: list[Life] = []
        self.projects = [f"{OURS}{number}" for number in range(PROJECTS)]
        self._heard = heard
        self._draw = draw
        self._to_say: list[Message] = []
        self._resting = Event()
        self._is_at_rest = Event()

    def rest(self) -> None:
        """Say nothing new; return when all that was begun is confirmed."""
        self._resting.set()
        while not self._is_at_rest.wait(EVERY_S):
            assert self.failure is None, f"the storage: {self.failure!r}"

    def go_on(self) -> None:
        self._is_at_rest.clear()
        self._resting.clear()

    def unsettled(self) -> Iterator[str]:
        """What is still to be heard of."""
        heard = self._heard
        for it in list(self.lives):
            what = f"{it.project}/{it.ref}, life {it.generation}"
            reason = heard.letters_of.get(it.made_by)
            if reason is None and it.made_by not in heard.assigned:
                yield f"{what} was not announced"
            if reason is None and it.ended_by and it.ended_by not in heard.released:
                yield f"{what}: its end was not announced"

    def problems(self) -> Iterator[str]:
        """What was answered otherwise than it may be."""
        yield from self._heard.contradictions
        for it in self.lives:
            what = f"{it.project}/{it.ref}, life {it.generation}"
            reason = self._heard.letters_of.get(it.made_by)
            source_goes = it.source is not None and it.source.ended_by is not None
            if reason is not None and not (reason == "source-unusable" and source_goes):
                yield f"{what} was refused: {reason}"
            if reason is not None and it.made_by in self._heard.assigned:
                yield f"{what} was refused, and announced"
        known = {it.made_by for it in self.lives}
        yield from (f"{it} was announced of nobody" for it in self._heard.assigned.keys() - known)

    def _turn(self, line: Line) -> None:
        if not self._to_say:
            if self._resting.is_set():
                self._is_at_rest.set()
                line.listen()
                return
            self._think()
        while self._to_say:
            if line.publish(self._to_say[0]):
                self._to_say.pop(0)
            else:
                time.sleep(EVERY_S)
        self._over.wait(EVERY_S)

    def _think(self) -> None:
        there = [it for it in self.lives if self._has_key(it)]
        staying = [it for it in there if it.ended_by is None]
        going = [it for it in there[-200:] if it.ended_by is not None]
        what = self._draw.random()
        if what < BLANK or not staying:
            self._make()
        elif what < BLANK + DERIVED:
            late = going and self._draw.random() < LATE
            self._derive(self._draw.choice(going if late else staying))
        else:
            self._end(self._draw.choice(staying))

    def _has_key(self, it: Life) -> bool:
        return it.made_by in self._heard.assigned

    def _make(self) -> None:
        draw = self._draw
        project = draw.choice(self.projects)
        if draw.random() < AGAIN and (gone := self._gone()):
            before = draw.choice(gone)
            life = self._begin(before.project, before.kind, before.name, before.generation + 1)
        elif draw.random() < AGAIN:
            partition = {"kind": "partition", "id": f"0/8/{draw.randrange(PARTITIONS)}"}
            name = f"{partition['id']}@{len(self.lives)}"
            life = self._begin(project, "replica", name, 0)
            self._say(life, source=partition, node="obj-1")
            return
        else:
            life = self._begin(project, "volume", f"v{len(self.lives)}", 0)
        plain = {"encryption": None} if draw.random() < PLAIN else {}
        self._say(life, **plain)
        if draw.random() < AT_ONCE:
            self._end(life)

    def _gone(self) -> list[Life]:
        """Volumes that are over and have no other life yet: nothing of them is under way."""
        last = {(it.project, it.ref): it for it in self.lives}
        return [
            it for it in last.values()
            if it.kind == "volume" and it.ended_by in self._heard.released
        ]  # fmt: skip

    def _derive(self, source: Life) -> None:
        draw = self._draw
        kind = draw.choice(DERIVATIONS[source.kind])
        is_abroad = kind == "volume" and draw.random() < PLAIN
        project = draw.choice(self.projects) if is_abroad else source.project
        life = self._begin(project, kind, f"{kind[0]}{len(self.lives)}", 0, source)
        named: dict[str, Any] = {"kind": source.kind, "id": source.name}
        if project != source.project:
            named["project_id"] = source.project
        more: dict[str, Any] = {"source": named}
        if source.generation:
            more["source_generation"] = source.generation
        if kind == "replica":
            more |= {"node": "far", "transport": draw.choice(("block", "file", "reencrypt"))}
        self._say(life, **more)

    def _begin(
        self, project: str, kind: str, name: str, generation: int, source: Life | None = None
    ) -> Life:
        life = Life(project, kind, name, generation, self._event_id(), source)
        self.lives.append(life)
        return life

    def _say(self, life: Life, **data: Any) -> None:
        types = {"volume": "volume-created", "snapshot": "snapshot-taken"}
        self._message(life, types.get(life.kind, "replica-added"), life.made_by, **data)

    def _end(self, life: Life) -> None:
        life.ended_by = self._event_id()
        self._message(life, DELETIONS[life.kind], life.ended_by)

    def _message(self, life: Life, event_type: str, event_id: str, **data: Any) -> None:
        data[f"{life.kind}_id"] = life.name
        if life.generation:
            data["generation"] = life.generation
        self._to_say.append(said(event_type, event_id, life.project, **data))

    def _event_id(self) -> str:
        return str(uuid.UUID(int=self._draw.getrandbits(128), version=4))
