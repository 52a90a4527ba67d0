"""Nothing is lost in any history: Hypothesis writes them, and makes the bad ones short."""

import random
from collections.abc import Callable
from typing import Final

import hypothesis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kmworker.domain.lifecycle import Step as KeyStep
from kmworker.domain.model import Item, Kind
from tests.kit.builders import SHIPPED
from tests.kit.simulator.checks import check_at_rest
from tests.kit.simulator.clients import BACKUP, N1, N2, Ask
from tests.kit.simulator.errands import (
    Doing,
    Errand,
    compromises,
    destroys_now,
    looks,
    steps_on,
)
from tests.kit.simulator.events import (
    Sent,
    attached,
    detached,
    garbage,
    partition_replica,
    release,
    replica,
    snapshot,
    volume,
)
from tests.kit.simulator.examining import examine, open_to_clients, words_for
from tests.kit.simulator.explore import quietly
from tests.kit.simulator.installation import Installation, Limits
from tests.kit.simulator.manner import AwkwardManner
from tests.kit.simulator.place import Place
from tests.kit.simulator.play import DAYS_31_S, end_of_time, rest
from tests.kit.simulator.serving import serves
from tests.kit.simulator.steps import Fault
from tests.kit.unmeasured import unmeasured

V, W, S = Item("p1", Kind.VOLUME, "v"), Item("p1", Kind.VOLUME, "w"), Item("p1", Kind.SNAPSHOT, "s")
COPY: Final = Item("p1", Kind.REPLICA, "copy")
EVENTS: Final[tuple[Sent, ...]] = (
    volume("v"),
    volume("w"),
    volume("v", event_id="again"),
    volume("w", V, event_id="of v"),
    snapshot("s", "v"),
    volume("clone", S),
    volume("clone", W, event_id="of w"),
    volume("v", event_id="plain after all", encryption=None),
    replica("copy", V, transport="block"),
    replica("copy", V, transport="block", event_id="moved", node="obj-12"),
    replica("away", V, project="p2", transport="reencrypt"),
    partition_replica("4711@a", "4711"),
    partition_replica("4711@b", "4711"),
    volume("plain", encryption=None),
    snapshot("of-plain", "plain"),
    garbage(),
)
ENDS: Final[tuple[Sent, ...]] = (
    *(release(it) for it in (V, W, S, COPY, Item("p1", Kind.REPLICA, "4711@a"))),
    volume("v", event_id="second life", generation=1),
    snapshot("t", "v", source_generation=1),
    volume("w", V, event_id="second w", generation=2, source_generation=1),
    release(V, 1),
    release(W, 2),
)
ATTACHMENTS: Final[tuple[Sent, ...]] = (
    attached(V, "a1", "n1"),
    attached(V, "a1", "n2", event_id="elsewhere"),
    attached(V, "a2", "n2"),
    attached(V, "a3", "n1", generation=1),
    attached(W, "a1", "n1", expires_at="2026-11-23T16:05:00.000Z"),
    detached(V, "a1"),
    detached(V, "a2"),
    detached(W, "a1"),
)
ASKS: Final = tuple(Ask(client, item) for client in (N1, N2, BACKUP) for item in (V, W, S))
COMMANDS: Final[tuple[Callable[[Item], Doing], ...]] = (
    lambda item: steps_on(item, KeyStep.SUSPEND),
    lambda item: steps_on(item, KeyStep.RESUME),
    lambda item: steps_on(item, KeyStep.ORDER),
    lambda item: steps_on(item, KeyStep.RESTORE, keep_s=DAYS_31_S / 2),
    compromises,
    destroys_now,
)
# However often a process ends, no event here is to blame for it.
LIMITS: Final = Limits(batch_max=3, max_attempts=100, waiting_deadline_s=600.0)
WORKERS: Final = st.integers(0, 1)


class AnyHistory(RuleBasedStateMachine):
    """Two workers, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Installation(
            LIMITS, policy=SHIPPED.of_one_owner(), manner=AwkwardManner(seed=1), reports=False
        )
        self.places = (Place(self.site), Place(self.site))
        self.published: list[Sent] = []

    @rule(event=st.sampled_from(EVENTS))
    def publish(self, event: Sent) -> None:
        """A producer publishes."""
        self.site.publish(event)
        self.published.append(event)

    @rule(event=st.sampled_from(ENDS))
    def publish_an_end(self, event: Sent) -> None:
        """A producer says that something is gone, or lives again."""
        self.publish(event)

    @rule(event=st.sampled_from(ATTACHMENTS))
    def attach(self, event: Sent) -> None:
        """A compute service says where a volume is, and where it is no more."""
        self.publish(event)

    @rule(ask=st.sampled_from(ASKS))
    def ask(self, ask: Ask) -> None:
        """A client asks for a key."""
        open_to_clients(self.site, self.places[0])
        self.site.clients.ask(ask)

    @precondition(lambda self: bool(self.site.clients.asked) and self.site.is_in_use)
    @rule(faults=st.dictionaries(st.integers(0, 60), st.sampled_from(Fault), max_size=2))
    def serve(self, faults: dict[int, Fault]) -> None:
        """A key server answers what there is to answer, and something may go wrong."""
        Errand(self.site, serves, [faults]).turn_until_quiet()

    @precondition(lambda self: bool(self.published))
    @rule(which=st.integers(0, 1_000))
    def duplicate(self, which: int) -> None:
        """A producer publishes what it has published before."""
        self.site.publish(self.published[which % len(self.published)])

    @rule(seed=st.integers(0, 1_000))
    def reorder(self, seed: int) -> None:
        """What waits in the queue comes in another order."""
        random.Random(seed).shuffle(self.site.broker.work.ready)

    @rule(worker=WORKERS, turns=st.integers(1, 4))
    def work(self, worker: int, turns: int) -> None:
        """A worker goes around its loop."""
        for _ in range(turns):
            self.places[worker].turn()

    @rule(worker=WORKERS, fault=st.sampled_from(Fault), after_steps=st.integers(0, 30))
    def strike(self, worker: int, fault: Fault, after_steps: int) -> None:
        """Something goes wrong at one of a worker's next steps."""
        lives = self.places[worker].lives
        if lives:
            lives[-1].host.steps.plan(fault, after_steps)

    @rule(seconds=st.sampled_from([0.5, 5.0, 12.0, 100.0, 700.0]))
    def delay(self, seconds: float) -> None:
        """Time passes."""
        self.site.let_pass(seconds)

    @rule()
    def tidy(self) -> None:
        """A janitor looks what is due; months pass at the end alone."""
        Errand(self.site, looks).turn_until_quiet()

    @rule(item=st.sampled_from((V, W, S)), command=st.sampled_from(COMMANDS))
    def command(self, item: Item, command: Callable[[Item], Doing]) -> None:
        """An operator has something done to a key, if there is one."""
        record = self.site.record(item)
        if record is not None and record["data"] is not None and record["data"]["key_id"]:
            Errand(self.site, command(item)).turn_until_quiet()

    @rule()
    def restart_broker(self) -> None:
        """The broker ends all connections, and loses what it has not read."""
        self.site.broker.restart()

    @rule()
    def restart_store(self) -> None:
        """The store forgets its scripts."""
        self.site.forget_scripts()

    @invariant()
    def no_promise_is_broken(self) -> None:
        """What is visible at any moment is as promised."""
        self.site.ledger.raise_violation()

    def teardown(self) -> None:
        """Let everything come to rest, and check every promise."""
        rest(self.site, *self.places)
        if self.site.clients.asked and self.site.is_in_use:
            examine(self.site, words_for(self.site, ASKS))
        check_at_rest(self.site)
        end_of_time(self.site, *self.places)
        check_at_rest(self.site)


def test_nothing_is_lost_in_any_history(seed: int) -> None:
    steps = settings(max_examples=30, stateful_step_count=30)
    seeded = hypothesis.seed(seed)(AnyHistory)
    try:
        with quietly(), unmeasured():
            run_state_machine_as_test(seeded, settings=steps)
    except BaseException as error:
        again = "make test ARGS=tests/simulation/test_any_history.py"
        error.add_note(f"again: KMWORKER_SIMULATION_SEED={seed} {again}")
        raise
