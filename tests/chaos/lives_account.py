"""What must be so of keys in the end, read as anybody may: each thing that is not, in words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from tests.kit.outside.reader import Reader

Record = dict[str, Any]
DESTROYED: Final = "destroyed"
MILLISECOND_S: Final = 0.001


class KeyBook:
    """The records of a few projects, read at one time."""

    def __init__(self, reader: Reader, projects: Iterable[str]) -> None:
        self.items: dict[tuple[str, str], Record] = {}
        self.keys: dict[tuple[str, str], Record] = {}
        self.deks: set[tuple[str, str]] = set()
        self.ended: set[tuple[str, str]] = set()
        """Scopes whose DEK was destroyed."""
        self.left_in_outboxes: list[str] = []
        for project in projects:
            self.items |= _named(project, reader.records(project, "items"))
            self.keys |= _named(project, reader.records(project, "keys"))
            self.deks |= {(project, it) for it in reader.secret(project, "deks")}
            scopes = reader.records(project, "scopes").items()
            self.ended |= {(project, it) for it, record in scopes if "destroyed_at" in record}
            self.left_in_outboxes += reader.table(project, "outbox")
        self.holders: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.partitions: set[tuple[str, str]] = set()
        for (project, ref), record in self.items.items():
            data = record["data"]
            if record["state"] != "active" or data["key_id"] is None:
                continue
            if ref.startswith("partition:"):
                self.partitions.add((project, data["key_id"]))
            else:
                self.holders[project, data["key_id"]].append(ref)

    def versions(self) -> dict[str, int]:
        """Return which version each key-id has."""
        return {key_id: record["version"] for (_, key_id), record in self.keys.items()}

    def states(self) -> dict[str, str]:
        """Return the state of each key-id."""
        return {key_id: record["state"] for (_, key_id), record in self.keys.items()}

    def losses(self) -> Iterator[str]:
        """Name each item that is there and whose key is not."""
        for (project, key_id), refs in self.holders.items():
            record = self.keys.get((project, key_id))
            if record is None or record["state"] == DESTROYED:
                yield f"{project}: {refs} hold {key_id}, which is {record and record['state']}"
            elif (project, record["scope_id"]) not in self.deks:
                yield f"{project}: {refs} hold {key_id}, whose DEK is gone"

    def undone(self) -> Iterator[str]:
        """Name what time has passed over: each key-id that nobody holds, and that goes on."""
        for place, record in self.keys.items():
            state = record.get("own_state", record["state"])
            if state in {DESTROYED, "suspended"} or place in self.partitions:
                continue
            is_held = place in self.holders
            if is_held and state != "active":
                yield f"{place} is {state}, and {self.holders[place]} hold it"
            if not is_held:
                yield f"{place} is {state}, and nobody holds it"

    def leftovers(self) -> Iterator[str]:
        """Name each DEK that no key-id names any more, and each that one lacks."""
        named = {
            (project, record["scope_id"])
            for (project, _), record in self.keys.items()
            if record["state"] != DESTROYED
        }
        yield from (f"the DEK of {it} is there" for it in self.deks - named)
        yield from (f"the DEK of {it} is gone" for it in named - self.deks)
        yield from (f"the DEK of {it} is destroyed, and there" for it in self.ended & self.deks)


def haste(changes: Mapping[str, Mapping[int, Record]], deadline_s: float) -> Iterator[str]:
    """Name each key-id whose time nobody waited for, by what was announced of it."""
    for key_id, told in changes.items():
        for version, change in told.items():
            before, by = told.get(version - 1, {}), change["by"]["kind"]
            at_s, due = _s(change["at"]), before.get("destroy_at")
            if change["type"] == "key-destroyed" and by == "janitor" and at_s < _s(str(due)):
                yield f"{key_id} was destroyed {change['at']}, before {due}"
            is_let_go = change["type"] == "key-deactivated" and by == "event"
            if is_let_go and _s(change["destroy_at"]) - at_s < deadline_s - MILLISECOND_S:
                yield f"{key_id} was let go of {change['at']}, until {change['destroy_at']}"


def _named(project: str, records: dict[str, Record]) -> dict[tuple[str, str], Record]:
    return {(project, name): record for name, record in records.items()}


def _s(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
