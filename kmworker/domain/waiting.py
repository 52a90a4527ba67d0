"""Events that wait for their source, as a store hands them over."""

from kmworker.domain.message import Original
from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.values import value

__all__ = ["Due", "Swept", "Taken"]


@value
class Taken:
    """A waiting event, or what is wrong with it."""

    entry: Entry
    original: Original
    problem: str = ""
    """Why its record cannot be trusted; then ``original`` is the record itself, or its digest."""


@value
class Due:
    """A project in whose waiting room there is something to do."""

    project: str
    since: float
    """Its place in the index, which changes with whatever is to be done there from now on."""


@value
class Swept:
    """What a sweep over part of a project's waiting room found."""

    due: list[Taken]
    """Past their deadline."""
    present: list[Item]
    """Sources that are there, while events still wait for them."""
    after: str
    """Where to go on; empty at the end."""
