"""Where the worker's CPU time goes, step by step and layer by layer.

    python -m bench.profiling --events 20000

The steps are timed exactly, at the seven places where the worker says that one is done. Within
a step, samples of the stack (one for each few milliseconds of CPU time) are shared out over layers:
unlike a tracing profiler, that does not make small functions look expensive.
"""

import argparse
import os
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from threading import Event, Thread
from types import FrameType

from bench.contestants import WORKER
from bench.events import collections
from bench.servers import Servers, private_servers
from bench.stage import Stage, on_stage
from bench.tables import table
from bench.throughput import PROJECTS
from kmworker.bootstrap.worker import build_worker
from kmworker.cli.terminal.logs import configure_logs
from kmworker.worker.loop import Worker
from kmworker.worker.stages import Milestone

SAMPLE_EVERY_S = 0.001
LOOK_EVERY_S = 0.2

# By the innermost frame that belongs to one; what the standard library does is its caller's.
LAYERS = {
    "AMQP": ("/amqp/", "/kombu/", "/vine/", "/kmworker/bus/"),
    "Redis client": ("/redis/", "/kmworker/store/client.py", "/kmworker/store/scripts.py"),
    "JSON, models": ("/json/", "/pydantic/", "/kmworker/wire/"),
    "keys, seals": ("/kmworker/crypto/", "/cryptography/", "/hmac.py"),
    "the rest": ("",),
}


@dataclass
class Profile:
    """CPU microseconds for one event."""

    events: int = 0
    by_step: dict[str, float] = field(default_factory=dict)
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each step."""
    user_us: float = 0.0
    system_us: float = 0.0


class _Watch:
    """Takes the time of each step, and samples in between."""

    def __init__(self) -> None:
        self._last = 0.0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._samples: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._open: list[str] = []

    def on_milestone(self, step: Milestone) -> None:
        """Charge what has passed to the step that is done."""
        now = time.thread_time()
        # What came before the first delivery is the start, not an event's cost.
        if self._last:
            self._seconds[step.value] += now - self._last
            self._samples[step.value].update(self._open)
        self._open.clear()
        self._last = now

    def on_sample(self, _number: int, frame: FrameType | None) -> None:
        """Note the layer that is at work."""
        self._open.append(_layer(frame))

    def result(self, events: int, user_s: float, system_s: float) -> Profile:
        """Return the averages."""
        profile = Profile(events, user_us=1e6 * user_s / events, system_us=1e6 * system_s / events)
        for step in Milestone:
            cost_us = 1e6 * self._seconds[step.value] / events
            profile.by_step[step.value] = cost_us
            samples = self._samples[step.value]
            profile.by_layer[step.value] = {
                layer: cost_us * samples[layer] / max(samples.total(), 1) for layer in LAYERS
            }
        return profile


def measure(servers: Servers, events: int) -> Profile:
    """Run a worker in this process over a backlog of events."""
    with on_stage(servers, WORKER) as stage:
        stage.publish(collections(events, PROJECTS, stage.namespace))
        configure_logs("warning", "auto")
        watch = _Watch()
        worker = build_worker(stage.settings, watch.on_milestone)
        signal.signal(signal.SIGPROF, watch.on_sample)
        before = os.times()
        done = Event()
        ending = Thread(target=_stop_at, args=(stage, events, worker, done), daemon=True)
        ending.start()
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_EVERY_S, SAMPLE_EVERY_S)
        try:
            worker.run()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            done.set()
            ending.join()
        after = os.times()
        return watch.result(events, after.user - before.user, after.system - before.system)


def profile_lines(profile: Profile) -> list[str]:
    """Return the table: a line for each step, a column for each layer."""
    rows = [
        [step, f"{cost:.1f}", *(f"{profile.by_layer[step][layer]:.1f}" for layer in LAYERS)]
        for step, cost in profile.by_step.items()
    ]
    sums = [sum(profile.by_layer[step][layer] for step in profile.by_step) for layer in LAYERS]
    total = sum(profile.by_step.values())
    rows.append(["all", f"{total:.1f}", *(f"{part:.1f}" for part in sums)])
    return table(["step", "µs per event", *LAYERS], rows)


def _stop_at(stage: Stage, events: int, worker: Worker, done: Event) -> None:
    while not done.wait(LOOK_EVERY_S):
        if stage.assigned() >= events:
            worker.stop()
            return


def _layer(frame: FrameType | None) -> str:
    while frame is not None:
        path = frame.f_code.co_filename
        for layer, parts in LAYERS.items():
            if any(part and part in path for part in parts):
                return layer
        if "/kmworker/" in path:
            break
        frame = frame.f_back
    return "the rest"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    wanted = parser.parse_args().events
    with private_servers() as servers:
        profile = measure(servers, wanted)
    print(f"{profile.events:,} events; user {profile.user_us:.0f} µs and system", end=" ")
    print(f"{profile.system_us:.0f} µs per event, of the whole process")
    print("\n".join(profile_lines(profile)))


if __name__ == "__main__":
    main()
