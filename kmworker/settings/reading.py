"""Reading settings: one file, the environment over it, and nothing else.

Nothing here reads the environment until `load_settings` is called.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from kmworker.errors import SetupError
from kmworker.settings.sections import (
    NESTED,
    NO_LIST,
    SECTIONS,
    Settings,
    path_settings,
    setting_hint,
    setting_names,
)

__all__ = ["FILE_VARIABLE", "SEARCHED", "load_settings", "working_folder"]

SEARCHED: Final = (Path("config/kmworker.toml"), Path("/etc/kmworker/kmworker.toml"))
FILE_VARIABLE: Final = "KMWORKER_CONFIG"
PREFIX: Final = "KMWORKER_"
CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY"
PATHS: Final = path_settings()
# These are the test command's, whatever the rest of the name looks like.
TEST_PREFIX: Final = "KMWORKER_TEST_"

Layer = dict[str, dict[str, Any]]


class _Variables(Settings, BaseSettings):
    """For pydantic-settings to read; `Settings` itself must not look at the environment."""


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the first file there is, and the environment over it.

    Raises:
        SetupError: names the file or variable and the setting, never a value.
    """
    path, below = _read_file(config, environ)
    variables = _variables(environ)
    source = EnvSettingsSource(_Variables, env_prefix=PREFIX, env_nested_delimiter="__")
    source.env_vars = {variable.lower(): environ[variable] for variable in variables.values()}
    for setting, default in PATHS.items():
        section, name = setting.split(".")
        if default is not None:
            below.setdefault(section, {}).setdefault(name, str(default))
    here = working_folder()
    below = _anchored(below, path.parent if path else here, environ)
    above = _anchored(_decoded(source, variables), here, environ)
    values = {name: below.get(name, {}) | above.get(name, {}) for name in below | above}
    try:
        return Settings.model_validate({**values, "config_path": path})
    except ValidationError as invalid:
        raise _refusal(invalid, path, variables) from None


def _read_file(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Layer]:
    named = config or (Path(environ[FILE_VARIABLE]) if FILE_VARIABLE in environ else None)
    here = working_folder()
    for path in (here / it for it in ((named,) if named else SEARCHED)):
        if not named and path.is_relative_to(here) and _may_be_strangers(path):
            continue
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


def working_folder() -> Path:
    """Return where this process is; a name under which nothing is, if that was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/proc/self/cwd")


def _may_be_strangers(path: Path) -> bool:
    """Return whether a file that nobody named may be of somebody who lets others run into it.

    It says where events go and which keyring is used; in a folder such as /tmp, it may be
    anybody's.
    """
    try:
        found = [place.stat() for place in (path, path.parent)]
    except OSError:
        return False
    ours = {os.geteuid(), 0}
    return any(it.st_uid not in ours or it.st_mode & stat.S_IWOTH for it in found)


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
        if not _is_utf8(value) and setting not in PATHS:
            raise SetupError(f"{variable}: {setting}: not UTF-8", "only a path may be")
        found[setting] = variable
    return found


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(source: EnvSettingsSource, variables: Mapping[str, str]) -> Layer:
    try:
        return source()
    except RecursionError:
        # Of all settings one is a list, and only lists are JSON.
        raise SetupError(f"{variables['broker.urls']}: broker.urls: {NO_LIST}", NESTED) from None


def _anchored(layer: Layer, base: Path, environ: Mapping[str, str]) -> Layer:
    """Make paths absolute: whoever wrote one meant it from where they wrote it."""
    for section, table in layer.items():
        for name in table:
            path, setting = table[name], f"{section}.{name}"
            if setting in PATHS and isinstance(path, str):
                table[name] = base / _credential(setting, path, environ)
    return layer


def _credential(setting: str, path: str, environ: Mapping[str, str]) -> str:
    """Return a path with systemd's folder of credentials in the place of its variable.

    The folder is another one for each service, and systemd itself puts no variables into the
    environment that it sets.
    """
    first, slash, rest = path.partition("/")
    if first != CREDENTIALS:
        return path
    folder = environ.get(first.removeprefix("$"))
    if not folder:
        hint = "systemd sets it for a service with LoadCredential="
        raise SetupError(f"{setting}: {first} is not set", hint)
    return folder + slash + rest


def _refusal(invalid: ValidationError, file: Path | None, by: Mapping[str, str]) -> SetupError:
    first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    section, name = map(str, first["loc"][:2])
    setting = f"{section}.{name}"
    where = by.get(setting, file)
    if first["type"] == "extra_forbidden":
        return _unknown(where, setting)
    what = first["msg"][0].lower() + first["msg"][1:]
    return SetupError(f"{where}: {setting}: {what}", setting_hint(section, name))


def _unknown(where: object, name: str) -> SetupError:
    near = difflib.get_close_matches(name, setting_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else "config/kmworker.toml lists every setting"
    return SetupError(f"{where}: {name} is not a setting", hint)
