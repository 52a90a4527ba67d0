"""The figures as tables: what the command prints and the document holds, from one place."""

from collections.abc import Callable
from statistics import median

from bench.contestants import CONTESTANTS, PEERS, WORKER
from bench.results import BEFORE, Results
from bench.store_size import ratios
from bench.tables import table
from bench.throughput import Throughput, busy


def throughput(results: Results) -> list[str]:
    """Events a second of everybody, with a backlog."""
    setups = {it.name: it.setup for it in CONTESTANTS} | {BEFORE: "another commit"}
    rows = []
    for name, turns in results.throughput.items():
        rates = [turn.events_per_s for turn in turns]
        share = results.events_per_s(name) / results.events_per_s(WORKER.name)
        rows.append(
            [
                f"{name}: {setups[name]}",
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                f"{share:.2f}",
                f"{results.cpu_us(name):,.0f}",
                f"{results.cpu_with_store_us(name):,.0f}",
            ]
        )
    heads = ["", "events/s", "range", "÷ the worker's", "CPU µs per event", "with Redis"]
    return table(heads, rows)


def _rate(turns: list[Throughput]) -> float:
    return median(turn.events_per_s for turn in turns)


def latency(results: Results) -> list[str]:
    """Latency of everybody, at a rate that all can do with."""
    rows = [
        [
            name,
            f"{results.median_ms(name):.1f}",
            f"{results.p99_ms(name):.1f}",
            f"{median(it.cpu_us for it in turns):,.0f}",
        ]
        for name, turns in results.latency.items()
    ]
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
        rows.append(
            [str(number), f"{_rate(turns):,.0f}", *(f"{busy(turns, part):.2f}" for part in parts)]
        )
    rows.append(["the limit", *_limit_row(results, parts)])
    head = ["workers", "events/s", "workers' cores", "RabbitMQ", "Redis", "benchmark", "others"]
    return table([*head, "all", "idle, disk at work"], rows)


def _limit_row(results: Results, parts: tuple[str, ...]) -> list[str]:
    turns = results.throughput["the limit"]
    return [
        f"{results.events_per_s('the limit'):,.0f}",
        *(f"{busy(turns, part):.2f}" for part in parts),
    ]


def releases(results: Results) -> list[str]:
    """The worker where things only come, and where they go, too."""
    rows = [
        [
            title,
            f"{_rate(turns):,.0f}",
            f"{median(turn.cpu_us for turn in turns):,.0f}",
            f"{median(turn.cpu_with_store_us for turn in turns):,.0f}",
        ]
        for title, turns in (
            ("a third each create, reuse, clone", results.throughput[WORKER.name]),
            ("a third create, a third derive, a third release", results.mixed),
        )
    ]
    return table(["of the events", "events/s", "CPU µs per event", "with Redis"], rows)


def stores(results: Results) -> list[str]:
    """What an event costs in larger stores."""
    rows = [
        [
            title,
            f"{median(turn.events_per_s for turn in turns):,.0f}",
            f"{median(turn.worker_us for turn in turns):.0f}",
            f"{median(turn.store_us for turn in turns):.0f}",
            f"{median(turn.together_us for turn in turns):.0f}",
            f"{ratios(costs)[title]:.2f}",
        ]
        for costs in (results.stores, results.volumes, results.projects)
        for title, turns in costs.items()
    ]
    heads = ["in the store", "events/s", "worker µs", "Redis µs", "together µs", "÷ the smallest"]
    return table(heads, rows)


def memory(results: Results) -> list[str]:
    """What an item takes in Redis, by key."""
    keys = list(results.memory[-1].by_key)
    rows = [
        [
            f"{it.items:,}",
            f"{it.in_all:,.0f}",
            *(f"{it.by_key[key]:,.0f}" for key in keys),
            f"{it.text:,.0f}",
            f"{it.log:,.0f}",
        ]
        for it in results.memory
    ]
    head = ["items", "bytes per item", *(f"`{key}`" for key in keys), "text alone", "in the log"]
    lines = table(head, rows)
    if valkey := results.valkey:
        each = f"{valkey.in_all:,.0f} bytes for each of {valkey.items:,} such items"
        lines += ["", f"{valkey.server} takes {each}."]
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


def gains(results: Results) -> list[str]:
    """What users get, beside what they would use instead."""
    rate, cpu_us = results.events_per_s, results.cpu_us
    rows = [
        [
            it.name,
            f"{rate(it.name):,.0f}",
            f"{1e6 / cpu_us(it.name):,.0f}",
            f"{results.median_ms(it.name):.1f}",
            f"{results.p99_ms(it.name):.1f}",
            f"{rate(WORKER.name) / rate(it.name):.1f}",
        ]
        for it in (WORKER, *PEERS)
    ]
    heads = ["", "events/s", "for one core of its own", "median ms", "p99 ms", "kmworker is faster"]
    return table(heads, rows)


SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "What you get": gains,
    "Throughput": throughput,
    "Latency": latency,
    "Offered load": offered,
    "One process and two": processes,
    "Where things go, too": releases,
    "Larger stores": stores,
    "Memory in Redis": memory,
    "Memory of the worker": soak,
    "Start": starts,
}


def report_lines(results: Results) -> list[str]:
    """Return everything for a terminal."""
    lines = []
    for title, section in SECTIONS.items():
        lines += ["", title, "", *section(results)]
    return lines
