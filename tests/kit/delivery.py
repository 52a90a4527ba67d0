"""One delivery, made and checked, of which a caller changes what it is about."""

from typing import Any

from kmworker.delegation.answers import SignedAnswer
from kmworker.delegation.checking import Checked, check_answer
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    DELIVERED,
    ENROLMENT,
    HOST,
    KEY,
    NOW_S,
    REQUEST,
    signer,
)

__all__ = ["check", "deliver"]


def deliver(**changed: Any) -> SignedAnswer:
    """Answer the example's request, as `by` or as the example's key server."""
    by = changed.pop("by", None) or signer()
    given = {
        "asked": REQUEST.asked,
        "client": CLIENT,
        "recipient": HOST.public,
        "delivered": DELIVERED,
        "key": KEY,
        "at": AT,
    }
    found: SignedAnswer = by.deliver(**{**given, **changed})
    return found


def check(answer: SignedAnswer, **changed: Any) -> Checked:
    """Hold an answer against the example's request, as its client does; raises `Untrusted`."""
    given = {
        "body": answer.body,
        "signature": answer.signature,
        "request": REQUEST,
        "identity": HOST,
        "enrolment": ENROLMENT,
        "seen": None,
        "now_s": NOW_S,
    }
    return check_answer(**{**given, **changed})
