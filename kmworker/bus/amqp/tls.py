"""How kombu is told of a broker: by the parts of its URL, and with a context of ours.

Left to themselves, kombu and py-amqp do not check that a certificate is the named host's. So
the context is made here, and is what it is for any `amqps://`: chain and name are checked, and
no option turns that off. Given a URL as a whole, kombu would split it at each `;`.
"""

from collections.abc import Mapping
from ssl import SSLCertVerificationError
from typing import Any, Final

from kmworker.errors import SetupError
from kmworker.settings.tls import CERTIFICATE, checked_options, client_context
from kmworker.settings.urls import parse, redacted_url

__all__ = ["known_as", "kombu_options", "virtual_host", "why_untrusted"]

# Whom kombu connects as where a URL names nobody.
NOBODY: Final = "guest"


def kombu_options(url: str) -> dict[str, Any]:
    """Return what kombu's connection is to be given for a broker's URL.

    The files that the URL names are read each time: they are renewed while workers run.

    Raises:
        SetupError: one of them cannot be used, or an option is not one of ours.
    """
    try:
        address = parse(url)
    except ValueError as wrong:
        raise SetupError(f"{redacted_url(url)}: {wrong}", "see broker.url") from None
    options = checked_options(url, address, "amqps")
    found: dict[str, Any] = {
        "hostname": address.host,
        "port": address.port,
        "userid": address.user,
        "password": address.password,
        # `amqp://host//` is the virtual host `/`, and so is none at all.
        "virtual_host": address.path[1:] or None,
    }
    if address.scheme == "amqps":
        context = client_context(options, "broker")
        found["ssl"] = {"context": context, "server_hostname": address.host}
        if CERTIFICATE in options and address.user is None:
            found["login_method"] = "EXTERNAL"
    return found


def virtual_host(url: str) -> str:
    """Return the vhost that a broker's URL means."""
    return parse(url).path[1:] or "/"


def known_as(options: Mapping[str, Any]) -> str | None:
    """Return what the broker calls whoever connects with these options of `kombu_options`.

    None with a certificate alone: the broker takes its subject, its common name or another of
    its names, as `ssl_cert_login_from` says there, and does not tell its clients.
    """
    if options.get("login_method") == "EXTERNAL":
        return None
    return options["userid"] or NOBODY


def why_untrusted(error: BaseException) -> str | None:
    """Say why a broker's certificate was not accepted, if that is what the error is about."""
    if not isinstance(error, SSLCertVerificationError):
        return None
    return (
        f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}"
        " (its CA must be the system's or in ssl_ca_certs, its names those of the URL)"
    )
