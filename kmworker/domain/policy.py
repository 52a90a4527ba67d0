"""The operator's rules: which way an item joins what is there. `policy_file` reads them."""

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AliasChoices, Field, PrivateAttr, model_validator

from kmworker.domain.event import Event
from kmworker.domain.model import Disposition, Encryption, Kind
from kmworker.domain.policy_tables import ANY, Globs, Table, matches_any
from kmworker.domain.producers import Producer, Producers, sender

__all__ = [
    "ABSENT", "REFUSE", "Action", "Circumstances", "DefaultEncryption", "IvUse", "Permission",
    "Policy", "Refused", "Rule",
]  # fmt: skip

ABSENT: Final = "none"
"""What `source`, `transport` and `disposition` are matched as when an event has none; and `cipher`,
of an item that would not be encrypted."""


# No line names this type: control characters are in no volume type that an event can have.
UNNAMED_TYPE: Final = "\0a type that nobody has thought of"

REFUSE: Final = "refuse"
"""In place of a default encryption's cipher: the event must name one."""

# Below, a key can be searched for (NIST SP 800-131A rev. 2: 112 bits at least).
MIN_DEK_BITS: Final = 128
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


class Permission(StrEnum):
    """Whether something may happen at all."""

    ALLOW = "allow"
    DENY = "deny"


class Refused(Enum):
    """In place of a default encryption: the policy will not choose one."""

    REFUSED = "refused"


class Circumstances(NamedTuple):
    """What rules are matched against, one string per column."""

    event: str
    source: str
    project: str
    volume_type: str
    cipher: str
    transport: str
    disposition: str


class Rule(Table):
    """One rule; every column it names must match one of its globs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    event: Globs = ANY
    source: Globs = ANY
    project: Globs = ANY
    volume_type: Globs = ANY
    cipher: Globs = ANY
    transport: Globs = ANY
    disposition: Globs = ANY
    """What the event asks for."""
    then: Action
    allow_requested: Annotated[
        bool, Field(validation_alias=AliasChoices("allow_requested", "honour_wish"))
    ] = False
    """Whether the disposition that an event requests decides instead; once `honour_wish`."""

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The globs, in the order of `Circumstances`."""
        return tuple(getattr(self, name) for name in Circumstances._fields)

    def matches(self, circumstances: Circumstances) -> bool:
        """Return whether every column matches."""
        return all(
            circumstances[column] in globs
            or any(fnmatchcase(circumstances[column], glob) for glob in globs)
            for column, globs in self._conditions
        )

    @cached_property
    def _conditions(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """Return the columns that say anything, by their places."""
        return tuple((i, globs) for i, globs in enumerate(self.columns) if globs != ANY)


class Cipher(Table):
    """A cipher that the operator allows, and what its IV means for sharing."""

    name: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    key_bits: Annotated[tuple[int, ...], Field(min_length=1)]
    """Allowed sizes of the DEK; the first is the default."""
    iv: IvUse

    @model_validator(mode="after")
    def _whole_bytes(self) -> "Cipher":
        for bits in self.key_bits:
            if bits % BITS_PER_BYTE or not MIN_DEK_BITS <= bits <= MAX_DEK_BITS:
                text = f"cipher {self.name}: key_bits {bits} is not a whole number of bytes"
                raise ValueError(text + f" from {MIN_DEK_BITS} to {MAX_DEK_BITS} bits")
        return self


class DefaultEncryption(Table):
    """How an item is encrypted when neither its event nor its source says."""

    kind: Globs = ANY
    volume_type: Globs = ANY
    cipher: str
    """A listed cipher, `none` (not encrypted) or `refuse` (the event must name one)."""
    key_bits: int | None = None


class Policy(Table):
    """Rules in order, allowed ciphers, default encryptions in order."""

    rule: tuple[Rule, ...]
    cipher: Annotated[tuple[Cipher, ...], Field(min_length=1)]
    default_encryption: Annotated[tuple[DefaultEncryption, ...], Field(min_length=1)]
    decrypted_copies: Permission = Permission.DENY
    """Whether a copy of encrypted data may be one that is not encrypted."""
    producer: tuple[Producer, ...] = ()
    """Where any is listed, nobody else is heard."""
    _trusts_everybody: bool = PrivateAttr(default=False)

    def first_match(self, circumstances: Circumstances) -> Rule | None:
        """Return the rule that decides."""
        return self._first_match(circumstances)

    def listed(self, cipher: str) -> Cipher | None:
        """Return what the policy says of a cipher."""
        return self._ciphers.get(cipher)

    def default_for(self, kind: str, volume_type: str | None) -> Encryption | Refused | None:
        """Return the default encryption of a kind and volume type; None: not encrypted."""
        return self._default_for(kind, volume_type or "")

    @property
    def trusts_everybody(self) -> bool:
        """Return whether whoever may publish may also say who is to have which key."""
        return self._trusts_everybody

    def of_one_owner(self) -> "Policy":
        """Return the policy as it is where all who may publish are one and the same."""
        owned = self.model_copy()
        owned._trusts_everybody = True  # noqa: SLF001  # a copy of our own
        return owned

    @property
    def leaves_unencrypted(self) -> bool:
        """Return whether a volume of a type that no line names ends as not encrypted."""
        return self.default_for(Kind.VOLUME, UNNAMED_TYPE) is None

    @cached_property
    def producers(self) -> Producers | None:
        """Return who may say what; None: whoever may publish may say anything."""
        return Producers(self.producer) if self.producer else None

    def without_producers(self) -> "Policy":
        """Return the policy as it is for those who may say what they say."""
        return Policy.model_validate({**self.model_dump(), "producer": ()}).of_one_owner()

    def user_of(self, properties: Mapping[str, Any]) -> str | None:
        """Return whose event a message is, as far as it says so."""
        return sender(properties) if self.producers is None else self.producers.user_of(properties)

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
    def _default_for(self) -> Callable[[str, str], Encryption | Refused | None]:
        @lru_cache(REMEMBERED)
        def default_for(kind: str, volume_type: str) -> Encryption | Refused | None:
            for entry in self.default_encryption:
                if matches_any(entry.kind, kind) and matches_any(entry.volume_type, volume_type):
                    return self._encryption_of(entry)
            return None

        return default_for

    def _encryption_of(self, entry: DefaultEncryption) -> Encryption | Refused | None:
        if entry.cipher == REFUSE:
            return Refused.REFUSED
        cipher = self.listed(entry.cipher)
        if cipher is None:
            return None
        return Encryption(cipher.name, entry.key_bits or cipher.key_bits[0])


def circumstances_of(event: Event, cipher: str) -> Circumstances:
    """Return what the rules see of an event whose item would use ``cipher`` (`ABSENT`: none)."""
    return Circumstances(
        event=event.cause.type,
        source=ABSENT if event.derived_from is None else event.derived_from.kind,
        project=event.item.project,
        volume_type=event.volume_type or "",
        cipher=cipher,
        transport=ABSENT if event.transport is None else event.transport,
        disposition=ABSENT if event.requested is None else event.requested,
    )


def action_of(requested: Disposition) -> Action:
    """Return the action that is requested."""
    return Action(requested.value)
