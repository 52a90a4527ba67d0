"""The operator's rules: which way an item joins what is there.

The file is read once and checked as a whole, so that a rule that can never match,
or one that cannot be carried out, is found at start and not by an event.
"""

import tomllib
from collections.abc import Callable
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kmworker.errors import SetupError
from kmworker.events import EVENT_TYPES, Event
from kmworker.model import Disposition, Encryption, Kind, Transport

__all__ = ["Action", "Circumstances", "IvUse", "Policy", "Rule", "load_policy"]

ABSENT: Final = "none"
"""What `source` and `transport` are matched as when an event has none."""


def _as_list(value: object) -> object:
    """Let a column with one glob do without brackets."""
    return [value] if isinstance(value, str) else value


Glob = Annotated[str, Field(pattern=r"^[^\[\]]*$")]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(_as_list), Field(min_length=1)]
ANY: Final[tuple[str, ...]] = ("*",)

MAX_DEK_BITS: Final = 4_096
# Answers that a policy remembers. A project's name is among the questions, hence a bound.
REMEMBERED: Final = 4_096
BITS_PER_BYTE: Final = 8


class Action(StrEnum):
    """What a rule says; all but `DENY` are dispositions."""

    CREATE = "create"
    CLONE = "clone"
    REUSE = "reuse"
    NONE = "none"
    DENY = "deny"


class IvUse(StrEnum):
    """Where a cipher's IV or tweak comes from, which decides what may share its key."""

    TWEAK = "tweak"
    """From the position, through a block cipher: equality leaks, content does not."""
    RANDOM_STORED = "random-stored"
    """Drawn per write and stored beside the data."""
    POSITIONAL_STREAM = "positional-stream"
    """A keystream from the position: two versions give away their XOR."""


class Circumstances(NamedTuple):
    """What rules are matched against, one string per column."""

    event: str
    source: str
    project: str
    volume_type: str
    cipher: str
    transport: str


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Rule(_Table):
    """One rule; every column it names must match one of its globs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    event: Globs = ANY
    source: Globs = ANY
    project: Globs = ANY
    volume_type: Globs = ANY
    cipher: Globs = ANY
    transport: Globs = ANY
    then: Action
    honour_wish: bool = False

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The globs, in the order of `Circumstances`."""
        return tuple(getattr(self, name) for name in Circumstances._fields)

    def matches(self, circumstances: Circumstances) -> bool:
        """Say whether every column matches."""
        return all(
            circumstances[column] in globs
            or any(fnmatchcase(circumstances[column], glob) for glob in globs)
            for column, globs in self._conditions
        )

    @cached_property
    def _conditions(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """Return the columns that say anything, by their places."""
        return tuple((i, globs) for i, globs in enumerate(self.columns) if globs != ANY)

    def shadows(self, later: "Rule") -> bool:
        """Say whether everything that ``later`` matches is matched by this rule first."""
        return all(
            all(any(_covers(mine, its) for mine in ours) for its in theirs)
            for ours, theirs in zip(self.columns, later.columns, strict=True)
        )


class Cipher(_Table):
    """A cipher that the operator allows, and what its IV means for sharing."""

    name: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    key_bits: Annotated[tuple[int, ...], Field(min_length=1)]
    """Allowed sizes of the DEK; the first is the default."""
    iv: IvUse

    @model_validator(mode="after")
    def _whole_bytes(self) -> "Cipher":
        for bits in self.key_bits:
            if bits % BITS_PER_BYTE or not 0 < bits <= MAX_DEK_BITS:
                text = f"cipher {self.name}: key_bits {bits} is not a whole number of bytes"
                raise ValueError(text + f" up to {MAX_DEK_BITS} bits")
        return self


class DefaultEncryption(_Table):
    """How an item is encrypted when neither its event nor its source says."""

    kind: Globs = ANY
    volume_type: Globs = ANY
    cipher: str
    """A listed cipher, or `none`: not encrypted."""
    key_bits: int | None = None


class Policy(_Table):
    """Rules in order, allowed ciphers, default encryptions in order."""

    rule: tuple[Rule, ...]
    cipher: Annotated[tuple[Cipher, ...], Field(min_length=1)]
    default_encryption: Annotated[tuple[DefaultEncryption, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _sound(self) -> "Policy":
        _check_names(self)
        for index, later in enumerate(self.rule):
            _check_feasible(later)
            for earlier in self.rule[:index]:
                if earlier.shadows(later):
                    text = f"rule {later.name} can never match: {earlier.name} above it"
                    raise ValueError(text + " matches everything it matches")
        for default in self.default_encryption:
            _check_default(self, default)
        return self

    def first_match(self, circumstances: Circumstances) -> Rule | None:
        """Return the rule that decides."""
        return self._first_match(circumstances)

    def listed(self, cipher: str) -> Cipher | None:
        """Return what the policy says of a cipher."""
        return self._ciphers.get(cipher)

    def default_for(self, kind: str, volume_type: str | None) -> Encryption | None:
        """Return the default encryption of a kind and volume type; None: not encrypted."""
        return self._default_for(kind, volume_type or "")

    @cached_property
    def _first_match(self) -> Callable[[Circumstances], Rule | None]:
        @lru_cache(REMEMBERED)
        def first_match(circumstances: Circumstances) -> Rule | None:
            return next((rule for rule in self.rule if rule.matches(circumstances)), None)

        return first_match

    @cached_property
    def _ciphers(self) -> dict[str, Cipher]:
        return {entry.name: entry for entry in self.cipher}

    @cached_property
    def _default_for(self) -> Callable[[str, str], Encryption | None]:
        @lru_cache(REMEMBERED)
        def default_for(kind: str, volume_type: str) -> Encryption | None:
            for entry in self.default_encryption:
                if _any(entry.kind, kind) and _any(entry.volume_type, volume_type):
                    return self._encryption_of(entry)
            return None

        return default_for

    def _encryption_of(self, entry: DefaultEncryption) -> Encryption | None:
        cipher = self.listed(entry.cipher)
        if cipher is None:
            return None
        return Encryption(cipher.name, entry.key_bits or cipher.key_bits[0])


def circumstances_of(event: Event, cipher: str) -> Circumstances:
    """Return what the rules see of an event whose item would use ``cipher``."""
    return Circumstances(
        event=event.cause.type,
        source=ABSENT if event.derived_from is None else event.derived_from.kind,
        project=event.item.project,
        volume_type=event.volume_type or "",
        cipher=cipher,
        transport=ABSENT if event.transport is None else event.transport,
    )


def action_of(wish: Disposition) -> Action:
    """Return the action that a wish asks for."""
    return Action(wish.value)


def load_policy(text: str, name: str) -> Policy:
    """Read and check a policy file.

    Args:
        text: the TOML document.
        name: where it came from, for messages.

    Raises:
        SetupError: it is not TOML, or says something that cannot be.
    """
    try:
        return Policy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as wrong:
        raise SetupError(f"policy {name} is not TOML: {wrong}") from None
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SetupError(
            f"policy {name}: {where + ': ' if where else ''}{message}",
            hint="compare it with the shipped config/policy.toml",
        ) from None


def _any(globs: tuple[str, ...], value: str) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs)


def _covers(outer: str, inner: str) -> bool:
    """Say whether ``outer`` matches all that ``inner`` matches.

    Sound, not complete: a wildcard of ``inner`` is taken as a letter that only a
    wildcard of ``outer`` at least as wide can match.
    """
    if not outer:
        return not inner
    if outer[0] == "*":
        return _covers(outer[1:], inner) or (bool(inner) and _covers(outer, inner[1:]))
    if not inner or inner[0] == "*" or (outer[0] != "?" and outer[0] != inner[0]):
        return False
    return _covers(outer[1:], inner[1:])


def _check_names(policy: Policy) -> None:
    for what, names in (
        ("rule", [rule.name for rule in policy.rule]),
        ("cipher", [cipher.name for cipher in policy.cipher]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{what} {twice} is there twice")
    for rule in policy.rule:
        for column, globs, words in (
            ("event type", rule.event, EVENT_TYPES),
            ("source", rule.source, (ABSENT, *Kind)),
            ("transport", rule.transport, (ABSENT, *Transport)),
        ):
            unheard_of = next((g for g in globs if not any(fnmatchcase(w, g) for w in words)), None)
            if unheard_of is not None:
                raise ValueError(f"rule {rule.name}: no {column} is like {unheard_of}")


def _check_feasible(rule: Rule) -> None:
    """Refuse a rule that would join an item to a source it may not have."""
    if rule.then is Action.DENY and rule.honour_wish:
        raise ValueError(f"rule {rule.name} denies, so it cannot honour a wish")
    if rule.then not in {Action.CLONE, Action.REUSE}:
        return
    if any(_any(rule.source, keyless) for keyless in (ABSENT, "image")):
        text = f"rule {rule.name} says {rule.then} but also matches items without a source key"
        raise ValueError(text + '; name its sources, for example source = ["volume"]')


def _check_default(policy: Policy, entry: DefaultEncryption) -> None:
    if entry.cipher == ABSENT:
        return
    cipher = policy.listed(entry.cipher)
    if cipher is None:
        raise ValueError(f"default encryption names the unlisted cipher {entry.cipher}")
    if entry.key_bits is not None and entry.key_bits not in cipher.key_bits:
        raise ValueError(f"default encryption: {cipher.name} does not allow {entry.key_bits} bits")
