"""Every setting: its type, its bounds, its unit, and why it has the default that it has.

A name we do not know is refused wherever it is written: a misspelt limit that silently
stays at its default is found only on the day it is needed. URLs may hold passwords, so
no message and no repr shows a value; `redacted_url` is for messages that need one.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsConfigDict

from kmworker.docstrings import descriptions
from kmworker.settings.urls import (
    STREAM_SCHEMES,
    is_plain_elsewhere,
    normalised,
    parse,
    redacted_url,
)

__all__ = [
    "NESTED", "NO_LIST", "SECTIONS", "AuditSettings", "BrokerSettings", "ClientSettings",
    "JanitorSettings", "KeyringSettings", "KeyserverSettings", "LogFormat", "LogLevel",
    "LogSettings", "PolicySettings", "RetentionSettings", "Settings", "StoreSettings",
    "WaitingSettings", "WorkerSettings",
    "path_settings", "plain_text", "section_fields", "setting_hint", "setting_names",
]  # fmt: skip


def _url(example: str, *schemes: str) -> AfterValidator:
    """Accept only what can be meant, and cannot be read in two ways."""

    def check(text: str) -> str:
        url = normalised(text)
        try:
            scheme, flaw = parse(url).scheme, ""
        except ValueError as wrong:
            scheme, flaw = url.partition("://")[0], str(wrong)
        if scheme not in schemes:
            flaw = f"it begins with none of {', '.join(f'{name}://' for name in schemes)}"
        if flaw:
            how = "must look like {example}: {flaw}"
            raise PydanticCustomError("url", how, {"example": example, "flaw": flaw})
        return url

    return AfterValidator(check)


NO_LIST: Final = "must be a list; in a variable it is JSON"
NESTED: Final = "the list has URLs in it, and no lists"
MAX_KEEP_S: Final = 2_592_000
"""Seconds that a client may keep a copy of a key for, at the very most."""
AMQP_EXAMPLE: Final = "amqp://user:password@host:5672/vhost"
BrokerUrl = Annotated[str, _url(AMQP_EXAMPLE, "amqp", "amqps", *STREAM_SCHEMES)]
AmqpUrl = Annotated[str, _url(AMQP_EXAMPLE, "amqp", "amqps")]
ManagementUrl = Annotated[str, _url("https://user:password@host:15671", "http", "https")]
StoreUrl = Annotated[str, _url("redis://user:password@host:6379/0", *STREAM_SCHEMES)]
# amq. is the broker's own.
AmqpName = Annotated[str, Field(pattern=r"^(?!amq(\.|\Z))[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
# The open keys of a prefix kmsecret would be among the closed keys of km.
KeyPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}(?<!secret)\Z")]
# No control characters or line separators: this ends up in logs and terminals.
Source = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}\Z")]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Days = Annotated[float, Field(allow_inf_nan=False, le=36_500)]
NetworkSeconds = Annotated[Seconds, Field(ge=0.1, le=120)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

# --- the settings: each docstring is the hint in errors and the comment in the file -----


class _Section(BaseModel):
    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        regex_engine="python-re",
    )


class BrokerSettings(_Section):
    """Where events come from and assignments go."""

    url: BrokerUrl | None = Field(default=None, repr=False)
    """AMQP URL; passwords belong in KMWORKER_BROKER__URL. Not set: the `kmworker up` instance."""
    urls: Annotated[tuple[AmqpUrl, ...], Field(min_length=1, max_length=32)] | None = Field(
        default=None, repr=False
    )
    """1 to 32 AMQP URLs of one cluster's nodes, in place of url; as a variable a JSON list."""
    management_url: ManagementUrl | None = Field(default=None, repr=False)
    """URL of the management plugin, with a user of its own; `kmworker doctor` asks for policies."""
    namespace: AmqpName = "kmworker"
    """1 to 100 of A-Z a-z 0-9 . _ -, first part of AMQP names, not amq; as in the contract."""
    source: Source = "/kmworker"
    """CloudEvents source of assignments, 1 to 255 characters; part of their ids, so keep it."""
    heartbeat_s: Annotated[int, Field(ge=5, le=600)] = 30
    """Seconds, 5 to 600; a dead peer shows after two: a minute. Below 5 a busy one looks dead."""
    connect_timeout_s: NetworkSeconds = 5.0
    """Seconds, 0.1 to 120; ample for TLS across sites, and the next try is not far off."""
    confirm_timeout_s: NetworkSeconds = 30.0
    """Seconds, 0.1 to 120; outlasts an election of the queue's leader, after that reconnect."""

    @field_validator("urls", mode="before")
    @classmethod
    def _instead_of_url(cls, urls: object, others: ValidationInfo) -> object:
        if isinstance(urls, str):
            # Also what a variable holds that is no JSON.
            raise PydanticCustomError("list", NO_LIST)
        if urls is not None and others.data.get("url") is not None:
            raise PydanticCustomError("both", "broker.url is set, too: keep one of them")
        return urls

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the URLs to try, in this order; none if no broker is configured."""
        if self.urls is not None:
            return self.urls
        return () if self.url is None else (self.url,)

    def at(self, url: str) -> Self:
        """Return the settings for one of the addresses alone."""
        return self.model_copy(update={"url": url, "urls": None})


class StoreSettings(_Section):
    """Where the records are."""

    url: StoreUrl | None = Field(default=None, repr=False)
    """Redis URL; passwords belong in KMWORKER_STORE__URL. Not set: the `kmworker up` instance."""
    prefix: KeyPrefix = "km"
    """1 to 32 of A-Z a-z 0-9 . _ -, first part of keys, not ending in secret; in each, so short."""
    durability: Literal["checked", "vouched"] = "checked"
    """checked, or vouched: its operator answers for what a service without CONFIG hides."""
    allow_volatile: bool = False
    """true or false; a store that may lose a write may lose a key, and the data with it."""
    timeout_s: NetworkSeconds = 5.0
    """Seconds, 0.1 to 120, for each answer; a slow disk may take a second or two to sync."""


def archive_beside(path: Path) -> Path:
    """Return where the KEKs are that were removed from a keyring file, if nothing else is said."""
    return path.with_name(f"{path.stem}.archive{path.suffix}")


class KeyringSettings(_Section):
    """Where the KEKs are."""

    path: Path = Path("keyring.json")
    """File, from `kmworker keyring init`; beside the configuration, so a trial is one folder."""
    root: str = "file:"
    """file:, pkcs11: or openbao: URL of what wraps the KEKs in it; file: alone is nothing."""
    archive: Path | None = None
    """File for removed KEKs, under the same root. Not set: keyring.archive.json beside `path`."""
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 400
    """Days, 0 to 36500, that a retired KEK stays; backups of a year, and a month to use them."""
    max_age_days: Annotated[Days, Field(ge=1)] = 400.0
    """Days, 1 to 36500, that a KEK is active before `doctor` warns; a year, and time to do it."""

    @property
    def archive_path(self) -> Path:
        """Return where removed KEKs are."""
        return self.archive or archive_beside(self.path)


class PolicySettings(_Section):
    """How items get their key-ids."""

    path: Path | None = None
    """File of rules, like config/policy.toml. Not set: the shipped ones, kept up by upgrades."""


class WorkerSettings(_Section):
    """How one process works."""

    batch_max: Annotated[int, Field(ge=1, le=1000)] = 256
    """Events, 1 to 1000; four times this is prefetched, but at most 2000. More gains little."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Tries, 1 to 100, at what fails by our own fault; five take some seconds, with pauses."""
    stop_deadline_s: Annotated[Seconds, Field(ge=1, le=3600)] = 20.0
    """Seconds, 1 to 3600, to finish after SIGTERM; supervisors often kill after 30."""


class WaitingSettings(_Section):
    """Events whose source is not there yet."""

    deadline_s: Annotated[Seconds, Field(ge=1, le=2_592_000)] = 3600.0
    """Seconds, 1 to 2592000; an hour outlasts the restart of whoever announces the source."""
    sweep_s: Annotated[Seconds, Field(ge=0.1, le=3600)] = 10.0
    """Seconds, 0.1 to 3600; only deadlines wait for the sweep, a source's arrival does not."""
    max: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Events per project, 1 to 10000000; about 100 MB of the store at 1 KB each."""
    max_bytes: Annotated[int, Field(ge=1_048_576, le=1_099_511_627_776)] = 134_217_728
    """Bytes per project, 1048576 to 1099511627776; as many as `max` usual events take."""
    foreign_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Events per pair of projects, 1 to 1000000, that wait for the other's items: these are few."""


class RetentionSettings(_Section):
    """What becomes of keys that nobody holds, and of what is said of items that are gone."""

    destroy_after_days: Annotated[Days, Field(ge=0)] | Literal["manual"] = 30.0
    """Days, 0 to 36500, or manual; undoing takes as long. At least waiting.deadline_s."""
    tombstone_days: Annotated[Days, Field(ge=0)] = 30.0
    """Days, 0 to 36500, that it is known what was deleted; late events of it come within that."""
    require_reconcile_days: Annotated[Days, Field(ge=0)] = 0.0
    """Days, 0 to 36500; above 0 nothing is destroyed without an inventory as young as that."""


class JanitorSettings(_Section):
    """How `kmworker janitor` works."""

    every_s: Annotated[Seconds, Field(ge=1, le=604_800)] = 3600.0
    """Seconds, 1 to 604800, between two passes over one project: each reads all its records."""
    pause_ms: Annotated[Seconds, Field(ge=0, le=1000)] = 5.0
    """Milliseconds, 0 to 1000, after each page of 500 records: workers go first."""


class AuditSettings(_Section):
    """The audit trail, as `kmworker auditor` writes it."""

    records: bool = False
    """true or false; workers and commands record what they do. Wants an auditor to take it off."""
    directory: Path = Path("audit")
    """Folder of its files, which only grow; on a disk of its own, where tenants fill no other."""
    key: Path = Path("audit-key.json")
    """File with the key that signs checkpoints, from `kmworker auditor --init`; not the trail's."""
    rotate_bytes: Annotated[int, Field(ge=65_536, le=1_099_511_627_776)] = 67_108_864
    """Bytes of a file, 65536 to 1099511627776; 64 MiB are read in seconds at the next start."""
    checkpoint_lines: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Lines, 1 to 1000000, after which it signs; so many can be cut off without a sign at most."""
    checkpoint_s: Annotated[Seconds, Field(ge=1, le=86_400)] = 60.0
    """Seconds, 1 to 86400, after which it signs what has come since; a minute costs 1 KB."""


class KeyserverSettings(_Section):
    """How `kmworker keyserver` works."""

    identity: Path = Path("keyserver.json")
    """File, from `kmworker trust key`: signs answers, and is what uploads are sealed to."""
    keep_s: Annotated[Seconds, Field(ge=60, le=MAX_KEEP_S)] = 86_400.0
    """Seconds, 60 to 2592000, that a client may keep a copy; a day outlasts most outages."""
    wait_s: Annotated[Seconds, Field(ge=0, le=25)] = 25.0
    """Seconds, 0 to 25, that a request waits for its grant; it lives 30 on the broker."""
    rate_per_s: Annotated[Seconds, Field(ge=1, le=100_000)] = 50.0
    """Requests, 1 to 100000, of each client a second, on the whole; what is more is not heard."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Requests, 1 to 1000000, of each client at once; a host that starts opens all its volumes."""


class ClientSettings(_Section):
    """What `kmworker client get` asks with, on a host that is a client."""

    identity: Path = Path("identity.json")
    """File, from `kmworker client init`; it never leaves its host."""
    enrolment: Path = Path("enrolment.json")
    """File, from `kmworker client pin`: whose answers are believed."""
    deadline_s: Annotated[Seconds, Field(ge=1, le=3600)] = 30.0
    """Seconds, 1 to 3600, for an answer; a request lives 30 on the broker."""


class LogSettings(_Section):
    """What is said on standard error."""

    level: LogLevel = "info"
    """debug, info, warning or error; info is what an operator acts on, nothing per event."""
    format: LogFormat = "auto"
    """auto, json or console; auto suits the reader: console on a terminal, otherwise JSON lines."""


class Settings(_Section):
    """Every setting; `Settings()` has the defaults, `load_settings` what is configured."""

    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    keyring: KeyringSettings = KeyringSettings()
    policy: PolicySettings = PolicySettings()
    worker: WorkerSettings = WorkerSettings()
    waiting: WaitingSettings = WaitingSettings()
    retention: RetentionSettings = RetentionSettings()
    janitor: JanitorSettings = JanitorSettings()
    audit: AuditSettings = AuditSettings()
    keyserver: KeyserverSettings = KeyserverSettings()
    client: ClientSettings = ClientSettings()
    log: LogSettings = LogSettings()
    config_path: Path | None = None
    """The file that was read; neither a file nor a variable can set it."""


SECTIONS: Final = tuple(name for name in Settings.model_fields if name != "config_path")


def setting_names() -> list[str]:
    """Return every setting as ``section.name``, in the order of the file."""
    return [f"{section}.{name}" for section in SECTIONS for name in section_fields(section)]


def path_settings() -> dict[str, Path | None]:
    """Return every setting that is a path, as ``section.name``, with its default."""
    return {
        f"{section}.{name}": it.default
        for section in SECTIONS
        for name, it in section_fields(section).items()
        if it.annotation is Path or Path in get_args(it.annotation)
    }


def setting_hint(section: str, name: str) -> str:
    """Return what is written under a setting."""
    return descriptions(_model_of(section)).get(name, "")


def section_fields(section: str) -> Mapping[str, FieldInfo]:
    """Return a section's settings by name."""
    return _model_of(section).model_fields


def _model_of(section: str) -> type[BaseModel]:
    return type(Settings.model_fields[section].default)


def plain_text(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting whose URL sends passwords over a network in plain text, and the URL."""
    broker = settings.broker
    named = "broker.url" if broker.urls is None else "broker.urls"
    urls = [(named, url) for url in broker.addresses]
    urls += [("broker.management_url", broker.management_url or "")]
    for setting, url in (*urls, ("store.url", settings.store.url or "")):
        if is_plain_elsewhere(url):
            yield setting, redacted_url(url)
