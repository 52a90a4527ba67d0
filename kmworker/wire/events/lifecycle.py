"""Events out: what every event has that a producer in Python publishes.

An event gets its id when it is made, not when it is sent. So whoever publishes the same
object again says the same thing again, and no retry can turn one event into two.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from time import time
from typing import Any, ClassVar, Final, TypeAlias

from kmworker.clock import rfc3339
from kmworker.domain.event import RequestedEncryption, Unencrypted
from kmworker.domain.model import Disposition, Encryption, Item
from kmworker.wire.ids import random_id

__all__ = ["Encrypted", "LifecycleEvent"]

Encrypted: TypeAlias = Encryption | RequestedEncryption | Unencrypted | None
"""None leaves it to the source or the policy; only `UNENCRYPTED` means not encrypted."""

ENVELOPE: Final = frozenset({"id", "time"})


def _now() -> str:
    return rfc3339(time())


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent:
    """What every event has."""

    type: ClassVar[str]

    project_id: str
    size_bytes: int | None = None
    disposition: Disposition | None = None
    """A request: rules may overrule it, and guards always do."""
    extra: Mapping[str, Any] | None = None
    """Notes of your own, at most 4 KiB as compact JSON in UTF-8: nobody reads them."""
    id: str = field(default_factory=random_id)
    """With the producer's ``event_source`` it names the event: give it back on a retry."""
    time: str = field(default_factory=_now)
    """RFC 3339."""

    def body(self, event_source: str) -> bytes:
        """Return the event as it is published; what was not given is not there."""
        given = {it.name: getattr(self, it.name) for it in fields(self) if it.name not in ENVELOPE}
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": event_source,
            "type": self.type,
            "time": self.time,
            "data": {name: self._as_json(it) for name, it in given.items() if it is not None},
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def _as_json(self, given: object) -> object:
        match given:
            case Item(project, kind, name):
                project_id = {} if project == self.project_id else {"project_id": project}
                return {"kind": kind, "id": name, **project_id}
            case Unencrypted():
                return None
            case Encryption() | RequestedEncryption():
                return {name: it for name, it in given._asdict().items() if it is not None}
            case Mapping():
                return dict(given)
            case _:
                return given
