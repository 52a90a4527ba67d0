"""Who is to give up a copy: one pure function, over what the store has now.

What a message says has ended is only where to look: who may write to the broker, or repeats what
was said long ago, has nobody give up what he may keep.
"""

from typing import Final

from kmworker.clock import unix_s
from kmworker.delegation.clients import ClientRecord
from kmworker.domain.ids import named_id
from kmworker.domain.model import Item
from kmworker.keyserver.decide import Deliver, decide_request
from kmworker.keyserver.ports import Copy, FoundKey
from kmworker.wire.answers.bodies import Asked, Revoked
from kmworker.wire.answers.messages import Refusal, Revoking
from kmworker.wire.ended import RightEnded

__all__ = ["asked_again", "looked_for", "revocation_id", "revoked_copy"]

STATES: Final = {
    Refusal.SUSPENDED: Revoking.SUSPENDED,
    Refusal.COMPROMISED: Revoking.COMPROMISED,
    Refusal.DESTROYED: Revoking.DESTROYED,
}
OF_KEYS: Final = frozenset(STATES.values())


def asked_again(copy: Copy) -> Asked:
    """Return what a client would ask to have the copy."""
    return looked_for(copy.project, copy.item, copy.key_id if copy.item is None else None)


def looked_for(project: str, item: Item | None, key_id: str | None = None) -> Asked:
    """Return what finds a key that no request asks for: it has no id, and no digest."""
    return Asked("", "", project, item, key_id)


def revoked_copy(
    copy: Copy, ended: RightEnded, client: ClientRecord | None, found: FoundKey, now_s: float
) -> Revoked | None:
    """Return what a client has to give up; None: it may keep the copy.

    Args:
        copy: that it may hold.
        ended: why it is looked at.
        client: its record; None: it is no client.
        found: what the store has of what it would ask for.
        now_s: the store's time, Unix seconds.
    """
    cause = ended.cause
    if client is None or client.is_revoked:
        cause = Revoking.CLIENT_REVOKED
    elif not found.awaits_kek:
        asked, left_s = asked_again(copy), max(copy.until_s - now_s, 0.0)
        decision = decide_request(client, asked, found, now_s, left_s)
        if isinstance(decision, Deliver):
            # Another grant may end before the copy does: it is asked for anew, with that end.
            is_as_long = unix_s(decision.not_after) >= int(copy.until_s)
            if decision.key.key_id == copy.key_id and is_as_long:
                return None
        elif isinstance(decision, Refusal) and decision in STATES:
            cause = STATES[decision]
        elif decision is not Refusal.TRY_LATER and cause in OF_KEYS:
            cause = Revoking.DETACHED
    attachment = ended.attachment if cause is Revoking.DETACHED else None
    return Revoked(copy.project, copy.item, attachment, copy.key_id, cause)


def revocation_id(copy: Copy, occasion: str) -> str:
    """Return the CloudEvents id of what tells a client to give up a copy.

    The same, whichever key server says it and how often; another on another occasion.
    """
    ref = "" if copy.item is None else copy.item.ref
    named = ["revoked", occasion, copy.client, copy.project, ref, copy.key_id]
    return named_id("\0".join(named))
