"""A client is made of a URL that means something, before anything is sent."""

import pytest

from kmworker.errors import SetupError
from kmworker.redis_client import connect_to


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://u:hunter2@h?ssl_ca_cert=/ca.pem", "ssl_ca_cert"),
        ("redis://u:hunter2@h?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
        ("redis://u:hunter2@h?tls=yes", "tls"),
        ("redis://u:hunter2@h?db=first", "db"),
        ("redis://u:hunter2@h?decode_responses=1", "decode_responses"),
        ("redis://u:hunter2@h?protocol=3", "protocol"),
        ("http://u:hunter2@h", "redis://"),
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
        "rediss://u:p@h/1?ssl_ca_certs=/ca.pem",
        "unix:///s?db=1",
        "redis://h?health_check_interval=5",
    ],
)
def test_a_url_that_the_library_takes_is_taken(url: str) -> None:
    connect_to(url, 1.0).close()
