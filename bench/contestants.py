"""Who competes, how each is started, and how its events are dressed."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.events import Encode, celery_message, cloud_event
from kmworker.wire.topology import QUORUM

BIN = Path(sys.executable).parent
PYTHON = (sys.executable, "-m")


@dataclass(frozen=True)
class Contestant:
    """A program that does the job."""

    name: str
    command: tuple[str, ...]
    setup: str
    """How it is set up, for readers."""
    backlog: int
    """Events to have ready for it: more than it handles in one measurement."""
    environment: Mapping[str, str] = field(default_factory=dict)
    encode: Encode = cloud_event
    has_dead_letter_queue: bool = False
    """Whether its framework declares its queue with a dead-letter queue of its own."""
    instances: int = 1
    """How often to start it; `{}` in the command is which."""
    processes: int = 1
    """Of its own, in all: what a framework starts beside those that work is not counted."""
    has_own_rights: bool = True
    """Whether its framework declares things, so that a worker's account would not do."""
    has_own_layout: bool = False
    """Whether it registers the store itself: it may know another layout than this checkout."""

    def queue_arguments(self, queue: str) -> dict[str, str]:
        """Return what the queue must be declared with for this contestant to accept it."""
        if not self.has_dead_letter_queue:
            return dict(QUORUM)
        return QUORUM | {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{queue}.XQ",
        }


WORKER = Contestant(
    "kmworker",
    (*PYTHON, "kmworker", "worker"),
    "one process, settings as shipped",
    40_000,
    has_own_rights=False,
)
LIMIT = Contestant(
    "the limit",
    (*PYTHON, "bench.peers.limit"),
    "kmworker.bus alone, batches of 256",
    80_000,
    has_own_rights=False,
)
ECHO = replace(LIMIT, environment={"BENCH_ECHO": "1"})
"""The limit, whose every message names the event that it is for: what latency is told by."""
FASTSTREAM = Contestant(
    "FastStream",
    (str(BIN / "faststream"), "run", "bench.peers.faststream_peer:app", "--workers", "2"),
    "2 processes, uvloop, prefetch 256 each (as many handlers at once)",
    10_000,
    {"BENCH_PREFETCH": "256"},
    processes=2,
)
DRAMATIQ = Contestant(
    "dramatiq",
    (
        *(str(BIN / "dramatiq"), "bench.peers.dramatiq_peer"),
        *("--processes", "2", "--threads", "16"),
    ),
    "2 processes of 16 threads, prefetch 128 each",
    8_000,
    {"dramatiq_queue_prefetch": "128"},
    has_dead_letter_queue=True,
    processes=2,
)
CELERY = Contestant(
    "Celery",
    (
        *(str(BIN / "celery"), "--app", "bench.peers.celery_peer", "worker"),
        *("--pool", "threads", "--concurrency", "8", "--hostname", "{}@%h"),
        *("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    "acks_late, 2 processes of 8 threads, prefetch multiplier 16",
    10_000,
    {"BENCH_PREFETCH": "16"},
    celery_message,
    instances=2,
    processes=2,
)
KOMBU = Contestant(
    "kombu",
    (*PYTHON, "bench.peers.kombu_peer"),
    "ConsumerProducerMixin, one event at a time, prefetch 256",
    8_000,
    {"BENCH_PREFETCH": "256"},
)
PEERS = (FASTSTREAM, DRAMATIQ, CELERY, KOMBU)
CONTESTANTS = (WORKER, LIMIT, *PEERS)
