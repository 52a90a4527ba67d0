"""A URL names a root, and no secret."""

import sys
from importlib import metadata

import pytest

from kmworker.crypto.kek import Kek
from kmworker.crypto.roots import RootUrl, open_root
from kmworker.errors import SetupError
from tests.kit.secrecy import shown_by

TOKEN = "pkcs11:token=km;object=kek?module-path=/m.so&pin-source=/pin"
OPENBAO = "openbao://bao.example:8200/transit/kek?role-id=r&secret-id-file=/s"


class AnothersRoot:
    """What somebody else has written."""

    def __init__(self, url: RootUrl) -> None:
        self.url = f"{url.scheme}:{url.place}"

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        return kek.export() + context

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        return blob.removesuffix(context)


def test_file_alone_is_no_root() -> None:
    assert open_root("file:") is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("file:?passphrase-file=/p", "file:?passphrase-file"),
        (TOKEN, "pkcs11:token=km;object=kek"),
        (TOKEN.replace("=/pin", "=file:/pin"), "pkcs11:token=km;object=kek"),
        (TOKEN.replace("pkcs11:token=km;object=kek", "PKCS11:serial=0f;id=%01"),
         "pkcs11:serial=0f;id=%01"),
        (OPENBAO, "openbao://bao.example:8200/transit/kek"),
        (OPENBAO.replace("bao:", "bao+http:").replace("bao.example", "127.0.0.1"),
         "openbao+http://127.0.0.1:8200/transit/kek"),
    ],
)  # fmt: skip
def test_a_root_shows_where_it_is_and_no_options(url: str, shown: str) -> None:
    root = open_root(url)
    assert root is not None
    assert root.url == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must begin with a scheme"),
        ("keyring.json", "must begin with a scheme"),
        ("file:\n", "must begin with a scheme"),
        ("vault://x/y/z", "no root is called vault:"),
        ("file:/etc/keyring", "file: names no file"),
        ("file:?passphrase=geheim", "file: has no option 'passphrase'"),
        ("file:?passphrase-file=geheim", "must be an absolute path"),
        ("file:?passphrase-file", "each option is name=value, once"),
        ("file:?passphrase-file=/a&passphrase-file=/b", "each option is name=value, once"),
        (f"{TOKEN}&pin-value=geheim", "pkcs11: has no option 'pin-value'"),
        (TOKEN.replace("token=km;", ""), "must name the token and the object"),
        (TOKEN.replace("km;", "km;token=2;"), "each once"),
        (TOKEN.replace("km;", "km;pin=geheim;"), "takes token, serial, object and id"),
        (TOKEN.replace("object=kek", "object=kek;type=private"), "is about a key of type=secret"),
        (TOKEN.replace("=/m.so", "=m.so"), "module-path must be an absolute path"),
        (f"{OPENBAO}&token=geheim", "openbao: has no option 'token'"),
        (OPENBAO.replace("role-id=r&", ""), "needs the option role-id"),
        (OPENBAO.replace("//", ""), "must look like openbao://"),
        (OPENBAO.replace("bao.example", "u:geheim@bao.example"), "and no user"),
        (OPENBAO.replace(":8200", ":port"), "must name HOST or HOST:PORT"),
        (OPENBAO.replace("/transit/kek", "/kek"), "must name the transit mount and the key"),
        (OPENBAO.replace("bao:", "bao+http:"), "is for a loopback address alone"),
        (f"{OPENBAO}&ca=/no/such/file", "CA file /no/such/file: No such file"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_values(url: str, problem: str) -> None:
    with pytest.raises(SetupError, match=problem) as caught:
        open_root(url)
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


def test_a_scheme_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.delitem(sys.modules, "kmworker.crypto.roots.pkcs11", raising=False)
    monkeypatch.delitem(sys.modules, "kmworker.crypto.roots.pkcs11_blobs", raising=False)
    monkeypatch.delitem(sys.modules, "kmworker.crypto.roots.pkcs11_errors", raising=False)
    with pytest.raises(SetupError, match="needs a library that is not installed") as caught:
        open_root(TOKEN)
    assert caught.value.hint == "pip install 'kmworker[pkcs11]'"
    assert [*shown_by(caught.value)]


def test_others_add_a_root_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("mine", f"{__name__}:AnothersRoot", "kmworker.roots")

    def entry_points(*, group: str, name: str) -> list[metadata.EntryPoint]:
        return [entry] if (group, name) == ("kmworker.roots", "mine") else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    root = open_root("mine:here?x=y")
    assert isinstance(root, AnothersRoot)
    assert root.url == "mine:here"


def test_nobody_takes_ours_over(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("openbao", f"{__name__}:AnothersRoot", "kmworker.roots")
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [entry])
    assert not isinstance(open_root(OPENBAO), AnothersRoot)
