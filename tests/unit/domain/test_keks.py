"""What may become of a KEK: every cell of the table."""

import pytest

from kmworker.domain.keks import KekState, KekStates, KekStep, begun, is_leak_told, step_kek
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from tests.kit.builders import NOW

BY = Operator("alice", "a drill")
OTHER = "b" * 16
WORDS: dict[KekStep, tuple[str, str, str, str, str]] = {
    # known, active, compromised, retired, removed
    KekStep.ADD: ("already",) * 5,
    KekStep.ACTIVATE: ("-> active", "it is active", "compromised", "retired", "removed"),
    KekStep.COMPROMISE: ("-> compromised", "activate another", "already", "retired", "removed"),
    KekStep.RETIRE: ("-> retired", "activate another", "-> retired", "already", "removed"),
    KekStep.REMOVE: ("retire it first", "activate another", "retire it first", "-> removed",
                     "already"),
}  # fmt: skip
CELLS = [
    (what, state, said)
    for what, words in WORDS.items()
    for state, said in zip(
        (KekState.KNOWN, KekState.ACTIVE, KekState.COMPROMISED, KekState.RETIRED, KekState.REMOVED),
        words,
        strict=True,
    )
]


def states_with(kek_id: str, state: KekState) -> KekStates:
    """A store's KEKs, one of which is in this state; another is active unless that is."""
    states = begun(["a" * 16], "a" * 16, NOW)
    ways = {
        KekState.KNOWN: [KekStep.ADD],
        KekState.ACTIVE: [KekStep.ADD, KekStep.ACTIVATE],
        KekState.COMPROMISED: [KekStep.ADD, KekStep.COMPROMISE],
        KekState.RETIRED: [KekStep.ADD, KekStep.RETIRE],
        KekState.REMOVED: [KekStep.ADD, KekStep.RETIRE, KekStep.REMOVE],
    }
    for what in ways[state]:
        stepped = step_kek(states, kek_id, what, BY, NOW)
        assert isinstance(stepped, KekStates)
        states = stepped
    assert states.keks[kek_id].state is state
    return states


@pytest.mark.parametrize(("what", "state", "said"), CELLS)
def test_each_step_from_each_state(what: KekStep, state: KekState, said: str) -> None:
    before = states_with(OTHER, state)
    after = step_kek(before, OTHER, what, BY, NOW)
    if not said.startswith("-> "):
        assert isinstance(after, NoStep)
        assert said in after.why
        return
    assert isinstance(after, KekStates)
    assert after.keks[OTHER].state == said.removeprefix("-> ")
    assert after.keks[OTHER].by == BY
    assert after.version == before.version + 1


def test_there_is_one_active_kek_and_each_has_a_term() -> None:
    states = states_with(OTHER, KekState.ACTIVE)
    assert (states.active, states.term) == (OTHER, 2)
    assert states.keks["a" * 16].state is KekState.KNOWN
    back = step_kek(states, "a" * 16, KekStep.ACTIVATE, BY, NOW)
    assert isinstance(back, KekStates)
    assert (back.active, back.term) == ("a" * 16, 3)


def test_no_other_step_begins_a_term() -> None:
    assert states_with(OTHER, KekState.REMOVED).term == 1


@pytest.mark.parametrize(
    ("state", "opens"),
    [
        (KekState.KNOWN, True),
        (KekState.ACTIVE, True),
        (KekState.COMPROMISED, True),
        (KekState.RETIRED, False),
        (KekState.REMOVED, False),
    ],
)
def test_what_is_retired_opens_nothing(state: KekState, opens: bool) -> None:
    assert (OTHER in states_with(OTHER, state).opening) is opens


def test_of_a_kek_that_the_store_does_not_know_nothing_becomes() -> None:
    states = begun(["a" * 16], "a" * 16, NOW)
    for what in set(KekStep) - {KekStep.ADD}:
        found = step_kek(states, OTHER, what, BY, NOW)
        assert isinstance(found, NoStep)
        assert "keyring add" in found.why


@pytest.mark.parametrize("state", KekState)
def test_a_leak_is_a_step_of_what_may_be_used_still_and_of_nothing_else(state: KekState) -> None:
    states = states_with(OTHER, state)
    stays = {KekState.COMPROMISED, KekState.RETIRED, KekState.REMOVED}
    assert is_leak_told(state) == (state in stays)
    assert states.compromised == ((OTHER,) if state is KekState.COMPROMISED else ())
