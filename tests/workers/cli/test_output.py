from datetime import UTC, datetime, timedelta

import pytest

from tests.workers.cli.places import HOSTILE, Place, steered
from workers.cli import output
from workers.cli.commands import COMMANDS
from workers.cli.output import count, countdown, fail, filled, moment, remaining, safe, short, table

T0 = datetime(2026, 12, 1, 9, tzinfo=UTC)


def test_what_outsiders_choose_can_neither_steer_the_terminal_nor_forge_a_line() -> None:
    shown = safe(HOSTILE)
    assert [] == steered(shown)
    assert "\n" not in shown
    assert shown.startswith("mallory\N{REPLACEMENT CHARACTER}[31m")


def test_a_broken_character_can_be_printed() -> None:
    assert "a\N{REPLACEMENT CHARACTER}b" == safe("a\ud800b")
    safe("a\ud800b").encode()


def test_honest_names_stay_as_they_are() -> None:
    for name in ("Zoë Ångström", "田中", "arn:aws:iam::111122223333:role/x [red] <b>", "Ελένη"):
        assert name == safe(name)
    assert "a b c" == safe("a\tb\u202fc")


def test_a_fault_keeps_its_own_lines_and_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail("two faults:\n  one\x1b[0m\n  two", hint="Mend\tthem.", code=4)
    assert 4 == ended.value.code
    captured = capsys.readouterr()
    assert ("", "two faults:\n  one\N{REPLACEMENT CHARACTER}[0m\n  two\nMend them.\n") == (captured.out, captured.err)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "passed"), (0, "passed"), (59, "in 0 min 59 s"), (3599, "in 59 min 59 s"), (3600, "in 1 h 00 min"),
        (86399, "in 23 h 59 min"), (86400, "in 1 d 00 h"), (13 * 86400 + 22 * 3600, "in 13 d 22 h"),
    ],
)  # fmt: skip
def test_a_countdown_never_says_more_than_is_left(seconds: int, words: str) -> None:
    assert words == countdown(T0 + timedelta(seconds=seconds), T0)
    assert words.removeprefix("in ") == remaining(T0 + timedelta(seconds=seconds), T0)


@pytest.mark.parametrize(("number", "words"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys")])
def test_numbers_and_words_agree(number: int, words: str) -> None:
    assert words == count(number, "key")
    assert "2 entries" == count(2, "entry", "entries")


def test_times_are_utc_and_nothing_is_nothing() -> None:
    berlin = T0.astimezone(tz=None)
    assert ("2026-12-01T09:00:00Z", "2026-12-01 09:00") == (moment(berlin), short(berlin))
    assert (None, "-") == (moment(None), short(None))


def test_a_table_is_as_wide_as_its_cells_and_neutralises_them(capsys: pytest.CaptureFixture[str]) -> None:
    table(("ID", "NAME"), [(1, "a\nb"), (1234, "c")])
    assert "ID    NAME\n1     a\N{REPLACEMENT CHARACTER}b\n1234  c\n" == capsys.readouterr().out


def test_long_text_is_wrapped_under_its_head_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    text = " ".join(f"word{number}" for number in range(40))
    shown = filled("             why       ", text)
    assert all(len(line) <= 70 for line in shown.splitlines())
    assert text == " ".join(shown.removeprefix("             why").split())
    assert all(line.startswith(" " * 23) for line in shown.splitlines()[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(bare: Place, name: str) -> None:
    told = bare.run(name, "--help")
    assert 0 == told.code
    assert told.out.startswith(f"Usage: byok-watchdog {name}")
    assert not bare.home.exists(), "help makes nothing"


@pytest.mark.parametrize(
    ("group", "names"), [("register", ["check", "import", "show", "schema"]), ("evidence", ["verify"])]
)
def test_every_command_of_a_group_explains_itself(bare: Place, group: str, names: list[str]) -> None:
    for name in names:
        assert name in bare.run(group, "--help").out
        assert 0 == bare.run(group, name, "--help").code


def test_json_goes_out_one_object_a_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.json_line({"a": "ü\n"})
    output.json_line({"b": T0})
    assert b'{"a":"\xc3\xbc\\n"}\n{"b":"2026-12-01T09:00:00Z"}\n' == capfdbinary.readouterr().out
