"""When all is quiet: what people are shown, who shares a DEK, and what is said again."""

import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from tests.kit.outside import check_keys
from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.changed import last_change
from tests.kit.outside.lives.keys import KeyLife
from tests.kit.outside.lives.playing import MARKS, Player
from tests.kit.outside.words import Item
from tests.kit.polling import none_of, until_none

KEYS_EACH: Final = 2
SCOPES: Final = 7
SHOWN: Final = 4
ENDED: Final = 3


class Safe:
    """The DEKs that were taken out so far, by the life that brought their scope."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._deks: dict[Item, bytes] = {}

    def look(self) -> None:
        """Export some keys of whole families and of strangers, and compare them with all others."""
        none_of(self._problems())

    def _problems(self) -> Iterator[str]:
        player = self._player
        chosen = self._chosen()
        with ThreadPoolExecutor(check_keys.AT_ONCE) as pool:
            found = list(pool.map(self._export, chosen))
        for key, dek in zip(chosen, found, strict=True):
            if self._deks.setdefault(key.scope, dek) != dek:
                yield f"key of {key.owner} has another DEK than {key.scope}"
        if len(set(self._deks.values())) != len(self._deks):
            yield f"of {len(self._deks)} scopes, two have one DEK"
        gone = [key for key in player.world.keys.values() if key.own == states.DESTROYED]
        for key in player.rng.sample(gone, min(ENDED, len(gone))):
            yield from self._end_problems(key)

    def _chosen(self) -> list[KeyLife]:
        """Those whose scope has lost a key-id first, then what has siblings, then strangers."""
        families: defaultdict[Item, list[KeyLife]] = defaultdict(list)
        known = self._player.ledger.key_ids()
        for key in self._player.world.keys.values():
            if key.own != states.DESTROYED and key.owner in known:
                families[key.scope].append(key)
        scopes = [*families]
        self._player.rng.shuffle(scopes)
        names = defaultdict(list)
        for scope in scopes:
            names[scope.name].append(scope)
        # Lives of one name are the strangers that are the most alike.
        scopes.sort(key=lambda it: (self._has_lost(it), len(families[it]), len(names[it.name])))
        chosen = scopes[-SCOPES:]
        return [key for scope in chosen for key in families[scope][:KEYS_EACH]]

    def _has_lost(self, scope: Item) -> bool:
        family = self._player.world.family(scope)
        return any(key.own == states.DESTROYED for key in family)

    def _export(self, key: KeyLife) -> bytes:
        player = self._player
        dek, _mode = check_keys.exported(player.site, key.owner.project, player.key_id(key.owner))
        return dek

    def _end_problems(self, key: KeyLife) -> Iterator[str]:
        site, key_id = self._player.site, self._player.key_id(key.owner)
        path = site.folder / f"gone-{key_id}"
        done = site.run(
            "key", "export", key_id, "--project", key.owner.project, "--output", str(path),
            exit_code=None,
        )  # fmt: skip
        if done.returncode != 1 or path.exists():
            yield f"destroyed {key_id} was exported with {done.returncode}: {done.stderr}"


def check_shown(player: Player) -> None:
    """Compare what `key list` and `key show` say with what there is."""
    listed = player.site.run("key", "list", "--json").stdout.splitlines()
    found = {it["key_id"]: it for it in map(json.loads, listed) if it["project"] != MARKS}
    none_of(_list_problems(player, found))
    keys = [*player.world.keys.values()]
    for key in player.rng.sample(keys, min(SHOWN, len(keys))):
        none_of(_show_problems(player, key))


def _list_problems(player: Player, found: dict[str, Any]) -> Iterator[str]:
    known = player.ledger.key_ids()
    for owner, key in player.world.keys.items():
        if owner not in known:
            continue
        row = found.get(known[owner]["key_id"])
        if row is None or (row["state"], row["holders"]) != (key.state, len(key.holders)):
            yield f"key of {owner} is {key.state}, held by {len(key.holders)}, and listed as {row}"
    if len(found) != len(player.world.keys):
        yield f"{len(found)} are listed of {len(player.world.keys)}"


def _show_problems(player: Player, key: KeyLife) -> Iterator[str]:
    key_id, project = player.key_id(key.owner), key.owner.project
    done = player.site.run("key", "show", key_id, "--project", project, "--json")
    shown = json.loads(done.stdout)
    if shown["state"] != key.state:
        yield f"key of {key.owner} is {key.state}, and shown as {shown['state']}"
    holders = {holder.ref for holder in key.holders}
    if set(shown["holders"]) != holders:
        yield f"key of {key.owner} is held by {holders}, and shown as by {shown['holders']}"
    last = last_change(player.ledger, key_id)
    by = None if last is None else last["by"]
    if (shown.get("changed") or {}).get("by") != by:
        yield f"key of {key.owner} was changed by {by}, and shown as by {shown.get('changed')}"


def check_said_again(player: Player) -> None:
    """Have all that is stored announced again, in the very same words."""
    ear, site = player.ear, player.site
    for silence, options in ((_silent_items, ()), (_silent_keys, ("--keys",))):
        ear.repeated.clear()
        done = json.loads(site.run("announce", "--yes", "--json", *options).stdout)
        assert done["broken"] == done["unrouted"] == 0, done
        until_none(partial(silence, player), between=ear.client.pump)
        none_of(player.ledger.problems())


def _silent_keys(player: Player) -> Iterator[str]:
    """Whose last change should have been said again, and was not."""
    ear = player.ear
    for key_id, versions in ear.changes.items():
        if versions[max(versions)].parsed()["id"] not in ear.repeated:
            yield f"the last change of {key_id} was not said again"


def _silent_items(player: Player) -> Iterator[str]:
    """The same of items."""
    ear, assigned = player.ear, player.ledger.assigned()
    for record in player.world.items.values():
        if record.gone is not None or record.fate is None:
            continue
        if assigned[record.fate.item].parsed()["id"] not in ear.repeated:
            yield f"{record.fate.item} was not said again"
    released = sum(it.gone is not None for it in player.world.items.values())
    if (said := len(ear.repeated & ear.released.keys())) < released:
        yield f"{said} of {released} releases were said again"


def check_inventory(player: Player) -> None:
    """Compare with an inventory that is right, and with one that is not."""
    held = [
        f"{name.project} {name.ref}"
        for name, it in player.world.items.items()
        if it.gone is None and name.kind != "partition"
    ]
    held += [f"{MARKS} {ref}" for ref in player.reader.table(MARKS, "items")]
    words = ("reconcile", "--inventory", "-", "--json")
    player.site.run(*words, stdin="\n".join(held))
    without = player.rng.choice(held)
    lacking = "\n".join(it for it in held if it != without)
    found = player.site.run(*words, stdin=lacking, exit_code=1).stdout.splitlines()
    told = json.loads(found[0])
    assert (told["what"], f"{told['project']} {told['ref']}") == ("held-and-gone", without)


def check_verified(player: Player) -> None:
    """Have the product's own check find nothing."""
    done = player.site.run("verify", "--json", exit_code=None)
    *findings, summary = map(json.loads, done.stdout.splitlines())
    assert summary["complete"], done.stderr
    assert not findings, findings
