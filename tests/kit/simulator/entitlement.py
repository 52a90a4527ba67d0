"""Who may have which key at a moment, by what is in the store then.

Read from the records as the contract has them, and decided anew: nothing here is the key server's.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from kmworker.clock import rfc3339
from kmworker.domain.model import Item
from tests.kit.checker.contents import Record
from tests.kit.checker.states import DESTROYED, own_state
from tests.kit.simulator.clients import Ask
from tests.kit.simulator.ledger import Ledger
from tests.kit.store.direct import Keyspace

__all__ = ["DELIVERED", "NOT_GRANTED", "is_revoked", "word_for"]

DELIVERED: Final = "key-delivered"
NOT_GRANTED: Final = "not-granted"
TOLD: Final = frozenset(("suspended", "compromised", DESTROYED))


def word_for(ledger: Ledger, ask: Ask, now_s: float) -> str:
    """Return what a client is to be answered now, if it is one still."""
    keyspace, item = ledger.keyspace, ask.item
    table = partial(_record, keyspace, ledger, item.project)
    record = table("items", item.ref)
    if ask.client.is_node and not _is_granted(table("grants", item.ref), ask, record, now_s):
        return NOT_GRANTED
    key_id = record and record["state"] == "active" and record["data"]["key_id"]
    key = table("keys", key_id) if key_id else None
    if key is None:
        return NOT_GRANTED
    state = own_state(key)
    scope = table("scopes", key["scope_id"]) or {}
    if "compromised" in scope and state != DESTROYED:
        state = "compromised"
    return state if state in TOLD else DELIVERED


def is_revoked(ledger: Ledger, name: str) -> bool:
    """Return whether somebody is a client no more, or was never."""
    raw = ledger.keyspace.field(ledger.names.top("clients"), name)
    return raw is None or "revoked" in json.loads(raw)


def _is_granted(grants: Record | None, ask: Ask, item: Record | None, now_s: float) -> bool:
    return any(
        grant["node"] == ask.client.name
        and (grant["expires_at"] is None or grant["expires_at"] > rfc3339(now_s))
        and (item is None or grant["generation"] == item.get("generation", 0))
        for grant in _live(grants)
    )


def _live(grants: Record | None) -> Iterator[Record]:
    for it in [] if grants is None else grants["attachments"]:
        if "grant" in it and "over" not in it:
            yield it["grant"]


def _record(
    keyspace: Keyspace, ledger: Ledger, project: str, table: str, name: str
) -> dict[str, Any] | None:
    raw = keyspace.field(ledger.names.of(project, table), name)
    return None if raw is None else json.loads(raw)


def data_of_key(ledger: Ledger, item: Item, key_id: str) -> Record | None:
    """Return what some life of an item was assigned with this key-id."""
    lives = ledger.chronicle.data.items()
    wanted = (item.project, item.ref)
    return next((it for life, it in lives if life[:2] == wanted and it["key_id"] == key_id), None)
