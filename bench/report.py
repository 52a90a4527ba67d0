"""The figures as tables: what the command prints and the document holds, from one place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.contestants import CONTESTANTS, LIMIT, PEERS, WORKER
from bench.memory import part_lines
from bench.profiling import profile_lines
from bench.results import Results
from bench.store_size import StoreCost, ratios
from bench.tables import table
from bench.throughput import Throughput

__all__ = ["SECTIONS", "report_lines"]

MILLION = 1_000_000


@dataclass(frozen=True)
class _Target:
    measure: str
    wanted: str
    reached: str
    met: bool | None
    """None: not measured in this run."""

    @property
    def row(self) -> list[str]:
        verdict = "not measured" if self.met is None else "yes" if self.met else "**no**"
        return [self.measure, self.wanted, self.reached, verdict]


def targets(results: Results) -> list[str]:
    """What was to be reached, and what was."""
    rows = [*_speed_targets(results), *_latency_targets(results), *_size_targets(results)]
    return table(["measure", "to reach", "reached", "met"], [target.row for target in rows])


def _speed_targets(results: Results) -> list[_Target]:
    over, each = results.over_best_peer, results.over_best_process
    of, cpu_us = results.of_limit, results.cpu_us(WORKER.name)
    ours = "events/s of one worker process ÷"
    best = f"the best peer with all of its processes ({results.best_peer})"
    return [
        _Target(f"{ours} {best}", "≥ 7", f"{over:.1f}", over >= 7),
        _Target(f"{ours} one process of the best peer", "≥ 7", f"{each:.1f}", each >= 7),
        _Target("events/s of one worker process ÷ the limit", "≥ 0.65", f"{of:.2f}", of >= 0.65),
        _Target("CPU of the worker for one event", "≤ 180 µs", f"{cpu_us:.0f} µs", cpu_us <= 180),
    ]


def _latency_targets(results: Results) -> list[_Target]:
    found = []
    for what, of in (("median", results.median_ms), ("p99", results.p99_ms)):
        best = min((peer.name for peer in PEERS), key=of)
        ratio = of(WORKER.name) / of(best)
        measure = f"{what} latency at {results.plan.latency_per_s:g} events/s ÷ the best ({best})"
        found.append(_Target(measure, "≤ 0.7", f"{ratio:.2f}", ratio <= 0.7))
    return found


def _size_targets(results: Results) -> list[_Target]:
    largest, most = max(results.stores), max(results.volumes)
    flat, of_volume = _most_apart(results.stores), _most_apart(results.volumes)
    at_million = [memory for memory in results.memory if memory.items >= MILLION]
    each = f"{at_million[0].in_all:,.0f}" if at_million else "-"
    after = f"{results.soak[-1].resident_mb:.0f} MB" if results.soak else "-"
    is_long = bool(results.soak) and results.soak[-1].events >= MILLION
    start_s = median(results.starts_s)
    return [
        _Target(
            f"CPU of worker and Redis for one event, store of 10³ to {largest:,} items",
            "flat, within 10%",
            f"{flat:+.0%}",
            abs(flat) <= 0.10 if largest >= MILLION else None,
        ),
        _Target(
            f"the same, snapshots of a volume with 0 and {most:,}",
            "flat, within 10%",
            f"{of_volume:+.0%}",
            abs(of_volume) <= 0.10,
        ),
        _Target(
            "Redis memory per item, at 10⁶ items",
            "≤ 1,400 bytes",
            each,
            at_million[0].in_all <= 1_400 if at_million else None,
        ),
        _Target(
            "worker memory after 10⁶ events",
            "flat, ≤ 120 MB",
            after,
            results.soak[-1].resident_mb <= 120 if is_long else None,
        ),
        _Target(
            "from start of the process to its first assignment",
            "≤ 1.0 s",
            f"{start_s:.2f} s",
            start_s <= 1.0,
        ),
    ]


def throughput(results: Results) -> list[str]:
    """Events a second of everybody, with a backlog."""
    rows = []
    for contestant in CONTESTANTS:
        rates = [turn.events_per_s for turn in results.throughput[contestant.name]]
        share = results.events_per_s(contestant.name) / results.events_per_s(WORKER.name)
        rows.append(
            [
                f"{contestant.name}: {contestant.setup}",
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                f"{share:.2f}",
                f"{results.cpu_us(contestant.name):,.0f}",
            ]
        )
    return table(["", "events/s", "range", "÷ the worker's", "CPU µs per event"], rows)


def bounds(results: Results) -> list[str]:
    """What an event takes of each core, beside what the targets would leave for it."""
    turns = results.throughput[WORKER.name]
    wall_us = 1e6 / results.events_per_s(WORKER.name)
    cpu_us = {part: wall_us * _busy(turns, part) for part in ("contestant", "rabbitmq", "redis")}
    transport_us = results.cpu_us(LIMIT.name)
    rows = [
        ("from one event to the next", wall_us),
        ("of this, the worker runs", cpu_us["contestant"]),
        ("of which for its transport alone, as in the limit", transport_us),
        ("the worker waits: for the store, the broker, or a core", wall_us - cpu_us["contestant"]),
        ("meanwhile RabbitMQ runs", cpu_us["rabbitmq"]),
        ("and Redis", cpu_us["redis"]),
        ("0.65 of the limit would leave", 1e6 / (0.65 * results.events_per_s(LIMIT.name))),
        (
            "7 times the best peer with all of its processes would leave",
            1e6 / (7 * results.events_per_s(results.best_peer)),
        ),
    ]
    return table(["one event, in a backlog", "µs"], [[what, f"{us:.0f}"] for what, us in rows])


def latency(results: Results) -> list[str]:
    """Latency of everybody, at a rate that all can do with."""
    rows = [
        [
            contestant.name,
            f"{results.median_ms(contestant.name):.1f}",
            f"{results.p99_ms(contestant.name):.1f}",
            f"{median(it.cpu_us for it in results.latency[contestant.name]):,.0f}",
        ]
        for contestant in CONTESTANTS
    ]
    wanted = [
        f"{0.7 * min(of(peer.name) for peer in PEERS):.1f}"
        for of in (results.median_ms, results.p99_ms)
    ]
    rows.append(["0.7 of the best peer's", *wanted, ""])
    return table(["", "median ms", "p99 ms", "CPU µs per event"], rows)


def offered(results: Results) -> list[str]:
    """What became of more and more events."""
    rows = [
        [
            contestant.name,
            f"{it.offered_per_s:,.0f}",
            f"{it.events_per_s:,.0f}",
            f"{it.median_ms:.1f}",
            f"{it.p99_ms:.1f}",
        ]
        for contestant in (WORKER, *PEERS)
        for it in results.offered[contestant.name]
    ]
    return table(["", "offered/s", "assigned/s", "median ms", "p99 ms"], rows)


def processes(results: Results) -> list[str]:
    """One worker and two, and which cores are busy with what."""
    parts = ("contestant", "rabbitmq", "redis", "bench", "others", "machine", "waiting for disks")
    rows = []
    for number, turns in results.processes.items():
        rate = f"{median(turn.events_per_s for turn in turns):,.0f}"
        rows.append([str(number), rate, *(f"{_busy(turns, part):.2f}" for part in parts)])
    rows.append(["the limit", *_limit_row(results, parts)])
    head = ["workers", "events/s", "workers' cores", "RabbitMQ", "Redis", "benchmark", "others"]
    return table([*head, "all", "idle, disk at work"], rows)


def _limit_row(results: Results, parts: tuple[str, ...]) -> list[str]:
    turns = results.throughput["the limit"]
    return [
        f"{results.events_per_s('the limit'):,.0f}",
        *(f"{_busy(turns, part):.2f}" for part in parts),
    ]


def _busy(turns: list[Throughput], part: str) -> float:
    return median(turn.busy[part] for turn in turns)


def stores(results: Results) -> list[str]:
    """What an event costs in larger stores."""
    rows = [
        [
            f"{what} {number:,}",
            f"{median(turn.events_per_s for turn in turns):,.0f}",
            f"{median(turn.worker_us for turn in turns):.0f}",
            f"{median(turn.store_us for turn in turns):.0f}",
            f"{median(turn.together_us for turn in turns):.0f}",
            f"{ratios(costs)[number]:.2f}",
        ]
        for what, costs in (("items:", results.stores), ("a volume's snapshots:", results.volumes))
        for number, turns in sorted(costs.items())
    ]
    heads = ["in the store", "events/s", "worker µs", "Redis µs", "together µs", "÷ the smallest"]
    return table(heads, rows)


def _most_apart(costs: Mapping[int, Sequence[StoreCost]]) -> float:
    """Return by which share the store that differs most from the smallest does so."""
    return max((ratio - 1 for ratio in ratios(costs).values()), key=abs)


def memory(results: Results) -> list[str]:
    """What an item takes in Redis, by key."""
    keys = list(results.memory[-1].by_key)
    rows = [
        [
            f"{it.items:,}",
            f"{it.in_all:,.0f}",
            *(f"{it.by_key[key]:,.0f}" for key in keys),
            f"{it.log:,.0f}",
        ]
        for it in results.memory
    ]
    head = ["items", "bytes per item", *(f"`{key}`" for key in keys), "in the log"]
    return table(head, rows)


def memory_parts(results: Results) -> list[str]:
    """Of what an item's bytes are, in the largest store; and what they are in Valkey."""
    largest = results.memory[-1]
    needed = largest.text + largest.structures
    rest = largest.in_all - needed
    lines = [
        *part_lines(largest),
        "",
        f"Text and structures are {needed:,.0f} bytes; the other {rest:,.0f} are rounding: Redis'",
        "allocator has pieces of certain sizes only.",
    ]
    if valkey := results.valkey:
        each = f"{valkey.in_all:,.0f} bytes for each of {valkey.items:,} such items"
        lines.append(f"Valkey {valkey.version} takes {each}.")
    return lines


def soak(results: Results) -> list[str]:
    """The worker's memory over many events."""
    rows = [
        [f"{it.events:,}", f"{it.events / it.seconds:,.0f}", f"{it.resident_mb:.1f}",
         f"{it.cpu_us:.0f}"]
        for it in results.soak
    ]  # fmt: skip
    if not rows:
        return ["Not measured in this run: it takes `--full`, or `make soak`."]
    return table(["events", "events/s", "resident MB", "CPU µs per event"], rows)


def starts(results: Results) -> list[str]:
    """How long a worker takes to its first assignment."""
    said = ", ".join(f"{seconds:.2f}" for seconds in results.starts_s)
    return [
        f"Seconds from the start of the process: {said}; median {median(results.starts_s):.2f}."
    ]


def profile(results: Results) -> list[str]:
    """Where the worker's CPU time goes."""
    return profile_lines(results.profile)


SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "What was to be reached": targets,
    "Throughput": throughput,
    "What bounds the worker": bounds,
    "Latency": latency,
    "Offered load": offered,
    "One process and two": processes,
    "Larger stores": stores,
    "Memory in Redis": memory,
    "What an item's bytes are": memory_parts,
    "Memory of the worker": soak,
    "Start": starts,
    "Where the worker's time goes": profile,
}


def report_lines(results: Results) -> list[str]:
    """Return everything for a terminal."""
    lines = []
    for title, section in SECTIONS.items():
        lines += ["", title, "", *section(results)]
    return lines
