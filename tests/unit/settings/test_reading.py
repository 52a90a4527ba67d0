"""What an operator may write, and what is said to one who wrote something else."""

import os
import re
import runpy
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from kmworker.errors import SetupError
from kmworker.settings import (
    BrokerSettings,
    Settings,
    StoreSettings,
    load_settings,
    reading,
    setting_names,
)
from kmworker.settings.sections import setting_hint
from kmworker.settings.urls import redacted_url

SHIPPED = Path(__file__).parents[3] / "config" / "kmworker.toml"
SECRET = "hunter2"
# As imported: the fixture below puts another path in the place of the one under /etc.
SEARCHED = reading.SEARCHED


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, on a machine without a file under /etc."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    system = tmp_path / "etc" / "kmworker.toml"
    monkeypatch.setattr(reading, "SEARCHED", (SEARCHED[0], system))
    return here


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def value_of(settings: BaseModel, setting: str) -> object:
    section, name = setting.split(".")
    value: object = getattr(getattr(settings, section), name)
    return value


# --- where settings come from -----------------------------------------------------


def test_without_a_file_or_variables_every_setting_has_its_default(folder: Path) -> None:
    settings = load_settings(environ={})
    assert settings.config_path is None
    for setting in setting_names():
        found, default = value_of(settings, setting), value_of(Settings(), setting)
        assert found == (folder / default if isinstance(default, Path) else default), setting


def test_the_first_file_of_the_search_order_is_the_only_one_read(
    folder: Path, tmp_path: Path
) -> None:
    system = write(tmp_path / "etc" / "kmworker.toml", "[log]\nlevel = 'error'")
    assert load_settings(environ={}).config_path == system

    local = write(folder / "config" / "kmworker.toml", "[worker]\nbatch_max = 2")
    assert load_settings(environ={}).config_path == local
    assert load_settings(environ={}).log.level == "info"

    by_variable = write(tmp_path / "variable.toml", "[worker]\nbatch_max = 3")
    environ = {"KMWORKER_CONFIG": str(by_variable)}
    assert load_settings(environ=environ).worker.batch_max == 3

    by_option = write(tmp_path / "option.toml", "[worker]\nbatch_max = 4")
    settings = load_settings(by_option, environ)
    assert (settings.worker.batch_max, settings.config_path) == (4, by_option)


def test_etc_is_searched_last() -> None:
    assert [*map(str, SEARCHED)] == ["config/kmworker.toml", "/etc/kmworker/kmworker.toml"]


def test_a_variable_wins_over_the_file_and_leaves_its_neighbours_alone(folder: Path) -> None:
    write(folder / "config/kmworker.toml", "[worker]\nbatch_max = 2\nmax_attempts = 3")
    worker = load_settings(environ={"KMWORKER_WORKER__BATCH_MAX": "7"}).worker
    assert (worker.batch_max, worker.max_attempts) == (7, 3)


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("broker.url", "amqp://h", "amqp://h"),
        ("broker.urls", '["amqp://h", "amqps://i/v"]', ("amqp://h", "amqps://i/v")),
        ("broker.namespace", "123", "123"),
        ("broker.source", "/km/é", "/km/é"),
        ("broker.heartbeat_s", "60", 60),
        ("store.url", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("store.allow_volatile", "true", True),
        ("store.timeout_s", "0.5", 0.5),
        ("keyring.path", "/keys.json", Path("/keys.json")),
        ("policy.path", "/policy.toml", Path("/policy.toml")),
        ("waiting.max", "10", 10),
        ("log.format", "json", "json"),
    ],
)
def test_a_variable_sets_what_it_names(setting: str, text: str, value: object) -> None:
    variable = "KMWORKER_" + setting.upper().replace(".", "__")
    assert value_of(load_settings(environ={variable: text}), setting) == value
    assert value_of(load_settings(environ={variable.lower(): text}), setting) == value


@pytest.mark.parametrize(
    "variable",
    ["KMWORKER_CONFIG_X", "KMWORKER_TEST_STORE__URL", "_KMWORKER_COMPLETE", "KMWORKERX__Y", "A__B"],
)
def test_other_peoples_variables_are_not_settings(variable: str) -> None:
    assert load_settings(environ={variable: "x"}) == load_settings(environ={})


def test_the_process_environment_is_read_on_loading_and_never_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KMWORKER_WORKER__BATCH_MAX", "9")
    assert Settings().worker.batch_max == 256
    assert load_settings(environ={}).worker.batch_max == 256
    assert load_settings().worker.batch_max == 9


def test_importing_does_not_look_at_a_bad_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMWORKER_NOSUCH__X", "1")
    monkeypatch.setenv("KMWORKER_WORKER__BATCH_MAX", "many")
    imported = runpy.run_path(reading.__file__)
    assert imported["Settings"]().worker.batch_max == 256


def test_paths_are_relative_to_where_they_were_written(folder: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    file = write(away / "km.toml", "[keyring]\npath = 'k.json'\n[policy]\npath = 'p.toml'")
    settings = load_settings(file, {"KMWORKER_POLICY__PATH": "q.toml"})
    assert settings.keyring.path == away / "k.json"
    assert settings.policy.path == folder / "q.toml"


def test_the_keyring_is_beside_the_file_by_default(tmp_path: Path) -> None:
    file = write(tmp_path / "away" / "km.toml", "")
    assert load_settings(file, {}).keyring.path == tmp_path / "away" / "keyring.json"


def test_a_file_named_relatively_anchors_absolutely(folder: Path) -> None:
    write(folder / "sub" / "km.toml", "")
    settings = load_settings(Path("sub/km.toml"), {})
    assert settings.config_path == folder / "sub" / "km.toml"
    assert settings.keyring.path == folder / "sub" / "keyring.json"


@pytest.mark.parametrize("by", ["file", "variable"])
def test_a_keyring_may_be_one_of_systemds_credentials(folder: Path, by: str) -> None:
    path = "$CREDENTIALS_DIRECTORY/keyring.json"
    file = write(folder / "km.toml", f"[keyring]\npath = '{path}'" if by == "file" else "")
    environ = {} if by == "file" else {"KMWORKER_KEYRING__PATH": path}
    given = {**environ, "CREDENTIALS_DIRECTORY": "/run/credentials/kmworker.service"}
    found = load_settings(file, given).keyring.path
    assert found == Path("/run/credentials/kmworker.service/keyring.json")
    with pytest.raises(SetupError, match=r"keyring\.path: \$CREDENTIALS_DIRECTORY is not set"):
        load_settings(file, environ)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().worker.batch_max = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings().worker = Settings().worker  # type: ignore[misc]


@pytest.mark.parametrize("place", ["config/kmworker.toml", "config"])
@pytest.mark.parametrize("spoil", ["owner", "mode"])
def test_a_file_that_a_stranger_may_have_laid_out_is_passed_over_unless_it_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, spoil: str
) -> None:
    found = write(folder / "config" / "kmworker.toml", "[worker]\nbatch_max = 2")
    system = write(tmp_path / "etc" / "kmworker.toml", "")
    assert load_settings(environ={}).config_path == found
    if spoil == "mode":
        (folder / place).chmod(0o777)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54_321)
        monkeypatch.setattr(Path, "stat", _owned_by(54_322, folder / place))
    assert load_settings(environ={}).config_path == system
    assert load_settings(found, {}).worker.batch_max == 2


def _owned_by(user: int, of: Path) -> Callable[..., os.stat_result]:
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        fields = list(real(path, **options))
        if path == of:
            fields[4] = user
        return os.stat_result(fields)

    return stat


# --- what is refused --------------------------------------------------------------


def refused(text: str, environ: dict[str, str] | None = None) -> SetupError:
    """Load a file of this text and return the refusal; its name is part of every message."""
    file = write(Path("km.toml"), text)
    with pytest.raises(SetupError) as caught:
        load_settings(file, environ or {})
    return caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[broker]\nurll = 'x'", "broker.urll is not a setting"),
        ("[nosuch]", "nosuch is not a setting"),
        ("batch_max = 3", "batch_max is not a setting"),
        ("broker = 3", "broker is not a setting"),
        ("[config_path]\nx = 1", "config_path is not a setting"),
        ("[worker]\nbatch_max = 0", "worker.batch_max: input should be greater than or equal to 1"),
        ("[worker]\nbatch_max = 'many'", "worker.batch_max: input should be a valid integer"),
        ("[waiting]\ndeadline_s = nan", "waiting.deadline_s: input should be a finite number"),
        ("[waiting]\nsweep_s = inf", "waiting.sweep_s: input should be"),
        ("[log]\nlevel = 'loud'", "log.level: input should be 'debug', 'info'"),
        ("[broker.url]\nx = 1", "broker.url: input should be a valid string"),
        ("[broker]\nurl = x", "invalid value"),
        ("[broker]\nurls = 'amqp://h'", "broker.urls: must be a list; in a variable"),
        ("[broker]\nurls = []", "broker.urls: "),
        ("[broker]\nurls = ['amqp://h', 'http://h']", "broker.urls: must look like amqp://"),
        ("[broker]\nurls = ['redis://h']", "broker.urls: must look like amqp://"),
        (
            "[broker]\nurl = 'amqp://h'\nurls = ['amqp://h']",
            "broker.urls: broker.url is set, too: keep one of them",
        ),
        ("[broker\n", "line 1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(text: str, words: str) -> None:
    error = refused(text)
    assert str(error).startswith(str(Path("km.toml").absolute()) + ": ")
    assert words in str(error).lower()
    assert error.hint


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KMWORKER_BROKER__URLL", "x", "broker.urll is not a setting"),
        ("KMWORKER_NOSUCH__X", "x", "nosuch.x is not a setting"),
        ("kmworker_nosuch__x", "x", "nosuch.x is not a setting"),
        ("KMWORKER_BROKER__URL__X", "x", "broker.url__x is not a setting"),
        ("KMWORKER_BROKER__", "x", "broker. is not a setting"),
        ("KMWORKER_CONFIG_PATH__X", "x", "config_path.x is not a setting"),
        ("KMWORKER_WORKER__BATCH_MAX", "1001", "worker.batch_max: input should be less than"),
        ("KMWORKER_STORE__ALLOW_VOLATILE", "perhaps", "store.allow_volatile: input should be"),
        ("KMWORKER_BROKER__URL", "", "broker.url: empty"),
        (
            "KMWORKER_BROKER__URLS",
            "amqp://h",
            "broker.urls: must be a list; in a variable it is JSON",
        ),
        ("KMWORKER_BROKER__URLS", "[" * 100_000, "broker.urls: must be a list; in a variable"),
        ("KMWORKER_BROKER__URLS", '"amqp://h"', "broker.urls: must be a list; in a variable"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_by_name(
    variable: str, value: str, words: str
) -> None:
    error = refused("[worker]\nbatch_max = 5", {variable: value})
    assert str(error).startswith(f"{variable}: ")
    assert words in str(error)
    assert error.hint


def test_a_misspelt_name_gets_a_suggestion() -> None:
    assert refused("[broker]\nurll = 'x'").hint == "did you mean broker.url?"
    assert refused("batch_max = 3").hint == "did you mean worker.batch_max?"
    assert "config/kmworker.toml" in refused("", {"KMWORKER_X__Y": "z"}).hint


def test_a_value_out_of_bounds_gets_the_reason_for_them() -> None:
    assert "prefetched" in refused("[worker]\nbatch_max = 0").hint


@pytest.mark.parametrize("environ", [{}, {"KMWORKER_CONFIG": "gone.toml"}], ids=["option", "env"])
def test_a_named_file_must_be_there(environ: dict[str, str], folder: Path) -> None:
    write(folder / "config" / "kmworker.toml", "")
    with pytest.raises(SetupError, match=r"gone\.toml: no such file") as caught:
        load_settings(None if environ else Path("gone.toml"), environ)
    assert "KMWORKER_CONFIG" in caught.value.hint


def test_a_searched_file_that_cannot_be_read_is_not_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "config" / "kmworker.toml").mkdir(parents=True)
    write(tmp_path / "etc" / "kmworker.toml", "")
    with pytest.raises(SetupError, match=r"config/kmworker\.toml: Is a directory"):
        load_settings(environ={})


@pytest.mark.parametrize(
    "content", [b"[log]\nlevel = '\xff'", b"x = " + b"[" * 100_000, b"n = " + b"9" * 5000]
)
def test_a_file_that_is_no_toml_is_refused_not_crashed_on(content: bytes) -> None:
    Path("km.toml").write_bytes(content)
    with pytest.raises(SetupError, match=r"km\.toml: ") as caught:
        load_settings(Path("km.toml"), {})
    assert "TOML" in caught.value.hint


@pytest.mark.parametrize("name", ["kmworker", "prod.km-1_a", "amqp", "a" * 100])
def test_a_namespace_is_taken(name: str) -> None:
    assert BrokerSettings(namespace=name).namespace == name


# What a broker, an event, an ACL or a hash slot would misread.
MISREAD = {
    "namespace": ["", "amq", "amq.x", "a b", "a*", "a#", ".a", "a\n", "a" * 101],
    "source": ["", "a" * 256, "a\nb", "a\x1b[0m", "a\n"],
    # The last two would be others' closed prefixes.
    "prefix": ["", "k m", "{km}", "km:", "km*", "km?", "[km]", "a" * 33, "kmsecret", "secret"],
}


@pytest.mark.parametrize(
    ("setting", "name"), [(setting, name) for setting in MISREAD for name in MISREAD[setting]]
)
def test_a_name_that_others_would_misread_is_refused(setting: str, name: str) -> None:
    section = StoreSettings if setting == "prefix" else BrokerSettings
    with pytest.raises(ValidationError, match=setting):
        section.model_validate({setting: name})


def test_a_prefix_may_begin_with_what_none_may_end_with() -> None:
    assert StoreSettings(prefix="secretive").prefix == "secretive"


# --- URLs -------------------------------------------------------------------------

GOOD_BROKERS = [
    "amqp://host",
    "amqps://user:p%40ss@rabbit.example:5671/%2Fvhost?heartbeat=0",
    "amqp://user:a:b;c@[::1]:5672/",
    "amqp://user@10.0.0.1",
]


@pytest.mark.parametrize("url", GOOD_BROKERS)
def test_a_broker_url_is_taken_as_it_is(url: str) -> None:
    assert BrokerSettings(url=url).url == url


def test_brokers_are_tried_in_the_order_in_which_they_are_written() -> None:
    urls = ("amqp://b", "amqp://a")
    assert BrokerSettings(urls=urls).addresses == urls
    assert BrokerSettings(url="amqp://a").addresses == ("amqp://a",)
    assert BrokerSettings().addresses == ()
    assert BrokerSettings(urls=urls).at("amqp://a").addresses == ("amqp://a",)


def test_a_file_and_a_variable_do_not_name_brokers_each_in_its_own_way() -> None:
    error = refused("[broker]\nurl = 'amqp://h'", {"KMWORKER_BROKER__URLS": '["amqp://i"]'})
    assert (
        str(error) == "KMWORKER_BROKER__URLS: broker.urls: broker.url is set, too: keep one of them"
    )


# What cannot be meant, test_urls.py has.
@pytest.mark.parametrize("url", ["http://host", "amqp://u:p@w@host"])
def test_a_url_that_could_be_read_in_two_ways_is_refused_wherever_it_stands(url: str) -> None:
    for name, value in (("url", url), ("urls", ("amqp://host", url))):
        with pytest.raises(ValidationError, match="must look like amqp://"):
            BrokerSettings.model_validate({name: value})
    with pytest.raises(ValidationError, match="must look like redis://"):
        StoreSettings(url=url)


@pytest.mark.parametrize("url", ["redis://h", "rediss://:pw@h:6380/1", "unix:///s?db=1"])
def test_a_store_url_is_taken_as_it_is(url: str) -> None:
    assert StoreSettings(url=url).url == url


@pytest.mark.parametrize(
    "text", ["AMQP://h/V", "amqp://h/V\n", "amqp://h/V\r\n", " amqp://h/V", "\tamqp://h/V "]
)
def test_what_surrounds_a_url_and_the_case_of_its_scheme_do_not_count(text: str) -> None:
    assert BrokerSettings(url=text).url == "amqp://h/V"
    assert load_settings(environ={"KMWORKER_BROKER__URL": text}).broker.url == "amqp://h/V"


def test_a_variable_that_is_not_utf_8_is_refused_unless_it_is_a_path() -> None:
    error = refused("", {"KMWORKER_BROKER__SOURCE": "/\udcff"})
    assert str(error) == "KMWORKER_BROKER__SOURCE: broker.source: not UTF-8"
    path = load_settings(environ={"KMWORKER_KEYRING__PATH": "/\udcff"}).keyring.path
    assert str(path) == "/\udcff"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:hunter2@h:5672/v", "amqp://u:***@h:5672/v"),
        ("redis://:hunter2@h/0", "redis://:***@h/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("unix:///s?db=1&password=hunter2", "unix:///s?***"),
        ("redis://u:hunter2@h?pass%77ord=hunter2", "redis://u:***@h?***"),
        ("amqp://u:p/hunter2@h", "***"),
        ("u:hunter2@h", "***"),
        ("redis://hunter2@h/0", "redis://***@h/0"),
        ("amqp://u:hunter2", "***"),
    ],
)
def test_a_redacted_url_shows_the_place_and_not_the_password(url: str, shown: str) -> None:
    assert redacted_url(url) == shown


@given(st.text(), st.text(), st.sampled_from(["", "/0", "?db=1", "?password=hunter2&x=@", "@"]))
@example("", "/", "")
@example("?", "#", "/@")
@example(":1", "/", "")
def test_no_password_is_ever_shown(before: str, after: str, rest: str) -> None:
    password = before + SECRET + after
    for url in (f"redis://u:{password}@h{rest}", f"redis://h/?password={password}"):
        assert SECRET not in redacted_url(url)


@pytest.mark.parametrize("setting", ["broker.url", "broker.urls", "store.url"])
@pytest.mark.parametrize("url", [f"ftp://u:{SECRET}@h", f"u:{SECRET}@h", f"amqp://u:/{SECRET}@h"])
def test_no_refusal_shows_a_url(setting: str, url: str) -> None:
    section, name = setting.split(".")
    variable = f"KMWORKER_{section}__{name}".upper()
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({section: {name: url}})
    assert SECRET not in str(caught.value)
    for error in (
        refused(f"[{section}]\n{name} = '{url}'"),
        refused(f"[{section}]\n{name} = ['{url}']"),
        refused(f"[{section}]\n{name} = {url}"),
        refused("", {variable: url}),
        refused("", {variable: f'["{url}"]'}),
    ):
        told = "".join(traceback.format_exception(error)) + error.hint
        assert SECRET not in told


def test_no_repr_shows_a_url() -> None:
    environ = {
        "KMWORKER_BROKER__URL": f"amqp://u:{SECRET}@h",
        "KMWORKER_STORE__URL": f"redis://u:{SECRET}@h",
    }
    settings = load_settings(environ=environ)
    assert settings.broker.url is not None
    assert SECRET in settings.broker.url
    assert SECRET not in repr(settings) + str(settings)
    assert SECRET not in repr(BrokerSettings(urls=(f"amqp://u:{SECRET}@h",)))
    assert SECRET not in repr(settings.store) + str(settings.store)


# --- the file we ship -------------------------------------------------------------


def listed() -> list[tuple[str, str, str]]:
    """Every setting that the shipped file lists: its name, its value, the comment above."""
    found, section, above = [], "", ""
    for line in SHIPPED.read_text("utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif entry := re.fullmatch(r"(?:# )?(\w+) = (.+)", line):
            found.append((f"{section}.{entry[1]}", entry[2], above.removeprefix("# ")))
        above = line
    return found


def test_the_shipped_file_lists_every_setting_once_and_in_order() -> None:
    assert [setting for setting, _, _ in listed()] == setting_names()


def test_the_shipped_file_loads_and_holds_the_defaults() -> None:
    assert load_settings(SHIPPED, {}).config_path == SHIPPED
    in_file = tomllib.loads(SHIPPED.read_text("utf-8"))
    for setting in setting_names():
        section, name = setting.split(".")
        default = value_of(Settings(), setting)
        written = in_file[section].get(name) if section in in_file else None
        assert written == (str(default) if isinstance(default, Path) else default), setting


def test_what_the_shipped_file_comments_out_can_be_commented_in() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    one, several = (
        load_settings(write(Path("km.toml"), re.sub(f"(?m)^{other} = .*amqp.*", "", text)), {})
        for other in ("urls", "url")
    )
    assert one.broker.url
    assert several.broker.addresses == several.broker.urls
    assert one.store.url
    assert one.policy.path == Path("policy.toml").absolute()


def test_the_shipped_file_explains_each_setting_as_errors_do() -> None:
    for setting, _, comment in listed():
        assert comment == setting_hint(*setting.split(".")), setting


def test_every_number_has_bounds_that_its_explanation_names() -> None:
    for setting in setting_names():
        if not isinstance(value_of(Settings(), setting), int | float):
            continue
        section, name = setting.split(".")
        field = type(getattr(Settings(), section)).model_fields[name]
        if field.annotation is bool:
            continue
        metadata = field.metadata
        if not metadata:
            # Of what may also be a word, the number has them.
            number = get_args(field.annotation)[0]
            metadata = [it for info in number.__metadata__ for it in info.metadata]
        low = next(m.ge for m in metadata if hasattr(m, "ge"))
        high = next(m.le for m in metadata if hasattr(m, "le"))
        assert f"{low} to {high}" in setting_hint(section, name), setting
