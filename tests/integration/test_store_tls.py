"""Redis over TLS: the client library checks, if it is not told otherwise; this holds it to that."""

from pathlib import Path
from urllib.parse import urlencode

import pytest

from kmworker.errors import SetupError, StoreUnavailable
from kmworker.settings import StoreSettings
from kmworker.store.connection import connect, store_errors
from tests.kit.servers import Start, StoreServer
from tests.kit.servers.certificates import Authority, Certificate
from tests.kit.servers.ports import free_port


class Site:
    """A Redis that speaks TLS and wants to see a certificate, and one who has one."""

    def __init__(self, start: Start[StoreServer], folder: Path) -> None:
        self.authority = Authority(folder)
        self.port = free_port()
        self.certificate = self.authority.issue("worker")
        server = self.authority.issue("server", "localhost", "127.0.0.1")
        self.store = start(
            {
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.authority.path),
                "tls-cert-file": str(server.path),
                "tls-key-file": str(server.key_path),
            }
        )

    def asked(self, host: str, ca: Path | None, certificate: Certificate | None) -> bool:
        """Connect, and say whether there was an answer."""
        files = {} if ca is None else {"ssl_ca_certs": ca}
        if certificate is not None:
            files |= {"ssl_certfile": certificate.path, "ssl_keyfile": certificate.key_path}
        login = self.store.url_of("worker").partition("://")[2].partition("@")[0]
        url = f"rediss://{login}@{host}:{self.port}/0?{urlencode(files)}"
        with connect(StoreSettings(url=url)) as client, store_errors():
            return bool(client.ping())


@pytest.fixture
def site(start_redis: Start[StoreServer], tmp_path: Path) -> Site:
    return Site(start_redis, tmp_path)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_store_is_believed_by_name_and_by_address(site: Site, host: str) -> None:
    assert site.asked(host, site.authority.path, site.certificate)


def test_a_store_that_does_not_prove_who_it_is_is_an_outage_that_says_so(
    site: Site, tmp_path: Path
) -> None:
    ours, other = site.authority.path, Authority(tmp_path / "other").path
    for host, ca, words in (
        ("localhost", None, "certificate verify failed"),
        ("localhost", other, "certificate verify failed"),
        # Another way to write 127.0.0.1, so the same store answers.
        ("127.1", ours, "Hostname mismatch"),
    ):
        with pytest.raises(StoreUnavailable, match=words):
            site.asked(host, ca, site.certificate)


def test_a_file_that_cannot_be_used_is_no_outage(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"gone\.pem: No such file"):
        site.asked("localhost", tmp_path / "gone.pem", site.certificate)


def test_a_store_that_wants_a_certificate_gets_the_one_that_is_named(site: Site) -> None:
    with pytest.raises(StoreUnavailable):
        site.asked("localhost", site.authority.path, None)
