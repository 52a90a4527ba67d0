"""Whom keys are delegated to, and by whom, as operators see it: by what records say, unchecked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kmworker.clock import unix_s
from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views
from kmworker.store.made_anew import is_wrong_type
from kmworker.store.records import CLIENTS, LIST, TRUST
from kmworker.store.views.key_servers import KeyServerSeen

__all__ = [
    "MAX_CLIENTS",
    "ClientsSeen",
    "DelegationSeen",
    "TrustSeen",
    "read_clients",
    "read_trust",
]

MAX_CLIENTS: Final = 1000
PAGE: Final = 100
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class TrustSeen:
    """The list that key servers hand out."""

    number: int
    not_after: str
    """RFC 3339, UTC; empty: its record is none."""


@dataclass(frozen=True, slots=True)
class ClientsSeen:
    """The clients, of which at most `MAX_CLIENTS` were looked at."""

    number: int
    revoked: int
    aged: list[str]
    """Whose identity is older than it should get, the oldest first."""


@dataclass(frozen=True, slots=True)
class DelegationSeen:
    """Who gives keys, believed by which list, and to whom."""

    key_servers: list[KeyServerSeen] | None
    """The latest seen first; None: their key has another type."""
    trust: TrustSeen | None
    """None: none is handed out."""
    clients: ClientsSeen


def read_trust(views: Views) -> TrustSeen | None:
    """Return the list that key servers hand out; None: there is none."""
    pipeline = views.client.pipeline(transaction=False)
    pipeline.hget(views.names.top(TRUST), LIST)
    with store_errors():
        (raw,) = pipeline.execute(raise_on_error=False)
        if isinstance(raw, Exception) and not is_wrong_type(raw):
            raise raw
    if raw is None:
        return None
    try:
        said = json.loads(json.loads(raw)["text"])
        found = TrustSeen(int(said["number"]), str(said["not_after"]))
        unix_s(found.not_after)
    except (ValueError, KeyError, TypeError, RecursionError):
        return TrustSeen(0, "")
    return found


def read_clients(views: Views, now: float, max_age_days: float) -> ClientsSeen:
    """Look at the clients.

    Args:
        views: the store.
        now: Unix seconds.
        max_age_days: how old an identity should get.
    """
    since: dict[str, float] = {}
    number = revoked = 0
    cursor: int | None = None
    while cursor != 0 and number < MAX_CLIENTS:
        pipeline = views.client.pipeline(transaction=False)
        pipeline.hscan(views.names.top(CLIENTS), cursor or 0, count=PAGE)
        with store_errors():
            (reply,) = pipeline.execute(raise_on_error=False)
            if is_wrong_type(reply):
                break
            if isinstance(reply, Exception):
                raise reply
        cursor, entries = reply
        number += len(entries)
        for name, raw in entries.items():
            fields = _fields(raw)
            revoked += "revoked" in fields
            if fields and "revoked" not in fields:
                since[name.decode(errors="replace")] = _since(fields)
    oldest = sorted((at, name) for name, at in since.items() if now - at > max_age_days * DAY_S)
    return ClientsSeen(number, revoked, [name for _at, name in oldest])


def _fields(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _since(fields: Mapping[str, Any]) -> float:
    """Return since when a client has its newest identity, Unix seconds; of a forged one, ever."""
    try:
        return unix_s(str((fields.get("renewed") or fields["enrolled"])["at"]))
    except (ValueError, KeyError, TypeError):
        return 0.0
