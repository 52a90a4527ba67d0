"""``openbao:``: a key of OpenBao's transit engine, which wraps and unwraps for who may.

The server sees each KEK when it is wrapped and unwrapped; nobody else does, since TLS is
verified. A token that was revoked or has ended is replaced by logging in again, once; a server
that is sealed or does not answer is away.
"""

import base64
import binascii
import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from kmworker.crypto.kek import Kek
from kmworker.crypto.roots.https import Answer, Https, https_to
from kmworker.crypto.roots.root import no_unwrap, read_secret
from kmworker.crypto.roots.root_url import HINT, RootUrl
from kmworker.errors import KMWorkerError, RootAway, SetupError
from kmworker.secrecy import Secret

__all__ = ["OpenBaoRoot", "opened"]

CA: Final = "ca"
ROLE_ID: Final = "role-id"
SECRET_ID: Final = "secret-id-file"  # noqa: S105  # the option, not the secret
APPROLE: Final = "approle"
"""Where the AppRole method is enabled, if elsewhere than at auth/approle."""

TOKEN_HEADER: Final = "X-Vault-Token"  # noqa: S105  # the header, not the token


# The server's words for what a person must mend, and ours.
SAID: Final = (
    ("encryption key not found", "there is no such key", HINT),
    ("no handler for route", "there is no transit engine at this path", HINT),
    (
        "too old",
        "the key's version that wrapped a KEK is not allowed any more",
        "lower the key's min_decryption_version, then: kmworker keyring move",
    ),
)


class Login(NamedTuple):
    """How a token is got."""

    path: str
    role_id: str
    secret_id_path: Path


class OpenBaoRoot(Secret):
    """Wraps by transit, with the context as associated data.

    A blob is transit's ciphertext, which names its key's version: after a rotation older ones
    open as long as the server keeps that version.
    """

    def __init__(self, url: str, mount: str, key: str, login: Login, https: Https) -> None:
        """Use a key; nobody is asked before it is needed."""
        self.url = url
        self._mount = mount
        self._key = key
        self._login = login
        self._https = https
        self._token: str | None = None

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        """Wrap; raises as `kmworker.crypto.roots.Root.wrap` does."""
        answer = self._transit("encrypt", lambda: _request("plaintext", kek.export(), context))
        blob = answer.text("data", "ciphertext")
        if not blob:
            raise self._error("it does not answer as OpenBao's transit does")
        return blob.encode()

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        """Unwrap; raises as `kmworker.crypto.roots.Root.unwrap` does."""
        text = blob.decode("ascii", "replace")
        answer = self._transit("decrypt", lambda: _request("ciphertext", text, context))
        kek = _decoded(answer)
        if kek is None:
            raise self._error("it does not answer as OpenBao's transit does")
        return kek

    def _transit(self, verb: str, body: Callable[[], bytes]) -> Answer:
        path = f"{self._mount}/{verb}/{self._key}"
        fresh = self._token is None
        if fresh:
            self._log_in()
        answer = self._https.post(path, body, self._headers)
        # Revoked, ended, or not allowed: the answer is the same. A new token tells.
        if answer.status == HTTPStatus.FORBIDDEN and not fresh:
            self._log_in()
            answer = self._https.post(path, body, self._headers)
        if answer.status == HTTPStatus.OK:
            return answer
        if answer.status == HTTPStatus.FORBIDDEN:
            # The next call begins with a login.
            self._token = None
        raise self._refusal(answer, verb)

    def _headers(self) -> dict[str, str]:
        return {} if self._token is None else {TOKEN_HEADER: self._token}

    def _log_in(self) -> None:
        self._token = None
        answer = self._https.post(f"{self._login.path}/login", self._credentials, self._headers)
        if answer.status in {400, 401, 403}:
            hint = f"check {ROLE_ID} and the file of {SECRET_ID}; a secret-id may have ended"
            raise self._error("the AppRole login is refused", hint)
        if answer.status != HTTPStatus.OK:
            raise self._refusal(answer, "login")
        self._token = answer.text("auth", "client_token")
        # A header that http.client cannot write would be quoted in its error.
        if not (self._token and self._token.isascii() and self._token.isprintable()):
            self._token = None
            raise self._error("it does not answer as OpenBao's AppRole does")

    def _credentials(self) -> bytes:
        return json.dumps(
            {
                "role_id": self._login.role_id,
                "secret_id": read_secret(self._login.secret_id_path, "secret-id", SECRET_ID).decode(
                    "utf-8", "replace"
                ),
            }
        ).encode()

    def _refusal(self, answer: Answer, verb: str) -> KMWorkerError:
        """Return what is raised for an answer other than 200."""
        if answer.says("sealed"):
            return RootAway(f"root {self.url}: it is sealed")
        # 3xx: a standby that sends us on; which one leads may change any time.
        is_ours_to_mend = answer.status in range(400, 500)
        if not is_ours_to_mend or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return RootAway(f"root {self.url}: it answers {answer.status}")
        if answer.status == HTTPStatus.FORBIDDEN:
            return self._error("permission denied", f"let the role's policy update {verb}/KEY")
        for words, problem, hint in SAID:
            if answer.says(words):
                return self._error(problem, hint)
        if verb == "decrypt" and answer.status == HTTPStatus.BAD_REQUEST:
            return no_unwrap(self.url)
        return self._error(f"it answers {answer.status} to {verb}")

    def _error(self, problem: str, hint: str = HINT) -> SetupError:
        return SetupError(f"root {self.url}: {problem}", hint)


def _request(name: str, value: bytes | str, context: bytes) -> bytes:
    text = value if isinstance(value, str) else base64.b64encode(value).decode()
    bound = base64.b64encode(context).decode()
    return json.dumps({name: text, "associated_data": bound}).encode()


def _decoded(answer: Answer) -> bytes | None:
    try:
        return base64.b64decode(answer.text("data", "plaintext") or "!", validate=True)
    except binascii.Error:
        return None


def opened(url: RootUrl) -> OpenBaoRoot:
    """Return the root of ``openbao://HOST:PORT/MOUNT/KEY?ca=…&role-id=…&secret-id-file=…``.

    Raises:
        SetupError: the URL is not one, as docs/roots.md describes them; or the CA file cannot be
            used.
    """
    url.check_options(CA, ROLE_ID, SECRET_ID, APPROLE)
    if not url.place.startswith("//"):
        raise SetupError("keyring.root: must look like openbao://HOST:PORT/MOUNT/KEY", HINT)
    authority, _, path = url.place[2:].partition("/")
    mount, _, key = path.rpartition("/")
    if not mount or not key:
        raise SetupError("keyring.root: openbao: must name the transit mount and the key", HINT)
    shown = f"{url.scheme}:{url.place}"
    approle = url.options.get(APPROLE, "auth/approle").strip("/")
    login = Login(approle, url.needed(ROLE_ID), url.file(SECRET_ID))
    ca = url.file(CA) if CA in url.options else None
    https = https_to(shown, authority, ca, is_plain=url.scheme.endswith("+http"))
    return OpenBaoRoot(shown, mount, key, login, https)
