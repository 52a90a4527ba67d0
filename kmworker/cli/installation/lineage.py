"""A key scope's lineage as a tree, and whether its records' seals hold.

What is drawn comes from a store that someone may have written to: sources may be missing
or go round in circles, and every item is drawn all the same, once.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.tree import Tree

from kmworker.cli.terminal.output import visible
from kmworker.errors import PermanentError, UnknownKek
from kmworker.ports import Custody
from kmworker.store.views.lineage import Derived, Family, Member, Record

__all__ = ["Seals", "family_json", "family_tree"]

MAX_DEPTH: Final = 30


class Seals:
    """Looks at seals with the keyring, if there is one."""

    def __init__(self, custody: Custody | None) -> None:
        self._custody = custody

    def of(self, record: Record | None) -> str:
        """Return ``ok``, ``BROKEN``, ``unknown`` or, of what is not there, ``missing``."""
        if record is None:
            return "missing"
        if self._custody is None:
            return "unknown"
        try:
            self._custody.check_seal(record.place, record.raw)
        except UnknownKek:
            return "unknown"
        except PermanentError:
            return "BROKEN"
        return "ok"


def family_json(project: str, family: Family, seals: Seals) -> dict[str, Any]:
    """Return a lineage for a program: flat, since it may be deep."""
    return {
        "items": [
            {
                "ref": member.ref,
                "source": member.source_in(project) or None,
                "disposition": member.data.get("disposition"),
                "key_id": member.data.get("key_id"),
                "key_state": member.key_state,
                "released": member.is_released,
                "seal": seals.of(member.record),
            }
            for member in family.members
        ],
        "more": family.more,
        "derived": None
        if family.derived is None
        else [
            {"scope_id": it.scope_id, "root": it.root, "source": it.source_ref or None}
            for it in family.derived
        ],
    }


def family_tree(title: str, project: str, family: Family, seals: Seals) -> Tree:
    """Draw a lineage: items under their sources, derived scopes as leaves."""
    tree = Tree(visible(title))
    children = _by_source(project, family.members)
    derived = _by_root_source(family)
    drawn: set[str] = set()
    for start in _starts(children, family.members):
        # Not recursive: a chain of snapshots can be longer than the stack.
        queue = deque([(tree, start, 1)])
        while queue:
            branch, member, depth = queue.popleft()
            if member.ref in drawn:
                continue
            drawn.add(member.ref)
            node = branch.add(visible(_label(member, seals)))
            for leaf in derived.pop(member.ref, ()):
                node.add(visible(f"scope {leaf.scope_id} of {leaf.root}, own DEK"))
            # No terminal is wide enough for more: deeper ones stand beside their source.
            below = (node, depth + 1) if depth < MAX_DEPTH else (branch, depth)
            queue.extend((below[0], child, below[1]) for child in children[member.ref])
    for leaf in (leaf for leaves in derived.values() for leaf in leaves):
        tree.add(visible(f"scope {leaf.scope_id} of {leaf.root}, own DEK"))
    if family.more:
        tree.add(f"… and {family.more:,} more")
    return tree


def _by_source(project: str, members: Sequence[Member]) -> defaultdict[str, list[Member]]:
    """Group by source; under the empty string those whose source is not in the scope."""
    refs = {member.ref for member in members}
    children: defaultdict[str, list[Member]] = defaultdict(list)
    for member in members:
        source = member.source_in(project)
        children[source if source in refs else ""].append(member)
    return children


def _starts(children: dict[str, list[Member]], members: Iterable[Member]) -> Iterable[Member]:
    """Give where to begin: the roots, and then all others in case no root leads to them."""
    yield from children.get("", ())
    yield from members


def _by_root_source(family: Family) -> defaultdict[str, list[Derived]]:
    leaves: defaultdict[str, list[Derived]] = defaultdict(list)
    for derived in family.derived or ():
        leaves[derived.source_ref].append(derived)
    return leaves


def _label(member: Member, seals: Seals) -> str:
    if member.record is None:
        return f"{member.ref}  without a record"
    parts = [
        member.ref, str(member.data.get("disposition")), str(member.data.get("key_id")),
        member.key_state, *["released"] * member.is_released,
    ]  # fmt: skip
    if seals.of(member.record) == "BROKEN":
        parts.append("seal BROKEN")
    return "  ".join(parts)
