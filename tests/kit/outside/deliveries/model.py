"""Who may have which key, by all that was told so far. From the contract alone.

What is told in a round may come in any order, and more than once: nothing that is drawn depends
on that. So the model is what it comes to, and knows no order either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["DELIVERED", "NOT_GRANTED", "Attachment", "Client", "Item", "World"]

DELIVERED: Final = "key-delivered"
NOT_GRANTED: Final = "not-granted"


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """An item's name."""

    project: str
    kind: str
    name: str

    @property
    def ref(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment of a volume, as its event says."""

    volume: Item
    id: str
    node: str
    generation: int = 0
    is_past: bool = False
    """It had its time, and that is over."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client's rights, as it was enrolled with them."""

    name: str
    nodes: frozenset[str]
    projects: frozenset[str]
    """None named: all."""
    needs_grant: bool = True

    def may_ask(self, project: str) -> bool:
        return not self.projects or project in self.projects


@dataclass(slots=True)
class World:
    """What has come of everything that was told.

    Attributes:
        lives: which life of each name is there, or was the last.
        gone: names whose last life was released.
        keys: whose key-id each item holds: its own item, or its source; None: it has none.
        scopes: with whom each owner of a key-id shares its DEK.
        attachments: by their volume and id, as they were first told.
        over: those that have ended.
        suspended: owners of key-ids.
        compromised: scopes.
        revoked: clients, by name.
    """

    lives: dict[Item, int] = field(default_factory=dict)
    gone: set[Item] = field(default_factory=set)
    keys: dict[Item, Item | None] = field(default_factory=dict)
    scopes: dict[Item, Item] = field(default_factory=dict)
    attachments: dict[tuple[Item, str], Attachment] = field(default_factory=dict)
    over: set[tuple[Item, str]] = field(default_factory=set)
    suspended: set[Item] = field(default_factory=set)
    compromised: set[Item] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)

    @property
    def held(self) -> list[Item]:
        """Return the items that are there."""
        return sorted(self.lives.keys() - self.gone)

    @property
    def live(self) -> list[Attachment]:
        """Return the attachments that have not ended by an event."""
        return [it for name, it in self.attachments.items() if name not in self.over]

    def state_of(self, item: Item) -> str:
        """Return the state of the key-id that an item holds."""
        owner = self.keys[item]
        assert owner is not None
        if self.scopes[owner] in self.compromised:
            return "compromised"
        return "suspended" if owner in self.suspended else "active"

    def answer(self, client: Client, item: Item) -> str:
        """Return what a client is to be answered when it asks for an item's key."""
        if client.name in self.revoked:
            return "unknown-client"
        if not client.may_ask(item.project):
            return NOT_GRANTED
        if client.needs_grant and not any(self._grants(client, item)):
            return NOT_GRANTED
        if item not in self.lives or item in self.gone or self.keys[item] is None:
            return NOT_GRANTED
        state = self.state_of(item)
        return DELIVERED if state == "active" else state

    def _grants(self, client: Client, item: Item) -> Iterator[Attachment]:
        for it in self.live:
            is_of_this_life = it.generation == self.lives.get(item)
            if it.volume == item and it.node in client.nodes and not it.is_past and is_of_this_life:
                yield it

    def owners(self, items: Iterable[Item]) -> set[Item]:
        """Return whose key-ids these hold."""
        return {owner for it in items if (owner := self.keys[it]) is not None}
