"""Errors, sorted by what happens to the event.

::

    KMWorkerError
    ├── TransientError        wait and try again: the event stays with the broker
    │   ├── BrokerUnavailable     no connection, no confirm in time, a nack
    │   ├── StoreUnavailable      no connection, read-only, out of memory or disk
    │   ├── UnknownKek            a record is under a KEK this keyring lacks
    │   └── WaitingRoomFull       no room for another event without its source
    ├── PermanentError        dead-letter: no retry can help
    └── SetupError            refuse to run: a person must change something first
"""

from enum import StrEnum

__all__ = [
    "BrokerUnavailable",
    "KMWorkerError",
    "NotFound",
    "PermanentError",
    "Reason",
    "SetupError",
    "StoreUnavailable",
    "TransientError",
    "UnknownKek",
    "WaitingRoomFull",
]


class Reason(StrEnum):
    """Why an event became a dead letter: the first word of its routing key."""

    MALFORMED = "malformed"
    UNSUPPORTED_TYPE = "unsupported-type"
    CONFLICT = "conflict"
    SOURCE_MISSING = "source-missing"
    SOURCE_UNUSABLE = "source-unusable"
    POLICY_DENIED = "policy-denied"
    INTEGRITY = "integrity"
    INTERNAL = "internal"


class KMWorkerError(Exception):
    """Whatever kmworker itself raises. Messages name ids, never key material."""


class TransientError(KMWorkerError):
    """The event stays with the broker; wait and try again."""


class BrokerUnavailable(TransientError):
    """The broker cannot be reached, or did not confirm in time."""


class StoreUnavailable(TransientError):
    """The store cannot be reached, or refuses to write."""


class UnknownKek(TransientError):
    """A record is under a KEK that this keyring does not hold.

    Never a dead letter: the record is most likely good and the keyring old.
    """


class WaitingRoomFull(TransientError):
    """A project has ``waiting.max`` events without a source; taking more is unsafe."""


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
