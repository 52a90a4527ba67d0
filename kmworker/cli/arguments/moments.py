"""Times as people type them: a moment, or how long ago it was."""

import re
from collections.abc import Mapping
from time import time
from typing import Any, Final

from kmworker.cli.frame.exits import misused
from kmworker.store.views.lineage import data_in
from kmworker.wire.dead_letters.reading import moment_s

__all__ = ["age_option", "assigned_s", "changed_s", "key_changed_s", "moment_option"]

AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(s|min|h|d)")
UNITS_S: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
WANTED: Final = "90s, 30min, 2h or 7d"


def moment_option(name: str, text: str | None) -> float | None:
    """Return an option's moment in Unix seconds: RFC 3339, UTC by default, or an age."""
    if text is None:
        return None
    age_s = _age_s(text)
    moment = moment_s(text) if age_s is None else time() - age_s
    if moment is None:
        misused(f"{name} {text}: neither a time like 2026-11-23T16:00:00Z nor an age like {WANTED}")
    return moment


def age_option(name: str, text: str | None) -> float | None:
    """Return an option's age in seconds."""
    if text is None:
        return None
    age_s = _age_s(text)
    if age_s is None:
        misused(f"{name} {text}: not an age like {WANTED}")
    return age_s


def assigned_s(data: Mapping[str, Any]) -> float | None:
    """Return when an item was assigned, in Unix seconds; None if its record does not say."""
    return moment_s(str(data.get("assigned_at")))


def changed_s(record: Mapping[str, Any]) -> float | None:
    """Return when an item was assigned, or released, if it is; None if its record does not say."""
    if "released_at" in record:
        return moment_s(str(record["released_at"]))
    return assigned_s(data_in(record))


def key_changed_s(record: Mapping[str, Any]) -> float | None:
    """Return when a key-id last changed, in Unix seconds; None if its record does not say."""
    changed = record.get("changed")
    return moment_s(str(changed.get("at"))) if isinstance(changed, dict) else None


def _age_s(text: str) -> float | None:
    found = AGE.fullmatch(text.strip())
    return None if found is None else float(found[1]) * UNITS_S[found[2]]
