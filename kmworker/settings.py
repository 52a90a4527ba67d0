"""Settings: one file, the environment over it, and nothing else.

A name we do not know is refused wherever it is written: a misspelt limit that silently
stays at its default is found only on the day it is needed. URLs may hold passwords, so
no message and no repr shows a value; `redacted_url` is for messages that need one.
Nothing here reads the environment until `load_settings` is called.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from kmworker.errors import SetupError

__all__ = [
    "BrokerSettings", "KeyringSettings", "LogFormat", "LogLevel", "LogSettings",
    "PolicySettings", "Settings", "StoreSettings", "WaitingSettings", "WorkerSettings",
    "load_settings", "redacted_url", "setting_names",
]  # fmt: skip

SEARCHED: Final = (Path("config/kmworker.toml"), Path("/etc/kmworker/kmworker.toml"))
FILE_VARIABLE: Final = "KMWORKER_CONFIG"
PREFIX: Final = "KMWORKER_"
# These are the test command's, whatever the rest of the name looks like.
TEST_PREFIX: Final = "KMWORKER_TEST_"

Layer = dict[str, dict[str, Any]]

# In `broker.url` these mean streams, as the embedded mode has them.
STREAM_SCHEMES: Final = ("redis", "rediss", "unix")

MAX_PORT: Final = 65_535
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://"
    r"(?:[^\s:@/?#]*(?P<password>:[^\s@/?#]*)?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\s@?#]*)?(?P<query>\?[^\s@#]*)?"
)


def _url(example: str, *schemes: str) -> AfterValidator:
    """Accept only what cannot be read in two ways."""

    def check(text: str) -> str:
        found = _URL.fullmatch(text)
        # Without a host, clients quietly try this machine: most likely an empty variable.
        if (
            found is None
            or found["scheme"] not in schemes
            or int(found["port"] or 0) > MAX_PORT
            or not found["path" if found["scheme"] == "unix" else "host"]
        ):
            how = "must look like {example}, special characters in user and password %-encoded"
            raise PydanticCustomError("url", how, {"example": example})
        return text

    return AfterValidator(check)


BrokerUrl = Annotated[
    str, _url("amqp://user:password@host:5672/vhost", "amqp", "amqps", *STREAM_SCHEMES)
]
StoreUrl = Annotated[str, _url("redis://user:password@host:6379/0", *STREAM_SCHEMES)]
# amq. is the broker's own.
AmqpName = Annotated[str, Field(pattern=r"^(?!amq(\.|\Z))[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
# The open keys of a prefix kmsecret would be among the closed keys of km.
KeyPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}(?<!secret)\Z")]
# No control characters or line separators: this ends up in logs and terminals.
Source = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}\Z")]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
NetworkSeconds = Annotated[Seconds, Field(ge=0.1, le=120)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

# --- the settings: each docstring is the hint in errors and the comment in the file -----


class _Section(BaseModel):
    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        regex_engine="python-re",
    )


class BrokerSettings(_Section):
    """Where events come from and assignments go."""

    url: BrokerUrl | None = Field(default=None, repr=False)
    """AMQP URL; passwords belong in KMWORKER_BROKER__URL. Not set: the `kmworker up` instance."""
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


class StoreSettings(_Section):
    """Where the records are."""

    url: StoreUrl | None = Field(default=None, repr=False)
    """Redis URL; passwords belong in KMWORKER_STORE__URL. Not set: the `kmworker up` instance."""
    prefix: KeyPrefix = "km"
    """1 to 32 of A-Z a-z 0-9 . _ -, first part of keys, not ending in secret; in each, so short."""
    allow_volatile: bool = False
    """true or false; a store that may lose a write may lose a key, and the data with it."""
    timeout_s: NetworkSeconds = 5.0
    """Seconds, 0.1 to 120, for each answer; a slow disk may take a second or two to sync."""


class KeyringSettings(_Section):
    """Where the KEKs are."""

    path: Path = Path("keyring.json")
    """File, from `kmworker keyring init`; beside the configuration, so a trial is one folder."""


class PolicySettings(_Section):
    """How items get their key-ids."""

    path: Path | None = None
    """File of rules, like config/policy.toml. Not set: the shipped ones, kept up by upgrades."""


class WorkerSettings(_Section):
    """How one process works."""

    batch_max: Annotated[int, Field(ge=1, le=1000)] = 256
    """Events, 1 to 1000; thrice this is prefetched, but at most 2000. More gains little."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Tries, 1 to 100, at what fails by our own fault; passing faults are over by then."""
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
    log: LogSettings = LogSettings()
    config_path: Path | None = None
    """The file that was read; neither a file nor a variable can set it."""


class _Variables(Settings, BaseSettings):
    """For pydantic-settings to read; `Settings` itself must not look at the environment."""


SECTIONS: Final = tuple(name for name in Settings.model_fields if name != "config_path")


def setting_names() -> list[str]:
    """Return every setting as ``section.name``, in the order of the file."""
    return [f"{section}.{name}" for section in SECTIONS for name in _fields(section)]


def _fields(section: str) -> Mapping[str, FieldInfo]:
    model: type[BaseModel] = type(Settings.model_fields[section].default)
    return model.model_fields


def redacted_url(url: str) -> str:
    """Return ``url`` without its password and its query, which may hold another.

    What is not plainly a URL is hidden altogether: its password may be anywhere in it.
    """
    found = _URL.fullmatch(url)
    if found is None:
        return "***"
    # From the right, so that the spans hold.
    for part, shown in (("query", "?***"), ("password", ":***")):
        start, end = found.span(part)
        url = url if start < 0 else url[:start] + shown + url[end:]
    return url


# --- reading ----------------------------------------------------------------------


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the first file there is, and the environment over it.

    Raises:
        SetupError: names the file or variable and the setting, never a value.
    """
    path, below = _read_file(config, environ)
    variables = _variables(environ)
    source = EnvSettingsSource(_Variables, env_prefix=PREFIX, env_nested_delimiter="__")
    source.env_vars = {variable.lower(): environ[variable] for variable in variables.values()}
    below.setdefault("keyring", {}).setdefault("path", str(Settings().keyring.path))
    below = _anchored(below, path.parent if path else Path.cwd())
    above = _anchored(source(), Path.cwd())
    values = {name: below.get(name, {}) | above.get(name, {}) for name in below | above}
    try:
        return Settings.model_validate({**values, "config_path": path})
    except ValidationError as invalid:
        raise _refusal(invalid, path, variables) from None


def _read_file(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Layer]:
    named = config or (Path(environ[FILE_VARIABLE]) if FILE_VARIABLE in environ else None)
    for path in map(Path.absolute, (named,) if named else SEARCHED):
        try:
            return path, _document(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror}", "it must be a readable file") from None
        except (ValueError, RecursionError) as error:
            raise SetupError(f"{path}: {error}", "it must be TOML 1.0 in UTF-8") from None
    if named:
        raise SetupError(f"{named}: no such file", f"it is named by --config or {FILE_VARIABLE}")
    return None, {}


def _document(path: Path) -> Layer:
    document = tomllib.loads(path.read_text("utf-8"))
    for section, table in document.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise _unknown(path, section)
    return document


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable of each setting that has one."""
    found = {}
    for variable, value in environ.items():
        upper = variable.upper()
        if "__" not in upper or not upper.startswith(PREFIX) or upper.startswith(TEST_PREFIX):
            continue
        setting = variable.lower()[len(PREFIX) :].replace("__", ".", 1)
        if setting not in setting_names():
            raise _unknown(variable, setting)
        if not value:
            raise SetupError(f"{variable}: {setting}: empty", "unset it or give it a value")
        found[setting] = variable
    return found


def _anchored(layer: Layer, base: Path) -> Layer:
    """Make paths absolute: whoever wrote one meant it from where they wrote it."""
    for table in layer.values():
        if isinstance(table.get("path"), str):
            table["path"] = base / table["path"]
    return layer


def _refusal(invalid: ValidationError, file: Path | None, by: Mapping[str, str]) -> SetupError:
    first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    section, name = map(str, first["loc"][:2])
    setting = f"{section}.{name}"
    where = by.get(setting, file)
    if first["type"] == "extra_forbidden":
        return _unknown(where, setting)
    what = first["msg"][0].lower() + first["msg"][1:]
    return SetupError(f"{where}: {setting}: {what}", _fields(section)[name].description or "")


def _unknown(where: object, name: str) -> SetupError:
    near = difflib.get_close_matches(name, setting_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else "config/kmworker.toml lists every setting"
    return SetupError(f"{where}: {name} is not a setting", hint)
