"""URLs as people write them: each is what was meant, or is refused in words without a secret."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.settings.urls import is_plain_elsewhere, normalised, parse

SECRET = "hunter2"
NO_PASSWORD = "it has a user without a password; a password alone is written redis://:password@host"
NO_NUMBER = "a database is a number, as in redis://host:6379/0: Redis has no names for them"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("u:hunter2@h", "it has no scheme"),
        ("amqp://", "it names no host"),
        ("amqp://:5672/", "it names no host"),
        ("amqp://u:hunter2@", "it names no host"),
        ("redis:///0", "it names no host"),
        ("amqp://u:hunter2 @h", "a space or control character in it must be %-encoded"),
        ("amqp://u:hunter2@h/\x1b", "a space or control character in it must be %-encoded"),
        ("amqp://u:hunter2#@h", "a # in it must be written %23"),
        ("amqp://u:hunter2@x@h", "an @ in user or password must be written %40"),
        ("amqp://u:hunter2/x@h", "a / or ? in user or password must be %-encoded"),
        ("amqp://u:hunter2?x@h", "a / or ? in user or password must be %-encoded"),
        ("amqp://u:hunter2%@h", "a % in it must be written %25"),
        ("amqp://u:hunter2%zz@h", "a % in it must be written %25"),
        ("amqp://u:hunter2%FF@h", "it is not UTF-8, as written or when decoded"),
        ("amqp://u:hunter2\udcff@h", "it is not UTF-8, as written or when decoded"),
        ("amqp://u:hunter2%00@h", "%00 cannot be part of it"),
        ("amqp://u:hunter2@a,b", "it names more than one host"),
        ("amqp://u:hunter2@a;amqp://b", "it names more than one host"),
        ("amqp://u:hunter2@a..b", "between the dots of a host's name are 1 to 63 characters"),
        ("amqp://u:hunter2@.b", "between the dots of a host's name are 1 to 63 characters"),
        ("amqp://u:hunter2@.", "between the dots of a host's name are 1 to 63 characters"),
        (f"amqp://{'a' * 64}.b", "between the dots of a host's name are 1 to 63 characters"),
        (f"amqp://{'a.' * 127}", "between the dots of a host's name are 1 to 63 characters"),
        ("amqp://ü.example", "a host's name must be in ASCII (xn--…)"),
        ("amqp://h:port", "its port is no number, or an IPv6 address lacks brackets"),
        ("amqp://::1", "its port is no number, or an IPv6 address lacks brackets"),
        ("amqp://h:0", "a port is from 1 to 65535"),
        ("amqp://h:65536", "a port is from 1 to 65535"),
        (f"amqp://h:{'9' * 5000}", "a port is from 1 to 65535"),
        ("amqp://[1:2]", "what is in brackets is no IPv6 address"),
        ("amqp://[fe80::1%eth0]", "the zone of an IPv6 address is written %25eth0, in brackets"),
        ("unix://run/s", "a socket's path begins with a third slash"),
        ("unix://", "it names no socket"),
        ("unix:///", "it names no socket"),
        ("redis://hunter2@h", NO_PASSWORD),
        ("redis://h/foo", NO_NUMBER),
        ("redis://h/-1", NO_NUMBER),
        ("redis://h?x", "options are written name=value, with & between them"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse(url)
    assert str(refusal.value) == words


@given(
    st.sampled_from(["amqp://u:{}@h/v", "redis://:{}@h/0", "redis://h?password={}", "{}"]),
    st.text(),
    st.text(),
)
def test_no_text_is_more_than_refused_and_no_refusal_repeats_it(
    template: str, before: str, after: str
) -> None:
    url = normalised(template.format(before + SECRET + after))
    try:
        told = repr(parse(url))
    except ValueError as refusal:
        told = str(refusal)
    assert SECRET not in told


@pytest.mark.parametrize(
    "url",
    ["amqp://localhost", "amqp://127.0.0.1", "redis://127.9.9.9:1/0", "redis://[::1]",
     "amqp://LOCALHOST./", "amqp://broker.localhost", f"redis://{socket.gethostname()}",
     "amqps://rabbit", "rediss://redis", "unix:///s", "nothing"],
)  # fmt: skip
def test_what_stays_on_this_machine_or_is_encrypted_is_not_in_plain_text(url: str) -> None:
    assert not is_plain_elsewhere(url)


@pytest.mark.parametrize(
    "url",
    ["amqp://rabbit", "redis://10.0.0.1", "redis://[fe80::1%25eth0]", "amqp://u:p@h.example/v"],
)
def test_what_crosses_a_network_unencrypted_is_in_plain_text(url: str) -> None:
    assert is_plain_elsewhere(url)
