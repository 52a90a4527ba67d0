import base64
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.errors import SetupError
from tests.unit.crypto.samples import CREATED_AT, FIRST, FIRST_KEY, SECOND, SECOND_KEY, keyring_of

OTHER_USER = 54_321


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a keyring may be made."""
    return tmp_path / "keyring.json"


def document_of(*keys: bytes) -> dict[str, Any]:
    """A well-formed keyring file with these KEKs, the first of them active."""
    keks = [Kek(key, CREATED_AT) for key in keys]
    entries = {
        kek.kek_id: {"key": base64.b64encode(key).decode(), "created_at": CREATED_AT}
        for kek, key in zip(keks, keys, strict=True)
    }
    return {"version": 1, "active": keks[0].kek_id, "keks": entries}


def write(path: Path, content: object, mode: int = 0o600) -> None:
    """Put a file there as an operator would: text and bytes as they are, else as JSON."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def refusal_of(path: Path) -> SetupError:
    """How loading fails: always with the path and something to do about it."""
    with pytest.raises(SetupError) as caught:
        Keyring.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_a_generated_keyring_loads_again(path: Path) -> None:
    generated = Keyring.generate(path)
    loaded = Keyring.load(path)
    assert generated.newest == loaded.newest
    assert KeyringCustody(generated).check_values("x") == KeyringCustody(loaded).check_values("x")


def test_two_generated_keyrings_differ(tmp_path: Path) -> None:
    assert Keyring.generate(tmp_path / "a").newest != Keyring.generate(tmp_path / "b").newest


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_the_file_is_for_its_owner_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        Keyring.generate(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_has_the_documented_form(path: Path) -> None:
    keyring = Keyring.generate(path)
    document = json.loads(path.read_bytes())
    entry = document["keks"][keyring.newest]
    assert document == {"version": 2, "keks": {keyring.newest: entry}}
    assert entry.keys() == {"key", "created_at"}
    assert len(base64.b64decode(entry["key"], validate=True)) == 32
    assert keyring.keks[keyring.newest].created_at == entry["created_at"]


def test_file_and_directory_are_synced_before_generate_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    Keyring.generate(path)
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


@pytest.mark.parametrize(
    "occupy",
    [
        lambda path: write(path, "precious"),
        Keyring.generate,
        lambda path: path.symlink_to(path.parent / "elsewhere"),
        Path.mkdir,
        os.mkfifo,
    ],
    ids=["file", "keyring", "dangling link", "directory", "FIFO"],
)
def test_generate_never_overwrites_or_follows(path: Path, occupy: Callable[[Path], object]) -> None:
    occupy(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SetupError, match="already exists") as caught:
        Keyring.generate(path)
    assert "never overwritten" in caught.value.hint
    assert before == (path.read_bytes() if path.is_file() else None)
    assert not (path.parent / "elsewhere").exists()


def test_generate_says_so_when_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file") as caught:
        Keyring.generate(tmp_path / "absent" / "keyring.json")
    assert "directory" in caught.value.hint


@pytest.mark.parametrize("failing", [1, 2], ids=["file", "directory"])
def test_a_keyring_that_did_not_reach_the_disk_is_taken_away(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SetupError, match="No space left"):
        Keyring.generate(path)
    assert not path.exists()


def test_a_missing_keyring_is_refused_with_the_command_that_makes_one(path: Path) -> None:
    assert "keyring init" in refusal_of(path).hint


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700], ids=oct)
def test_a_keyring_for_its_owner_alone_is_accepted(path: Path, mode: int) -> None:
    write(path, document_of(FIRST_KEY), mode)
    assert Keyring.load(path).newest == FIRST.kek_id


@pytest.mark.parametrize(
    "mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777, 0o440], ids=oct
)
def test_a_keyring_of_our_own_with_any_permission_for_others_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    write(path, document_of(FIRST_KEY), mode)
    with_owner(monkeypatch, 1000, 1000)
    assert "open to group or others" in str(refusal_of(path))


def test_a_link_of_our_own_to_a_good_keyring_is_followed(path: Path) -> None:
    target = path.with_name("real.json")
    write(target, document_of(FIRST_KEY))
    path.symlink_to(target)
    assert Keyring.load(path).newest == FIRST.kek_id


@pytest.mark.parametrize(
    ("lay", "problem"),
    [
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to(path), "a symbolic link that cannot be followed"),
        (lambda path: path.symlink_to("/etc/passwd/x"), "Not a directory"),
    ],
    ids=["directory", "FIFO", "device", "link to itself", "path through a file"],
)
def test_what_is_no_file_is_refused(path: Path, lay: Callable[[Path], None], problem: str) -> None:
    lay(path)
    assert problem in str(refusal_of(path))


def with_owner(monkeypatch: pytest.MonkeyPatch, owner: int, user: int) -> None:
    """Pretend that files belong to ``owner`` and that we are ``user``."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[stat.ST_UID] = owner
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "geteuid", lambda: user)


@pytest.mark.parametrize("user", [1000, 0])
def test_another_users_keyring_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    write(path, document_of(FIRST_KEY))
    with_owner(monkeypatch, OTHER_USER, user)
    assert "belongs to another user" in str(refusal_of(path))


@pytest.mark.parametrize(("owner", "user"), [(1000, 1000), (0, 1000), (0, 0)])
def test_our_own_and_roots_keyrings_are_accepted(
    path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, user: int
) -> None:
    write(path, document_of(FIRST_KEY))
    with_owner(monkeypatch, owner, user)
    assert Keyring.load(path).newest == FIRST.kek_id


def test_several_keks_load_with_the_active_one_named(path: Path) -> None:
    write(path, document_of(SECOND_KEY, FIRST_KEY))
    keyring = Keyring.load(path)
    assert keyring.newest == SECOND.kek_id
    assert keyring.keks.keys() == {FIRST.kek_id, SECOND.kek_id}


GOOD = document_of(FIRST_KEY)
ENTRY = GOOD["keks"][FIRST.kek_id]
ENCODED = ENTRY["key"]


def with_entry(**changes: object) -> dict[str, Any]:
    """The good keyring with its one KEK's entry changed."""
    return {**GOOD, "keks": {FIRST.kek_id: {**ENTRY, **changes}}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("", "not JSON", id="empty"),
        pytest.param("\0\ufffd garbage", "not JSON", id="garbage"),
        pytest.param(b"\xff\xfe\x80", "not JSON", id="no-text"),
        pytest.param(json.dumps(GOOD)[:-1], "not JSON", id="truncated"),
        pytest.param("[" * 60_000, "not JSON", id="nested-too-deep"),
        pytest.param([GOOD], "version", id="list"),
        pytest.param("null", "version", id="null"),
        pytest.param({}, "version", id="no-fields"),
        pytest.param({**GOOD, "version": 3}, "version", id="version-3"),
        pytest.param({**GOOD, "version": 2}, "fields", id="active-in-version-2"),
        pytest.param({**GOOD, "version": "1"}, "version", id="version-as-text"),
        pytest.param({**GOOD, "version": True}, "version", id="version-true"),
        pytest.param({**GOOD, "comment": "x"}, "fields", id="unknown-field"),
        pytest.param({"version": 1, "active": FIRST.kek_id}, "fields", id="no-keks"),
        pytest.param({**GOOD, "keks": [ENTRY]}, "wrong type", id="keks-as-list"),
        pytest.param({**GOOD, "active": None}, "wrong type", id="active-null"),
        pytest.param({**GOOD, "keks": {}}, "no KEK", id="empty-keks"),
        pytest.param({**GOOD, "active": SECOND.kek_id}, "active KEK", id="active-not-there"),
        pytest.param({**GOOD, "keks": {SECOND.kek_id: ENTRY}}, "fingerprint", id="wrong-kek-id"),
        pytest.param(
            {**GOOD, "keks": {FIRST.kek_id.upper(): ENTRY}}, "fingerprint", id="upper-case"
        ),
        pytest.param(
            with_entry(key=base64.b64encode(SECOND_KEY).decode()), "fingerprint", id="other-key"
        ),
        pytest.param(with_entry(key=ENCODED[:-4]), "base64 of 32", id="short-key"),
        pytest.param(with_entry(key=ENCODED + "AAAA"), "base64 of 32", id="padding-inside"),
        pytest.param(with_entry(key=f" {ENCODED}"), "base64 of 32", id="key-with-a-space"),
        pytest.param(with_entry(key="é"), "base64 of 32", id="key-not-ascii"),
        pytest.param(with_entry(key=None), "wrong type", id="key-null"),
        pytest.param(with_entry(created_at="yesterday"), "RFC 3339", id="no-timestamp"),
        pytest.param(with_entry(created_at="2026-11-23T16:00:00"), "RFC 3339", id="no-offset"),
        pytest.param(with_entry(note="x"), "fields", id="unknown-entry-field"),
        pytest.param({**GOOD, "keks": {FIRST.kek_id: ENCODED}}, "fields", id="entry-as-text"),
        pytest.param('{"version": 1, "version": 1}', "twice", id="repeated-name"),
        pytest.param(json.dumps(GOOD) + " " * 65_536, "too large", id="too-large"),
    ],
)
def test_a_malformed_keyring_is_refused(path: Path, content: object, problem: str) -> None:
    write(path, content)
    assert problem in str(refusal_of(path))


def test_every_flipped_bit_of_a_key_is_noticed(path: Path) -> None:
    for bit in range(256):
        flipped = (int.from_bytes(FIRST_KEY) ^ (1 << bit)).to_bytes(32)
        write(path, with_entry(key=base64.b64encode(flipped).decode()))
        assert "fingerprint" in str(refusal_of(path))


def test_a_keyring_cannot_be_changed() -> None:
    keyring = keyring_of(FIRST_KEY)
    with pytest.raises(AttributeError):
        keyring.newest = SECOND.kek_id  # type: ignore[misc]
    with pytest.raises(TypeError):
        keyring.keks[SECOND.kek_id] = Kek(SECOND_KEY, CREATED_AT)  # type: ignore[index]


def test_a_keyring_without_its_newest_kek_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="newest"):
        Keyring(SECOND.kek_id, keyring_of(FIRST_KEY).keks)


@pytest.mark.parametrize("length_bytes", [0, 16, 31, 33])
def test_a_kek_of_another_length_cannot_be_made(length_bytes: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Kek(bytes(length_bytes), CREATED_AT)


def test_check_values_differ_by_kek_and_by_label() -> None:
    custody = KeyringCustody(keyring_of(FIRST_KEY, SECOND_KEY))
    values = [*custody.check_values("one").values(), *custody.check_values("other").values()]
    assert len(set(values)) == 4
    assert custody.check_values("one").items() >= FIRST.check_values("one").items()
