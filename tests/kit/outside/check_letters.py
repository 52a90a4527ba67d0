"""The dead letters, held against what had to be refused, and why."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from tests.kit.checker.rules import not_a_time
from tests.kit.outside.heard import Delivery
from tests.kit.outside.history import History, Sent, refusals
from tests.kit.outside.words import BODY_LIMIT_BYTES, CANARY, Message, Refusal

CUT_BYTES: Final = 255
ROUTING_KEY_BYTES: Final = 255
HEADERS: Final = ("reason", "detail", "routing-key", "dead-at", "attempts")
KEPT: Final = ("content_type", "correlation_id", "app_id", "timestamp")

Letters = Mapping[bytes, Sequence[Delivery]]


def missing_letters(history: History, refused: Letters) -> Iterator[str]:
    """Refusals that have no letter yet, or fewer than they must have."""
    wanted = Counter(sent.message.body for sent in history.sent)
    refused = by_original(history, refused)
    for body, (refusal, sent) in refusals(history).items():
        # What waits is kept once, however often it was sent.
        least = 1 if refusal.reason == "source-missing" else wanted[body]
        if len(refused.get(body, ())) < least:
            yield f"{_told(sent)} was not refused as {refusal.reason} {least} times"


def letter_problems(history: History, refused: Letters, *, exactly: bool) -> Iterator[str]:
    """Everything that is wrong with the letters. Only without a crash is their number exact."""
    yield from missing_letters(history, refused)
    refused = by_original(history, refused)
    wanted = refusals(history)
    sent = Counter(each.message.body for each in history.sent)
    for body, letters in refused.items():
        if body not in wanted:
            yield f"must not be refused: {letters[0].headers} {body[:200]!r}"
            continue
        refusal, original = wanted[body]
        most = sent[body] + _takes(original, history)
        if exactly and len(letters) > most:
            yield f"{_told(original)} was refused {len(letters)} times, not {most} at most"
        for letter in letters:
            yield from one_letter_problems(letter, refusal, original.message)
    yield from _digest_problems(refused)


def one_letter_problems(letter: Delivery, refusal: Refusal, original: Message) -> Iterator[str]:
    """What is wrong with one letter, by itself."""
    told = f"{letter.routing_key} ({original.body[:80]!r})"
    yield from (f"{told}: {problem}" for problem in _body_problems(letter, original))
    yield from (f"{told}: {problem}" for problem in _property_problems(letter, original))
    yield from (f"{told}: {problem}" for problem in _header_problems(letter, refusal, original))
    yield from (f"{told}: {problem}" for problem in _type_problems(letter, refusal))


def by_original(history: History, refused: Letters) -> Letters:
    """The letters by the bodies that were sent, also where they hold a digest in their place."""
    found: dict[bytes, list[Delivery]] = defaultdict(list)
    large = {
        sha256(each.message.body).hexdigest(): each.message.body
        for each in history.sent
        if len(each.message.body) > BODY_LIMIT_BYTES
    }
    for body, letters in refused.items():
        for letter in letters:
            digest = "" if body else letter.headers.get("x-kmworker-body-sha256", "")
            found[large.get(str(digest), body)].append(letter)
    return found


def _body_problems(letter: Delivery, original: Message) -> Iterator[str]:
    if len(original.body) <= BODY_LIMIT_BYTES:
        if letter.body != original.body:
            yield "the body is not the original's"
        return
    if letter.body:
        yield "a body that is larger than an event may be is kept"
    if letter.headers.get("x-kmworker-body-bytes") != len(original.body):
        yield "x-kmworker-body-bytes is not the body's length"


def _property_problems(letter: Delivery, original: Message) -> Iterator[str]:
    for name in KEPT:
        kept, wanted = getattr(letter.properties, name), getattr(original, name)
        if kept != wanted:
            yield f"{name} is {kept!r}, not {wanted!r}"
    for name, value in original.headers:
        if letter.headers.get(name) != value:
            yield f"the header {name} is gone"
    if letter.properties.delivery_mode != 2:
        yield "not persistent"
    message_id = letter.properties.message_id
    if not message_id or message_id == original.message_id:
        yield f"message_id is {message_id!r}, not a digest"


def _header_problems(letter: Delivery, refusal: Refusal, original: Message) -> Iterator[str]:
    headers = {name: _header(letter, name) for name in HEADERS}
    if headers["reason"] != refusal.reason:
        yield f"the reason is {headers['reason']} ({headers['detail']}), not {refusal.reason}"
    if headers["routing-key"] != original.routing_key:
        yield f"x-kmworker-routing-key is {headers['routing-key']!r}"
    if not headers["attempts"].isdigit():
        yield f"x-kmworker-attempts is {headers['attempts']!r}"
    yield from _detail_problems(headers["detail"])
    yield from not_a_time("x-kmworker-dead-at", headers["dead-at"])
    for name, value in letter.headers.items():
        if name.startswith("x-kmworker-") and len(str(value).encode()) > CUT_BYTES:
            yield f"{name} is longer than {CUT_BYTES} bytes"
    yield from _event_id_problems(_header(letter, "event-id"), refusal, original)


def _event_id_problems(found: str, refusal: Refusal, original: Message) -> Iterator[str]:
    if refusal.event_id is not None:
        if found != refusal.event_id:
            yield f"x-kmworker-event-id is {found!r}, not {refusal.event_id!r}"
    # Nobody has to find the id of a malformed event, but nobody may make one up.
    elif found not in {"", "unknown"} and not _is_readable_id(found, original.body):
        yield f"x-kmworker-event-id is {found!r}, which is not the event's"


def _type_problems(letter: Delivery, refusal: Refusal) -> Iterator[str]:
    whole = {f"{refusal.reason}.{name}" for name in refusal.types}
    allowed = {key[:ROUTING_KEY_BYTES] for key in whole}
    if max(map(len, whole)) > ROUTING_KEY_BYTES:
        allowed.add(f"{refusal.reason}.unknown")
    if letter.routing_key not in allowed:
        yield f"the routing key is none of {sorted(allowed)}"
    tail = letter.routing_key.removeprefix(f"{refusal.reason}.")
    told = _header(letter, "event-type") or "unknown"
    if tail != "unknown" and not told.startswith(tail):
        yield f"x-kmworker-event-type is {told!r}, but the routing key says {tail!r}"
    if told not in refusal.types | {"unknown"}:
        yield f"x-kmworker-event-type is {told!r}"


def _detail_problems(detail: str) -> Iterator[str]:
    if not detail.strip():
        yield "no detail"
    if "\n" in detail:
        yield f"the detail is not one sentence: {detail!r}"
    if CANARY in detail:
        yield f"the detail repeats what the event says: {detail!r}"


def _digest_problems(refused: Letters) -> Iterator[str]:
    """Equal bodies have equal digests, and different bodies different ones."""
    body_of: dict[str, bytes] = {}
    for body, letters in refused.items():
        digests = {str(letter.properties.message_id) for letter in letters}
        if len(digests) != 1:
            yield f"one body, several digests: {digests}"
        for digest in digests:
            if body_of.setdefault(digest, body) != body:
                yield f"several bodies, one digest: {digest}"


def _header(letter: Delivery, name: str) -> str:
    value = letter.headers.get(f"x-kmworker-{name}", "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_readable_id(found: str, body: bytes) -> bool:
    """Whether a generous reader could take this for the event's id, cut as headers are."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return False
    event_id = event.get("id") if isinstance(event, dict) else None
    if not isinstance(event_id, str):
        return found == str(event_id)
    # How an id that could not be printed is shown is not our business.
    return not (event_id.isascii() and event_id.isprintable()) or found == event_id[:CUT_BYTES]


def _takes(sent: Sent, history: History) -> int:
    """How often an event may be taken from where it waits for its source.

    Each worker that hears of the source takes along what waits for it, and to take is not to
    claim: nothing is left lying when a taker dies. So several may refuse one event.
    """
    if sent.event is None or sent.event.source is None:
        return 0
    source = sent.event.source
    return sum(each.event is not None and each.event.item == source for each in history.sent)


def _told(sent: Sent) -> str:
    return sent.event.item.subject if sent.event is not None else repr(sent.message.body[:120])
