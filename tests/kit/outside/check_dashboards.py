"""The keys outside all projects: what a dashboard shows of the whole installation."""

import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.kit.outside.heard import Delivery, Outside
from tests.kit.outside.oracle import Outlook
from tests.kit.outside.reader import Fields, Reader
from tests.kit.outside.words import CANARY, DISPOSITIONS, REASONS

DAY_S: Final = 24 * 60 * 60
MAX_CONSUMERS: Final = 3
MINUTE_FIELDS: Final = frozenset(
    {
        "worker",
        *DISPOSITIONS,
        "repeat",
        "waiting",
        "dead",
        "unrouted",
        "latency_p50_ms",
        "latency_p99_ms",
    }
)


def total_problems(outlook: Outlook, reader: Reader) -> Iterator[str]:
    """What is not yet right with the totals: they are computed now and then."""
    totals = reader.fields("totals")
    assigned = outlook.assigned.values()
    wanted = {
        "items": len(assigned),
        "keys": len({it.key_owner for it in assigned if it.key_owner is not None}),
        "scopes": len({it.scope_owner for it in assigned if it.scope_owner is not None}),
        "waiting": len(outlook.waiting),
        **dict.fromkeys(DISPOSITIONS, 0),
        **Counter(it.disposition for it in assigned),
    }
    found = {**totals, **_dispositions(totals)}
    for name, number in wanted.items():
        if str(found.get(name, "")) != str(number):
            yield f"totals: {name} is {found.get(name)!r}, not {number}"
    if not totals.get("computed_at"):
        yield "totals: computed_at is missing"


def dead_problems(letters: Sequence[Delivery], reader: Reader, *, exactly: bool) -> Iterator[str]:
    """The counts by reason: letters may come twice after a crash, and be counted once."""
    counts = reader.fields("dead")
    came = Counter(_reason(letter) for letter in letters)
    # An event is acknowledged when its letter has been counted, and not before.
    least = Counter(reason for reason, _body in {(_reason(it), it.body) for it in letters})
    for reason in set(counts) | set(came):
        counted = int(counts.get(reason, 0))
        if reason not in REASONS:
            yield f"dead: {reason} is no reason"
        elif counted > came[reason] or (exactly and counted != came[reason]):
            yield f"dead: counts {counted} of {reason}, but {came[reason]} letters came"
        elif counted < least[reason]:
            yield f"dead: counts {counted} of {reason}, but {least[reason]} events were refused"


def queue_problems(client: Outside, reader: Reader, workers: int) -> Iterator[str]:
    """The numbers that are taken off the broker every five seconds."""
    queues = reader.fields("queues")
    if not queues.get("seen_at"):
        yield "queues: seen_at is missing"
    wanted = {"work": client.ready("events.work"), "dead": client.ready("dead")}
    for name, number in wanted.items():
        if str(number) not in [text for field, text in queues.items() if name in field]:
            yield f"queues: {name} is not {number} in {queues}"
    # A worker that is sent more lets its consumer be and adds another.
    if not workers <= int(queues.get("consumers", -1)) <= MAX_CONSUMERS * workers:
        yield f"queues: consumers is not of {workers} workers in {queues}"


def worker_problems(reader: Reader, pids: set[int]) -> Iterator[str]:
    workers = reader.workers()
    host = socket.gethostname()
    seen = {fields.get("pid", ""): worker for worker, fields in workers.items()}
    for pid in pids:
        if (worker := seen.get(str(pid))) is None:
            yield f"worker {pid} is not among {sorted(seen)}"
            continue
        if host not in workers[worker].get("host", ""):
            yield f"worker {pid} is on {workers[worker].get('host')!r}"
        if "started" not in " ".join(workers[worker]):
            yield f"worker {pid} does not say when it started: {workers[worker]}"
        if not 0 < reader.ttl_s(f"worker:{worker}") <= DAY_S:
            yield f"worker {pid} is not kept for a day"


def feed_problems(
    announced: Mapping[str, Sequence[Delivery]], letters: int, reader: Reader
) -> Iterator[str]:
    """The feed is best effort, and here nothing has stood in its way."""
    entries = reader.stream("feed")
    text = "\n".join(" ".join(entry.values()) for entry in entries)
    unseen = [subject for subject, found in announced.items() if _id_of(found[0]) not in text]
    if unseen:
        yield f"feed: {len(unseen)} assignments are missing, e.g. {unseen[0]}"
    if letters and len(entries) < len(announced) + 1:
        yield "feed: no dead letter is in it"


def minute_problems(reader: Reader) -> Iterator[str]:
    for entry in reader.stream("minutes"):
        if lacking := MINUTE_FIELDS - set(entry):
            yield f"minutes: an entry lacks {sorted(lacking)}"


def open_key_problems(reader: Reader) -> Iterator[str]:
    """Nothing of what events say beyond the contract may reach a dashboard."""
    for key, content in reader.everything(":*"):
        if CANARY.encode() in content:
            yield f"{key} holds what only the event's body says"
    if not reader.fields("keyring"):
        yield "keyring: nothing there"


def _reason(letter: Delivery) -> str:
    return letter.routing_key.split(".")[0]


def _id_of(delivery: Delivery) -> str:
    item: Any = delivery.parsed()["data"]["item"]
    return str(item["id"])


def _dispositions(totals: Fields) -> dict[str, object]:
    """Their counts, be they fields of their own or one field."""
    if "dispositions" not in totals:
        return {}
    found = json.loads(totals["dispositions"])
    assert isinstance(found, dict)
    return found
