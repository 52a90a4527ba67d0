"""A keyring whose KEKs a root wraps: in the file, from root to root, and while the root is away."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kmworker.crypto import Keyring, KeyringFile, followed, keyring_file
from kmworker.crypto.kek import Kek
from kmworker.crypto.roots import context_of
from kmworker.errors import RootAway, SetupError
from tests.kit.secrecy import assert_shows_no_secret, shown_by


class FakeRoot:
    """Wraps by exclusive or, under a key of one byte, and may be away or wrong."""

    def __init__(self, name: str = "one", byte: int = 0x5A) -> None:
        self.url = f"fake:{name}"
        self.byte = byte
        self.is_away = False
        self.lies = False
        self.asked = 0

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        self._answer()
        return bytes(it ^ self.byte for it in kek.export()) + context

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        self._answer()
        if self.lies:
            return bytes(32)
        if not blob.endswith(context):
            raise SetupError(f"root {self.url}: a wrapped KEK does not unwrap")
        return bytes(it ^ self.byte for it in blob.removesuffix(context))

    def _answer(self) -> None:
        self.asked += 1
        if self.is_away:
            raise RootAway(f"root {self.url}: away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture
def root() -> FakeRoot:
    return FakeRoot()


def keys_of(keyring: Keyring) -> dict[str, bytes]:
    return {kek_id: kek.export() for kek_id, kek in keyring.keks.items()}


def document_at(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def test_the_file_has_the_root_and_no_key(path: Path, root: FakeRoot) -> None:
    made = Keyring.generate(path, root)
    document = document_at(path)
    (entry,) = document["keks"].values()
    assert (document["version"], document["root"]) == (2, "fake:one")
    assert entry.keys() == {"wrapped", "created_at"}
    assert_shows_no_secret(path.read_text(), {"KEK": made.keks[made.newest].export()})
    assert keys_of(Keyring.load(path, root)) == keys_of(made)


def test_a_kek_is_bound_to_its_fingerprint(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path, root)
    Keyring.grow(path, root)
    document = document_at(path)
    first, second = document["keks"].values()
    first["wrapped"], second["wrapped"] = second["wrapped"], first["wrapped"]
    path.write_text(json.dumps(document))
    with pytest.raises(SetupError, match="does not unwrap"):
        Keyring.load(path, root)
    assert context_of("ab") != context_of("a") + b"b"


def test_it_moves_from_root_to_root_and_back_into_the_clear(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path)
    before = keys_of(Keyring.grow(path))
    other = FakeRoot("other", 0x77)
    for at, to in ((None, root), (root, other), (other, None)):
        moved = Keyring.move(path, at, to)
        assert keys_of(moved) == keys_of(Keyring.load(path, to)) == before
    assert "root" not in document_at(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("trouble", ["is_away", "lies"])
def test_what_a_root_does_not_give_back_is_not_written_over(
    path: Path, root: FakeRoot, trouble: str
) -> None:
    made = Keyring.generate(path)
    before = path.read_bytes()
    setattr(root, trouble, True)
    with pytest.raises((RootAway, SetupError)) as caught:
        Keyring.move(path, None, root)
    assert path.read_bytes() == before
    assert [it.name for it in path.parent.iterdir()] == ["keyring.json"]
    for text in shown_by(caught.value):
        assert_shows_no_secret(text, {"KEK": made.keks[made.newest].export()})


def test_a_file_under_a_root_says_so_where_none_is_set(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path, root)
    with pytest.raises(SetupError, match=r"wrapped by a root, and keyring.root names none"):
        Keyring.load(path)


def test_a_file_in_the_clear_is_not_taken_for_one_under_a_root(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path)
    with pytest.raises(SetupError, match=r"in the clear, and keyring.root names a root") as caught:
        Keyring.load(path, root)
    assert "kmworker keyring move" in caught.value.hint
    assert root.asked == 0


def test_one_key_in_the_clear_among_wrapped_ones_is_refused(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path, root)
    document = document_at(path)
    Keyring.generate(path.with_name("other"))
    document["keks"] |= document_at(path.with_name("other"))["keks"]
    path.write_text(json.dumps(document))
    with pytest.raises(SetupError, match="fields are missing or unknown") as caught:
        Keyring.load(path, root)
    plain = Keyring.load(path.with_name("other"))
    for text in shown_by(caught.value):
        assert_shows_no_secret(text, {"KEK": plain.keks[plain.newest].export()})


def test_a_root_that_is_away_shows_nothing_of_the_file(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path, root)
    content = path.read_text()
    root.is_away = True
    with pytest.raises(RootAway, match="root fake:one: away") as caught:
        Keyring.load(path, root)
    wrapped = next(iter(json.loads(content)["keks"].values()))["wrapped"]
    assert not [text for text in shown_by(caught.value) if wrapped in text]


def test_a_root_that_goes_away_stops_nobody_and_is_asked_again_now_and_then(
    path: Path, root: FakeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(keyring_file, "monotonic", lambda: now[0])
    made = Keyring.generate(path, root)
    custody = followed(path, root)
    grown = Keyring.grow(path, root)
    root.is_away = True
    with pytest.raises(RootAway):
        custody.take_up()
    assert custody.kek_ids == frozenset(made.keks)
    asked = root.asked
    # Whoever asks is told all the same, and sees nothing of what the root was given.
    for _ in range(5):
        with pytest.raises(RootAway, match="root fake:one: away"):
            custody.take_up()
    assert root.asked == asked
    root.is_away = False
    now[0] += keyring_file.AGAIN_S
    assert custody.take_up()
    assert custody.kek_ids == frozenset(grown.keks)
    assert not custody.take_up()


def test_a_file_that_changes_again_is_tried_at_once(path: Path, root: FakeRoot) -> None:
    Keyring.generate(path, root)
    file = KeyringFile(path, root)
    file.load()
    good = path.read_bytes()
    path.write_text("{}")
    with pytest.raises(SetupError):
        file.changed()
    path.write_bytes(good)
    os.utime(path, ns=(1, 1))
    assert file.changed() is not None
