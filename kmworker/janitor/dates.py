"""When a key-id that is let go of now comes to its end."""

from typing import Final

from kmworker.clock import rfc3339
from kmworker.domain.keys import MANUAL
from kmworker.settings import RetentionSettings

__all__ = ["DAY_S", "destroy_at"]

DAY_S: Final = 86_400


def destroy_at(now_s: float, keeping: RetentionSettings, deadline_s: float) -> str:
    """Return when what is let go of now is destroyed: RFC 3339, UTC, or `MANUAL`.

    Not before `deadline_s` have passed: what waits for its source may still join it.
    """
    days = keeping.destroy_after_days
    return MANUAL if days == "manual" else rfc3339(now_s + max(days * DAY_S, deadline_s))
