"""One leg of a run: a history is told while faults come and go, and then all is checked.

Nothing here is a deadline that a slow machine could miss: what is measured is reported,
and what is awaited is awaited for minutes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.chaos.account import Account
from tests.chaos.faults import FAULTS, Fault, Lift
from tests.chaos.ground import WORKERS, Ground
from tests.integration.outside.check import Scene
from tests.integration.outside.history import History, Sent
from tests.integration.outside.polling import none_of, until_none
from tests.integration.outside.worker import stop_together
from tests.servers import Proxy

PATIENCE_S: Final = 300.0
POLL_S: Final = 0.02
# Some events are then at each step when the fault comes.
HEAD_START_S: Final = (0.0, 0.3)
# Between the faults of one round.
STAGGER_S: Final = (0.0, 1.5)
TRICKLE_EVERY_S: Final = 1.0
TRICKLE: Final = 5
# While a server is away: what a worker may use at once, and for each second.
CPU_S: Final = 1.0
CPU_SHARE: Final = 0.3
# And how often it may try to connect: with every backoff at its shortest it is less.
ATTEMPTS: Final = 20
ATTEMPTS_PER_S: Final = 5
# What was at hand is finished by then.
CPU_SEEN_AFTER_S: Final = 5.0

# After which all is soon as it was.
SHORT: Final = (
    "broker-reset",
    "broker-cut-mid-message",
    "store-reset",
    "store-cut-mid-message",
    "store-killed",
    "scripts-flushed",
)

Round = Sequence[Fault]
"""Faults that overlap."""


@dataclass(slots=True)
class _Inflicted:
    fault: Fault
    lift: Lift
    until: float
    began: float
    cpu_s: dict[int, float]
    attempts: int


@dataclass(frozen=True, slots=True)
class _Lifted:
    fault: Fault
    at: float
    """Unix seconds."""
    pid: int | None
    is_clear: bool
    """Nothing else stood in the way any more."""


@dataclass(slots=True)
class Leg:
    """A history, and the rounds of faults through which it is told."""

    ground: Ground
    history: History
    rounds: Sequence[Round]
    draw: Random
    account: Account
    kind: str
    hasty: bool = True
    """Let each fault last as short as it may."""
    say: Callable[[str], None] = lambda _: None
    _told: int = 0
    _inflicted: list[_Inflicted] = field(default_factory=list)

    def run(self, *, keys: bool) -> None:
        """Tell the history through all rounds, let it settle, and check everything."""
        told = self.history.patient
        share = len(told.first) * 3 // (4 * len(self.rounds))
        for faults in self.rounds:
            self._round(faults, share)
        self._await_progress(self._lift(to_the_end=True))
        self._tell(len(told.first))
        self._settle(self._scene(told.opening.patient))
        # What is told last has one right answer only now: repeats, contradictions.
        self._later(told)
        scene = self._scene(told)
        self._settle(scene)
        self.account.events[self.kind] += self.ground.end.producer.confirmed
        self._check(scene, keys=keys)

    def _scene(self, told: History) -> Scene:
        end = self.ground.end
        return Scene(self.ground.site, end, self.ground.reader, told, exactly=False)

    def _tell(self, count: int) -> None:
        part = self.history.first[self._told : self._told + count]
        self._told += len(part)
        for sent in part:
            self.ground.end.publish(sent.message)

    def _round(self, faults: Round, share: int) -> None:
        """Inflict the faults one after the other, lift each in its time, await progress."""
        self._tell(share // 3)
        time.sleep(self.draw.uniform(*HEAD_START_S))
        for index, fault in enumerate(faults):
            if index:
                time.sleep(self.draw.uniform(*STAGGER_S))
            self._inflict(fault)
            self._tell(share // (3 * len(faults)))
        lifted = list(self._lift())
        self._tell(share - 2 * (share // 3))
        self._await_progress(lifted)

    def _line(self, fault: Fault) -> Proxy:
        ground = self.ground
        return ground.store_line if fault.on.startswith("store") else ground.broker_line

    def _await_progress(self, lifted: Iterable[_Lifted]) -> None:
        for it in list(lifted):
            took_s = self._progress(it)
            beside = "" if it.is_clear else ", with another fault in the way"
            self.say(f"  {it.fault.name}: progress after {took_s:.1f} s{beside}")
            if it.is_clear:
                self.account.times_s[self.kind, it.fault.name].append(took_s)
        none_of(self.ground.ended())

    def _inflict(self, fault: Fault) -> None:
        lift = fault.inflict(self.ground, self.draw)
        shortest, longest = fault.lasts_s
        lasts_s = shortest if self.hasty else self.draw.uniform(shortest, longest)
        now = time.monotonic()
        attempts, cpu_s = self._line(fault).attempts, self.ground.cpu_s()
        self._inflicted.append(_Inflicted(fault, lift, now + lasts_s, now, cpu_s, attempts))
        self.account.inflicted[self.kind, fault.name] += 1

    def _lift(self, *, to_the_end: bool = False) -> Iterator[_Lifted]:
        """Lift each fault in its time; one that spans rounds only when that has come."""
        for it in sorted(self._inflicted, key=lambda inflicted: inflicted.until):
            if it.fault.spans_rounds and it.until > time.monotonic() and not to_the_end:
                continue
            time.sleep(max(it.until - time.monotonic(), 0))
            if it.fault.is_away:
                self._check_haste(it)
            pid = it.lift()
            self._inflicted.remove(it)
            is_clear = not any(other.fault.stops_all for other in self._inflicted)
            yield _Lifted(it.fault, time.time(), pid, is_clear)

    def _check_haste(self, it: _Inflicted) -> None:
        """While a server is away, a worker waits: it does not try as fast as it can."""
        passed_s = time.monotonic() - it.began
        attempts = self._line(it.fault).attempts - it.attempts
        allowed = WORKERS * (ATTEMPTS + ATTEMPTS_PER_S * passed_s)
        assert attempts <= allowed, f"{it.fault.name}: {attempts} attempts in {passed_s:.1f} s"
        for pid, cpu_s in self.ground.cpu_s().items():
            used_s = cpu_s - it.cpu_s.get(pid, cpu_s)
            if passed_s > CPU_SEEN_AFTER_S:
                self.account.cpu_share = max(self.account.cpu_share, used_s / passed_s)
            allowed_s = CPU_S + CPU_SHARE * passed_s
            assert used_s <= allowed_s, f"{it.fault.name}: {used_s:.1f} s of {passed_s:.1f} s"

    def _progress(self, lifted: _Lifted) -> float:
        """Wait for progress, and return the seconds it took."""
        deadline = time.monotonic() + PATIENCE_S
        more_at = time.monotonic() + TRICKLE_EVERY_S
        while not (moment := self._moment(lifted)):
            now = time.monotonic()
            assert now < deadline, f"no progress {PATIENCE_S:.0f} s after {lifted.fault.name}"
            none_of(self.ground.ended())
            if now > more_at:
                more_at = now + TRICKLE_EVERY_S
                self._trickle()
            time.sleep(POLL_S)
        return moment - lifted.at

    def _moment(self, lifted: _Lifted) -> float:
        if lifted.pid is not None:
            moment = self.ground.last_batch_at(lifted.pid)
            return moment if moment > lifted.at else 0.0
        news = self.ground.end.heard.progress_since(lifted.at)
        return news.heard_at if news else 0.0

    def _trickle(self) -> None:
        """Give the workers more to do, new if there is any."""
        left = len(self.history.first) - self._told
        self._tell(TRICKLE)
        for sent in self._assigned()[: max(TRICKLE - left, 0)]:
            self.ground.end.publish(sent.message)

    def _assigned(self) -> list[Sent]:
        assigned = self.history.outlook.assigned
        return [sent for sent in self.history.first if sent.event and sent.event.item in assigned]

    def _later(self, told: History) -> None:
        """Tell the second part, through one more fault."""
        fault = FAULTS[self.draw.choice(SHORT)]
        half = len(told.later) // 2
        for sent in told.later[:half]:
            self.ground.end.publish(sent.message)
        time.sleep(self.draw.uniform(*HEAD_START_S))
        self._inflict(fault)
        for sent in told.later[half:]:
            self.ground.end.publish(sent.message)
        list(self._lift())

    def _settle(self, scene: Scene) -> None:
        until_none(lambda: self._unsettled(scene), within_s=PATIENCE_S, between=scene.client.pump)

    def _unsettled(self, scene: Scene) -> Iterator[str]:
        none_of(self.ground.ended())
        if self.ground.end.producer.is_done:
            yield from scene.unsettled()
        else:
            yield "not all events are confirmed"

    def _check(self, scene: Scene, *, keys: bool) -> None:
        workers = self.ground.workers
        none_of(scene.announcement_problems())
        if keys:
            scene.check_keys(self.draw)
        until_none(
            lambda: scene.dashboard_problems(workers),
            within_s=PATIENCE_S,
            between=scene.client.pump,
        )
        stop_together(workers)
        scene.check_at_rest()
