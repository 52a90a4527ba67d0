"""``kmworker client get``: what it writes, what it says, and how it ends."""

import errno
import json
from pathlib import Path
from typing import Any, Self

import pytest

from kmworker.client.keys import KeyRefused, NoAnswer
from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.checking import DeliveredKey, RefusedKey
from kmworker.domain.keys import Encryption, KeyState
from kmworker.wire.answers.messages import Refusal
from tests.kit.cli.stand import run, said

KEY = bytes(range(64))
KEY_ID = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
UNTIL = "2026-11-24T16:00:00.000Z"
ENDINGS = {
    "not-granted": 1, "suspended": 4, "compromised": 5, "destroyed": 6, "unknown-client": 7,
    "stale-request": 2, "malformed": 2, "reused-id": 2, "try-later": 3,
}  # fmt: skip


class FakeKeys:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.answer: DeliveredKey | Exception = DeliveredKey(
            KeyBuffer(KEY), KEY_ID, Encryption("aes-xts-plain64", 512), KeyState.ACTIVE, UNTIL, 60.0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        """Leave."""

    def get(self, _item: object, *, purpose: str | None) -> DeliveredKey:
        assert purpose is None
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> FakeKeys:
    fake = FakeKeys()
    monkeypatch.setattr("kmworker.cli.client.getting.open_keys", lambda _settings: fake)
    return fake


def got(*more: str, output: str = "key.bin") -> Any:
    words = ("client", "get", "volume:v1", "--project", "p1", "--output", output)
    return run(*words, *more, broker__url="amqp://blk01@rabbit")


def test_a_key_goes_into_a_new_file_for_its_owner_alone(keys: FakeKeys) -> None:
    code, out, err = said(got())
    assert (code, out, err) == (0, "", f"kmworker: key-id {KEY_ID}: aes-xts-plain64, 512 bits\n")
    assert Path("key.bin").read_bytes() == KEY
    assert Path("key.bin").stat().st_mode & 0o777 == 0o600
    assert isinstance(keys.answer, DeliveredKey)
    with pytest.raises(ValueError, match="wiped"):
        assert keys.answer.key.view


@pytest.mark.usefixtures("keys")
def test_a_program_is_told_what_it_got_and_not_the_key() -> None:
    done = got("--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "project_id": "p1", "item": "volume:v1", "key_id": KEY_ID, "cipher": "aes-xts-plain64",
        "key_bits": 512, "state": "active", "not_after": UNTIL,
    }  # fmt: skip
    assert done.stderr == ""
    code, out, err = said(got("--json", output="-"))
    assert (code, out) == (2, "")
    assert "the key is there already" in err


@pytest.mark.parametrize("reason", Refusal)
def test_each_kind_of_refusal_has_an_end_of_its_kind(keys: FakeKeys, reason: Refusal) -> None:
    keys.answer = KeyRefused(RefusedKey(reason, ""))
    code, out, err = said(got())
    assert (code, out) == (ENDINGS[reason.value], "")
    first, hint = err.splitlines()
    assert first == f"kmworker: volume:v1 of project p1: {reason.value}"
    assert hint.startswith("hint: ")
    done = got("--json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["refused"] == reason.value
    assert not Path("key.bin").exists()


def test_nobody_in_time_is_worth_another_try(keys: FakeKeys) -> None:
    keys.answer = NoAnswer("no key in time: no route to host")
    code, out, err = said(got())
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "kmworker: no key in time: no route to host",
        "hint: ask again; does a key server run, and is the broker there?",
    ]
    assert json.loads(got("--json").stdout)["refused"] is None


def opened() -> int:
    """How many descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.usefixtures("keys")
def test_of_a_key_that_cannot_be_written_whole_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = opened()
    monkeypatch.setattr("kmworker.cli.client.getting.os.fsync", full)
    code, _out, err = said(got())
    assert code == 1
    assert "No space left on device" in err
    assert not Path("key.bin").exists()
    assert opened() == before


@pytest.mark.usefixtures("keys")
def test_a_file_that_is_there_is_left_as_it_is() -> None:
    Path("key.bin").write_text("mine")
    assert got().exit_code == 2
    assert Path("key.bin").read_text() == "mine"
