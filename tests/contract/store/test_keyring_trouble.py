"""A keyring file that cannot be taken up stops nobody, and is told until it can."""

from collections.abc import Callable

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.keks import KeyringFlaw, KeyringTrouble
from kmworker.errors import RootAway, SetupError
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import INSTALLATION, KEYRING, draft, volume
from tests.kit.store.stand import Stand


class File:
    """A keyring file that is looked at."""

    problem: RootAway | SetupError | None = None

    def changed(self) -> Keyring | None:
        """Return that it is as it was, or raise what is wrong with it."""
        if self.problem is not None:
            raise self.problem
        return None


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def store(stand: Stand, file: File, monkeypatch: pytest.MonkeyPatch) -> RedisStore:
    as_it_is: Callable[[KeyringCustody], KeyringCustody] = lambda it: it  # noqa: E731
    monkeypatch.setattr("tests.kit.store.stand.opened_anew", as_it_is)
    store = stand.store(custody=KeyringCustody(KEYRING, INSTALLATION, file.changed))
    store.admit()
    return store


def test_what_keeps_a_file_from_being_taken_up_is_told_since_it_began_and_until_it_ends(
    stand: Stand, store: RedisStore, file: File
) -> None:
    store.follow_keyring()
    assert store.keyring_trouble() is None
    file.problem = RootAway("root openbao://bao/transit/kek: sealed")
    began = stand.clock.now()
    for _ in range(3):
        store.follow_keyring()
        assert store.keyring_trouble() == KeyringTrouble(KeyringFlaw.ROOT_AWAY, began)
        stand.clock.sleep(10)
    # It answers, and refuses: one trouble, as far as anybody waits for it.
    file.problem = SetupError("root openbao://bao/transit/kek: permission denied")
    store.follow_keyring()
    assert store.keyring_trouble() == KeyringTrouble(KeyringFlaw.UNUSABLE, began)
    assert store.commit([draft.create(volume("v1"))]).result()[0].assignment
    file.problem = None
    store.follow_keyring()
    assert store.keyring_trouble() is None
