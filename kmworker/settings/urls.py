"""URLs of servers, read in one way.

Each client library reads a URL its own way and skips what it does not expect: one splits
a password at `;`, another takes `/foo` for database 0. So they get the parts from here, and what
cannot be meant is refused in words. A URL may hold a password: no message shows a part of one.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, unquote

__all__ = [
    "STREAM_SCHEMES", "Address", "is_plain_elsewhere", "normalised", "parse", "redacted_url",
]  # fmt: skip

# In `broker.url` these mean streams, as the embedded mode has them.
STREAM_SCHEMES: Final = ("redis", "rediss", "unix")
PLAIN_SCHEMES: Final = ("amqp", "http", "redis")

MAX_PORT: Final = 65_535
# RFC 1035, 2.3.4: what is longer ends in an exception somewhere below `getaddrinfo`.
MAX_LABEL: Final = 63
MAX_HOST: Final = 253

_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://"
    r"(?:(?P<user>[^\s:@/?#]*)(?P<password>:[^\s@/?#]*)?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._-]*)(?::(?P<port>[0-9]+))?"
    r"(?P<path>/[^\s@?#]*)?(?P<query>\?[^\s@#]*)?"
)
_UNWRITABLE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]")
UNWRITABLE: Final = "a space or control character in it must be %-encoded"
_NO_OCTET: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL's parts, decoded.

    Attributes:
        user: None where none is named; so is a password.
        host: empty for a socket in the file system; an IPv6 address without brackets.
        path: with its leading slash; empty where there is none.
        options: what stands behind `?`, by name.
    """

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    host: str
    port: int | None
    path: str
    options: Mapping[str, str] = field(repr=False)


def normalised(text: str) -> str:
    """Return a URL without what surrounds it, its scheme in lower case (RFC 3986, 3.1).

    A line break at the end is what a file of a secret or a here-document adds.
    """
    scheme, mark, rest = text.strip().partition("://")
    return scheme.lower() + mark + rest


def parse(url: str) -> Address:
    """Return the parts of a normalised URL.

    Raises:
        ValueError: it cannot be meant; says why, and shows nothing of it.
    """
    found = _URL.fullmatch(url)
    flaw = _misread(url) if found is None else next(_flaws(found), None)
    if found is None or flaw is not None:
        raise ValueError(flaw)
    password = found["password"]
    return Address(
        scheme=found["scheme"],
        user=unquote(found["user"]) if found["user"] else None,
        password=unquote(password[1:]) if password else None,
        host=unquote(found["host"]).strip("[]"),
        port=int(found["port"]) if found["port"] else None,
        path=unquote(found["path"] or ""),
        options=MappingProxyType(dict(_options(found))),
    )


def redacted_url(url: str) -> str:
    """Return ``url`` without its password and its query, which may hold another.

    What is not plainly a URL is hidden altogether: its password may be anywhere in it.
    """
    found = _URL.fullmatch(url)
    if found is None:
        return "***"
    # From the right, so that the spans hold.
    hidden = [("query", "?***"), ("password", ":***")]
    if found["scheme"] in STREAM_SCHEMES and found["password"] is None:
        # A password alone is often written without its colon.
        hidden.append(("user", "***"))
    for part, shown in hidden:
        start, end = found.span(part)
        url = url if start < 0 else url[:start] + shown + url[end:]
    return url


def is_plain_elsewhere(url: str) -> bool:
    """Return whether passwords and events to this URL cross a network in plain text.

    By the host's name alone: nothing is looked up.
    """
    found = _URL.fullmatch(url)
    if found is None or found["scheme"] not in PLAIN_SCHEMES:
        return False
    host = found["host"].strip("[]").lower().rstrip(".")
    if host in {"localhost", socket.gethostname().lower()} or host.endswith(".localhost"):
        return False
    address = _ip_address(host)
    return address is None or not address.is_loopback


# --- what is wrong with it ----------------------------------------------------------


def _misread(url: str) -> str:
    """Return why a text is no URL, as far as it can be guessed."""
    _scheme, mark, rest = url.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    guesses = (
        (not mark, "it has no scheme"),
        (_UNWRITABLE.search(url), UNWRITABLE),
        ("#" in rest, "a # in it must be written %23"),
        (rest.count("@") > 1, "an @ in user or password must be written %40"),
        ("@" in rest and "@" not in authority, "a / or ? in user or password must be %-encoded"),
        ("," in host or ";" in host, "it names more than one host"),
        ("%" in host, "the zone of an IPv6 address is written %25eth0, in brackets"),
        (not host.isascii(), "a host's name must be in ASCII (xn--…)"),
        (":" in host, "its port is no number, or an IPv6 address lacks brackets"),
    )
    return next((words for applies, words in guesses if applies), "it is no URL of a server")


def _flaws(found: re.Match[str]) -> Iterator[str]:
    yield from _encoding_flaws(found)
    scheme, port = found["scheme"], found["port"]
    if port is not None and not 0 < int(port[:6]) <= MAX_PORT:
        yield f"a port is from 1 to {MAX_PORT}"
    if scheme == "unix":
        if found["host"] or port:
            yield "a socket's path begins with a third slash"
        if len(found["path"] or "") <= 1:
            yield "it names no socket"
    elif not found["host"]:
        # Clients quietly try this machine: most likely an empty variable.
        yield "it names no host"
    else:
        yield from _host_flaws(found["host"])
    if scheme in {"redis", "rediss"}:
        yield from _redis_flaws(found)
    options = _options(found)
    if len(dict(options)) != len(options):
        yield "an option is there twice"
    if not all("=" in part for part in (found["query"] or "?")[1:].split("&") if part):
        yield "options are written name=value, with & between them"


def _encoding_flaws(found: re.Match[str]) -> Iterator[str]:
    if _UNWRITABLE.search(found[0]):
        yield UNWRITABLE
    if _NO_OCTET.search(found[0]):
        yield "a % in it must be written %25"
    try:
        octets = unquote(found[0], errors="strict").encode()
    except UnicodeError:
        yield "it is not UTF-8, as written or when decoded"
        return
    if b"\0" in octets:
        yield "%00 cannot be part of it"


def _host_flaws(host: str) -> Iterator[str]:
    if host.startswith("["):
        if _ip_address(unquote(host[1:-1])) is None:
            yield "what is in brackets is no IPv6 address"
        return
    labels = host.removesuffix(".").split(".")
    if not all(0 < len(label) <= MAX_LABEL for label in labels) or len(host) > MAX_HOST:
        yield f"between the dots of a host's name are 1 to {MAX_LABEL} characters"


def _redis_flaws(found: re.Match[str]) -> Iterator[str]:
    database = (found["path"] or "").removeprefix("/")
    names = dict(_options(found))
    if database and not re.fullmatch("[0-9]{1,9}", database):
        yield "a database is a number, as in redis://host:6379/0: Redis has no names for them"
    if database and "db" in names:
        yield "it names a database twice"
    if found["user"] and not found["password"] and "password" not in names:
        yield "it has a user without a password; a password alone is written redis://:password@host"


def _options(found: re.Match[str]) -> list[tuple[str, str]]:
    return parse_qsl((found["query"] or "?")[1:], keep_blank_values=True)


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
