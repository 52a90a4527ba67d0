"""The janitor, and what there is for it to do, as dashboards see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views, finite

__all__ = ["DueKeys", "JanitorSeen", "due_in", "number_of", "read_due", "read_janitor"]

DONE: Final = ("destroyed", "lapsed", "put_right", "forgotten", "stopped")


@dataclass(frozen=True, slots=True)
class JanitorSeen:
    """The janitor that was last at work, and what it has done since its start."""

    janitor_id: str
    seen_at: float
    """Unix seconds."""
    destroyed: int
    lapsed: int
    put_right: int
    forgotten: int
    stopped: int
    kek_ids: tuple[str, ...] = ()
    """The KEKs in its keyring."""
    keyring_trouble: str = ""
    """Why its changed keyring file is not taken up: a `KeyringFlaw`."""
    keyring_trouble_since: float = 0.0
    """Unix seconds; 0 for no trouble."""


@dataclass(frozen=True, slots=True)
class DueKeys:
    """What all projects have for the janitor, as they were last added up."""

    key_ids: int
    next_at: float
    """Unix seconds, as is the next; 0 where nothing has a date."""
    computed_at: float


def read_janitor(views: Views) -> JanitorSeen | None:
    """Return what the janitor has reported; None if none ever was there."""
    about = ("id", "seen_at", "kek_ids", "keyring_trouble", "keyring_trouble_since")
    fields = _fields(views, "janitor", *about, *DONE)
    if "id" not in fields:
        return None
    done = {name: int(number_of(fields, name)) for name in DONE}
    kek_ids = tuple(fields.get("kek_ids", "").split())
    return JanitorSeen(
        fields["id"],
        number_of(fields, "seen_at"),
        **done,
        kek_ids=kek_ids,
        keyring_trouble=fields.get("keyring_trouble", ""),
        keyring_trouble_since=number_of(fields, "keyring_trouble_since"),
    )


def read_due(views: Views) -> DueKeys:
    """Return what there is to do."""
    return due_in(_fields(views, "totals", "due", "next_due", "computed_at"))


def due_in(totals: Mapping[str, str]) -> DueKeys:
    """Return what there is to do, by ``km:totals``."""
    return DueKeys(
        int(number_of(totals, "due")),
        number_of(totals, "next_due"),
        number_of(totals, "computed_at"),
    )


def number_of(fields: Mapping[str, Any], name: str) -> float:
    """Return a number in a report; 0 for what is none."""
    try:
        return finite(float(fields.get(name) or 0))
    except ValueError:
        return 0.0


def _fields(views: Views, key: str, *names: str) -> dict[str, str]:
    # A worker's account may read these fields, and not the whole hash.
    with store_errors():
        found = views.client.hmget(views.names.top(key), names)
    pairs = zip(names, found, strict=True)
    return {name: text.decode(errors="replace") for name, text in pairs if text is not None}
