"""What ``kmworker doctor`` says of those who give clients their keys."""

from collections.abc import Iterator

from kmworker.cli.doctor.checks import Check, checked, not_checked
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.store import now_of
from kmworker.cli.installation.delegation import (
    LIST_HINT,
    START_HINT,
    ending,
    key_servers_in_words,
    troubles_of_key_servers,
)
from kmworker.delegation.trust_list import TrustList
from kmworker.errors import SetupError, Untrusted
from kmworker.settings import Settings
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister
from kmworker.store.inspection import Views
from kmworker.store.records import RecordCodec
from kmworker.store.views.delegation import TrustSeen, read_trust
from kmworker.store.views.key_servers import read_key_servers

__all__ = ["OF_DELEGATION", "check_delegation"]

OF_DELEGATION = "keyservers", "trust"


def check_delegation(
    settings: Settings, views: Views, user: str, *, is_readable: bool, has_keyring: bool
) -> Iterator[Check]:
    """Look at key servers, and at the list by which clients believe them.

    Args:
        settings: as loaded.
        views: the store.
        user: as whom it is asked.
        is_readable: whether what key servers report can be read.
        has_keyring: whether there is one to check seals with.
    """
    if is_readable:
        yield checked("keyservers", lambda: _key_servers(views), user)
    else:
        yield from not_checked(views.names.top("keyservers"), "keyservers")
    if has_keyring:
        yield checked("trust", lambda: _trust(settings, views), user)
    else:
        yield from not_checked("the keyring", "trust")


def _key_servers(views: Views) -> str | tuple[str, str]:
    servers = read_key_servers(views, now_of(views))
    said = key_servers_in_words(servers)
    if any(it.is_live for it in servers):
        troubles = troubles_of_key_servers(servers)
        return ("; ".join([said, *troubles]), "its log says more") if troubles else said
    if read_trust(views) is None:
        return "none is needed: no trust list is handed out"
    # No failure: workers go on.
    return f"{said}: no client gets a key", START_HINT


def _trust(settings: Settings, views: Views) -> str | tuple[str, str]:
    if read_trust(views) is None:
        return "no list is handed out: no client gets a key"
    trust = _checked(settings, views)
    over = ending(TrustSeen(trust.number, trust.not_after), now_of(views))
    said = f"list {trust.number}, {len(trust.sign)} of key servers, until {trust.not_after}"
    return (f"{said}: {over}", LIST_HINT) if over else said


def _checked(settings: Settings, views: Views) -> TrustList:
    """Return the list, if its record is sealed and its root key has signed it.

    Raises:
        PermanentError: its seal is broken.
        SetupError: it is no list of this installation's.
    """
    custody = custody_of(settings.keyring)
    installation = enter(custody, views).layout.installation
    trust = ClientRegister(views, RecordCodec(custody)).trust()
    if trust is None:
        raise SetupError("it was taken out of the store meanwhile", LIST_HINT)
    try:
        return trust.checked(installation)
    except Untrusted as wrong:
        raise SetupError(str(wrong), wrong.hint or LIST_HINT) from None
