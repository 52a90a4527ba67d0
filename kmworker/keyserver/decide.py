"""Who gets a key: one pure function, the early returns in the order of precedence.

Whoever has no right, or no grant, learns nothing but that: whether the item is there, is another
tenant's, or its key is suspended, it is told and waits the same.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from kmworker.clock import rfc3339, unix_s
from kmworker.delegation.clients import GRANTED_KINDS, ClientRecord, Right, may
from kmworker.domain.lifecycle import state_of
from kmworker.domain.model import Held, KeyRecord, KeyState, Kind, ScopeRecord
from kmworker.domain.values import value
from kmworker.keyserver.ports import FoundKey
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal

__all__ = ["Deliver", "NoGrantYet", "decide_request"]

STATES: Final = {
    KeyState.SUSPENDED: Refusal.SUSPENDED,
    KeyState.COMPROMISED: Refusal.COMPROMISED,
    KeyState.DESTROYED: Refusal.DESTROYED,
}


class NoGrantYet(Enum):
    """There is no grant yet: it may be on its way."""

    NO_GRANT_YET = "no-grant-yet"


@value
class Deliver:
    """The key is to be delivered."""

    key: KeyRecord
    scope: ScopeRecord
    state: KeyState
    not_after: str
    """Until when a copy may be kept: RFC 3339, UTC."""
    attachment: str | None
    """The grant's; None: it needs none, or is a replica's own node's."""


def decide_request(  # noqa: PLR0911  # one for each answer, in the order of precedence
    client: ClientRecord, asked: Asked, found: FoundKey, now_s: float, keep_s: float
) -> Deliver | Refusal | NoGrantYet:
    """Decide a request for a key.

    Args:
        client: whose signature holds.
        asked: what for.
        found: what the store has of it.
        now_s: the store's time, Unix seconds.
        keep_s: how long a copy may be kept at most.
    """
    kind = None if asked.item is None else asked.item.kind
    if not may(client, Right.GET, asked.project, kind):
        return Refusal.NOT_GRANTED
    until_s, attachment = now_s + keep_s, None
    if asked.item is None:
        # Nobody attaches a key-id: who gets it by that needs no grant of anything.
        if client.rights.needs_grant or not client.rights.kinds >= GRANTED_KINDS:
            return Refusal.NOT_GRANTED
    elif client.rights.needs_grant and kind in GRANTED_KINDS:
        granted = max(_grants(client, found, now_s), default=None)
        if granted is None:
            return NoGrantYet.NO_GRANT_YET
        until_s, attachment = min(until_s, granted[0]), granted[1] or None
    if found.flaw:
        # Who may have it is told nothing that could be taken for its end.
        return Refusal.TRY_LATER
    if asked.item is not None and not isinstance(found.state, Held):
        # Not there yet; gone is as if it never was.
        return NoGrantYet.NO_GRANT_YET if found.state is None else Refusal.NOT_GRANTED
    if found.key is None or found.scope is None:
        # It is not encrypted, or nobody has such a key-id.
        return Refusal.NOT_GRANTED
    state = state_of(found.key, found.scope)
    if state in STATES:
        return STATES[state]
    return Deliver(found.key, found.scope, state, rfc3339(until_s), attachment)


def _grants(client: ClientRecord, found: FoundKey, now_s: float) -> Iterator[tuple[float, str]]:
    """Give the grants by which a client may have it: until when, Unix seconds, and by what."""
    nodes = client.rights.nodes
    held = found.state if isinstance(found.state, Held) else None
    for it in found.grants.live:
        grant = it.grant
        assert grant is not None  # noqa: S101  # what is live has one
        until_s = float("inf") if grant.expires_at is None else unix_s(grant.expires_at)
        is_of_this_life = held is None or grant.generation == held.generation
        if grant.node in nodes and until_s > now_s and is_of_this_life:
            yield until_s, it.id
    if held is not None and held.item.kind is Kind.REPLICA and held.assignment.node in nodes:
        # Its event said who holds it, and so who writes it.
        yield float("inf"), ""
