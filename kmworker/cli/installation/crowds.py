"""Projects whose waiting events are near their bound, for a person to read."""

from collections.abc import Sequence
from typing import Final

from kmworker.cli.terminal.output import plural
from kmworker.store.crowds import Crowd

__all__ = ["crowded"]

MAX_SHOWN: Final = 5


def crowded(crowds: Sequence[Crowd]) -> str:
    """Name projects, the nearest to its bound first."""
    said = [_crowd(crowd) for crowd in crowds[:MAX_SHOWN]]
    left = len(crowds) - len(said)
    return "; ".join(said + ([f"and {left:,} more"] if left else []))


def _crowd(crowd: Crowd) -> str:
    is_foreign = crowd.project != crowd.source_project
    whose = f"{crowd.project} for items of {crowd.source_project}" if is_foreign else crowd.project
    events = f"{plural(crowd.events, 'event')} of {crowd.events_max:,}"
    return f"project {whose} {crowd.share:.0%} ({events})"
