"""Volumes that are attached and detached, and a node that asks for their keys all the while.

It may be told anything that held at some time while it asked; what it is told when all is at rest
has one right answer. Each key that it got is the one that is exported, and has its record.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import UUID

from redis.exceptions import RedisError

from kmworker.client.keys import KeyRefused, Keys, NoAnswer
from kmworker.domain.model import Item, Kind
from tests.chaos.annals import Annals
from tests.chaos.keepers import Nothing
from tests.chaos.lives import Life, Lives
from tests.chaos.lives_account import DESTROYED, KeyBook
from tests.kit.outside.reader import Reader
from tests.kit.outside.wire import said
from tests.kit.parties.sides import Line, Side

__all__ = ["NODE", "Asker", "Attacher", "Attachment"]

NODE: Final = "chaos-node"
ELSEWHERE: Final = "chaos-elsewhere"
EVERY_S: Final = 0.08
DEADLINE_S: Final = 15.0
ENDING: Final = 0.4
EARLY: Final = 0.1
AGAIN: Final = 0.2
FOREIGN: Final = 0.3
EXAMINED: Final = 25
TOLD: Final = frozenset(("suspended", "compromised", DESTROYED))


@dataclass(slots=True, eq=False)
class Attachment:
    """One attachment of a life of a volume."""

    life: Life
    id: str
    node: str
    said_at: float
    """From when on it may be a grant: it is about to be published."""
    is_ended: bool = False
    """Its end is published, or about to be."""
    over_at: float | None = None
    """From when on it is known to be none: the store has said so."""


class Attacher(Side[Line]):
    """A compute service: says where volumes are, in disorder and more than once."""

    def __init__(
        self,
        connect: Callable[[], Line],
        heard: Annals,
        lives: Lives,
        reader: Callable[[], Reader],
        draw: Random,
    ) -> None:
        super().__init__(connect, "attacher")
        self._heard = heard
        self._said: set[str] = set()
        self.attachments: list[Attachment] = []
        self._lives = lives
        self._reader = reader
        self._draw = draw

    def of(self, life: Life) -> list[Attachment]:
        """Return the attachments to our node of this life of a volume."""
        return [it for it in list(self.attachments) if it.life is life and it.node == NODE]

    def unsettled(self) -> Iterator[str]:
        """What the store does not say yet, and what was refused."""
        for event_id in self._said & self._heard.letters_of.keys():
            yield f"{event_id} was refused: {self._heard.letters_of[event_id]}"
        grants = self._grants()
        for it in list(self.attachments):
            record = grants.get((it.life.project, it.life.ref), {}).get(it.id)
            if record is None or it.is_ended is not ("over" in record):
                yield f"{it.life.project}/{it.life.ref}: attachment {it.id} is {record}"

    def _turn(self, line: Line) -> None:
        draw = self._draw
        self._over.wait(EVERY_S)
        self._look()
        live = [it for it in self.attachments if not it.is_ended]
        if live and draw.random() < ENDING:
            ended = draw.choice(live)
            ended.is_ended = True
            self._say(line, ended, "volume-detached")
            if draw.random() < AGAIN:
                # It was on its way for long, and ends nothing and revives nothing.
                self._say(line, ended, "volume-attached", **_where(ended))
            return
        lives = [it for it in list(self._lives.lives) if it.kind == "volume" and not it.ended_by]
        if not lives:
            return
        node = ELSEWHERE if draw.random() < FOREIGN else NODE
        it = Attachment(draw.choice(lives), self._id(), node, time.time())
        self.attachments.append(it)
        if draw.random() < EARLY:
            it.is_ended = True
            self._say(line, it, "volume-detached")
        self._say(line, it, "volume-attached", **_where(it))

    def _say(self, line: Line, it: Attachment, event_type: str, **data: Any) -> None:
        if it.life.generation:
            data["generation"] = it.life.generation
        event_id = self._id()
        self._said.add(event_id)
        message = said(
            event_type, event_id, it.life.project, volume_id=it.life.name, attachment_id=it.id,
            **data,
        )  # fmt: skip
        while not line.publish(message):
            self._over.wait(EVERY_S)

    def _look(self) -> None:
        """Note what the store says is over; it may be away."""
        waiting = [it for it in self.attachments if it.is_ended and it.over_at is None]
        with suppress(RedisError):
            grants = self._grants() if waiting else {}
            for it in waiting:
                if "over" in grants.get((it.life.project, it.life.ref), {}).get(it.id, {}):
                    it.over_at = time.time()

    def _grants(self) -> dict[tuple[str, str], dict[str, Any]]:
        reader = self._reader()
        return {
            (project, ref): {it["id"]: it for it in record["attachments"]}
            for project in self._lives.projects
            for ref, record in reader.records(project, "grants").items()
        }

    def _id(self) -> str:
        return str(UUID(int=self._draw.getrandbits(128), version=4))


def _where(it: Attachment) -> dict[str, str]:
    return {"node": it.node, "mode": "rw"}


@dataclass(frozen=True, slots=True)
class Got:
    """A key that came."""

    life: Life
    purpose: str
    """Of the request: no other has this one."""
    key_id: str


@dataclass(slots=True)
class Book:
    """All that came."""

    got: list[Got] = field(default_factory=list)
    keys: defaultdict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """By project and key-id."""
    refused: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    unanswered: int = 0


class Asker(Side[Nothing]):
    """A node: asks for the key of one volume after the other, by the client library."""

    def __init__(self, keys: Keys, lives: Lives, attacher: Attacher, draw: Random) -> None:
        super().__init__(Nothing, "asker")
        self.book = Book()
        self.wrong: list[str] = []
        self._keys = keys
        self._lives = lives
        self._attacher = attacher
        self._draw = draw

    def _turn(self, line: Nothing) -> None:
        del line
        self._over.wait(self._draw.random() * EVERY_S)
        live = [it for it in list(self._attacher.attachments) if not it.is_ended]
        volumes = [it for it in list(self._lives.lives) if it.kind == "volume"]
        chosen = [it.life for it in live] if live and self._draw.random() < 0.7 else volumes
        if chosen:
            life = self._draw.choice(chosen)
            self._check(life, time.time(), self.ask(life))

    def ask(self, life: Life) -> str:
        """Ask for a volume's key; return what was answered, in a word."""
        purpose = str(UUID(int=self._draw.getrandbits(128), version=4))
        item = Item(life.project, Kind.VOLUME, life.name)
        try:
            with self._keys.get(item, purpose=purpose, deadline_s=DEADLINE_S) as delivered:
                self.book.keys[life.project, delivered.key_id].add(bytes(delivered.key.view))
                self.book.got.append(Got(life, purpose, delivered.key_id))
                return "key-delivered"
        except KeyRefused as refused:
            self.book.refused[refused.reason.value] += 1
            return refused.reason.value
        except NoAnswer:
            self.book.unanswered += 1
            return "no answer"

    def _check(self, life: Life, since: float, word: str) -> None:
        """Hold an answer against what may have been granted at some time while it was asked."""
        same = [
            it for it in list(self._lives.lives)
            if (it.project, it.ref) == (life.project, life.ref)
        ]  # fmt: skip
        granted = [
            it
            for known in same
            for it in self._attacher.of(known)
            if it.over_at is None or it.over_at > since
        ]
        if word in {"key-delivered", *TOLD} and not granted:
            self.wrong.append(f"{word}: {life.project}/{life.ref} was not attached by then")

    # --- when all is at rest --------------------------------------------------------------

    def examine(self, book: KeyBook) -> Iterator[str]:
        """Ask for many of them once more: each answer has to be the one that is right now."""
        last = {(it.project, it.ref): it for it in self._lives.lives if it.kind == "volume"}
        known = [it for it in last.values() if (it.project, it.ref) in book.items]
        # Those that are attached elsewhere among them.
        anywhere = {id(it.life) for it in self._attacher.attachments}
        attached = [it for it in known if id(it) in anywhere]
        chosen = self._draw.sample(attached, min(EXAMINED, len(attached)))
        chosen += self._draw.sample(known, min(3, len(known)))
        for life in chosen:
            wanted, found = self._word_for(life, book), self.ask(life)
            if found == "no answer":
                # The key server that had it was killed just now.
                found = self.ask(life)
            if found != wanted:
                yield f"{life.project}/{life.ref} is {found}, and should be {wanted}"

    def _word_for(self, life: Life, book: KeyBook) -> str:
        record = book.items[life.project, life.ref]
        if record["state"] != "active" or not any(
            not it.is_ended for it in self._attacher.of(life)
        ):
            return "not-granted"
        key_id = record["data"]["key_id"]
        if key_id is None:
            return "not-granted"
        state = book.keys[life.project, key_id]["state"]
        return str(state) if state in TOLD else "key-delivered"

    def problems(self, trail: str) -> Iterator[str]:
        """What is wrong with what came, by itself and beside an exported trail."""
        yield from self.wrong
        yield from (
            f"two keys came as {it}" for it, keys in self.book.keys.items() if len(keys) > 1
        )
        lines = [json.loads(line) for line in trail.splitlines()]
        records = [it["record"]["data"] for it in lines if "record" in it]
        known = {
            (it["reason"], it["item"], it["key_id"])
            for it in records
            if it["what"] == "key-delivered" and "reason" in it
        }
        for it in self.book.got:
            if (it.purpose, it.life.ref, it.key_id) not in known:
                yield f"{it.key_id} was delivered for {it.life.ref}, and is not recorded"
