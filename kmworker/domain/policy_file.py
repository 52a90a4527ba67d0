"""Reading a policy file, and checking it as a whole.

So that a rule that can never match, or one that cannot be carried out, is found at start and
not by an event.
"""

import re
import tomllib
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Final

from pydantic import ValidationError

from kmworker.domain.model import Disposition, Kind, Transport
from kmworker.domain.policy import ABSENT, REFUSE, Action, DefaultEncryption, Policy, Rule
from kmworker.domain.policy_tables import matches_any
from kmworker.domain.producers import Producer
from kmworker.errors import SetupError

__all__ = ["covers", "load_policy", "shadows"]

MAX_USER_BYTES: Final = 255
# A project's letters, and those of globs.
PROJECT: Final = re.compile(r"[A-Za-z0-9._:@+~=*?-]{1,128}")


def load_policy(
    text: str, name: str, event_types: Collection[str], creating: Collection[str]
) -> Policy:
    """Read and check a policy file.

    Args:
        text: the TOML document.
        name: where it came from, for messages.
        event_types: what can happen, for producers to name.
        creating: those of them by which an item comes to be, which rules are about.

    Raises:
        SetupError: it is not TOML, or says something that cannot be.
    """
    try:
        policy = Policy.model_validate(tomllib.loads(text))
        _check(policy, event_types, creating)
    except tomllib.TOMLDecodeError as wrong:
        raise SetupError(f"policy {name} is not TOML: {wrong}") from None
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise _refused(name, f"{where}: {message}" if where else message) from None
    except _Unsound as wrong:
        raise _refused(name, str(wrong)) from None
    return policy


def covers(outer: str, inner: str) -> bool:
    """Return whether the glob ``outer`` matches all that ``inner`` matches.

    Sound, not complete: a wildcard of ``inner`` is taken as a letter that only a
    wildcard of ``outer`` at least as wide can match.
    """
    if not outer:
        return not inner
    if outer[0] == "*":
        return covers(outer[1:], inner) or (bool(inner) and covers(outer, inner[1:]))
    if not inner or inner[0] == "*" or (outer[0] != "?" and outer[0] != inner[0]):
        return False
    return covers(outer[1:], inner[1:])


class _Unsound(Exception):  # control flow within this module only
    """What a policy says that cannot be."""


def _refused(name: str, what: str) -> SetupError:
    return SetupError(
        f"policy {name}: {what}", hint="compare it with the shipped config/policy.toml"
    )


def _check(policy: Policy, event_types: Collection[str], creating: Collection[str]) -> None:
    _check_names(policy, creating)
    for index, later in enumerate(policy.rule):
        _check_feasible(later)
        _check_copies_as_they_are(later, creating)
        for earlier in policy.rule[:index]:
            if shadows(earlier, later):
                text = f"rule {later.name} can never match: {earlier.name} above it"
                raise _Unsound(text + " matches everything it matches")
    for default in policy.default_encryption:
        _check_default(policy, default)
    for producer in policy.producer:
        _check_producer(producer, event_types)


def shadows(earlier: Rule, later: Rule) -> bool:
    """Return whether everything that ``later`` matches is matched by ``earlier`` first."""
    return all(
        all(any(covers(mine, its) for mine in ours) for its in theirs)
        for ours, theirs in zip(earlier.columns, later.columns, strict=True)
    )


def _check_names(policy: Policy, creating: Collection[str]) -> None:
    for what, names in (
        ("rule", [rule.name for rule in policy.rule]),
        ("cipher", [cipher.name for cipher in policy.cipher]),
        ("producer", [producer.user for producer in policy.producer]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise _Unsound(f"{what} {twice} is there twice")
    for word in (ABSENT, REFUSE):
        if policy.listed(word) is not None:
            raise _Unsound(f"no cipher can be called {word}: default encryptions use the word")
    for rule in policy.rule:
        for column, globs, words in (
            ("event type", rule.event, creating),
            ("source", rule.source, (ABSENT, *Kind)),
            ("transport", rule.transport, (ABSENT, *Transport)),
            ("disposition", rule.disposition, (*Disposition,)),
        ):
            unheard_of = next((g for g in globs if not any(fnmatchcase(w, g) for w in words)), None)
            if unheard_of is not None:
                raise _Unsound(f"rule {rule.name}: no {column} is like {unheard_of}")


def _check_feasible(rule: Rule) -> None:
    """Refuse a rule that would join an item to a source it may not have."""
    if rule.then is Action.DENY and rule.allow_requested:
        raise _Unsound(f"rule {rule.name} denies, so it cannot allow a requested disposition")
    if rule.then not in {Action.CLONE, Action.REUSE}:
        return
    if any(matches_any(rule.source, keyless) for keyless in (ABSENT, "image")):
        text = f"rule {rule.name} says {rule.then} but also matches items without a source key"
        raise _Unsound(text + '; name its sources, for example source = ["volume"]')


def _check_copies_as_they_are(rule: Rule, creating: Collection[str]) -> None:
    """Refuse a rule that would give its source's very bytes another key, or none."""
    if rule.then not in {Action.CREATE, Action.NONE}:
        return
    events = {name for name in creating if matches_any(rule.event, name)}
    is_of_snapshots = events == {"snapshot-taken"}
    is_of_replicas = events == {"replica-added"} and not any(
        matches_any(globs, word)
        for globs, words in ((rule.source, (ABSENT,)), (rule.transport, (ABSENT, "reencrypt")))
        for word in words
    )
    if is_of_snapshots or is_of_replicas:
        text = f"rule {rule.name} says {rule.then}, but what it matches is under its source's key"
        raise _Unsound(text + "; say reuse, clone or deny")


def _check_default(policy: Policy, entry: DefaultEncryption) -> None:
    if entry.cipher in {ABSENT, REFUSE}:
        return
    cipher = policy.listed(entry.cipher)
    if cipher is None:
        raise _Unsound(f"default encryption names the unlisted cipher {entry.cipher}")
    if entry.key_bits is not None and entry.key_bits not in cipher.key_bits:
        raise _Unsound(f"default encryption: {cipher.name} does not allow {entry.key_bits} bits")


def _check_producer(producer: Producer, event_types: Collection[str]) -> None:
    """Refuse what no user, project or event can be like: it would shut its producer out."""
    user = producer.user
    if not user.isprintable() or len(user.encode()) > MAX_USER_BYTES:
        raise _Unsound(f"producer {user!a}: no user of a broker is called so")
    if "*" in user or "?" in user:
        raise _Unsound(f"producer {user}: user is one name, and not a glob; list each user")
    if not producer.replay and not (producer.projects and producer.types):
        raise _Unsound(f'producer {user} reaches nothing: name its projects and types, or ["*"]')
    for glob in producer.projects:
        if not PROJECT.fullmatch(glob):
            raise _Unsound(f"producer {user}: no project is like {glob}")
    for glob in producer.types:
        if not any(fnmatchcase(name, glob) for name in event_types):
            raise _Unsound(f"producer {user}: no event type is like {glob}")
