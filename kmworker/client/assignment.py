"""Assignments as subscribers get them."""

from dataclasses import field, fields

from kmworker.domain import model
from kmworker.domain.values import value
from kmworker.wire.assignments import read_announcement

__all__ = ["Assignment", "read_assignment"]


@value
class Assignment(model.Assignment):
    """The fact that an item uses a key-id, or needs none, as it was announced."""

    id: str = field(kw_only=True)
    """The announcement's: repeats have the same one."""


def read_assignment(body: bytes) -> Assignment:
    """Read an announcement.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    announcement_id, it = read_announcement(body)
    return Assignment(
        id=announcement_id, **{given.name: getattr(it, given.name) for given in fields(it)}
    )
