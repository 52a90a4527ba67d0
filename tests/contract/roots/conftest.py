"""One contract of roots, run over a passphrase, a token by both of its ways, and a server.

Each kind says how to make one, and another of the same kind that must not open the first one's.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pkcs11 import Mechanism

from kmworker.crypto.kek import Kek
from kmworker.crypto.roots import Root, open_root, pkcs11
from kmworker.crypto.roots.pkcs11_blobs import SUITES
from tests.kit.servers import MissingServerError
from tests.kit.servers.openbao import OpenBao
from tests.kit.servers.softhsm import SoftToken, SoftTokens

KEK = Kek(bytes(range(32)), "2026-11-23T16:00:00Z")
KINDS = ["passphrase", "pkcs11-gcm", "pkcs11-key-wrap", "openbao"]


class Kind(NamedTuple):
    """One kind of root."""

    root: Root
    another: Root
    secrets: tuple[bytes, ...]
    """What neither URL nor message may show, beside key material."""


def root_at(url: str) -> Root:
    """Open a root that is one."""
    root = open_root(url)
    assert root is not None
    return root


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTokens]:
    try:
        made = SoftTokens(tmp_path_factory.mktemp("softhsm"))
    except MissingServerError as error:
        pytest.exit(str(error), returncode=1)
    yield made
    made.close()


@pytest.fixture
def token(tokens: SoftTokens) -> SoftToken:
    """A token of the test's own."""
    return tokens.token()


@pytest.fixture
def passphrase(tmp_path: Path) -> Callable[[str], str]:
    """Write a passphrase; returns the URL."""

    def written(words: str) -> str:
        path = tmp_path / f"passphrase-{len(list(tmp_path.iterdir()))}"
        path.write_text(f"{words}\n")
        path.chmod(0o600)
        return f"file:?passphrase-file={path}"

    return written


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    match request.param:
        case "passphrase":
            written = request.getfixturevalue("passphrase")
            words = ("five words drawn by dice", "five others drawn by dice")
            secrets = tuple(word.encode() for word in words)
            return Kind(root_at(written(words[0])), root_at(written(words[1])), secrets)
        case "openbao":
            server: OpenBao = request.getfixturevalue("openbao")
            server.ask("POST", "transit/keys/another")
            policy = 'path "transit/+/another" { capabilities = ["update"] }'
            server.ask("PUT", "sys/policies/acl/another", {"policy": policy})
            role = {"token_policies": "kmworker,another", "token_ttl": "10m"}
            server.ask("POST", "auth/approle/role/kmworker", role)
            first, second = (root_at(server.url_of(key)) for key in ("kek", "another"))
            return Kind(first, second, (server.secret_id_path.read_bytes(),))
        case _:
            token: SoftToken = request.getfixturevalue("token")
            token.make_key("another")
            if request.param == "pkcs11-key-wrap":
                suites = [it for it in SUITES if it.mechanism == Mechanism.AES_KEY_WRAP]
                monkeypatch.setattr(pkcs11, "SUITES", suites)
            first, second = (root_at(token.url(key)) for key in ("kek", "another"))
            return Kind(first, second, (token.pin_path.read_bytes(),))
