"""Errors, sorted by what happens to the event.

::

    KMWorkerError
    ├── TransientError        wait and try again: the event stays with the broker
    │   ├── BrokerUnavailable     no connection, no confirm in time
    │   │   └── PublishRefused        it ended the connection over what was published
    │   ├── StoreUnavailable      no connection, read-only, out of memory or disk
    │   ├── RootAway              what wraps the KEKs: not reachable, sealed, taken out
    │   ├── NotRecorded           the audit trail does not take it: nothing is delivered
    │   ├── NoRoom                the audit trail's disk is full
    │   └── UnknownKek            a record is under a KEK this keyring lacks
    ├── PermanentError        dead-letter: no retry can help
    ├── ScriptFailed          a fault of ours: tried again, at last dead-lettered
    ├── Unsendable            what stands beside a message cannot be written
    ├── NotCounted            this user may not look at a queue
    ├── NotFound              what a command was asked for is not there
    ├── Untrusted             what was signed or sealed does not hold: nothing of it is believed
    └── SetupError            refuse to run: a person must change something first
"""

from enum import StrEnum
from traceback import walk_tb

__all__ = [
    "BrokerUnavailable",
    "KMWorkerError",
    "NoRoom",
    "NotCounted",
    "NotFound",
    "NotRecorded",
    "PermanentError",
    "PublishRefused",
    "Reason",
    "RootAway",
    "ScriptFailed",
    "SetupError",
    "StoreUnavailable",
    "TransientError",
    "UnknownKek",
    "Unsendable",
    "Untrusted",
    "told",
]


class Reason(StrEnum):
    """Why an event became a dead letter: the first word of its routing key."""

    MALFORMED = "malformed"
    UNSUPPORTED_TYPE = "unsupported-type"
    CONFLICT = "conflict"
    SOURCE_MISSING = "source-missing"
    NO_ROOM = "no-room"
    SOURCE_UNUSABLE = "source-unusable"
    NOT_ALLOWED = "not-allowed"
    POLICY_DENIED = "policy-denied"
    INTEGRITY = "integrity"
    INTERNAL = "internal"


class KMWorkerError(Exception):
    """Whatever kmworker itself raises. Messages name ids, never key material."""


class TransientError(KMWorkerError):
    """The event stays with the broker; wait and try again."""


class BrokerUnavailable(TransientError):
    """The broker cannot be reached, or did not confirm in time."""


class PublishRefused(BrokerUnavailable):
    """The broker ended the connection or channel over what was published on it.

    Once is an outage like any other: an internal error may pass. The same again is a fault of
    ours, which no waiting repairs.
    """


class StoreUnavailable(TransientError):
    """The store cannot be reached, or refuses to write."""


class RootAway(TransientError):
    """The KEKs' root of trust does not answer, is sealed, or its token has been taken out.

    Whoever has its KEKs already goes on with them.
    """


class NotRecorded(TransientError):
    """The audit trail has not confirmed a record: what it is about must not be delivered.

    It may be in the trail all the same, or come to be in it later.
    """


class NoRoom(TransientError):
    """The disk of the audit trail is full; nothing of what was to be written is there."""


class UnknownKek(TransientError):
    """A record is under a KEK that this keyring does not hold.

    Never a dead letter: the record is most likely good and the keyring old. One under a KEK that
    the store's keyring lacks, too, is forged (`kmworker.store.records`).

    Attributes:
        kek_id: which KEK that is.
    """

    def __init__(self, message: str, kek_id: str = "") -> None:
        super().__init__(message)
        self.kek_id = kek_id


class NotCounted(KMWorkerError):
    """The broker tells this user nothing of its queues; all else works."""


class PermanentError(KMWorkerError):
    """No retry can help this event.

    Attributes:
        reason: the contract's word for it, part of the dead letter's routing key.
        detail: one sentence for a person; ids only.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ScriptFailed(KMWorkerError):
    """One of our scripts ended with a fault in the store, as any other code of ours may."""


class Unsendable(KMWorkerError):
    """A message's properties do not fit what this broker takes; nothing was sent."""


class SetupError(KMWorkerError):
    """Configuration, keyring, policy or store do not fit: a person must act first.

    Attributes:
        hint: what to do about it, one line.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotFound(KMWorkerError):
    """What a command was asked for is not there.

    Attributes:
        hint: where it may be instead, one line.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Untrusted(KMWorkerError):
    """What was signed or sealed does not hold, or is not for us: nothing of it is believed.

    It says which check failed, and repeats nothing of what was sent.

    Attributes:
        hint: what to do about it, one line.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def told(error: Exception) -> str:
    """Return what may be logged of an error: its text, if it is ours, or else where it was raised.

    Another's text may quote what it was about: an event, a record, key material.
    """
    if isinstance(error, PermanentError):
        return error.detail
    if isinstance(error, KMWorkerError):
        return str(error)
    places = [
        (frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in walk_tb(error.__traceback__)
    ]
    ours = [place for place in places if "/kmworker/" in place[0]]
    # The last of ours, and what it called.
    raised = dict.fromkeys((*ours[-1:], *places[-1:]))
    said = (f"{'/'.join(file.split('/')[-2:])}:{line} in {name}" for file, line, name in raised)
    return f"{type(error).__name__} at {', '.join(said)}"
