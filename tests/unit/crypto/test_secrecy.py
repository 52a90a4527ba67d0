"""No way of showing, copying or failing gives key material away."""

import base64
import copy
import dataclasses
import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kmworker.crypto import FormerCustody, Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.crypto.record_mac import LABEL as SEAL_LABEL
from kmworker.crypto.record_mac import Sealer
from kmworker.crypto.wrapping import LABEL as WRAP_LABEL
from kmworker.crypto.wrapping import Wrapper
from kmworker.domain.model import Place
from kmworker.errors import KMWorkerError
from tests.kit import secrecy
from tests.kit.secrecy import shown_by
from tests.unit.crypto.samples import CREATED_AT, FIRST_KEY, INSTALLATION, SCOPE, SECOND, keyring_of

KEK = Kek(FIRST_KEY, CREATED_AT)
KEYRING = keyring_of(FIRST_KEY)
VAULT = KeyringCustody(KEYRING, INSTALLATION)
PLACE = Place("p1", "keys", "key-1")
BLOB = VAULT.mint("p1", SCOPE)
RECORD = VAULT.seal(PLACE, b'{"state":"active"')
SECRETS = {
    "KEK": FIRST_KEY,
    "wrapping key": KEK.derive(WRAP_LABEL, INSTALLATION, "p1"),
    "sealing key": KEK.derive(SEAL_LABEL, INSTALLATION, "p1"),
    "DEK": VAULT.unwrap("p1", SCOPE, BLOB),
}
HOLDERS = [
    pytest.param(holder, id=type(holder).__name__)
    for holder in (
        KEK,
        KEYRING,
        VAULT,
        Wrapper(KEYRING.keks, INSTALLATION),
        Sealer(KEYRING.keks, KEK.kek_id, INSTALLATION),
        FormerCustody(KEYRING, INSTALLATION),
    )
]


def assert_shows_no_secret(text: str) -> None:
    secrecy.assert_shows_no_secret(text, SECRETS)


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_secret_does_not_show_it(holder: object) -> None:
    assert_shows_no_secret(f"{holder!r} {holder!s} {getattr(holder, '__dict__', '')!r}")


def test_what_a_custody_prints_is_its_kek_id() -> None:
    assert repr(VAULT) == f"KeyringCustody(kek_id='{KEK.kek_id}')"
    assert repr(KEYRING) == f"Keyring(newest='{KEK.kek_id}')"
    assert repr(KEK) == f"Kek(kek_id='{KEK.kek_id}')"


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_holds_a_secret_cannot_be_pickled(holder: object, protocol: int) -> None:
    with pytest.raises(TypeError, match="holds key material"):
        pickle.dumps(holder, protocol)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_what_holds_a_secret_cannot_be_copied(
    holder: object, duplicate: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="holds key material"):
        duplicate(holder)


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_secret_cannot_be_turned_into_json(holder: object) -> None:
    with pytest.raises(TypeError):
        json.dumps(holder)


def test_a_keyring_cannot_be_taken_apart_into_a_dict() -> None:
    with pytest.raises(TypeError):
        dataclasses.asdict(KEYRING)


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda: VAULT.unwrap("p1", SCOPE, BLOB[:-1]), id="truncated-blob"),
        pytest.param(lambda: VAULT.unwrap("p2", SCOPE, BLOB), id="moved-blob"),
        pytest.param(lambda: SECOND.unwrap("p1", SCOPE, BLOB), id="blob-of-another-kek"),
        pytest.param(lambda: VAULT.check_seal(PLACE, RECORD[:-1]), id="truncated-record"),
        pytest.param(lambda: VAULT.check_seal(PLACE._replace(field="k"), RECORD), id="moved"),
        pytest.param(lambda: SECOND.check_seal(PLACE, RECORD), id="record-of-another-kek"),
        pytest.param(lambda: VAULT.mint("p1", replace(SCOPE, kek_id="x")), id="mint"),
        pytest.param(lambda: Keyring("x", KEYRING.keks), id="no-active-kek"),
        pytest.param(lambda: pickle.dumps(VAULT), id="pickle"),
    ],
)
def test_no_failure_shows_a_secret(attempt: Callable[[], object]) -> None:
    with pytest.raises((KMWorkerError, ValueError, TypeError)) as caught:
        attempt()
    for text in shown_by(caught.value):
        assert_shows_no_secret(text)


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
def test_no_frame_holds_a_secret_when_the_cipher_itself_fails(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    class FailingCipher:
        def fail(self, *_: bytes) -> bytes:
            message = "out of memory"
            raise RuntimeError(message)

        encrypt = decrypt = fail

    monkeypatch.setattr("kmworker.crypto.wrapping.AESGCM", lambda _: FailingCipher())
    monkeypatch.setattr(
        os, "urandom", lambda size_bytes: bytes(12) if size_bytes == 12 else SECRETS["DEK"]
    )
    custody = KeyringCustody(KEYRING, INSTALLATION)
    with pytest.raises(RuntimeError) as caught:
        custody.mint("p1", SCOPE) if operation == "encrypt" else custody.unwrap("p1", SCOPE, BLOB)
    for text in shown_by(caught.value):
        assert_shows_no_secret(text)


GOOD_ENTRY = {"key": base64.b64encode(FIRST_KEY).decode(), "created_at": CREATED_AT}
GOOD_FILE = json.dumps({"version": 1, "active": KEK.kek_id, "keks": {KEK.kek_id: GOOD_ENTRY}})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD_FILE[:-1], id="not-json"),
        pytest.param(GOOD_FILE.replace('"version": 1', '"version": 9'), id="version"),
        pytest.param(GOOD_FILE.replace(KEK.kek_id, "0" * 16), id="fingerprint"),
        pytest.param(GOOD_FILE.replace(KEK.kek_id, "0" * 16, 1), id="active"),
        pytest.param(GOOD_FILE.replace('="', '=!"'), id="base64"),
        pytest.param(GOOD_FILE.replace("Z", "?"), id="timestamp"),
        pytest.param(GOOD_FILE.replace('"key"', '"Key"'), id="fields"),
        pytest.param(re.sub(r'"created_at": ".*?"', '"key": ""', GOOD_FILE), id="twice"),
    ],
)
def test_refusing_a_keyring_shows_none_of_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keyring.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KMWorkerError) as caught:
        Keyring.load(path)
    for text in shown_by(caught.value):
        assert_shows_no_secret(text)


def test_failing_to_write_a_keyring_shows_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "urandom", lambda _: FIRST_KEY)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KMWorkerError, match="Input/output error") as caught:
        Keyring.generate(tmp_path / "keyring.json")
    for text in shown_by(caught.value):
        assert_shows_no_secret(text)


def test_this_way_of_looking_would_find_a_secret() -> None:
    with pytest.raises(AssertionError, match="shows the KEK"):
        assert_shows_no_secret(repr({"key": FIRST_KEY}))
    with pytest.raises(AssertionError, match="shows the DEK"):
        assert_shows_no_secret(f"dek={SECRETS['DEK'].hex()}")
