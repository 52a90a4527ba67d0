"""From a URL to a root: by its scheme, ours by name and others' by entry point.

Others add a scheme with an entry point of the group `kmworker.roots`, whose name is the scheme
and whose object takes a `RootUrl` and returns a `Root`. Ours are found without one: a package
that is installed beside us cannot take `openbao:` over.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple

from kmworker.crypto.roots.root import Root
from kmworker.crypto.roots.root_url import HINT, RootUrl, parse_root_url
from kmworker.errors import SetupError

__all__ = ["GROUP", "open_root"]

GROUP: Final = "kmworker.roots"
Opener = Callable[[RootUrl], Root | None]


class _Shipped(NamedTuple):
    module: str
    needs: str = ""
    """The library that an extra brings; the extra has the scheme's name."""


SHIPPED: Final = {
    "file": _Shipped("passphrase"),
    "pkcs11": _Shipped("pkcs11", "pkcs11"),
    "openbao": _Shipped("openbao"),
    "openbao+http": _Shipped("openbao"),
}


def open_root(url: str) -> Root | None:
    """Return the root that a URL names, without asking it anything yet.

    Returns:
        None for ``file:``: the KEKs are in the keyring's file as they are.

    Raises:
        SetupError: nobody knows its scheme, an extra is not installed, or the URL is not one
            that the root takes.
    """
    parsed = parse_root_url(url)
    return _opener(parsed.scheme)(parsed)


def _opener(scheme: str) -> Opener:
    shipped = SHIPPED.get(scheme)
    if shipped is not None:
        return _ours(scheme, shipped)
    from importlib.metadata import entry_points  # noqa: PLC0415  # slow, and few need it

    for entry in entry_points(group=GROUP, name=scheme):
        opener: Opener = entry.load()
        return opener
    known = ", ".join(f"{name}:" for name in SHIPPED)
    raise SetupError(f"keyring.root: no root is called {scheme}: (there are {known})", HINT)


def _ours(scheme: str, shipped: _Shipped) -> Opener:
    try:
        module = import_module(f"kmworker.crypto.roots.{shipped.module}")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name != shipped.needs:
            raise
    else:
        opener: Opener = module.opened
        return opener
    said = f"keyring.root: {scheme}: needs a library that is not installed"
    raise SetupError(said, f"pip install 'kmworker[{scheme}]'")
