"""``pkcs11:``: an AES key in a token or HSM that never leaves it.

Each call is a session of its own, so that nothing is left to go stale while a worker runs, and
a token that was taken out and put back is found again. A PIN that was refused is never tried
twice: three tries lock many a token for good.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, unquote_to_bytes

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass, Session, TokenFlag
from pkcs11.exceptions import NoSuchToken, PinIncorrect, PKCS11Error

from kmworker.crypto.kek import Kek
from kmworker.crypto.roots.pkcs11_blobs import SUITES, Suite, suite_of
from kmworker.crypto.roots.pkcs11_errors import as_ours
from kmworker.crypto.roots.root import no_unwrap, read_secret
from kmworker.crypto.roots.root_url import HINT, RootUrl
from kmworker.errors import SetupError
from kmworker.secrecy import Secret

__all__ = ["Pkcs11Root", "opened"]

MODULE: Final = "module-path"
PIN: Final = "pin-source"
KEY_BYTES: Final = 32
T = TypeVar("T")


class KeyPlace(NamedTuple):
    """Which key it is, by what RFC 7512 calls its parts."""

    token: str | None
    serial: bytes | None
    object: str | None
    id: bytes | None


class Pkcs11Root(Secret):
    """Wraps by a key of the token's that is sensitive and not extractable, or refuses to."""

    def __init__(self, url: str, place: KeyPlace, module: Path, pin_path: Path) -> None:
        """Use a key by PKCS#11; nothing is loaded and nobody logs in before it is needed."""
        self.url = url
        self._place = place
        self._module = module
        self._pin_path = pin_path
        # The file whose PIN was refused, as it was then.
        self._refused: tuple[int, ...] = ()
        self._is_stale = False

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        """Wrap; raises as `kmworker.crypto.roots.Root.wrap` does."""

        def wrapped(session: Session, key: Any) -> bytes:  # noqa: ANN401  # made by the library
            suite = self._suite(session)
            self._check_allowed(key, suite)
            return bytes([suite.version]) + suite.seal(session, key, kek, context)

        return self._in_session(wrapped)

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        """Unwrap; raises as `kmworker.crypto.roots.Root.unwrap` does."""
        suite = suite_of(blob)
        if suite is None:
            raise no_unwrap(self.url)

        def unwrapped(session: Session, key: Any) -> bytes | None:  # noqa: ANN401  # as above
            self._check_allowed(key, suite)
            try:
                return suite.open(session, key, blob[1:], context)
            except PKCS11Error:
                # Tokens say "general error" to a wrong tag as to a broken line. One that still
                # encrypts is not away.
                suite.seal(session, key, Kek(bytes(KEY_BYTES), ""), b"")
                return None

        return self._opened(self._in_session(unwrapped))

    def _opened(self, kek: bytes | None) -> bytes:
        if kek is None:
            raise no_unwrap(self.url)
        return kek

    def _suite(self, session: Session) -> Suite:
        known = session.token.slot.get_mechanisms()
        for suite in SUITES:
            if suite.mechanism in known:
                return suite
        raise self._error("the token has none of the mechanisms that wrap with a context")

    def _check_allowed(self, key: Any, suite: Suite) -> None:  # noqa: ANN401  # as above
        # The library gives a key those methods that its attributes allow.
        if not all(hasattr(key, verb) for verb in suite.verbs):
            verbs = " and ".join(verb.removesuffix("_key") for verb in suite.verbs)
            raise self._error(f"the key may not {verbs}", "make one that may (docs/roots.md)")

    def _in_session(self, act: Callable[[Session, Any], T]) -> T:
        try:
            with self._session() as session:
                return act(session, self._key(session))
        except PKCS11Error as error:
            self._is_stale = True
            ours = as_ours(self.url, error)
        raise ours

    @contextmanager
    def _session(self) -> Iterator[Session]:
        token = self._token()
        now = self._may_log_in(token.flags)
        try:
            # The PIN never gets a name.
            session = token.open(user_pin=_text(read_secret(self._pin_path, "PIN", PIN)))
        except PinIncorrect:
            self._refused = now
            raise
        with session:
            yield session

    def _token(self) -> Any:  # noqa: ANN401  # made by the library
        library = pkcs11.lib(str(self._module))
        if self._is_stale:
            library.reinitialize()
            self._is_stale = False
        wanted = {"token_label": self._place.token, "token_serial": self._place.serial}
        try:
            return library.get_token(**wanted)
        except NoSuchToken:
            # A token that has come since is seen by a library that starts anew.
            library.reinitialize()
            return library.get_token(**wanted)

    def _may_log_in(self, flags: TokenFlag) -> tuple[int, ...]:
        """Return which PIN file it is, unless its PIN is known to be wrong or a try too many."""
        if TokenFlag.USER_PIN_LOCKED in flags:
            raise self._error("the PIN is locked", "have the security officer set a new one")
        if TokenFlag.USER_PIN_FINAL_TRY in flags:
            hint = "log in once by hand with the right one, so that the token counts anew"
            raise self._error("one more wrong PIN locks the token: not tried", hint)
        try:
            found = self._pin_path.stat()
        except OSError:
            return ()  # reading it says why
        now = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        if now == self._refused:
            hint = f"write the right one to {self._pin_path}"
            raise self._error("the PIN was refused and is not tried again", hint)
        return now

    def _key(self, session: Session) -> Any:  # noqa: ANN401  # made by the library
        key = self._only_key(session)
        if (key.key_type, key[Attribute.VALUE_LEN]) != (KeyType.AES, KEY_BYTES):
            raise self._error("the key is not AES with 256 bits")
        # Whoever has the PIN could take such a key along and unwrap at home.
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            hint = "make one with CKA_SENSITIVE and without CKA_EXTRACTABLE (docs/roots.md)"
            raise self._error("the key can be taken out of the token", hint)
        return key

    def _only_key(self, session: Session) -> Any:  # noqa: ANN401  # made by the library
        wanted: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.SECRET_KEY}
        if self._place.object is not None:
            wanted[Attribute.LABEL] = self._place.object
        if self._place.id is not None:
            wanted[Attribute.ID] = self._place.id
        # To its end: the library's own look-up leaves the search open when it finds two.
        keys = list(session.get_objects(wanted))
        if not keys:
            raise self._error("the token has no such key", "see docs/roots.md for how to make one")
        if len(keys) > 1:
            raise self._error("the token has several such keys", "name one by id=")
        return keys[0]

    def _error(self, problem: str, hint: str = HINT) -> SetupError:
        return SetupError(f"root {self.url}: {problem}", hint)


def _text(pin: bytes) -> str:
    return pin.decode("utf-8", "replace")


def opened(url: RootUrl) -> Pkcs11Root:
    """Return the root of ``pkcs11:token=…;object=…?module-path=…&pin-source=…``.

    Raises:
        SetupError: the URL is not one, as docs/roots.md describes them.
    """
    url.check_options(MODULE, PIN)
    parts: dict[str, str] = {}
    for pair in url.place.split(";"):
        name, equals, value = pair.partition("=")
        if name not in {"token", "serial", "object", "id", "type"} or not equals or name in parts:
            raise SetupError(
                "keyring.root: pkcs11: takes token, serial, object and id, each once", HINT
            )
        parts[name] = value
    if parts.pop("type", "secret-key") != "secret-key":
        raise SetupError("keyring.root: pkcs11: is about a key of type=secret-key", HINT)
    if not parts.keys() & {"token", "serial"} or not parts.keys() & {"object", "id"}:
        raise SetupError("keyring.root: pkcs11: must name the token and the object", HINT)
    place = KeyPlace(
        _decoded(parts.get("token")),
        parts["serial"].encode() if "serial" in parts else None,
        _decoded(parts.get("object")),
        unquote_to_bytes(parts["id"]) if "id" in parts else None,
    )
    return Pkcs11Root(f"pkcs11:{url.place}", place, url.file(MODULE), url.file(PIN))


def _decoded(part: str | None) -> str | None:
    return None if part is None else unquote(part)
