"""Assignments and releases as subscribers get them."""

from dataclasses import field, fields

from kmworker.domain import model
from kmworker.domain.model import Cause, Item
from kmworker.domain.values import value
from kmworker.wire.assignments import read_announcement
from kmworker.wire.releases import read_release

__all__ = ["Assignment", "Release", "read_assignment", "read_released"]


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


@value
class Release:
    """The fact that an item is gone and uses its key-id no more, as it was announced."""

    id: str
    """The announcement's: repeats have the same one."""
    item: Item
    key_id: str | None
    """None: it was not encrypted, or never announced."""
    cause: Cause
    at: str
    """RFC 3339, UTC."""


def read_released(body: bytes) -> Release:
    """Read a release; raises as `read_assignment` does."""
    release_id, it = read_release(body)
    return Release(release_id, it.item, it.key_id, it.cause, it.at)
