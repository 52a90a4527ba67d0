"""Whether clients get their keys, and will tomorrow, for a person to read."""

from collections.abc import Iterator, Sequence
from typing import Final

from kmworker.cli.terminal.output import lasting, to_the_second
from kmworker.clock import unix_s
from kmworker.store.views.delegation import MAX_CLIENTS, ClientsSeen, DelegationSeen, TrustSeen
from kmworker.store.views.key_servers import KeyServerSeen

__all__ = [
    "LIST_HINT", "MAX_IDENTITY_DAYS", "START_HINT", "delegation_lines", "ending",
    "key_servers_in_words", "troubles_of_key_servers",
]  # fmt: skip

MAX_IDENTITY_DAYS: Final = 365.0
"""What was ever sealed to an identity, whoever steals it opens: so it is renewed."""
RENEW_LIST_DAYS: Final = 30.0
DAY_S: Final = 86_400
MAX_NAMED: Final = 5
START_HINT: Final = "start one: kmworker keyserver"
RENEW_HINT: Final = "on each host: kmworker client init --renew (docs/delegating.md)"
LIST_HINT: Final = "kmworker trust sign, then kmworker trust publish"


def delegation_lines(found: DelegationSeen, now: float, unread: str) -> Iterator[tuple[str, str]]:
    """Give names and values for a terminal; nothing where nobody is delegated to.

    Args:
        found: what there is.
        now: Unix seconds.
        unread: what is said of what cannot be read.
    """
    servers, trust, clients = found.key_servers, found.trust, found.clients
    if trust is None and not clients.number and not servers:
        return
    yield "key servers", unread if servers is None else key_servers_in_words(servers)
    for trouble in troubles_of_key_servers(servers or ()):
        yield "trouble", trouble
    if servers is not None and not any(it.is_live for it in servers):
        yield "", f"hint: {START_HINT}"
    yield "trust list", "none" if trust is None else f"{trust.number}, until {trust.not_after}"
    if trust is not None and (over := ending(trust, now)):
        yield "trouble", over
        yield "", f"hint: {LIST_HINT}"
    yield "clients", _clients_in_words(clients)
    if aged := _aged(clients):
        yield "trouble", aged
        yield "", f"hint: {RENEW_HINT}"


def key_servers_in_words(servers: Sequence[KeyServerSeen]) -> str:
    """Say how many live, and what they have done."""
    live = [it for it in servers if it.is_live]
    if not live:
        return f"none live of {len(servers):,} seen today" if servers else "none was seen today"
    counts = (
        f"{name} {sum(getattr(it, name) for it in live):,}"
        for name in ("delivered", "refused", "dropped", "waiting")
    )
    return f"{len(live):,} live of {len(servers):,} seen today; {', '.join(counts)}"


def troubles_of_key_servers(servers: Sequence[KeyServerSeen]) -> list[str]:
    """Return what keeps live key servers from delivering."""
    met = {it.trouble: it.server_id for it in servers if it.is_live and it.trouble}
    return [f"key server {who}: {trouble}" for trouble, who in sorted(met.items())[:MAX_NAMED]]


def ending(trust: TrustSeen, now: float) -> str:
    """Say that the list is over, or soon will be; empty: it holds long enough."""
    if not trust.not_after:
        return "what is in its place is no list"
    left_s = unix_s(trust.not_after) - now
    if left_s <= 0:
        return f"it is over since {to_the_second(trust.not_after)}: clients believe no key server"
    if left_s > RENEW_LIST_DAYS * DAY_S:
        return ""
    return f"it ends in {lasting(left_s)}: no client believes a key server then"


def _clients_in_words(clients: ClientsSeen) -> str:
    """Say how many there are."""
    revoked = f", {clients.revoked:,} of them revoked" if clients.revoked else ""
    looked = "" if clients.number < MAX_CLIENTS else " looked at"
    return f"{clients.number:,}{looked}{revoked}"


def _aged(clients: ClientsSeen) -> str:
    """Name those whose identities are to be renewed; empty: none is."""
    left = len(clients.aged) - MAX_NAMED
    named = ", ".join(clients.aged[:MAX_NAMED]) + (f", and {left:,} more" if left > 0 else "")
    return f"identities older than {MAX_IDENTITY_DAYS:.0f} d: of {named}" if named else ""
