"""Who may have an item's key, because it is attached there: one pure function for each event.

A grant is an attachment. Two on one node, or on two nodes while a machine migrates, are two
grants. What is over leaves a tombstone, so that neither a late attachment nor an early
detachment revives or ends anything else.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kmworker.domain.contradiction import shown
from kmworker.domain.event import Attach, Detach, Granting
from kmworker.domain.model import Cause, Item
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = [
    "MAX_LIVE", "MAX_OVER", "NO_GRANTS", "Attachment", "Grant", "Grants", "GrantsChanged",
    "GrantsSeen", "Over", "Unchanged", "Ungranted", "changes_between", "ended_by_release",
    "granted", "released_life", "released_name",
]  # fmt: skip

MAX_LIVE: Final = 1_000
"""Attachments of one item at a time: each is read with every request for its key."""
MAX_OVER: Final = 1_000
"""Tombstones of one item's attachments; the oldest go first, if time does not take them before."""


@value
class Grant:
    """Where an item is attached."""

    node: str
    mode: str | None
    expires_at: str | None
    """RFC 3339; None: it has no time."""
    generation: int
    """The life of the item's name that is attached."""
    cause: Cause
    at: str
    """RFC 3339, UTC."""


@value
class Over:
    """That an attachment is over, and who said so."""

    cause: Cause
    at: str
    """RFC 3339, UTC."""


@value
class Attachment:
    """One attachment, from its beginning, or its early end, on."""

    id: str
    grant: Grant | None
    """None: its end was heard of first."""
    over: Over | None = None

    @property
    def is_live(self) -> bool:
        """Return whether it has not ended by an event."""
        return self.grant is not None and self.over is None


@value
class Grants:
    """All attachments of one item that anything is known of, in the order of their ids."""

    version: int = 0
    """Grows with each change; the first is the time, Unix seconds."""
    attachments: tuple[Attachment, ...] = ()

    @property
    def live(self) -> tuple[Attachment, ...]:
        """Return those that have not ended by an event."""
        return tuple(it for it in self.attachments if it.is_live)


NO_GRANTS: Final = Grants()
RELEASED: Final = "released "


@value
class GrantsSeen:
    """An item's grants, as they are stored."""

    grants: Grants
    record: bytes


@value
class GrantsChanged:
    """The fact that attachments of an item were made or have ended: what is recorded of it."""

    item: Item
    name: str
    """Of the change, which no other of the item's has."""
    made: tuple[Attachment, ...]
    ended: tuple[Attachment, ...]
    """Each has said by what."""


@value
class Unchanged:
    """There is nothing to do: it is as the event says, or was."""


@value
class Ungranted:
    """Why an attachment is no grant."""

    reason: Reason
    detail: str


def granted(
    grants: Grants, event: Granting, now: str, kept_days: float
) -> Grants | Unchanged | Ungranted:
    """Return what an item's grants become by an event.

    Args:
        grants: as they are.
        event: about one of the item's attachments.
        now: RFC 3339, UTC.
        kept_days: how long what is over is remembered.
    """
    known = next((it for it in grants.attachments if it.id == event.attachment), None)
    if isinstance(event, Detach):
        if known is not None and known.over is not None:
            return Unchanged()
        # Whatever else it says: what is in doubt is not granted.
        before = known or Attachment(event.attachment, None)
        return _with(grants, replace(before, over=Over(event.cause, now)), now, kept_days)
    if known is not None:
        return _again(known, event)
    if len(grants.live) >= MAX_LIVE:
        detail = f"{shown(event.item.ref)} has {MAX_LIVE:,} attachments, and may have no more"
        return Ungranted(Reason.NO_ROOM, detail)
    return _with(grants, Attachment(event.attachment, _grant_of(event, now)), now, kept_days)


def changes_between(item: Item, before: Grants, after: Grants) -> GrantsChanged:
    """Return what is to be recorded of what an item's grants have become."""
    known = {it.id: it for it in before.attachments}
    nothing = Attachment("", None)
    made = tuple(
        it
        for it in after.attachments
        if it.grant is not None and known.get(it.id, nothing).grant is None
    )
    ended = tuple(
        it
        for it in after.attachments
        if it.over is not None and known.get(it.id, nothing).over is None
    )
    return GrantsChanged(item, str(after.version), made, ended)


def released_name(generation: int) -> str:
    """Return the name of what the end of one life of an item's name makes of its attachments."""
    return f"{RELEASED}{generation}"


def released_life(name: str) -> int | None:
    """Return which life's end a change's name says; None: it is no end of a life.

    Raises:
        ValueError: nobody has given it this name.
    """
    return int(name.removeprefix(RELEASED)) if name.startswith(RELEASED) else None


def ended_by_release(item: Item, grants: Grants, generation: int, over: Over) -> GrantsChanged:
    """Return what is to be recorded where an item was released while it was attached.

    Args:
        item: that was released.
        grants: its attachments.
        generation: which life of its name is over; its attachments are over with it.
        over: who said so.
    """
    ended = tuple(
        replace(it, over=over)
        for it in grants.live
        if it.grant is not None and it.grant.generation <= generation
    )
    return GrantsChanged(item, released_name(generation), (), ended)


def _again(known: Attachment, event: Attach) -> Unchanged | Ungranted:
    """Return the answer to an attachment whose id is known."""
    grant = known.grant
    # It ended before it was heard of, or has ended since.
    if grant is None or known.over is not None or grant.cause == event.cause:
        return Unchanged()
    said = (event.node, event.mode, event.expires_at, event.generation)
    for name, theirs, ours in zip(
        ("node", "mode", "expires_at", "generation"),
        said,
        (grant.node, grant.mode, grant.expires_at, grant.generation),
        strict=True,
    ):
        if theirs != ours:
            detail = f"attachment {shown(known.id)} has {name} {_said(ours)}, not {_said(theirs)}"
            return Ungranted(Reason.CONFLICT, detail)
    return Unchanged()


def _said(what: str | int | None) -> str:
    return "none" if what is None else shown(str(what))


def _grant_of(event: Attach, now: str) -> Grant:
    return Grant(event.node, event.mode, event.expires_at, event.generation, event.cause, now)


def _with(grants: Grants, attachment: Attachment, now: str, kept_days: float) -> Grants:
    """Return grants in which an attachment is this, without what is over for long."""
    kept = {it.id: it for it in grants.attachments if not _is_past(it, now, kept_days)}
    kept[attachment.id] = attachment
    over = sorted((it.over.at, it.id) for it in kept.values() if it.over is not None)
    for _at, name in over[: max(0, len(over) - MAX_OVER)]:
        del kept[name]
    return Grants(_next_version(grants, now), tuple(kept[name] for name in sorted(kept)))


def _next_version(grants: Grants, now: str) -> int:
    """Return a version that no record of the item's grants has had.

    The record is forgotten with its item. What an item of the same name begins with later must be
    newer than all that has ended then: so it begins with the time.
    """
    if grants.version:
        return grants.version + 1
    return int(datetime.fromisoformat(now).timestamp())


def _is_past(attachment: Attachment, now: str, kept_days: float) -> bool:
    if attachment.over is None:
        return False
    since = datetime.fromisoformat(now) - datetime.fromisoformat(attachment.over.at)
    return since > timedelta(days=kept_days)
