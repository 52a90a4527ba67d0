"""``key-requested``: a client wants the key of an item, or the key that a key-id names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from kmworker.domain.model import Item
from kmworker.wire.fields import Printable, Uuid
from kmworker.wire.requests.request import DIRECT_REPLY, AskedItem, ClientRequest

__all__ = ["KeyRequested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequested(ClientRequest):
    """A client wants the key of an item, or the key that a key-id names."""

    type: ClassVar[str] = "key-requested"
    also_refused: ClassVar[Sequence[str]] = ("both `item` and `key_id`, or neither",)
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10",
        "source": "blk01",
        "type": "key-requested",
        "time": "2026-11-23T16:00:00.000Z",
        "data": {
            "project_id": "2f1d7c",
            "item": {"kind": "volume", "id": "11111111-2222-4333-8444-555555555555"},
            "purpose": "attach",
            "reply_to": DIRECT_REPLY,
        },
    }

    item: Annotated[Item | None, AskedItem()] = None
    """The item whose key is wanted; either this or `key_id`."""
    key_id: Uuid | None = None
    """The key-id whose key is wanted; either this or `item`."""
    held: Uuid | None = None
    """The key-id whose copy it has, and asks whether it may keep: it does not wait for a grant."""
    purpose: Printable | None = None
    """What it is wanted for, in the client's words: it is recorded, and decides nothing."""

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        if (self.item is None) == (self.key_id is None):
            return "data: give either item or key_id, and one of them"
        return None
