"""TLS to the broker: a certificate that does not prove whom we speak to is never accepted.

Left to themselves, kombu and py-amqp do not check that a certificate is the named host's. So
the context is made here, and is what it is for any `amqps://`: chain and name are checked, and
no option turns that off. Options are named as redis-py has them in `rediss://`.
"""

from ssl import SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from kmworker.errors import SetupError
from kmworker.settings import redacted_url

__all__ = ["kombu_options", "why_untrusted"]

CA, CERTIFICATE, KEY = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"
FILES: Final = (CA, CERTIFICATE, KEY)


def kombu_options(url: str) -> dict[str, Any]:
    """Return what kombu's connection is to be given for a broker's URL.

    The files that the URL names are read each time: they are renewed while workers run.

    Raises:
        SetupError: one of them cannot be used, or an option is not one of ours.
    """
    address, _, query = url.partition("?")
    files = dict(parse_qsl(query, keep_blank_values=True))
    _refuse_unknown(url, files)
    found: dict[str, Any] = {"hostname": address}
    if url.startswith("amqps:"):
        split = urlsplit(address)
        found["ssl"] = {"context": _context(files), "server_hostname": split.hostname}
        if CERTIFICATE in files and split.username is None:
            found["login_method"] = "EXTERNAL"
    return found


def why_untrusted(error: BaseException) -> str | None:
    """Say why a broker's certificate was not accepted, if that is what the error is about."""
    if not isinstance(error, SSLCertVerificationError):
        return None
    return (
        f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}"
        f" (its CA must be the system's or in {CA}, its names those of the URL)"
    )


def _refuse_unknown(url: str, files: dict[str, str]) -> None:
    for name, value in files.items():
        if name not in FILES:
            raise SetupError(
                f"{redacted_url(url)}: {name} is not an option",
                # kombu would stumble over it, or set something behind our settings' back.
                hint=f"there are {', '.join(FILES)}; all else is a setting, or always checked",
            )
        if not url.startswith("amqps:"):
            raise SetupError(f"{redacted_url(url)}: {name} is for TLS", hint="write amqps://")
        if not value:
            raise SetupError(f"{redacted_url(url)}: {name} is empty", hint="name a file")
    if KEY in files and CERTIFICATE not in files:
        raise SetupError(
            f"{redacted_url(url)}: {KEY} without {CERTIFICATE}", hint="name both, or neither"
        )


def _context(files: dict[str, str]) -> SSLContext:
    ca, certificate, key = (files.get(name) for name in FILES)
    try:
        context = create_default_context(cafile=ca)
    except OSError as wrong:
        raise SetupError(
            f"{CA}={ca}: {_reason(wrong)}",
            hint="the broker's URL names it: a file of CA certificates in PEM that we may read",
        ) from None
    if certificate is not None:
        try:
            # With a password, if a wrong one: without, an encrypted key is asked for at a terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as wrong:
            raise SetupError(
                f"{CERTIFICATE}={certificate}, {KEY}={key or certificate}: {_reason(wrong)}",
                hint="the broker's URL names them: a certificate with its chain, and its key, not "
                "encrypted, in PEM, that we may read",
            ) from None
    return context


def _reason(wrong: OSError) -> str:
    if isinstance(wrong, SSLError):
        return f"not what it should be ({wrong.reason or wrong})"
    return str(wrong.strerror)
