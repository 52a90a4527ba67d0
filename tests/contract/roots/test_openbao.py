"""OpenBao: what the real server answers, and what is made of it."""

import os
import signal
import time
from pathlib import Path

import pytest

from kmworker.crypto.roots import context_of
from kmworker.errors import KMWorkerError, RootAway, SetupError
from tests.contract.roots.conftest import KEK, root_at
from tests.kit.secrecy import assert_shows_no_secret, shown_by
from tests.kit.servers.certificates import Authority
from tests.kit.servers.openbao import OpenBao
from tests.kit.servers.ports import free_port

CONTEXT = context_of(KEK.kek_id)
SECRET_ID = "0d6a1bd8-5a2d-4b62-9e0f-no-such-secret"


def assert_silent(error: KMWorkerError, openbao: OpenBao) -> None:
    for text in shown_by(error):
        assert_shows_no_secret(text, {"KEK": KEK.export()})
        assert openbao.secret_id_path.read_text() not in text


def test_while_it_is_sealed_it_is_away(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of())
    blob = root.wrap(KEK, CONTEXT)
    openbao.seal()
    for it in (root, root_at(openbao.url_of())):
        with pytest.raises(RootAway, match="it is sealed") as caught:
            it.wrap(KEK, CONTEXT)
        assert_silent(caught.value, openbao)
    openbao.unseal()
    assert root.unwrap(blob, CONTEXT) == KEK.export()


def test_a_token_that_was_revoked_is_replaced(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of())
    blob = root.wrap(KEK, CONTEXT)
    openbao.revoke_tokens()
    assert root.unwrap(blob, CONTEXT) == KEK.export()


def test_after_a_restart_it_opens_what_it_wrapped(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of())
    blob = root.wrap(KEK, CONTEXT)
    openbao.kill()
    with pytest.raises(RootAway, match="cannot be reached: Connection refused") as caught:
        root.unwrap(blob, CONTEXT)
    assert_silent(caught.value, openbao)
    openbao.start()
    assert root.unwrap(blob, CONTEXT) == KEK.export()


def test_what_an_older_version_of_the_key_wrapped_opens(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of())
    before = root.wrap(KEK, CONTEXT)
    openbao.ask("POST", "transit/keys/kek/rotate")
    after = root.wrap(KEK, CONTEXT)
    assert before.split(b":")[1] != after.split(b":")[1]
    assert [root.unwrap(it, CONTEXT) for it in (before, after)] == [KEK.export()] * 2


def test_a_version_that_is_not_allowed_any_more_is_told(openbao: OpenBao) -> None:
    openbao.ask("POST", "transit/keys/kek/rotate")
    blob = root_at(openbao.url_of()).wrap(KEK, CONTEXT)
    latest = openbao.ask("POST", "transit/keys/kek/rotate")["data"]["latest_version"]
    openbao.ask("POST", "transit/keys/kek/config", {"min_decryption_version": latest})
    try:
        with pytest.raises(SetupError, match="version that wrapped a KEK is not allowed any more"):
            root_at(openbao.url_of()).unwrap(blob, CONTEXT)
    finally:
        openbao.ask("POST", "transit/keys/kek/config", {"min_decryption_version": 1})


def test_a_wrong_secret_id_is_a_matter_for_a_person(openbao: OpenBao) -> None:
    openbao.write_secret_id(SECRET_ID)
    with pytest.raises(SetupError, match="the AppRole login is refused") as caught:
        root_at(openbao.url_of()).wrap(KEK, CONTEXT)
    assert_silent(caught.value, openbao)


def test_a_secret_id_that_others_can_read_is_not_used(openbao: OpenBao) -> None:
    openbao.secret_id_path.chmod(0o644)
    try:
        with pytest.raises(SetupError, match=r"secret-id .*: open to group or others"):
            root_at(openbao.url_of()).wrap(KEK, CONTEXT)
    finally:
        openbao.secret_id_path.chmod(0o600)


def test_a_key_that_the_role_may_not_use_is_refused(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of("not-allowed"))
    for _ in range(2):
        with pytest.raises(SetupError, match="permission denied") as caught:
            root.wrap(KEK, CONTEXT)
        assert_silent(caught.value, openbao)


def test_a_key_that_is_not_there_is_not_made(openbao: OpenBao) -> None:
    role = "auth/approle/role/kmworker"
    openbao.ask("PUT", "sys/policies/acl/any", {"policy": ANY_KEY})
    openbao.ask("POST", role, {"token_policies": "any", "token_ttl": "10m"})
    try:
        with pytest.raises(SetupError, match="permission denied"):
            root_at(openbao.url_of("misspelt")).wrap(KEK, CONTEXT)
        assert "misspelt" not in openbao.ask("LIST", "transit/keys")["data"]["keys"]
    finally:
        openbao.ask("POST", role, {"token_policies": "kmworker", "token_ttl": "10m"})


ANY_KEY = 'path "transit/*" { capabilities = ["update"] }'


def test_a_mount_that_is_not_there_is_told(openbao: OpenBao) -> None:
    url = openbao.url_of().replace("/transit/", "/elsewhere/")
    with pytest.raises(SetupError, match="permission denied"):
        root_at(url).wrap(KEK, CONTEXT)


def test_a_certificate_of_another_authority_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    url = openbao.url_of().replace(str(openbao.ca), str(other.path))
    with pytest.raises(SetupError, match="its certificate is refused") as caught:
        root_at(url).wrap(KEK, CONTEXT)
    assert_silent(caught.value, openbao)


def test_the_name_in_its_certificate_must_be_the_one_that_was_asked(openbao: OpenBao) -> None:
    url = openbao.url_of().replace("127.0.0.1", "localhost")
    with pytest.raises(SetupError, match="its certificate is refused"):
        root_at(url).wrap(KEK, CONTEXT)


def test_where_nobody_listens_it_is_away(openbao: OpenBao) -> None:
    with pytest.raises(RootAway, match="cannot be reached"):
        root_at(openbao.url_of(port=free_port())).wrap(KEK, CONTEXT)


def test_without_tls_nothing_is_said_to_it(openbao: OpenBao) -> None:
    url = openbao.url_of().replace("openbao:", "openbao+http:").replace(f"ca={openbao.ca}&", "")
    with pytest.raises(KMWorkerError) as caught:
        root_at(url).wrap(KEK, CONTEXT)
    assert_silent(caught.value, openbao)


def test_one_that_hangs_is_away_within_ten_seconds(openbao: OpenBao) -> None:
    root = root_at(openbao.url_of())
    root.wrap(KEK, CONTEXT)
    os.kill(openbao.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(RootAway, match="no answer within 5 s") as caught:
            root.wrap(KEK, CONTEXT)
        took_s = time.monotonic() - began
    finally:
        os.kill(openbao.pid, signal.SIGCONT)
    assert took_s < 10
    assert_silent(caught.value, openbao)
    assert root.wrap(KEK, CONTEXT)
