"""Tokens: keys that stay in them, PINs that are tried once, and tokens that come and go."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pkcs11 import Attribute, TokenFlag
from pkcs11.exceptions import GeneralError

from kmworker.crypto.roots import context_of, pkcs11
from kmworker.crypto.roots.pkcs11_blobs import SUITES
from kmworker.crypto.roots.root import read_secret
from kmworker.errors import RootAway, SetupError
from tests.contract.roots.conftest import KEK, root_at
from tests.kit.secrecy import assert_shows_no_secret, shown_by
from tests.kit.servers.softhsm import SoftToken, SoftTokens

CONTEXT = context_of(KEK.kek_id)
WRONG_PIN = "0000"


@pytest.mark.parametrize(
    "template",
    [
        pytest.param({Attribute.EXTRACTABLE: True}, id="extractable"),
        pytest.param({Attribute.SENSITIVE: False}, id="not-sensitive"),
    ],
)
def test_a_key_that_can_be_taken_out_is_refused(
    token: SoftToken, template: dict[Attribute, Any]
) -> None:
    token.make_key("loose", template)
    with pytest.raises(SetupError, match="the key can be taken out of the token"):
        root_at(token.url("loose")).wrap(KEK, CONTEXT)


def test_a_key_that_became_extractable_unwraps_nothing(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = root_at(token.url()).wrap(KEK, CONTEXT)
    token.make_key("loose", {Attribute.EXTRACTABLE: True})
    with pytest.raises(SetupError, match="the key can be taken out of the token"):
        root_at(token.url("loose")).unwrap(blob, CONTEXT)


def test_a_key_of_128_bits_is_refused(token: SoftToken) -> None:
    token.make_key("short", bits=128)
    with pytest.raises(SetupError, match="not AES with 256 bits"):
        root_at(token.url("short")).wrap(KEK, CONTEXT)


def test_a_key_that_may_not_encrypt_is_refused(token: SoftToken) -> None:
    token.make_key("idle", {Attribute.ENCRYPT: False})
    with pytest.raises(SetupError, match="the key may not encrypt and decrypt"):
        root_at(token.url("idle")).wrap(KEK, CONTEXT)


def test_two_keys_of_one_name_are_refused(token: SoftToken) -> None:
    token.make_key("kek")
    with pytest.raises(SetupError, match="several such keys"):
        root_at(token.url()).wrap(KEK, CONTEXT)


def test_a_key_that_is_not_there_is_named(token: SoftToken) -> None:
    with pytest.raises(SetupError, match=rf"root pkcs11:token={token.label};object=other: .* no"):
        root_at(token.url("other")).wrap(KEK, CONTEXT)


def test_a_wrong_pin_is_tried_once(token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> None:
    root = root_at(token.url())
    right = token.pin_path.read_text()
    tried = []

    def counted(path: Path, *words: str) -> bytes:
        tried.append(path)
        return read_secret(path, *words)

    monkeypatch.setattr(pkcs11, "read_secret", counted)
    token.pin_path.write_text(WRONG_PIN)
    with pytest.raises(SetupError, match="the PIN is wrong; it was tried once"):
        root.wrap(KEK, CONTEXT)
    assert token.is_wrong_pin_counted
    for _ in range(5):
        with pytest.raises(SetupError, match="was refused and is not tried again"):
            root.wrap(KEK, CONTEXT)
    assert len(tried) == 1
    token.pin_path.write_text(right)
    root.wrap(KEK, CONTEXT)
    assert not token.is_wrong_pin_counted


def test_no_refusal_shows_the_pin(token: SoftToken) -> None:
    token.pin_path.write_text("73219845")
    with pytest.raises(SetupError) as caught:
        root_at(token.url()).wrap(KEK, CONTEXT)
    for text in shown_by(caught.value):
        assert "73219845" not in text
        assert_shows_no_secret(text, {"KEK": KEK.export()})


def test_a_pin_that_others_can_read_is_not_used(token: SoftToken) -> None:
    token.pin_path.chmod(0o604)
    with pytest.raises(SetupError, match=r"PIN .*: open to group or others"):
        root_at(token.url()).wrap(KEK, CONTEXT)


def test_a_token_that_is_taken_out_is_away_until_it_is_back(token: SoftToken) -> None:
    root = root_at(token.url())
    blob = root.wrap(KEK, CONTEXT)
    token.take_out()
    for _ in range(2):
        with pytest.raises(RootAway) as caught:
            root.unwrap(blob, CONTEXT)
        for text in shown_by(caught.value):
            assert_shows_no_secret(text, {"KEK": KEK.export()})
    token.put_back()
    assert root.unwrap(blob, CONTEXT) == KEK.export()


def test_a_token_that_is_away_while_one_wraps_shows_nothing(token: SoftToken) -> None:
    root = root_at(token.url())
    root.wrap(KEK, CONTEXT)
    token.take_out()
    with pytest.raises(RootAway) as caught:
        root.wrap(KEK, CONTEXT)
    for text in shown_by(caught.value):
        assert_shows_no_secret(text, {"KEK": KEK.export()})


def test_a_token_that_breaks_while_it_unwraps_has_not_found_a_damaged_blob(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise GeneralError

    root = root_at(token.url())
    blob = root.wrap(KEK, CONTEXT)
    suite = SUITES[0]._replace(open=broken, seal=broken)
    monkeypatch.setattr(pkcs11, "suite_of", lambda _: suite)
    with pytest.raises(RootAway, match="the token does not work"):
        root.unwrap(blob, CONTEXT)


@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_FINAL_TRY, TokenFlag.USER_PIN_LOCKED])
def test_no_pin_is_tried_that_could_be_the_last(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch, flag: TokenFlag
) -> None:
    root = root_at(token.url())
    assert isinstance(root, pkcs11.Pkcs11Root)
    # SoftHSM2 never locks a token.
    tried: list[str] = []

    def refused(user_pin: str) -> None:
        tried.append(user_pin)

    stand_in = SimpleNamespace(flags=flag, open=refused)
    monkeypatch.setattr(root, "_token", lambda: stand_in)
    with pytest.raises(SetupError, match="PIN"):
        root.wrap(KEK, CONTEXT)
    assert not tried


def test_a_token_that_was_never_there_is_away(token: SoftToken) -> None:
    url = token.url().replace(token.label, "nobody")
    with pytest.raises(RootAway, match="there is no such token now"):
        root_at(url).wrap(KEK, CONTEXT)


def test_a_token_that_came_later_is_found(tokens: SoftTokens) -> None:
    root_at(tokens.token().url()).wrap(KEK, CONTEXT)
    later = tokens.empty_token()
    with pytest.raises(SetupError, match="the token has no such key"):
        root_at(later.url()).wrap(KEK, CONTEXT)


def test_a_module_that_is_none_is_a_matter_for_a_person(token: SoftToken, tmp_path: Path) -> None:
    url = token.url().replace(str(token.module), str(tmp_path / "none.so"))
    with pytest.raises(SetupError, match="the PKCS#11 module cannot be loaded"):
        root_at(url).wrap(KEK, CONTEXT)
