"""What must be true of an installation when all is done."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from kmworker.domain.model import Encryption, Item, Kind, ScopeRecord
from kmworker.errors import PermanentError
from tests.kit.checker.contents import Contents, read_contents
from tests.kit.checker.counts import index_problems
from tests.kit.checker.rules import descent_problems, key_problems
from tests.kit.checker.states import Lives, lives_of
from tests.kit.simulator.events import Sent
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.life_checks import life_findings
from tests.kit.simulator.said import agrees, entry_of

# Of a bound, from which on a crowd is listed.
NEAR: Final = 0.8
# What a DEK was under before is told, and opens by it no more.
FORMER: Final = re.compile(rb',"former_keks":\[[^]]*\]')

Finding = tuple[Invariant, str]


def check_at_rest(site: Installation) -> None:
    """Check every promise of an installation that has come to rest.

    Raises:
        Violation: the first that is broken.
    """
    for invariant, detail in _findings(site, read_contents(site.redis, "km")):
        site.ledger.violated(invariant, detail)
    site.ledger.raise_violation()


def assert_settled(site: Installation) -> None:
    """Check that nothing is left to do."""
    assert site.broker.is_settled, "some events are unacknowledged"
    site.ledger.raise_violation()
    assert not site.waiting(), "some events still wait"
    assert int(site.redis.hget(site.names.of("p1", "stats"), "waiting") or 0) == 0
    for short in ("waiting:deadlines", "waiting:sources", "parked", "expired"):
        assert not site.redis.exists(site.names.of("p1", short)), f"{short} is not empty"


def assert_all_assigned(site: Installation, *events: Sent) -> None:
    """Check that all of these are assigned and announced, and that nothing is left to do."""
    assert_settled(site)
    check_at_rest(site)
    announced = site.announced()
    for event in events:
        assert event.item.ref in announced, f"{event.item.ref} was not announced"
    assert not site.letters


def _findings(site: Installation, found: dict[str, Contents]) -> Iterator[Finding]:
    if not site.broker.is_settled:
        yield Invariant.AT_REST, "some events are unacknowledged"
    for wrong in site.broker.protocol_errors:
        yield Invariant.PROTOCOL, wrong
    for item in set(site.ledger.changed()) - site.altered:
        yield Invariant.IMMUTABLE, item.ref
    for sent, accepted_at in site.ledger.accepted.values():
        yield from _event(site, found, sent, accepted_at)
    yield from _listed_crowds(site, found)
    yield from ((Invariant.UNDER_ACTIVE, it) for it in _under_retired(site))
    for contents in found.values():
        yield from _kept(site, contents)
        yield from life_findings(site, contents)
        yield from ((Invariant.SCOPES, it) for it in descent_problems(contents, found))
        if not site.altered:
            yield from ((Invariant.SCOPES, it) for it in key_problems(contents, found))
            yield from ((Invariant.COUNTED, it) for it in index_problems(contents))


def _under_retired(site: Installation) -> Iterator[str]:
    """Give what names a KEK that the store says is retired."""
    said = json.loads(site.redis.hget(site.names.top("keyring"), "states") or '{"keks": {}}')
    retired = [it.encode() for it, entry in said["keks"].items() if entry["state"] == "retired"]
    for key in site.redis.keys("km*:{*}:*") if retired else ():
        if site.redis.type(key) == b"hash":
            for field, raw in site.redis.hgetall(key).items():
                now = FORMER.sub(b"", raw)
                yield from (f"{field!r} in {key!r}" for it in retired if it in now)


def _event(
    site: Installation, found: dict[str, Contents], sent: Sent, accepted_at: float
) -> Iterator[Finding]:
    name = sent.name
    reasons = {
        letter.headers["x-kmworker-reason"] for letter in site.letters if letter.body == sent.body
    }
    source, item = sent.derived_from, sent.item
    room = None if source is None else found.get(source.project)
    entry = entry_of(sent).decode()
    waits = room is not None and entry in room.parked
    if waits and source is not None and room is not None and _has_come(room, sent):
        yield Invariant.AT_REST, f"{name} waits, and {source.ref} is there"
    is_altered = item in site.altered
    if not (reasons or waits or is_altered or site.ledger.is_accounted(sent)):
        yield Invariant.ACCOUNTED, name
    for reason in reasons:
        if not _is_justified(site, sent, reason, accepted_at):
            yield Invariant.JUSTIFIED, f"{name} is refused as {reason}"
    # Another copy is another event, as a replayed dead letter is.
    is_over = sent.body not in site.ledger.comes_again
    data = site.ledger.data_of(item, sent.generation)
    is_cause = data is not None and sent.is_event and data["cause"]["id"] == sent.event_id
    if "source-missing" in reasons and is_over and is_cause:
        yield Invariant.JUSTIFIED, f"{name} is refused and assigned"


def _has_come(found: Contents, sent: Sent) -> bool:
    """Return whether the life of its source that an event means is there, or over."""
    assert sent.derived_from is not None
    record = found.items.get(sent.derived_from.ref)
    if record is None:
        return False
    lives = lives_of(record)
    return lives.newest > sent.source_generation or lives.assigned == sent.source_generation


def _is_justified(site: Installation, sent: Sent, reason: str, at: float) -> bool:
    match reason:
        case "malformed":
            return not sent.is_event
        case "conflict":
            return _is_conflict(site, sent)
        case "source-missing":
            waited = site.ledger.refused_at[sent.body] - at
            return sent.derived_from is not None and waited >= site.limits.waiting_deadline_s
        case "source-unusable":
            return _is_unusable(site, sent)
        case "no-room":
            return _had_no_room(site, sent)
        case _:
            justified = {
                "integrity": bool({sent.item, sent.derived_from} & site.altered),
                "internal": sent.item.ref in site.poison,
                "not-allowed": sent.is_beyond_user,
            }
            return justified.get(reason, False)


def _is_conflict(site: Installation, sent: Sent) -> bool:
    """Return whether an event's life is assigned otherwise, or is over and was another event's."""
    if sent.attachment is not None:
        return site.ledger.is_attached_otherwise(sent)
    if site.ledger.was_forgotten(sent.item):
        return True
    data = site.ledger.data_of(sent.item, sent.generation)
    is_cause = data is not None and data["cause"]["id"] == sent.event_id
    is_other = data is not None and not agrees(sent, data)
    return is_other or (site.ledger.is_over(sent.item, sent.generation) and not is_cause)


def _is_unusable(site: Installation, sent: Sent) -> bool:
    """Return whether an event's source has passed the life that is meant, or has lost its key."""
    source, generation = sent.derived_from, sent.source_generation
    if source is None or site.ledger.was_forgotten(source):
        return source is not None
    data = site.ledger.data_of(source, generation)
    is_destroyed = data is not None and site.ledger.chronicle.is_destroyed(
        source.project, data["key_id"]
    )
    return is_destroyed or site.ledger.is_passed(source, generation)


def _had_no_room(site: Installation, sent: Sent) -> bool:
    """Return whether so many others of its project could wait where it would have had to."""
    source = sent.derived_from
    if source is None:
        return False
    is_foreign = source.project != sent.item.project
    others = {
        other.body
        for other, _at in site.ledger.accepted.values()
        if other.derived_from is not None
        and (other.item.project, other.derived_from.project) == (sent.item.project, source.project)
    }
    return len(others) > (site.limits.foreign_max if is_foreign else site.limits.waiting_max)


def _listed_crowds(site: Installation, found: dict[str, Contents]) -> Iterator[Finding]:
    """Look whether each project that is listed is near the bound of a waiting room."""
    for name in site.redis.hkeys(site.names.top("crowded")):
        project, source_project = name.decode().split(" ")
        share = found[source_project].shares.get(project, {"events": 0})
        is_foreign = project != source_project
        most = site.limits.foreign_max if is_foreign else site.limits.waiting_max
        if share["events"] < NEAR * most:
            yield Invariant.COUNTED, f"{project} is listed as a crowd in {source_project}"


def _kept(site: Installation, contents: Contents) -> Iterator[Finding]:
    """Look whether every assignment was announced, and every DEK is there and unwraps."""
    for ref, record in contents.items.items():
        item, lives = _item(contents, ref), lives_of(record)
        if item not in site.altered:
            yield from ((Invariant.ANNOUNCED, ref) for _ in _untold(site, item, lives))
    for scope_id, scope in contents.scopes.items():
        is_altered = scope["root"] in {item.ref for item in site.altered}
        if scope["root"] not in contents.items and not is_altered:
            yield Invariant.IMMUTABLE, f"the root of scope {scope_id} is gone"
        if is_altered and not _is_told(site, contents, scope_id):
            # What someone wrote there is none of ours, as long as nobody is told to use it.
            continue
        if "destroyed_at" not in scope and not _unwraps(site, contents, scope_id):
            yield Invariant.STORED_FIRST, f"the DEK of scope {scope_id} does not unwrap"


def _untold(site: Installation, item: Item, lives: Lives) -> Iterator[Any]:
    """Give what the record of an item says that nobody has heard: its life, and ends of lives."""
    ledger = site.ledger
    if not lives.is_over:
        body = ledger.announced.get((item.project, item.ref, lives.newest))
        if body not in ledger.confirmed:
            yield body
    for key_id, generation, _at in lives.ends:
        if not ledger.has_ended(item, generation, key_id):
            yield key_id


def _item(contents: Contents, ref: str) -> Item:
    kind, _colon, name = ref.partition(":")
    return Item(contents.project, Kind(kind), name)


def _is_told(site: Installation, contents: Contents, scope_id: str) -> bool:
    """Return whether anyone was told to use this scope's DEK."""
    return any(
        json.loads(body)["data"]["scope_id"] == scope_id
        for (project, _ref, _generation), body in site.ledger.announced.items()
        if project == contents.project
    )


def _unwraps(site: Installation, contents: Contents, scope_id: str) -> bool:
    scope = contents.scopes[scope_id]
    blob = contents.deks.get(scope_id)
    record = ScopeRecord(
        scope_id=scope_id,
        generation=scope.get("generation", 0),
        root=scope["root"],
        dek_id=scope["dek_id"],
        encryption=Encryption(scope["cipher"], scope["key_bits"]),
        kek_id=scope["kek_id"],
        derived_from=scope["derived_from"],
        created_at=scope["created_at"],
    )
    try:
        return blob is not None and bool(site.custody.unwrap(contents.project, record, blob))
    except PermanentError:
        return False
