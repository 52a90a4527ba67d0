"""TLS to servers: a certificate that does not prove whom we speak to is never accepted.

Options stand in a server's URL, named as redis-py has them. Each of the client libraries has
options that check less (no chain, no name, ciphers without certificates, old versions), so those
there are, are counted here; none of them makes a connection check less.
"""

from collections.abc import Collection, Mapping
from ssl import SSLContext, SSLError, TLSVersion, create_default_context
from typing import Final

from kmworker.errors import SetupError
from kmworker.settings.urls import Address, redacted_url

__all__ = ["CERTIFICATE", "CHECKS", "FILES", "checked_options", "client_context"]

CA, CERTIFICATE, KEY = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"
FILES: Final = (CA, CERTIFICATE, KEY)
# What others make optional is often written out: it may say what holds anyway.
CHECKS: Final = {
    "ssl_cert_reqs": ("required", "cert_required"),
    "ssl_check_hostname": ("true", "yes", "y", "t", "1"),
}
# Debian's Python leaves it to the configuration of OpenSSL, which may allow less.
OLDEST: Final = TLSVersion.TLSv1_2


def checked_options(
    url: str, address: Address, secure_scheme: str, others: Collection[str] = ()
) -> Mapping[str, str]:
    """Return the options of a server's URL, all known, without those that say what holds anyway.

    Args:
        url: as configured, for messages.
        address: its parts.
        secure_scheme: with which TLS is spoken.
        others: options that are not of TLS.

    Raises:
        SetupError: an option is none of these, would check less, or needs another scheme.
    """
    shown, options = redacted_url(url), address.options
    for name, value in options.items():
        if name in others:
            continue
        if name not in FILES and name not in CHECKS:
            raise SetupError(
                f"{shown}: {name} is not an option",
                # A library would stumble over it, or set something behind our settings' back.
                hint=f"there are {', '.join([*FILES, *others])}; all else is a setting, or always "
                "checked",
            )
        if address.scheme != secure_scheme:
            raise SetupError(f"{shown}: {name} is for TLS", hint=f"write {secure_scheme}://")
        if not value:
            raise SetupError(f"{shown}: {name} is empty", hint="name a file")
        if name in CHECKS and value.lower() not in CHECKS[name]:
            hint = f"certificates and names are always checked; for one's own CA there is {CA}"
            raise SetupError(f"{shown}: {name} can only be {CHECKS[name][0]}", hint)
    if KEY in options and CERTIFICATE not in options:
        raise SetupError(f"{shown}: {KEY} without {CERTIFICATE}", hint="name both, or neither")
    return {name: value for name, value in options.items() if name not in CHECKS}


def client_context(options: Mapping[str, str], whose: str) -> SSLContext:
    """Return a context that checks chain and name, with the files that a URL's options name.

    Args:
        options: as `checked_options` returns them.
        whose: the server whose URL it is, for messages.

    Raises:
        SetupError: a file cannot be used.
    """
    ca, certificate, key = (options.get(name) for name in FILES)
    try:
        context = create_default_context(cafile=ca)
    except OSError as wrong:
        raise SetupError(
            f"{CA}={ca}: {_reason(wrong)}",
            hint=f"the {whose}'s URL names it: a file of CA certificates in PEM that we may read",
        ) from None
    context.minimum_version = max(context.minimum_version, OLDEST)
    if certificate is not None:
        try:
            # With a password, if a wrong one: without, an encrypted key is asked for at a terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as wrong:
            raise SetupError(
                f"{CERTIFICATE}={certificate}, {KEY}={key or certificate}: {_reason(wrong)}",
                hint=f"the {whose}'s URL names them: a certificate with its chain, and its key, "
                "not encrypted, in PEM, that we may read",
            ) from None
    return context


def _reason(wrong: OSError) -> str:
    if isinstance(wrong, SSLError):
        return f"not what it should be ({wrong.reason or wrong})"
    return str(wrong.strerror)
