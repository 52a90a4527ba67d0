"""`km:keyring`: who may write what it says of KEKs, and who can read it."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.domain.keks import KekStates, KekStep, step_kek
from kmworker.domain.keys import Operator
from kmworker.errors import SetupError
from kmworker.store.kek_states import changes_of, keyring_fields, states_in
from kmworker.store.layout import LayoutAltered
from tests.kit.builders import NOW

INSTALLATION, SOURCE = "1d8f7e52-0000-4000-8000-000000000001", "/kmworker"
BY = Operator("alice", "yearly")
OLD, NEW, THIRD = (Kek(letter * 32, NOW) for letter in (b"o", b"n", b"t"))
Fields = dict[str, str]


def custody_of(*keks: Kek) -> KeyringCustody:
    return KeyringCustody(Keyring(keks[0].kek_id, {it.kek_id: it for it in keks}), INSTALLATION)


def stepped(found: Fields, by: KeyringCustody, *steps: tuple[Kek, KekStep]) -> Fields:
    """What the hash says after these steps."""
    for kek, what in steps:
        states = step_kek(
            states_in(found, INSTALLATION, by, "km:keyring"), kek.kek_id, what, BY, NOW
        )
        assert isinstance(states, KekStates)
        changed, gone = changes_of(states, SOURCE, INSTALLATION, by)
        found = {it: text for it, text in {**found, **changed}.items() if it not in gone}
    return found


def first(by: KeyringCustody) -> Fields:
    flat = keyring_fields(SOURCE, INSTALLATION, by, NOW)
    return dict(list(pairwise(flat))[::2])


@pytest.fixture
def turned_over() -> Fields:
    """The new KEK is active, and the old one is known."""
    both = custody_of(OLD, NEW)
    begun = first(custody_of(OLD))
    return stepped(begun, both, (NEW, KekStep.ADD), (NEW, KekStep.ACTIVATE))


@pytest.mark.parametrize("keks", [(OLD,), (NEW,), (OLD, NEW), (OLD, NEW, THIRD)])
def test_whoever_has_one_of_the_keks_reads_which_is_active(
    turned_over: Fields, keks: tuple[Kek, ...]
) -> None:
    states = states_in(turned_over, INSTALLATION, custody_of(*keks), "km:keyring")
    assert (states.active, states.version, states.term) == (NEW.kek_id, 3, 2)
    assert states.keks[NEW.kek_id].by == BY


def test_whoever_has_none_of_them_has_another_keyring(turned_over: Fields) -> None:
    with pytest.raises(SetupError, match="which this keyring lacks") as refused:
        states_in(turned_over, INSTALLATION, custody_of(THIRD), "km:keyring")
    assert not isinstance(refused.value, LayoutAltered)


def by_old_alone(found: Fields) -> Fields:
    """As someone writes it who knows the old KEK and no other."""
    text = found["states"].replace('"state":"known"', '"state":"retired"')
    seal = custody_of(OLD).check_values("keks", INSTALLATION, text)[OLD.kek_id]
    return {**found, "states": text, f"seal:{OLD.kek_id}": seal}


ALTERATIONS: dict[str, Callable[[Fields], Fields]] = {
    "edited": lambda it: {**it, "states": it["states"].replace('"term":2', '"term":3')},
    "gone": lambda it: {name: text for name, text in it.items() if name != "states"},
    "no JSON": lambda it: {**it, "states": "{"},
    "of another form": lambda it: {**it, "states": '{"keks":{}}'},
    "none active": lambda it: {**it, "states": it["states"].replace("active", "known")},
    "a number that is none": lambda it: {
        **it, "states": it["states"].replace('"term":2', '"term":"x"')
    },
    "by the old KEK alone": by_old_alone,
    "by the old KEK, without a seal of the active one": lambda it: {
        name: text for name, text in by_old_alone(it).items() if name != f"seal:{NEW.kek_id}"
    },
    "with the seal of another installation": lambda it: {
        **it,
        f"seal:{NEW.kek_id}": custody_of(NEW).check_values("keks", "other", it["states"])[
            NEW.kek_id
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_what_is_not_as_it_was_sealed_is_not_believed(
    turned_over: Fields, alter: Callable[[Fields], Fields]
) -> None:
    with pytest.raises(LayoutAltered, match="states of KEKs are not as sealed"):
        states_in(alter(turned_over), INSTALLATION, custody_of(OLD, NEW), "km:keyring")


def test_a_removed_kek_leaves_nothing_to_check_it_by(turned_over: Fields) -> None:
    both = custody_of(NEW, OLD)
    found = stepped(turned_over, both, (OLD, KekStep.RETIRE), (OLD, KekStep.REMOVE))
    assert not [name for name in found if name.endswith(f":{OLD.kek_id}")]
    assert found["kek_ids"] == NEW.kek_id
    # Whoever has it still is not in its way.
    assert states_in(found, INSTALLATION, both, "km:keyring").present == (NEW.kek_id,)


def test_what_an_operator_cannot_seal_anew_is_left_without_a_seal(turned_over: Fields) -> None:
    all_three = custody_of(NEW, OLD, THIRD)
    found = stepped(turned_over, all_three, (THIRD, KekStep.ADD))
    # One whose file lacks the old KEK changes something.
    found = stepped(found, custody_of(NEW, THIRD), (THIRD, KekStep.RETIRE))
    assert f"seal:{OLD.kek_id}" not in found
    assert states_in(found, INSTALLATION, all_three, "km:keyring").version == 5
