"""One leg of a run: a history is told while faults come and go, and then all is checked.

Nothing here is a deadline that a slow machine could miss: what is measured is reported, what is
awaited is awaited for minutes, and how long the honest wait is held against the disk's own pace.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from tests.chaos.account import Account
from tests.chaos.fault import Fault, Lift
from tests.chaos.faults import FAULTS
from tests.chaos.ground import WORKERS, Ground
from tests.chaos.slowness import Slowness
from tests.kit.outside.check import Scene
from tests.kit.outside.history import History, Sent
from tests.kit.outside.worker import stop_together
from tests.kit.parties.steady import Steady
from tests.kit.polling import none_of, until_none
from tests.kit.servers import Proxy

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
# In each window of so many seconds somebody honest gets a key, unless a fault stops everything.
WINDOW_S: Final = 15.0
# What is written and synced, one after the other, before a key is there: the event, its records,
# its assignment; and a connection may have timed out meanwhile, and all of it be done again.
SYNCS: Final = 10
P99: Final = 0.99

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
    _steady: Steady = field(init=False)
    _slowness: Slowness = field(init=False)
    _inflicted: list[_Inflicted] = field(default_factory=list)

    def run(self, *, keys: bool) -> None:
        """Tell the history through all rounds, let it settle, and check everything."""
        self._steady = self.ground.end.steady(self.ground.victim)
        self._steady.start()
        self._slowness = Slowness(self.ground.site.folder)
        self._slowness.start()
        told = self.history.patient
        share = len(told.first) * 3 // (4 * len(self.rounds))
        for faults in self.rounds:
            self._round(faults, share)
        self._await_progress(self._lift(to_the_end=True))
        self._tell(len(told.first))
        self._steady.close()
        self._slowness.close()
        self._settle(told.opening)
        # What is told last has one right answer only now: repeats, contradictions.
        self._later(told)
        self._settle(told)
        scene = self._scene(told)
        self.account.events[self.kind] += len(scene.history.sent)
        self._check(scene, keys=keys)

    def _scene(self, told: History) -> Scene:
        """Return what there is to check: everything that anybody has said."""
        end, parties = self.ground.end, self.ground.parties
        others = [*self._steady.said, *(sent for it in parties for sent in it.outcome(end))]
        everything = told.beside(others).patient
        return Scene(self.ground.site, end, self.ground.reader, everything, exactly=False)

    def _tell(self, count: int) -> None:
        part = self.history.first[self._told : self._told + count]
        self._told += len(part)
        for sent in part:
            self.ground.end.publish(sent.message)

    def _round(self, faults: Round, share: int) -> None:
        """Inflict the faults one after the other, lift each in its time, await progress."""
        began = time.time()
        self._tell(share // 3)
        time.sleep(self.draw.uniform(*HEAD_START_S))
        for index, fault in enumerate(faults):
            if index:
                time.sleep(self.draw.uniform(*STAGGER_S))
            self._inflict(fault)
            self._tell(share // (3 * len(faults)))
        in_force = [it.fault for it in self._inflicted]
        lifted = list(self._lift())
        self._tell(share - 2 * (share // 3))
        self._await_progress(lifted)
        if not any(fault.stops_all for fault in in_force):
            self._check_steadiness(began, in_force)

    def _check_steadiness(self, began: float, in_force: Iterable[Fault]) -> None:
        """Whoever is honest gets one key after the other, whatever others do meanwhile."""
        now = time.time()
        seen = self._steady.between(began, now)
        allowed_s = WINDOW_S + SYNCS * self._slowness.between(began, now)
        longest_s, p99_s = seen.longest_s, seen.took(P99)
        names = " and ".join(fault.name for fault in in_force)
        self.say(f"  {names}: the honest waited {longest_s:.1f} s at most, p99 {p99_s:.1f} s")
        assert longest_s <= allowed_s, (
            f"{names}: no honest volume had a key for {longest_s:.1f} s; allowed: {allowed_s:.1f} s"
        )
        for fault in in_force:
            self.account.waits_s[self.kind, fault.name].append((longest_s, p99_s))

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
        # Parties last: they go on to their end, which another fault may put off.
        for it in sorted(self._inflicted, key=lambda it: (it.fault.is_party, it.until)):
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

    def _settle(self, told: History) -> None:
        pump = self.ground.end.pump
        until_none(lambda: self._unsettled(told), within_s=PATIENCE_S, between=pump)

    def _unsettled(self, told: History) -> Iterator[str]:
        none_of(self.ground.ended())
        if self.ground.end.producer.is_done:
            yield from self._scene(told).unsettled()
        else:
            yield "not all events are confirmed"

    def _check(self, scene: Scene, *, keys: bool) -> None:
        workers = self.ground.workers
        none_of(scene.announcement_problems())
        for party in self.ground.parties:
            none_of(party.problems(scene.client))
        if keys:
            scene.check_keys(self.draw)
        until_none(
            lambda: scene.dashboard_problems(workers),
            within_s=PATIENCE_S,
            between=scene.client.pump,
        )
        stop_together(workers)
        scene.check_at_rest()
        self._check_restarts(scene)

    def _check_restarts(self, scene: Scene) -> None:
        """Hold the store to what it has at rest: it has it after each of its ends, to the byte."""
        ground = self.ground
        before = ground.contents()
        for name, end in (("SIGTERM", ground.store.stop), ("SIGKILL", ground.store.kill)):
            end()
            ground.store.start()
            after = ground.contents()
            lost = [key for key, value in before.items() if after.get(key) != value]
            assert not lost, f"after {name}, {len(lost)} of {len(before)} keys differ: {lost[:3]}"
            ground.store.rewrite(within_s=PATIENCE_S)
        none_of(replace(scene, reader=ground.reader).store_problems())
