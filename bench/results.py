"""Everything that one run has measured, and on what."""

import dataclasses
import json
import math
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.latency import Latency
from bench.memory import Memory
from bench.servers import Servers
from bench.soak import Sample
from bench.store_size import StoreCost
from bench.throughput import Throughput

LIBRARIES = (
    "kmworker", "amqp", "kombu", "redis", "hiredis", "pydantic", "cryptography",
    "faststream", "aio-pika", "uvloop", "dramatiq", "pika", "celery",
)  # fmt: skip
BEFORE = "kmworker before"
"""The worker of another checkout, where one takes part."""
# Somebody else at work: of the cores, so much was nobody's of this benchmark.
DISTURBED_CORES = 0.3


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    rounds: int = 3
    seconds: float = 5.0
    """Of each turn."""
    latency_per_s: float = 100.0
    latency_s: float = 8.0
    offers: tuple[float, ...] = (200, 400, 600, 800, 1_200, 1_600, 2_400, 3_200, 4_800)
    offer_s: float = 4.0
    store_items: tuple[int, ...] = (1_000, 100_000)
    store_rounds: int = 5
    store_s: float = 2.5
    """Of each store in each round."""
    valkey_items: int = 100_000
    volume_snapshots: tuple[int, ...] = (0, 100_000)
    projects: tuple[int, ...] = (10, 10_000)
    soak_events: int = 0
    starts: int = 5
    backlog_share: float = 1.0
    """Of the events that each contestant usually has ready."""


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and when."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    system: str
    versions: dict[str, str]
    load_before: float
    """Load average when it began."""


@dataclass
class Results:
    """What was measured; what was left out is empty."""

    plan: Plan
    machine: Machine
    throughput: dict[str, list[Throughput]] = field(default_factory=dict)
    """By contestant, a turn for each round."""
    latency: dict[str, list[Latency]] = field(default_factory=dict)
    offered: dict[str, list[Latency]] = field(default_factory=dict)
    processes: dict[int, list[Throughput]] = field(default_factory=dict)
    """By number of worker processes."""
    mixed: list[Throughput] = field(default_factory=list)
    """The worker's turns where a third of the events end something."""
    stores: dict[str, list[StoreCost]] = field(default_factory=dict)
    """By title, the smallest first, a turn for each round; as are the next."""
    volumes: dict[str, list[StoreCost]] = field(default_factory=dict)
    projects: dict[str, list[StoreCost]] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    valkey: Memory | None = None
    starts_s: list[float] = field(default_factory=list)
    soak: list[Sample] = field(default_factory=list)

    def events_per_s(self, name: str) -> float:
        """Return the median over the rounds."""
        return median(turn.events_per_s for turn in self.throughput[name])

    def cpu_us(self, name: str) -> float:
        """Return the median over the rounds."""
        return median(turn.cpu_us for turn in self.throughput[name])

    def cpu_with_store_us(self, name: str) -> float:
        """Return what an event costs the contestant and Redis, the median over the rounds."""
        return median(turn.cpu_with_store_us for turn in self.throughput[name])

    def median_ms(self, name: str) -> float:
        """Return the median over the rounds, of medians."""
        return median(turn.median_ms for turn in self.latency[name])

    def p99_ms(self, name: str) -> float:
        """Return the median over the rounds, of 99th percentiles."""
        return median(turn.p99_ms for turn in self.latency[name])

    @property
    def is_preliminary(self) -> bool:
        """Whether somebody else kept the machine busy meanwhile."""
        turns = [turn for turns in self.throughput.values() for turn in turns]
        return median(turn.busy["others"] for turn in turns) > DISTURBED_CORES

    def to_json(self) -> str:
        """Return the raw figures; null stands for a latency without end."""
        return json.dumps(_finite(dataclasses.asdict(self)), indent=2, allow_nan=False) + "\n"


def look_at_machine(servers: Servers) -> Machine:
    """Describe this machine and everything that takes part."""
    versions = {"Python": platform.python_version()}
    versions |= {name: version(name) for name in LIBRARIES}
    versions["RabbitMQ"] = servers.broker.ctl("version").strip()
    versions["Redis"] = str(_info(servers)["redis_version"])
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=pages / 2**30,
        system=f"{platform.system()} {platform.release()}",
        versions=versions,
        load_before=os.getloadavg()[0],
    )


def _finite(value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if value == math.inf else value


def _info(servers: Servers) -> dict[str, Any]:
    found: dict[str, Any] = servers.client().info("server")
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
