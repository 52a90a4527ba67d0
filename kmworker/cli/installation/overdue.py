"""Whether what the janitor has to do is done, for a person to read."""

from kmworker.cli.terminal.output import ago, lasting
from kmworker.janitor.dates import DAY_S
from kmworker.store.views.janitor import DueKeys, JanitorSeen

__all__ = ["due_in_words", "overdue"]


def due_in_words(due: DueKeys, now: float) -> str:
    """Say how many key-ids have a date, and when the first of these is."""
    if not due.next_at:
        return "none"
    left_s = due.next_at - now
    when = f"in {lasting(left_s)}" if left_s > 0 else f"since {lasting(-left_s)}"
    return f"{due.key_ids:,}, the first {when}"


def overdue(due: DueKeys, janitor: JanitorSeen | None, now: float) -> tuple[str, str] | None:
    """Return what nobody has done for more than a day, with a hint; None where nothing is.

    By the time at which it was counted: what has been done since then is not known.

    Args:
        due: what there is to do.
        janitor: who was last seen to do it.
        now: Unix seconds.
    """
    late_s = due.computed_at - due.next_at
    if not due.next_at or late_s <= DAY_S:
        return None
    what = f"a key-id was due {lasting(late_s)} before they were counted"
    if janitor is None:
        return f"{what}, and no janitor was ever seen", "start one: kmworker janitor"
    seen = f"janitor {janitor.janitor_id} was last seen {ago(janitor.seen_at, now)}"
    if now - janitor.seen_at > DAY_S:
        return f"{what}; {seen}", "start one: kmworker janitor"
    return f"{what}; {seen}", "the janitor's log says what keeps it from that"
