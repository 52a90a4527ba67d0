"""A passphrase: which one opens what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kmworker.crypto.roots import context_of
from kmworker.errors import SetupError
from tests.contract.roots.conftest import KEK, root_at
from tests.kit.secrecy import assert_shows_no_secret, shown_by

CONTEXT = context_of(KEK.kek_id)
WORDS = "correct horse battery staple"


def test_the_same_words_open_it_elsewhere(passphrase: Callable[[str], str]) -> None:
    blob = root_at(passphrase(WORDS)).wrap(KEK, CONTEXT)
    assert root_at(passphrase(f"{WORDS}\n")).unwrap(blob, CONTEXT) == KEK.export()


def test_other_words_do_not_and_are_not_shown(passphrase: Callable[[str], str]) -> None:
    blob = root_at(passphrase(WORDS)).wrap(KEK, CONTEXT)
    with pytest.raises(SetupError, match="does not unwrap") as caught:
        root_at(passphrase("incorrect horse battery staple")).unwrap(blob, CONTEXT)
    for text in shown_by(caught.value):
        assert_shows_no_secret(text, {"KEK": KEK.export()})
        assert "horse" not in text


def test_a_short_one_is_refused(passphrase: Callable[[str], str]) -> None:
    with pytest.raises(SetupError, match="has fewer than 16 bytes") as caught:
        root_at(passphrase("correct horse")).wrap(KEK, CONTEXT)
    assert not [text for text in shown_by(caught.value) if "horse" in text]


def test_each_root_draws_its_own_salt(passphrase: Callable[[str], str]) -> None:
    url = passphrase(WORDS)
    first, second = (root_at(url).wrap(KEK, CONTEXT) for _ in range(2))
    assert first[1:17] != second[1:17]


def test_a_file_that_others_can_read_is_not_used(
    passphrase: Callable[[str], str], tmp_path: Path
) -> None:
    url = passphrase(WORDS)
    for path in tmp_path.iterdir():
        path.chmod(0o604)
    with pytest.raises(SetupError, match=r"passphrase .*: open to group or others"):
        root_at(url).wrap(KEK, CONTEXT)
