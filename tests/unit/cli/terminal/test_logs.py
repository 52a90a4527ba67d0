"""What a log line looks like, to a program and to a person."""

import io
import json
import logging
import re
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from kmworker.cli.terminal.logs import configure_logs
from kmworker.settings import LogFormat, LogLevel

LEVELS: list[LogLevel] = ["debug", "info", "warning", "error"]


class Terminal(io.StringIO):
    """A stream with a person behind it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def objects(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failed(secret: str) -> None:
    local = secret
    raise ValueError(len(local))


# --- for programs -----------------------------------------------------------------


def test_a_line_is_one_json_object_with_its_time_level_and_fields() -> None:
    configure_logs("info", "json", stream := io.StringIO())
    structlog.get_logger().info("batch done", events=3, note="two\nlines")
    (line,) = objects(stream)
    when = datetime.fromisoformat(str(line.pop("timestamp")))
    assert line == {"event": "batch done", "level": "info", "events": 3, "note": "two\nlines"}
    assert when.tzinfo == UTC
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60


@given(st.text(), st.text() | st.binary() | st.none() | st.floats())
def test_whatever_is_logged_stays_on_one_line(event: str, value: object) -> None:
    configure_logs("info", "json", stream := io.StringIO())
    structlog.get_logger().info(event, value=value)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert json.loads(text)["event"] == event


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_below_the_level_is_said(level: LogLevel) -> None:
    heard = LEVELS[LEVELS.index(level) :]
    configure_logs(level, "json", stream := io.StringIO())
    log = structlog.get_logger()
    for name in LEVELS:
        getattr(log, name)(name)
    assert [line["event"] for line in objects(stream)] == heard
    assert [line["level"] for line in objects(stream)] == heard


# --- for people -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_a_terminal_gets_columns_and_everything_else_json(
    wanted: LogFormat, stream: type[io.StringIO], *, is_json: bool
) -> None:
    configure_logs("info", wanted, out := stream())
    structlog.get_logger().info("started")
    assert out.getvalue().startswith("{") is is_json
    assert "started" in out.getvalue()


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"),
    [
        (Terminal, None, True),
        (Terminal, "1", False),
        (Terminal, "", True),
        (io.StringIO, "", False),
    ],
)
def test_colour_is_for_terminals_whose_owner_does_not_mind(
    stream: type[io.StringIO],
    no_color: str | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    coloured: bool,
) -> None:
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    configure_logs("info", "console", out := stream())
    structlog.get_logger().info("started", worker="w1")
    assert ("\x1b[" in out.getvalue()) is coloured


def test_the_console_says_when_in_utc() -> None:
    configure_logs("info", "console", stream := io.StringIO())
    structlog.get_logger().info("started")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", stream.getvalue())


@given(st.text(st.characters(categories=["Cc", "Zl", "Zp"]), min_size=1))
def test_no_id_can_steer_the_terminal_or_forge_a_line(controls: str) -> None:
    configure_logs("info", "console", stream := io.StringIO())
    structlog.get_logger().info(f"refused{controls}", id=f"a{controls}b", events=3)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


# --- exceptions -------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["json", "console"])
@pytest.mark.parametrize("library", [False, True], ids=["ours", "a library's"])
def test_an_exception_is_rendered_without_its_locals(wanted: LogFormat, *, library: bool) -> None:
    configure_logs("info", wanted, stream := Terminal())
    log = logging.getLogger("redis") if library else structlog.get_logger()
    try:
        failed("key " + "material")
    except ValueError:
        log.exception("it failed")
    text = stream.getvalue()
    assert "ValueError: 12" in text
    assert "in failed" in text
    assert "key material" not in text


def test_an_exception_keeps_its_lines_on_the_console() -> None:
    configure_logs("info", "console", stream := io.StringIO())
    try:
        failed("x\x1b")
    except ValueError:
        structlog.get_logger().exception("it failed")
    assert "\nTraceback (most recent call last):\n" in stream.getvalue()


# --- libraries --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kombu.connection", "amqp", "redis"])
def test_what_libraries_warn_of_takes_the_same_path(name: str) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    configure_logs("debug", "json", stream := io.StringIO())
    log = logging.getLogger(name)
    log.info("chatter")
    log.warning("lost %s", "the broker")
    log.critical("100% gone")
    warned, gone = objects(stream)
    assert (warned["event"], warned["level"]) == ("lost the broker", "warning")
    assert (gone["event"], gone["level"]) == ("100% gone", "error")
    assert warned["logger"] == gone["logger"] == name


def test_at_error_libraries_do_not_warn_either() -> None:
    configure_logs("error", "json", stream := io.StringIO())
    logging.getLogger("kombu").warning("lost")
    assert stream.getvalue() == ""


def test_a_librarys_own_mistake_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    # pytest's own handlers would raise where a program's do not.
    logging.getLogger().handlers.clear()
    configure_logs("info", "json", stream := io.StringIO())
    logging.getLogger("kombu").warning("%d lost", "many")
    assert objects(stream)[0]["event"] == "%d lost"
    assert capsys.readouterr().err == ""


# --- the set-up itself ------------------------------------------------------------


def test_a_later_set_up_replaces_the_earlier_one_everywhere() -> None:
    log = structlog.get_logger()
    configure_logs("info", "json", first := io.StringIO())
    log.info("one")
    configure_logs("info", "json", second := io.StringIO())
    log.info("two")
    logging.getLogger("kombu").warning("three")
    assert [line["event"] for line in objects(first)] == ["one"]
    assert [line["event"] for line in objects(second)] == ["two", "three"]


def test_other_peoples_handlers_stay() -> None:
    logging.getLogger().addHandler(theirs := logging.NullHandler())
    configure_logs("info", "json", io.StringIO())
    configure_logs("info", "json", io.StringIO())
    assert theirs in logging.getLogger().handlers


def test_logs_go_to_standard_error_as_it_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger().info("started")
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["event"]) == ("", "started")


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_stop_the_worker() -> None:
    configure_logs("info", "json", FullDisk())
    structlog.get_logger().info("started")
    configure_logs("info", "json", stream := io.StringIO())
    stream.close()
    structlog.get_logger().info("stopped")


def test_a_line_is_written_at_once_and_in_one_piece() -> None:
    class Counting(io.StringIO):
        calls: tuple[str, ...] = ()

        def write(self, text: str) -> int:
            self.calls += (f"write {text.count(chr(10))}",)
            return len(text)

        def flush(self) -> None:
            self.calls += ("flush",)

    configure_logs("info", "json", stream := Counting())
    structlog.get_logger().info("started")
    assert stream.calls == ("write 1", "flush")
