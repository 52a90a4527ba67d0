"""What ``kmworker doctor``'s checks say."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kmworker.cli.frame.refusals import as_refused
from kmworker.errors import KMWorkerError, NotCounted, NotFound, SetupError

__all__ = ["FAILED", "NOT_CHECKED", "OK", "WARNED", "Check", "checked", "not_checked"]

OK, WARNED, FAILED, NOT_CHECKED = "ok", "warning", "failed", "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check has found."""

    check: str
    status: str
    detail: str
    hint: str = ""


def checked(check: str, look: Callable[[], str | tuple[str, str]], user: str = "") -> Check:
    """Make a look into a check: what it returns is good, what it raises is not.

    Args:
        check: its name.
        look: returns what is to be said; with a hint, if it is no more than a warning.
        user: as whom a server is asked, where its URL is not said with what it refuses.

    Raises:
        NotCounted: what was looked at does not tell.
    """
    try:
        found = look()
    except NotCounted:
        raise
    except KMWorkerError as error:
        return Check(check, FAILED, *_told(error, user))
    detail, hint = (found, "") if isinstance(found, str) else found
    return Check(check, WARNED if hint else OK, detail, hint)


def _told(error: KMWorkerError, user: str) -> tuple[str, str]:
    refused = as_refused(error, "doctor", {}, {"store": user})
    if refused is not None:
        return str(refused), refused.hint
    if isinstance(error, SetupError | NotFound):
        return str(error), error.hint
    return str(error), "is it running, and are URL and user right?"


def not_checked(because_of: str, *checks: str) -> Iterator[Check]:
    """Say of each of these checks what it lacks."""
    for check in checks:
        yield Check(check, NOT_CHECKED, f"it needs {because_of}")
