"""What a broker's URL says of TLS: nothing in it makes a connection check less."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from kombu.connection import Connection

from kmworker.bus.amqp.link import Link
from kmworker.bus.amqp.tls import known_as, kombu_options, why_untrusted
from kmworker.errors import SetupError
from kmworker.settings import BrokerSettings
from tests.kit.servers.certificates import Authority, Certificate

PASSWORD = "hunter2"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.issue("worker")


def by(certificate: Certificate) -> str:
    return f"ssl_certfile={certificate.path}&ssl_keyfile={certificate.key_path}"


def refused(url: str) -> SetupError:
    """Make a link and return the refusal, which never shows a password."""
    with pytest.raises(SetupError) as caught:
        Link(BrokerSettings(url=url), "tls")
    assert PASSWORD not in str(caught.value) + caught.value.hint
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("amqps://rabbit.example", "rabbit.example"),
        ("amqps://u:p@localhost:5671/%2Fv", "localhost"),
        ("amqps://10.0.0.1/", "10.0.0.1"),
        ("amqps://u@[::1]:5671//", "::1"),
        ("amqps://h?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=true", "h"),
    ],
)
def test_chain_and_host_name_are_checked_for_every_url(url: str, host: str) -> None:
    found = kombu_options(url)
    context = found["ssl"]["context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert found["ssl"] == {"context": context, "server_hostname": host}


@pytest.mark.parametrize(
    ("allowed", "spoken"), [("MINIMUM_SUPPORTED", "TLSv1_2"), ("TLSv1_3", "TLSv1_3")]
)
def test_no_older_tls_is_spoken_whatever_the_system_allows(
    allowed: str, spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = ssl.create_default_context()
    system.minimum_version = ssl.TLSVersion[allowed]
    monkeypatch.setattr("kmworker.settings.tls.create_default_context", lambda **_: system)
    context = kombu_options("amqps://h")["ssl"]["context"]
    assert context.minimum_version is ssl.TLSVersion[spoken]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("amqp://h", ("h", None, None, None, "/")),
        ("amqp://h/", ("h", None, None, None, "/")),
        ("amqp://h//", ("h", None, None, None, "/")),
        ("amqp://h/v", ("h", None, None, None, "v")),
        ("amqp://h//v", ("h", None, None, None, "/v")),
        ("amqp://h/%2Fv/w", ("h", None, None, None, "/v/w")),
        ("amqp://u:a:b;c@[::1]:5672/", ("::1", 5672, "u", "a:b;c", "/")),
        ("amqp://u:p@[fe80::1%25eth0]/", ("fe80::1%eth0", None, "u", "p", "/")),
        ("amqp://u%40d:p%2F%3F%23%3B%25@h/", ("h", None, "u@d", "p/?#;%", "/")),
        ("amqp://u:amqp:;@h", ("h", None, "u", "amqp:;", "/")),
    ],
)
def test_kombu_is_given_the_parts_of_a_url_and_splits_none(
    url: str, parts: tuple[object, ...]
) -> None:
    found = kombu_options(url)
    connection = Connection(**found)
    assert connection.alt == []
    assert parts == (
        connection.hostname,
        found["port"],
        connection.userid,
        connection.password,
        connection.virtual_host,
    )


def test_a_named_authority_is_the_only_one_believed(authority: Authority) -> None:
    found = kombu_options(f"amqps://h//?ssl_ca_certs={quote(str(authority.path), '')}")
    (trusted,) = found["ssl"]["context"].get_ca_certs()
    assert trusted["subject"] == ((("commonName", "an authority of tests"),),)


@pytest.mark.parametrize(("user", "method"), [("", "EXTERNAL"), ("u:p@", None)])
def test_a_certificate_is_who_we_are_where_no_user_is_named(
    certificate: Certificate, user: str, method: str | None
) -> None:
    found = kombu_options(f"amqps://{user}h/?{by(certificate)}")
    assert found.get("login_method") == method


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("amqp://cinder:p@h", "cinder"),
        ("amqp://h/v", "guest"),
        ("amqp://a%40b:p@h", "a@b"),
        ("amqps://cinder:p@h/?{}", "cinder"),
        ("amqps://h/?{}", None),
    ],
)
def test_as_whom_the_broker_knows_us_is_the_urls_user_or_not_known(
    certificate: Certificate, address: str, user: str | None
) -> None:
    assert known_as(kombu_options(address.format(by(certificate)))) == user


def test_a_certificate_and_its_key_may_be_in_one_file(certificate: Certificate) -> None:
    both = certificate.path.with_name("both.pem")
    both.write_bytes(certificate.key_path.read_bytes() + certificate.path.read_bytes())
    assert kombu_options(f"amqps://h/?ssl_certfile={both}")["ssl"]["context"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqps://u:hunter2@h/?ssl_cert_reqs=none", "ssl_cert_reqs can only be required"),
        ("amqps://u:hunter2@h/?ssl_check_hostname=false", "ssl_check_hostname can only be true"),
        ("amqps://u:hunter2@h/?ssl=false", "ssl is not an option"),
        ("amqps://u:hunter2@h/?ssl_ca_cert=/ca.pem", "ssl_ca_cert is not an option"),
        ("amqp://u:hunter2@h/?connection_timeout=5", "connection_timeout is not an option"),
        ("amqp://u:hunter2@h/?heartbeat=0", "heartbeat is not an option"),
        ("amqps://u:hunter2@h/?ssl_ca_certs=", "ssl_ca_certs is empty"),
        ("amqps://u:hunter2@h/?ssl_keyfile=/k.pem", "ssl_keyfile without ssl_certfile"),
        ("amqp://u:hunter2@h/?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for TLS"),
        ("amqps://u:hunter2@h/?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs=/no/ca.pem: No such file"),
        ("amqps://u:hunter2@h/?ssl_ca_certs=/", "ssl_ca_certs=/: "),
        ("amqps://u:hunter2@h/?ssl_certfile=/no/c.pem", "ssl_keyfile=/no/c.pem: No such file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(url: str, words: str) -> None:
    assert words in str(refused(url))


def locked(certificate: Certificate) -> Certificate:
    key = load_pem_private_key(certificate.key_path.read_bytes(), None)
    locks = BestAvailableEncryption(PASSWORD.encode())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locks)
    certificate.key_path.write_bytes(text)
    return certificate


def anothers(certificate: Certificate) -> Certificate:
    other = Authority(certificate.path.parent / "other").issue("worker")
    return Certificate(certificate.path, other.key_path)


def swapped(certificate: Certificate) -> Certificate:
    return Certificate(certificate.key_path, certificate.path)


@pytest.mark.parametrize("spoil", [locked, anothers, swapped])
def test_a_key_that_does_not_fit_or_is_locked_is_refused(
    certificate: Certificate, spoil: Callable[[Certificate], Certificate]
) -> None:
    error = refused(f"amqps://h/?{by(spoil(certificate))}")
    assert str(error).startswith("ssl_certfile=")
    assert "not what it should be" in str(error)


def test_a_file_without_a_certificate_is_no_authority(certificate: Certificate) -> None:
    error = refused(f"amqps://h/?ssl_ca_certs={certificate.key_path}")
    assert "ssl_ca_certs=" in str(error)
    assert "not what it should be" in str(error)


@pytest.mark.parametrize("error", [OSError("x"), ssl.SSLError(1, "wrong version"), TypeError()])
def test_other_errors_say_nothing_of_trust(error: Any) -> None:
    assert why_untrusted(error) is None
