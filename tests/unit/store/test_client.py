"""A client is made of a URL that means something, before anything is sent."""

import ssl

import pytest

from kmworker.errors import SetupError
from kmworker.store.client import connect_to


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://u:hunter2@h?ssl_ca_cert=/ca.pem", "ssl_ca_cert"),
        ("redis://u:hunter2@h?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
        ("redis://u:hunter2@h?db=first", "db"),
        ("redis://u:hunter2@h?decode_responses=1", "decode_responses"),
        ("redis://u:hunter2@h?protocol=3", "protocol"),
        ("http://u:hunter2@h", "redis://"),
        ("rediss://u:hunter2@h?ssl_cert_reqs=none", "ssl_cert_reqs can only be required"),
        ("rediss://u:hunter2@h?ssl_check_hostname=false", "ssl_check_hostname can only be true"),
        ("rediss://u:hunter2@h?ssl_ciphers=aNULL", "ssl_ciphers is not an option"),
        ("rediss://u:hunter2@h?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs=/no/ca.pem: No such file"),
        ("redis://u:hunter2@h?ssl_cert_reqs=required", "ssl_cert_reqs is for TLS"),
        ("redis://u:hunter2@h?socket_timeout=9", "socket_timeout is not an option"),
        ("redis://u:hunter2@h/foo", "a database is a number"),
        ("redis://u:hunter2@h/0/1", "a database is a number"),
        ("redis://u:hunter2@h/0?db=1", "a database twice"),
        ("redis://u:hunter2@h?db=1&db=2", "an option is there twice"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, words: str) -> None:
    with pytest.raises(SetupError) as refusal:
        connect_to(url, 1.0)
    assert words in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://u:p@h/1?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=True",
        "unix:///s?db=1",
        "redis://h?health_check_interval=5",
    ],
)
def test_a_url_that_the_library_takes_is_taken(url: str) -> None:
    connect_to(url, 1.0).close()


@pytest.mark.parametrize(
    "options",
    ["", "?ssl_cert_reqs=CERT_REQUIRED", "?ssl_check_hostname=true&ssl_cert_reqs=required"],
)
def test_whatever_a_url_says_chain_and_host_name_are_checked(options: str) -> None:
    with connect_to(f"rediss://h{options}", 1.0) as client:
        connection = client.connection_pool.make_connection()
    assert connection.cert_reqs is ssl.CERT_REQUIRED
    assert connection.check_hostname
    assert connection.ssl_min_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0, "username": None, "password": None}),
        ("redis://:p;q%40%25@h:1/3", {"host": "h", "port": 1, "db": 3, "password": "p;q@%"}),
        ("redis://u:p@[fe80::1%25eth0]", {"host": "fe80::1%eth0", "username": "u"}),
        ("redis://u:@h", {"username": "u", "password": ""}),
        ("unix:///a%20b/%23%3F%2541?db=2", {"path": "/a b/#?%41", "db": 2}),
        ("unix://u:p@/s", {"path": "/s", "username": "u", "password": "p"}),
    ],
)
def test_a_url_is_read_by_its_parts(url: str, parts: dict[str, object]) -> None:
    with connect_to(url, 1.0) as client:
        connection = client.connection_pool.make_connection()
    assert {name: getattr(connection, name) for name in parts} == parts
