"""A worker's account with one right less: doctor names what it lacks, whatever it is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from kmworker.errors import SetupError
from kmworker.store.client import Client, connect_to
from kmworker.store.names import Names
from kmworker.store.trial import try_rights
from tests.integration.privilege.accounts import CONFIG, PREFIX, Store

USER, PASSWORD = "hand-edited", "a word"
(LINE,) = (
    line
    for line in (CONFIG / "redis" / "users.acl").read_text().splitlines()
    if line.startswith("user worker ")
)
# What concerns nothing but the connection; a selector is one rule.
RULES = re.findall(r"\([^)]*\)|\S+", LINE.partition(" off ")[2])
CONNECTION = {"+@connection"}


def lesser() -> Iterator[tuple[str, list[str]]]:
    """Each right or pattern of the account, and the rules without it."""
    for at, rule in enumerate(RULES):
        words = rule.strip("()").split()
        for word in words:
            if word[0] not in "+~%" or word in CONNECTION:
                continue
            left = [it for it in words if it != word]
            kept = [f"({' '.join(left)})" if rule[0] == "(" else ""]
            # A selector that is left without a pattern or a command gives nothing.
            if not any(it[0] == "+" for it in left) or not any(it[0] in "~%" for it in left):
                kept = [""]
            yield (
                f"{word} of {rule[:60]}",
                [it for it in [*RULES[:at], *kept, *RULES[at + 1 :]] if it],
            )


@contextmanager
def connected(store: Store, rules: list[str]) -> Iterator[Client]:
    with store.administrator() as admin:
        admin.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *rules)
        client = connect_to(
            f"redis://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{store.server.port}/0", 5.0
        )
        try:
            yield client
        finally:
            client.close()
            admin.execute_command("ACL", "DELUSER", USER)
            store.denials()


def test_the_shipped_account_has_all_that_a_worker_runs(store: Store) -> None:
    with connected(store, RULES) as client:
        try_rights(client, Names(PREFIX))


def test_whatever_a_worker_lacks_is_named(store: Store) -> None:
    overlooked = []
    for lacking, rules in lesser():
        with connected(store, rules) as client, suppress(SetupError):
            try_rights(client, Names(PREFIX))
            overlooked.append(lacking)
    assert overlooked == []


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ("+xadd", f"it may not XADD on {PREFIX}:feed, XADD on {PREFIX}:minutes"),
        ("+hkeys", f"it may not HKEYS on {PREFIX}:{{P}}:waiting:shares"),
        ("+pexpire", f"it may not PEXPIRE on {PREFIX}:lease:<id>"),
        ("+config|get", "it may not CONFIG GET"),
    ],
)
def test_it_is_named_as_command_and_key(store: Store, without: str, named: str) -> None:
    rules = [re.sub(rf" ?{re.escape(without)}(?=[ )]|$)", "", it) for it in RULES]
    with (
        connected(store, [it for it in rules if it]) as client,
        pytest.raises(SetupError) as refused,
    ):
        try_rights(client, Names(PREFIX))
    assert str(refused.value) == named
