"""What clients are answered when they ask once more, and nothing goes wrong any more."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.kit.simulator.clients import Ask
from tests.kit.simulator.entitlement import DELIVERED, word_for
from tests.kit.simulator.errands import Errand
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.place import Place
from tests.kit.simulator.serving import serves

__all__ = ["examine", "open_to_clients", "words_for"]

UNDECIDED: Final = frozenset(("try-later", "no answer"))


def open_to_clients(site: Installation, place: Place) -> None:
    """Let a worker make the store ours, and then enrol clients."""
    place.turn_until_quiet()
    site.clients.enrol()


def words_for(site: Installation, asks: Sequence[Ask]) -> dict[Ask, str]:
    """Return what each is to be answered now, by what is in the store."""
    return {ask: word_for(site.ledger, ask, site.clock.now()) for ask in asks}


def _answers(site: Installation, asks: Sequence[Ask]) -> dict[Ask, str]:
    if not asks:
        return {}
    requests = {ask: site.clients.ask(ask) for ask in asks}
    Errand(site, serves).turn_until_quiet()
    return {ask: site.clients.word_of(request) for ask, request in requests.items()}


def examine(site: Installation, wanted: Mapping[Ask, str]) -> None:
    """Let each ask, and a key server without troubles answer; compare what it says."""
    found_by = _answers(site, list(wanted))
    # What the broker has refused is asked for again, as clients do.
    again = [ask for ask, found in found_by.items() if found in UNDECIDED - {wanted[ask]}]
    found_by |= _answers(site, again)
    granted = words_for(site, list(wanted))
    for ask, word in wanted.items():
        found = found_by[ask]
        if found not in {DELIVERED, *UNDECIDED} and granted[ask] == word == DELIVERED:
            site.ledger.violated(Invariant.SERVED, f"{ask.name} is refused: {found}")
        elif found != word:
            site.ledger.violated(Invariant.EXPECTED, f"{ask.name}: {found}, not {word}")
    for digest, asked in site.clients.asked.items():
        if not site.deliveries.is_answered(digest):
            site.ledger.violated(Invariant.AT_REST, f"{asked.ask.name} is not answered")
