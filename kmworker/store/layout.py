"""Which layout a store's records have, and which installation they are of.

`km:layout` is sealed as a whole: whoever can write to the store can delete it, which is
noticed where there are records, and put an older one back, but cannot make a store look as
if another layout or another installation had written it.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from kmworker import __version__
from kmworker.errors import SetupError, UnknownKek

__all__ = [
    "MINIMUM", "NUMBER", "RESTORE", "Layout", "LayoutAltered", "LayoutCustody", "check_values",
    "disbelieved", "fields_of", "former", "layout_in", "other_keyring", "refuse_layout",
]  # fmt: skip

NUMBER: Final = 3
"""The layout that this release reads and writes."""
MINIMUM: Final = 3
"""The oldest layout that a release must know to work on a store of ours."""
RESTORE: Final = "find out who wrote to the store; restore the hash from a backup"
SEAL: Final = "seal"
SEAL_VERSION: Final = "v2"
MAC_LENGTH: Final = 32
WELL_FORMED: Final = re.compile(r"v2\.([0-9a-f]{16})\.[0-9a-f]{32}")


class LayoutAltered(SetupError):
    """The layout is not what was sealed: nothing in it can be believed."""


class LayoutCustody(Protocol):
    """What a custody must do for `km:layout` and `km:keyring`."""

    kek_id: str

    def check_values(self, *words: str) -> dict[str, str]:
        """Return, per kek_id, what only a holder of that KEK can compute of these words."""
        ...

    def enter(self, installation: str) -> None:
        """Wrap and seal for this installation from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """What `km:layout` says."""

    number: int
    """Of the records. Lower than `minimum` while a migration is under way."""
    minimum: int
    """The oldest layout that a release must know to work on this store."""
    installation: str
    """A UUID, drawn when the store was first registered or migrated; in every seal."""
    changed_at: str
    """RFC 3339, UTC."""
    release: str = __version__
    """Of kmworker, which wrote this: it can work on the store, and so can later ones."""

    @property
    def is_settled(self) -> bool:
        """Whether no migration is under way."""
        return self.number >= self.minimum

    @property
    def is_newer(self) -> bool:
        """Whether a later release has written events and fields that this one does not know."""
        return self.number > NUMBER


def fields_of(layout: Layout, custody: LayoutCustody) -> list[str]:
    """Return the fields and values of `km:layout`, seal and all."""
    fields = {
        "number": str(layout.number),
        "minimum": str(layout.minimum),
        "installation": layout.installation,
        "changed_at": layout.changed_at,
        "release": layout.release,
    }
    return [*chain(*fields.items()), SEAL, _seals(fields, custody)[custody.kek_id]]


def check_values(custody: LayoutCustody, installation: str, source: str) -> dict[str, str]:
    """Return what `km:keyring` must hold, per kek_id; they bind the source, too."""
    return custody.check_values("keyring", installation, source)


def layout_in(fields: Mapping[str, str], custody: LayoutCustody, key: str) -> Layout:
    """Return what a store's layout hash says.

    Args:
        fields: the hash.
        custody: whose KEKs its seal must be of.
        key: where it is, for messages.

    Raises:
        LayoutAltered: someone wrote there.
        UnknownKek: it is under a KEK that we lack.
    """
    seal, ours = WELL_FORMED.fullmatch(fields.get(SEAL, "")), _seals(fields, custody)
    if seal is not None and seal[1] not in ours:
        said = f"{key} is under KEK {seal[1]}, not in the keyring file"
        raise UnknownKek(f"{said} (removed? kmworker keyring restore {seal[1]})", seal[1])
    if seal is None or not hmac.compare_digest(seal[0], ours[seal[1]]):
        raise LayoutAltered(f"{key} has been altered: its seal is wrong", RESTORE)
    # Whoever sealed it wrote numbers: no check of their form is needed.
    return Layout(
        number=int(fields["number"]),
        minimum=int(fields["minimum"]),
        installation=fields["installation"],
        changed_at=fields["changed_at"],
        release=fields["release"],
    )


def disbelieved(
    fields: Mapping[str, str], opening: Collection[str], key: str
) -> LayoutAltered | None:
    """Return what is wrong with a layout hash whose seal fits, by what may be opened with still.

    Args:
        fields: the hash.
        opening: the KEKs that anything may be under, by `km:keyring`.
        key: where it is, for messages.
    """
    seal = WELL_FORMED.fullmatch(fields.get(SEAL, ""))
    if seal is None or seal[1] in opening:
        return None
    # It goes under the active KEK before another is retired.
    said = f"{key} has been altered: it is under KEK {seal[1]}, and nothing may be any more"
    return LayoutAltered(said, RESTORE)


def other_keyring(kek_id: str, key: str) -> SetupError:
    """Return the error that says that a hash of the store's is under a KEK that we lack."""
    return SetupError(
        f"the store's records are under KEK {kek_id}, which this keyring lacks",
        hint="use the keyring that the store was filled with, or another store;"
        f" if the KEK was removed since then: kmworker keyring restore {kek_id};"
        f" or somebody wrote there: restore the hash {key} from a backup",
    )


def refuse_layout(layout: Layout) -> None:
    """Refuse a store whose records this release cannot read, or must not write beside.

    Raises:
        SetupError: it is not one of ours.
    """
    if layout.minimum > NUMBER:
        raise SetupError(
            f"the store is of layout {layout.number}, and kmworker {__version__}"
            f" knows layout {NUMBER}",
            hint=f"use kmworker {layout.release} or newer",
        )
    if layout.number < NUMBER and layout.is_settled:
        raise former(layout.number)
    if layout.number < NUMBER:
        raise SetupError(
            f"the store's change to layout {NUMBER} is not finished",
            hint="finish it: kmworker migrate",
        )


def former(number: int) -> SetupError:
    """Return the error that says that a store is of a layout before this release's."""
    return SetupError(
        f"the store is of layout {number}, and this release needs layout {NUMBER}",
        hint="end all workers, back the store up, and run: kmworker migrate",
    )


def _seals(fields: Mapping[str, str], custody: LayoutCustody) -> dict[str, str]:
    """Return the seal that these fields would have under each KEK.

    Whatever other fields a later release adds are in it.
    """
    words = chain(*sorted((name, value) for name, value in fields.items() if name != SEAL))
    values = custody.check_values("layout", *words)
    return {
        kek_id: f"{SEAL_VERSION}.{kek_id}.{value[:MAC_LENGTH]}" for kek_id, value in values.items()
    }
