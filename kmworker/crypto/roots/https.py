"""JSON by HTTPS, and nothing of it in a traceback.

Bodies, headers and answers hold key material and tokens. So what goes out is made at the call
that sends it, what comes back does not show itself, and errors of the libraries, whose frames
hold all of that, end here.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kmworker.crypto.roots.root_url import HINT
from kmworker.errors import KMWorkerError, RootAway, SetupError
from kmworker.secrecy import Secret

__all__ = ["Answer", "Https", "https_to"]

TIMEOUT_S: Final = 5.0
"""For connecting, and again for each wait for the answer: together at most ten seconds."""

MAX_ANSWER_BYTES: Final = 65_536
DEFAULT_PORT: Final = 8200


class Answer(Secret):
    """What came back.

    Attributes:
        status: HTTP's.
    """

    __slots__ = ("_document", "status")

    def __init__(self, status: int, content: bytes) -> None:
        self.status = status
        try:
            self._document = json.loads(content)
        except (ValueError, RecursionError):
            self._document = None

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"

    def text(self, *names: str) -> str | None:
        """Return the text under these names, one in the other, or None if there is none."""
        found = self._document
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, str) else None

    def says(self, words: str) -> bool:
        """Return whether one of its errors has these words."""
        errors = self._document.get("errors") if isinstance(self._document, dict) else None
        return isinstance(errors, list) and any(words in str(error) for error in errors)


class Https(Secret):
    """Posts to one server, with a connection of its own each time."""

    def __init__(self, shown: str, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Talk to a server; without TLS only where that was checked to be this machine."""
        self._shown = shown
        self._host = host
        self._port = port
        self._tls = tls

    def post(
        self, path: str, body: Callable[[], bytes], headers: Callable[[], Mapping[str, str]]
    ) -> Answer:
        """Send what `body` returns and return the answer, whatever its status.

        Raises:
            RootAway: there was none.
            SetupError: the server's certificate does not hold, or a file cannot be read.
        """
        outcome = self._posted(path, body, headers)
        if isinstance(outcome, KMWorkerError):
            raise outcome
        return outcome

    def _posted(
        self, path: str, body: Callable[[], bytes], headers: Callable[[], Mapping[str, str]]
    ) -> Answer | KMWorkerError:
        connection = self._connection()
        try:
            connection.request("POST", f"/v1/{path}", body(), headers())
            response = connection.getresponse()
            return Answer(response.status, response.read(MAX_ANSWER_BYTES))
        except ssl.SSLCertVerificationError as error:
            said = f"root {self._shown}: its certificate is refused: {error.verify_message}"
            return SetupError(said, "name the CA that has issued it with ca=FILE")
        except TimeoutError:
            return RootAway(f"root {self._shown}: no answer within {TIMEOUT_S:.0f} s")
        except OSError as error:
            return RootAway(f"root {self._shown}: cannot be reached: {error.strerror or 'no TLS'}")
        except HTTPException as error:
            return RootAway(f"root {self._shown}: no HTTP ({type(error).__name__})")
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)


def https_to(shown: str, authority: str, ca: Path | None, *, is_plain: bool) -> Https:
    """Return a way to a server.

    Args:
        shown: its URL, for messages.
        authority: host and port.
        ca: certificates of who may have issued its own; None: the system's.
        is_plain: without TLS.

    Raises:
        SetupError: the host cannot be meant, is another machine without TLS, or the CA file
            cannot be used.
    """
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError:
        host, port = "", 0
    if not host or "@" in authority or not authority.isascii():
        raise SetupError("keyring.root: openbao: must name HOST or HOST:PORT, and no user", HINT)
    if not is_plain:
        return Https(shown, host, port, _verifying(ca))
    # Whoever sees the line has every KEK.
    if not _is_loopback(host):
        hint = "use openbao: with TLS; +http is for a proxy on this machine"
        raise SetupError("keyring.root: openbao+http: is for a loopback address alone", hint)
    return Https(shown, host, port, None)


def _verifying(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "not certificates in PEM"
        raise SetupError(f"CA file {ca}: {problem}", "check ca= in keyring.root") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
