"""A host's identity: its file, its name, and that nothing shows it."""

import copy
import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kmworker.crypto.audit_key import AuditKey
from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import Identity, public_identity, shown
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.sealing import SealingKey
from kmworker.delegation.signing import SigningKey
from kmworker.errors import SetupError
from tests.kit.delegation_vectors import AT, HOST, ROOT, SERVER
from tests.kit.secrecy import assert_shows_no_secret, shown_by

SIGN, SEAL = bytes(range(32)), bytes(range(100, 132))
SECRETS = {"signing key": SIGN, "sealing key": SEAL}
Holder = type[Identity] | type[RootKey]
BOTH = pytest.mark.parametrize("kind", [Identity, RootKey])


def written(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "identity.json"
    Identity(SIGN, SEAL, AT).write(path)
    if changed:
        fields = json.loads(path.read_text()) | changed
        path.write_text(json.dumps({name: it for name, it in fields.items() if it is not None}))
    return path


def test_what_is_written_is_read_again_by_whoever_shares_the_file(tmp_path: Path) -> None:
    made = Identity.generate(AT)
    made.write(tmp_path / "identity.json")
    first, second = (Identity.load(tmp_path / "identity.json") for _ in range(2))
    assert first.public == second.public == made.public
    assert first.created_at == AT
    signature = first.sign("label", "x")
    assert signature == second.sign("label", "x") != made.sign("label", "y")


@BOTH
def test_its_file_is_for_its_owner_alone_and_is_never_written_over(
    tmp_path: Path, kind: Holder
) -> None:
    path = tmp_path / "key.json"
    kind.generate(AT).write(path)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SetupError, match="already exists") as refused:
        kind.generate(AT).write(path)
    assert refused.value.hint
    assert path.read_bytes() == before


def test_of_processes_that_make_one_at_once_one_does_and_all_read_it(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    script = (
        "import sys, pathlib; from kmworker.delegation.identity import Identity\n"
        "from kmworker.errors import SetupError\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "made = Identity.generate('2026-11-23T16:00:00.000Z')\n"
        "sys.stdin.readline()\n"
        "try: made.write(path)\n"
        "except SetupError: print('refused', end=' ')\n"
        "else: print('made', end=' ')\n"
        "sys.stdout.flush(); sys.stdin.readline()\n"
        "print(Identity.load(path).public.fingerprint)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for it in started:
        assert it.stdin is not None
        it.stdin.write("go\n")
        it.stdin.flush()
    # The first word of each, so that all have written or been refused.
    done = [it.stdout.read(len("made ")) for it in started if it.stdout is not None]
    told = [it.communicate("go\n", timeout=60)[0].split() for it in started]
    assert sorted(done) == ["made ", "refus", "refus"]
    assert len({words[-1] for words in told}) == 1


def test_a_root_key_is_read_again(tmp_path: Path) -> None:
    made = RootKey.generate(AT)
    made.write(tmp_path / "root.json")
    assert RootKey.load(tmp_path / "root.json").public == made.public


WORDS: dict[str, Any] = {"passphrase": b"five words that dice have thrown"}


def test_a_root_key_under_a_passphrase_is_none_without_it(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    RootKey(SIGN, AT).write(path, lambda: WORDS["passphrase"])
    assert_shows_no_secret(path.read_text(), SECRETS | WORDS)
    assert RootKey.load(path, lambda: WORDS["passphrase"]).public == RootKey(SIGN, AT).public
    wrong: dict[str, Callable[[], bytes] | None] = {
        "under a passphrase": None,
        "the passphrase is another one": lambda: b"five other words thrown by dice",
        "fewer than 16 bytes": lambda: b"fifteen bytes..",
    }
    for said, passphrase in wrong.items():
        with pytest.raises(SetupError, match=said) as refused:
            RootKey.load(path, passphrase)
        assert refused.value.hint
        for text in shown_by(refused.value):
            assert_shows_no_secret(text, SECRETS | WORDS)


def test_a_wrapped_root_key_is_bound_to_its_public_half(tmp_path: Path) -> None:
    path, other = tmp_path / "root.json", tmp_path / "other.json"
    for number, it in enumerate((path, other)):
        RootKey(bytes([number]) * 32, AT).write(it, lambda: WORDS["passphrase"])
    mixed = json.loads(path.read_text()) | {"public": json.loads(other.read_text())["public"]}
    path.write_text(json.dumps(mixed))
    with pytest.raises(SetupError, match="another one, or it is damaged"):
        RootKey.load(path, lambda: WORDS["passphrase"])


def test_a_short_passphrase_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="fewer than 16 bytes"):
        RootKey(SIGN, AT).write(tmp_path / "root.json", lambda: b"fifteen bytes..")
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_no_two_are_alike(kind: Holder) -> None:
    assert kind.generate(AT).public != kind.generate(AT).public


@BOTH
def test_a_file_that_is_not_there_is_told_what_to_do(tmp_path: Path, kind: Holder) -> None:
    with pytest.raises(SetupError, match="no such file") as refused:
        kind.load(tmp_path / "key.json")
    assert refused.value.hint


@BOTH
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, kind: Holder) -> None:
    path = tmp_path / "key.json"
    kind.generate(AT).write(path)
    path.chmod(0o644)
    with pytest.raises(SetupError, match="open to group or others"):
        kind.load(path)


DAMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "another document": ({"document": "kmworker/root-key"}, "no identity file"),
    "a newer version": ({"version": 2}, "version"),
    "a field that is missing": ({"seal": None}, "fields"),
    "a field that is no text": ({"seal": 1}, "fields"),
    "a field that nobody knows": ({"more": "x"}, "fields"),
    "no base64": ({"sign": "?"}, "not one"),
    "a short key": ({"seal": "AAAA"}, "not one"),
    "another key": ({"sign": "A" * 43 + "="}, "damaged"),
    "no time": ({"created_at": "today"}, "created_at"),
}


@pytest.mark.parametrize(("changed", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_damaged_is_refused_and_nothing_of_it_shown(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(SetupError, match=said) as refused:
        Identity.load(path)
    assert refused.value.hint
    for text in shown_by(refused.value):
        assert_shows_no_secret(text, SECRETS)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 60_000])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path)
    path.write_bytes(content)
    with pytest.raises(SetupError, match="identity"):
        Identity.load(path)


def test_a_failing_disk_leaves_no_file_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SetupError, match="Input/output error") as refused:
        Identity(SIGN, SEAL, AT).write(tmp_path / "identity.json")
    assert list(tmp_path.iterdir()) == []
    for text in shown_by(refused.value):
        assert_shows_no_secret(text, SECRETS)


HOLDERS = [
    Identity(SIGN, SEAL, AT), RootKey(SIGN, AT), SigningKey(SIGN), SealingKey(SEAL),
    AuditKey(Ed25519PrivateKey.from_private_bytes(SIGN)),
]  # fmt: skip


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda it: type(it).__name__)
def test_what_holds_a_private_key_neither_shows_nor_copies_it(holder: object) -> None:
    assert_shows_no_secret(f"{holder!r} {holder}", SECRETS)
    attempts: list[Callable[[object], object]] = [pickle.dumps, copy.copy, copy.deepcopy]
    for attempt in attempts:
        with pytest.raises(TypeError, match="holds key material"):
            attempt(holder)


def test_a_fingerprint_is_of_both_keys() -> None:
    both = {Identity(one, other, AT).public.fingerprint for one in (SIGN, SEAL)
            for other in (SIGN, SEAL)}  # fmt: skip
    assert len(both) == 4


def test_a_fingerprint_is_shown_in_groups_that_a_person_can_compare() -> None:
    assert shown("00" * 32) == "-".join(["aaaa"] * 8)
    assert shown(HOST.public.fingerprint) != shown(SERVER.public.fingerprint)
    assert shown(HOST.public.fingerprint) in repr(HOST)


@pytest.mark.parametrize(
    ("sign", "seal"),
    [("", ""), ("A" * 43 + "=", "A" * 43 + "="), ("A" * 43 + "=", "/" * 1_621 + "w=="), ("é", "é")],
    ids=["empty", "two of Ed25519", "no point of ML-KEM", "no base64"],
)
def test_what_is_no_public_identity_is_none(sign: str, seal: str) -> None:
    assert public_identity(sign, seal) is None


def test_the_root_signs_under_a_label() -> None:
    assert ROOT.sign("a", "bc") != ROOT.sign("ab", "c")


@pytest.mark.parametrize("half", [0, 1, 2**255 - 19], ids=["0", "1", "p"])
def test_an_identity_to_which_nothing_can_be_sealed_is_none(half: int) -> None:
    """X25519's points of low order (RFC 7748, section 6.1)."""
    public = Identity.generate("2026-01-01T00:00:00.000Z").public
    low = public.seal[:-32] + half.to_bytes(32, "little")
    assert public_identity(as_text(public.sign), as_text(low)) is None
    assert public_identity(as_text(public.sign), as_text(public.seal)) == public
