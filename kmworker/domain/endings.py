"""What is over, one after the other: a chain for each project, and one for the clients. Pure.

A record that is put back is as authentic as it was. So whatever ends something (a detachment, a
suspension, a revocation) says in its project's chain which version of which record did, in the step
that writes that record; an older one of it is none from then on. Each entry has its number and the
digest of the one before, so that none can be taken out, moved or put in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kmworker.domain.grants import NO_GRANTS, Grants, GrantsSeen
from kmworker.domain.keys import KeyRecord, KeyState
from kmworker.domain.values import value

__all__ = [
    "NOTHING_ENDED", "Chain", "ChainEnd", "EndingEntry", "client_thing", "grants_thing", "is_end",
    "key_thing", "newly_over",
]  # fmt: skip

WITHHELD: Final = frozenset({KeyState.SUSPENDED, KeyState.COMPROMISED, KeyState.DESTROYED})
"""What a key-id may not be in to be delivered."""


@value
class ChainEnd:
    """The newest entry of a chain, as far as the next one rests on it."""

    number: int = 0
    """How many entries there are, counted from the first that ever was."""
    digest: str = ""


NOTHING_ENDED: Final = ChainEnd()


@value
class EndingEntry:
    """What one step has ended."""

    number: int
    after: str
    """The digest of the entry before; '' in the first."""
    of: Mapping[str, int]
    """By what was ended, the version of its record that says so."""


@dataclass(slots=True)
class Chain:
    """What a chain says, as far as it has been read."""

    end: ChainEnd = NOTHING_ENDED
    versions: dict[str, int] = field(default_factory=dict)

    def takes(self, entry: EndingEntry, digest: str) -> bool:
        """Take the next entry up, if it is that; return whether it is.

        Args:
            entry: whose seal holds.
            digest: its own.
        """
        if (entry.number, entry.after) != (self.end.number + 1, self.end.digest):
            return False
        self.end = ChainEnd(entry.number, digest)
        for thing, version in entry.of.items():
            self.versions[thing] = max(version, self.versions.get(thing, 0))
        return True

    def is_over(self, thing: str, version: int) -> bool:
        """Return whether a record of this version was ended by a newer one."""
        return version < self.versions.get(thing, 0)


def grants_thing(ref: str) -> str:
    """Return what an item's record of grants is called in a chain."""
    return f"grants {ref}"


def key_thing(key_id: str) -> str:
    """Return what a key-id's record is called in a chain."""
    return f"keys {key_id}"


def client_thing(name: str) -> str:
    """Return what a client's record is called in the clients' chain."""
    return f"clients {name}"


def newly_over(before: GrantsSeen | None, after: Grants) -> bool:
    """Return whether an attachment is over that was not before."""
    known = NO_GRANTS if before is None else before.grants
    ended = {it.id for it in known.attachments if it.over is not None}
    return any(it.over is not None and it.id not in ended for it in after.attachments)


def is_end(before: KeyRecord, after: KeyRecord) -> bool:
    """Return whether a key-id is withheld from now on, or for another reason than before."""
    return after.shown in WITHHELD and after.shown is not before.shown
