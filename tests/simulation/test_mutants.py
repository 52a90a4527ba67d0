"""The promises bite: each planted fault is caught, and says which promise caught it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest

from tests.simulation import mutants
from tests.simulation.baton import Preempting
from tests.simulation.explore import Case, others, quietly, singles
from tests.simulation.invariants import Invariant, Violation

CHAIN: Final = "a chain of five in reverse"
EARLY: Final = "a snapshot before its volume"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted fault: the runs that it shows in, and the promises that it breaks."""

    plant: mutants.Plant
    runs: "Runs"
    history: str
    caught_by: frozenset[Invariant]


Runs = Callable[[str], Iterator[Case]]


def plain(history: str) -> Iterator[Case]:
    """One worker, and nothing else that goes wrong."""
    yield Case(history)


def struck(history: str) -> Iterator[Case]:
    """One worker, struck at each of its steps."""
    yield from singles(history)


def refused(history: str) -> Iterator[Case]:
    """One worker, and a broker that has troubles of its own."""
    yield from others(history)


def awkward(history: str) -> Iterator[Case]:
    """A broker that confirms as it likes."""
    yield from (Case(history, seed=seed) for seed in range(20))


def raced(history: str) -> Iterator[Case]:
    """Two workers, one of which stands still while the other does everything."""
    yield from (Case(history, schedule=Preempting(first, 100)) for first in range(30))


def _mutant(plant: mutants.Plant, runs: Runs, history: str, *caught_by: Invariant) -> Mutant:
    return Mutant(plant, runs, history, frozenset(caught_by))


MUTANTS: Final = (
    _mutant(
        mutants.acknowledge_before_commit,
        struck,
        EARLY,
        Invariant.ACKNOWLEDGED_LAST,
        Invariant.ACCOUNTED,
    ),
    _mutant(mutants.announce_before_commit, plain, "create", Invariant.STORED_FIRST),
    _mutant(mutants.acknowledge_before_confirm, plain, "create", Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.take_a_nack_for_a_confirm, refused, "create", Invariant.ACKNOWLEDGED_LAST),
    _mutant(
        mutants.match_a_confirm_to_the_wrong_messages,
        awkward,
        "duplicates",
        Invariant.ACKNOWLEDGED_LAST,
    ),
    _mutant(mutants.remove_a_waiting_event_when_it_is_taken, plain, EARLY, Invariant.KEPT_WAITING),
    _mutant(
        mutants.mint_over_an_orphaned_scope,
        plain,
        "a record that someone deleted",
        Invariant.ONE_KEY,
        Invariant.IMMUTABLE,
    ),
    _mutant(
        mutants.mint_over_an_existing_item,
        raced,
        "duplicates",
        Invariant.ONE_KEY,
        Invariant.IMMUTABLE,
    ),
    _mutant(mutants.mint_where_the_source_is_absent, plain, EARLY, Invariant.EXPECTED),
    _mutant(
        mutants.drop_dead_letters,
        plain,
        "two projects, and what nobody can read",
        Invariant.ACKNOWLEDGED_LAST,
        Invariant.ACCOUNTED,
    ),
    _mutant(
        mutants.forget_channel_generations,
        struck,
        "an event that raises amid good ones",
        Invariant.ACKNOWLEDGED_LAST,
    ),
    _mutant(mutants.acknowledge_twice, plain, "create", Invariant.PROTOCOL),
    _mutant(
        mutants.acknowledge_up_to_the_last,
        plain,
        "an event that raises amid good ones",
        Invariant.ACKNOWLEDGED_LAST,
    ),
    _mutant(
        mutants.announce_the_plan, raced, "duplicates", Invariant.ONE_KEY, Invariant.STORED_FIRST
    ),
    _mutant(mutants.announce_with_a_number, plain, "duplicates", Invariant.SAME_BYTES),
    _mutant(mutants.announce_no_partition, plain, "partition replicas", Invariant.ANNOUNCED),
    _mutant(mutants.clone_without_a_key_id, plain, CHAIN, Invariant.SCOPES),
    _mutant(mutants.count_no_holders, plain, "create", Invariant.COUNTED),
    _mutant(mutants.leave_an_index_behind, plain, EARLY, Invariant.COUNTED),
    _mutant(mutants.refuse_events_when_the_store_is_away, struck, EARLY, Invariant.JUSTIFIED),
    _mutant(mutants.sweep_only_what_is_due, struck, EARLY, Invariant.AT_REST),
    _mutant(
        mutants.assign_what_was_marked_expired,
        struck,
        "a source that comes as its event expires",
        Invariant.JUSTIFIED,
    ),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.plant.__name__.replace("_", " "))
def test_a_planted_fault_breaks_the_promises_that_it_should(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = _cases(mutant.runs, mutant.history)
    mutant.plant(monkeypatch)
    found: set[Invariant] = set()
    with quietly():
        for case in cases:
            found |= _broken(case)
            if mutant.caught_by <= found:
                break
    assert mutant.caught_by <= found


def test_every_promise_is_broken_by_a_planted_fault() -> None:
    assert {promise for mutant in MUTANTS for promise in mutant.caught_by} == set(Invariant)


@cache
def _cases(runs: Runs, history: str) -> list[Case]:
    """Return the runs; which there are is found out before anything is planted."""
    with quietly():
        return list(runs(history))


def _broken(case: Case) -> frozenset[Invariant]:
    try:
        case.run()
    except Violation as violation:
        return violation.invariants
    except Exception:  # noqa: BLE001  # a worker may also fall over its fault: that is no promise
        return frozenset()
    return frozenset()
