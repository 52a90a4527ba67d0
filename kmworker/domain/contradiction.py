"""What a second event says of an assigned item that its record does not say.

Shared by all who meet a repeat: the decision, the planner, and the outcome
of a race with another worker. They must agree, or an event would go round for ever.
"""

from typing import Final

from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unencrypted
from kmworker.domain.model import Assignment, Encryption, Item

__all__ = ["contradiction", "encryption_shown", "is_cause_of", "shown"]

# Two refs, two ciphers and the words between them fit into a dead letter's header. A ref with a
# UUID is shown whole, and so is every cipher that is known.
MAX_SHOWN: Final = 48
MAX_CIPHER_SHOWN: Final = 36


def contradiction(event: Event, before: Assignment) -> str | None:
    """Return what the event and the record say differently, for a person; None if nothing.

    The very same event never contradicts itself, whatever was made of it. A field that an
    event leaves out says nothing, except that an item without a source began blank.
    """
    if is_cause_of(event, before):
        return None
    if event.derived_from != before.source:
        return _both(event, _source(event, before.source), _source(event, event.derived_from))
    if event.source_generation != before.source_generation:
        lives = (before.source_generation, event.source_generation)
        return _both(event, *(f"from generation {life} of its source" for life in lives))
    if event.encryption is not None and not _agrees(event, before.encryption):
        recorded, said = encryption_shown(before.encryption), encryption_shown(event.encryption)
        return _both(event, f"with {recorded}", f"with {said}")
    if event.node != before.node:
        return _both(event, _node(before.node), _node(event.node))
    return None


def is_cause_of(event: Event, assignment: Assignment) -> bool:
    """Return whether this very event led to the assignment."""
    return event.cause[:2] == assignment.cause[:2]


def shown(text: str, most: int = MAX_SHOWN) -> str:
    """Return a producer's text as it may stand in a sentence: ASCII, and not too long."""
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 3] + "..."


def encryption_shown(encryption: Encryption | RequestedEncryption | Unencrypted | None) -> str:
    """Return an item's encryption in words; None is a record's: not encrypted."""
    if encryption is None or encryption is UNENCRYPTED:
        return "no encryption"
    cipher, key_bits = encryption
    name = shown(cipher, MAX_CIPHER_SHOWN)
    return name if key_bits is None else f"{name} of {key_bits} bits"


def _agrees(event: Event, recorded: Encryption | None) -> bool:
    said = event.encryption
    if said is None or said is UNENCRYPTED or recorded is None:
        return said is UNENCRYPTED and recorded is None
    return said.cipher == recorded.cipher and said.key_bits in {None, recorded.key_bits}


def _both(event: Event, recorded: str, said: str) -> str:
    return f"{shown(event.item.ref)} is assigned already, {recorded}; this event says: {said}"


def _source(event: Event, source: Item | None) -> str:
    if source is None:
        return "from no source"
    abroad = "" if source.project == event.item.project else f" of project {source.project}"
    return "from " + shown(source.ref + abroad)


def _node(node: str | None) -> str:
    return "on no node" if node is None else f"on node {shown(node)}"
