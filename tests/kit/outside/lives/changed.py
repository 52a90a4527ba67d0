"""What was announced of key-ids, held against what had to become of them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from tests.kit.outside.heard import Delivery
from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.keys import Change, KeyLife
from tests.kit.outside.lives.outlook import Outlook
from tests.kit.outside.lives.told import (
    SOURCE,
    Ledger,
    named_id,
    transport_problems,
)
from tests.kit.outside.lives.world import Command

Data = dict[str, Any]
OPERATOR: Final = "outside"


def change_problems(ledger: Ledger, outlook: Outlook) -> Iterator[str]:
    """What is wrong with what was said of key-ids in this round, and what is missing of it."""
    known = ledger.key_ids()
    if stray := ledger.ear.changes.keys() - {data["key_id"] for data in known.values()}:
        yield f"changes of key-ids that nobody was told of: {sorted(stray)}"
    for owner, wanted in outlook.changes.items():
        if owner not in known:
            if wanted:
                yield f"the key-id of {owner} was not announced"
            continue
        data = known[owner]
        said = ledger.ear.changes.get(data["key_id"], {})
        before = ledger.versions.get(owner, 1)
        fresh = [said[version] for version in sorted(said) if version > before]
        if sorted(said) != list(range(2, len(said) + 2)):
            yield f"key of {owner}: its versions have gaps: {sorted(said)}"
        key = outlook.world.keys[owner]
        for delivery in fresh:
            yield from _change_problems(delivery, data, key, outlook)
        found = [_change_of(it.parsed()) for it in fresh]
        if wanted is not None and found != [*wanted]:
            yield f"key of {owner}: became {found}, not {wanted}"
        if wanted is None:
            yield from _path_problems(outlook.before.keys.get(owner), key, found)


def _change_of(event: Data) -> Change:
    data = event["data"]
    by = data["by"]
    who = by["reason"] if by["kind"] == "operator" else by["kind"]
    due = data.get("destroy_at")
    if due is not None:
        seconds = (_time(due) - _time(data["at"])).total_seconds()
        due = states.LATER if seconds > 24 * 60 * 60 else states.SOON
    return Change(event["type"], data["state"], who, due)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _change_problems(
    delivery: Delivery, data: Data, key: KeyLife, outlook: Outlook
) -> Iterator[str]:
    event = delivery.parsed()
    told = event["data"]
    project = key.owner.project
    for name, wanted in (("scope_id", data["scope_id"]), ("project_id", project)):
        if told[name] != wanted:
            yield f"key of {key.owner}: {name} is {told[name]}, not {wanted}"
    words = ("key", SOURCE, project, told["key_id"], str(told["version"]))
    if event["id"] != named_id(*words):
        yield f"key of {key.owner}: the id of {event} is not that of {words}"
    subject = f"{project}/{told['key_id']}"
    yield from transport_problems(delivery, subject, f"{event['type']}.{project}")
    by = told["by"]
    reasons = {it.reason for it in outlook.actions if isinstance(it, Command)}
    if by["kind"] == "event":
        if (by["id"], by["source"], by["type"]) not in outlook.world.touched.get(key.owner, ()):
            yield f"key of {key.owner}: {by} did nothing to it"
    elif by["kind"] == "operator" and (by["name"] != OPERATOR or by["reason"] not in reasons):
        yield f"key of {key.owner}: {by} did nothing in this round"


def _path_problems(before: KeyLife | None, after: KeyLife, found: list[Change]) -> Iterator[str]:
    """Where the order decides how often it went to and fro, each step must be one that there is."""
    at = states.ACTIVE if before is None else before.own
    for change in found:
        step = change.type.removeprefix("key-")
        if (step, at) not in STEPS:
            yield f"key of {after.owner}: {change} from {at}"
            return
        at = STEPS[step, at] or change.state
    if at != after.own and not (after.is_compromised and at == states.COMPROMISED):
        yield f"key of {after.owner}: it came to {at} by {found}, and not to {after.own}"


STEPS: Final[dict[tuple[str, str], str | None]] = {
    ("deactivated", states.ACTIVE): states.DEACTIVATED,
    ("deactivated", states.DEACTIVATED): states.DEACTIVATED,
    ("deactivated", states.SUSPENDED): states.DEACTIVATED,
    ("restored", states.DEACTIVATED): states.ACTIVE,
    ("suspended", states.ACTIVE): states.SUSPENDED,
    ("suspended", states.DEACTIVATED): states.SUSPENDED,
    ("resumed", states.SUSPENDED): None,
    ("destroyed", states.ACTIVE): states.DESTROYED,
    ("destroyed", states.DEACTIVATED): states.DESTROYED,
    ("destroyed", states.SUSPENDED): states.DESTROYED,
    **{("compromised", it): it for it in (states.ACTIVE, states.DEACTIVATED, states.SUSPENDED)},
}
"""The contract's table by its own state; None: as the announcement says."""


def last_change(ledger: Ledger, key_id: str) -> Data | None:
    """Return the data of the newest change of a key-id, with its type."""
    said = ledger.ear.changes.get(key_id, {})
    if not said:
        return None
    event = said[max(said)].parsed()
    return {**event["data"], "type": event["type"]}


def seconds_of(text: str) -> float:
    """Return a time as Unix seconds."""
    return _time(text).timestamp()
