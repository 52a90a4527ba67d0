"""What must be true of lives and of key-ids when all is done."""

from collections.abc import Iterator

from kmworker.clock import rfc3339
from tests.kit.checker.contents import Contents, Record
from tests.kit.checker.states import DESTROYED, MANUAL, held_by, own_state, partitions_keys
from tests.kit.simulator.chronicle import Life
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.said import item_in

# From a change to when it is known to all; a janitor looks once an hour.
LATE_S = 7_200.0

Finding = tuple[Invariant, str]


def life_findings(site: Installation, contents: Contents) -> Iterator[Finding]:
    """Everything that is wrong with lives and key-ids of one project."""
    yield from _generations(site, contents.project)
    yield from _passed(site, contents.project)
    yield from _told(site, contents)
    yield from _compromised(contents)
    if not site.altered:
        yield from _ends(site, contents)


def _generations(site: Installation, project: str) -> Iterator[Finding]:
    """Look whether lives came by their scopes as they should: each a new one, or its source's."""
    lives = {life: it for life, it in site.ledger.chronicle.data.items() if life[0] == project}
    founders: dict[str, Life] = {}
    for life, data in lives.items():
        if data["disposition"] == "create":
            other = founders.setdefault(data["scope_id"], life)
            if other != life:
                yield Invariant.GENERATIONS, f"{life} and {other} share a DEK"
        if data["disposition"] in {"clone", "reuse"}:
            meant = _source_of(site, life, data)
            if meant is not None and meant["scope_id"] != data["scope_id"]:
                yield Invariant.GENERATIONS, f"{life} is not of the life that it derives from"


def _passed(site: Installation, project: str) -> Iterator[Finding]:
    """Look whether the end was heard of each life that a later one has followed."""
    ledger = site.ledger
    for life, data in ledger.chronicle.data.items():
        item, generation = item_in(life), life[2]
        if life[0] != project or not ledger.is_passed(item, generation):
            continue
        is_told = ledger.has_ended(item, generation, data["key_id"])
        if not is_told and not ledger.was_forgotten(item):
            yield Invariant.ANNOUNCED, f"the end of life {generation} of {item.ref}"


def _source_of(site: Installation, life: Life, data: Record) -> Record | None:
    """Return what the life of its source was assigned that an item's event has named."""
    project, ref, _generation = life
    source = data["source"]
    name = f"{source['kind']}:{source['id']}"
    wanted = site.ledger.source_generation_of(project, ref, data["cause"]["id"])
    return site.ledger.chronicle.data.get((source["project_id"], name, wanted))


def _told(site: Installation, contents: Contents) -> Iterator[Finding]:
    """Look whether every change of every key-id was heard of."""
    for name in contents.unsaid:
        yield Invariant.AT_REST, f"{name} is left in the outbox of {contents.project}"
    ledger = site.ledger
    for version in ledger.chronicle.versions:
        if version[0] == contents.project and ledger.changes.get(version) not in ledger.confirmed:
            yield Invariant.TOLD, f"{version} was not announced"


def _compromised(contents: Contents) -> Iterator[Finding]:
    """Look whether every key-id of a compromised scope says that it is."""
    for key_id, key in contents.keys.items():
        is_so = "compromised" in contents.scopes.get(key["scope_id"], {})
        if is_so and key["state"] not in {"compromised", DESTROYED}:
            yield Invariant.SCOPES, f"{key_id} is {key['state']}, and its scope is compromised"


def _ends(site: Installation, contents: Contents) -> Iterator[Finding]:
    """Look whether the time of what nobody holds runs, and whether it is over when it is."""
    held = held_by(contents.items).keys() | partitions_keys(contents.items)
    at_last = rfc3339(site.clock.now() - LATE_S)
    for key_id, key in contents.keys.items():
        state = own_state(key)
        if key_id in held or state in {DESTROYED, "suspended"}:
            continue
        if state == "deactivated":
            at = key["destroy_at"]
            is_late = at != MANUAL and at < at_last
        else:
            at = key.get("active_until", "no time")
            is_late = at == "no time" or at < at_last
        if is_late and site.is_tidied:
            yield Invariant.ENDED, f"{key_id} is {state} until {at}, and nobody holds it"
        elif at == "no time":
            yield Invariant.ENDED, f"{key_id} is {state} for ever, and nobody holds it"
