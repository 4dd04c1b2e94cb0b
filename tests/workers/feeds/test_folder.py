"""The folder feed: every file that is dropped is read once, put away after the commit, and never lost in between."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from workers.feeds.folder import FolderSource, read_paths, shown
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.pieces import Limits

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def source(folder: Path, clock: Clock) -> Iterator[FolderSource]:
    folder.mkdir()
    limits = Limits(piece=100, document=4000)
    source = FolderSource(
        folder, name="drop", cloud="aws", settle=0, limits=limits, now=lambda: NOW, monotonic=clock, visibility=30
    )
    with closing(source):
        yield source


def lines(count: int) -> bytes:
    return b"".join(json.dumps({"n": number, "x": "y" * 20}).encode() + b"\n" for number in range(1, count + 1))


def places(received: Sequence[Received]) -> list[tuple[str, int]]:
    return [(piece.place, piece.first) for piece in received]


def here(folder: Path) -> dict[str, list[str]]:
    return {
        where: sorted(path.name for path in (folder / where).iterdir() if path.is_file())
        for where in (".", "done", "unreadable")
    }


def test_files_come_in_the_order_of_their_names_and_are_put_away_when_acknowledged(
    source: FolderSource, folder: Path
) -> None:
    for name in ("b.json", "a.json", "c.json"):
        (folder / name).write_bytes(b'{"a": 1}')

    received = source.receive(0)
    assert places(received) == [("a.json", 1), ("b.json", 1), ("c.json", 1)]
    assert here(folder) == {".": ["a.json", "b.json", "c.json"], "done": [], "unreadable": []}

    assert source.acknowledge(received) == []
    assert here(folder) == {".": [], "done": ["a.json", "b.json", "c.json"], "unreadable": []}
    assert source.receive(0) == []


def test_a_long_file_stays_until_its_last_piece_is_acknowledged(source: FolderSource, folder: Path) -> None:
    (folder / "long.jsonl").write_bytes(lines(9))
    firsts = []
    while received := source.receive(0):
        firsts += [piece.first for piece in received]
        assert here(folder)["."] == ["long.jsonl"]
        source.acknowledge(received)

    assert firsts == [1, 3, 5, 7, 9]
    assert here(folder)["done"] == ["long.jsonl"]


def test_a_file_in_which_nothing_could_be_read_is_put_with_the_unreadable(source: FolderSource, folder: Path) -> None:
    (folder / "bad.json").write_bytes(b"no json")
    (folder / "good.json").write_bytes(b'{"a": 1}')

    received = source.receive(0)
    source.acknowledge(received, unreadable={received[0].id})

    assert here(folder) == {".": [], "done": ["good.json"], "unreadable": ["bad.json"]}


def test_a_file_of_which_a_part_could_be_read_counts_as_done(source: FolderSource, folder: Path) -> None:
    (folder / "half.jsonl.gz").write_bytes(gzip.compress(lines(2))[:-3])

    received = source.receive(0)
    assert [piece.fault is None for piece in received] == [True, False]
    source.acknowledge(received, unreadable={received[1].id})

    assert here(folder)["done"] == ["half.jsonl.gz"]


def test_a_crash_before_the_acknowledgement_means_reading_it_again(folder: Path, source: FolderSource) -> None:
    (folder / "a.json").write_bytes(b'{"a": 1}')
    first = source.receive(0)

    with closing(FolderSource(folder, name="drop", cloud="aws", settle=0)) as after_the_crash:
        assert [piece.body for piece in after_the_crash.receive(0)] == [piece.body for piece in first]


def test_unfinished_and_hidden_files_and_folders_are_left_alone(source: FolderSource, folder: Path) -> None:
    for name in (".hidden.json", "a.json.part", "b.json.tmp"):
        (folder / name).write_bytes(b"{}")
    (folder / "sub").mkdir()
    (folder / "sub" / "c.json").write_bytes(b"{}")
    os.mkfifo(folder / "pipe.json")

    assert source.receive(0) == []
    (folder / "a.json.part").rename(folder / "a.json")
    assert places(source.receive(0)) == [("a.json", 1)]


def test_what_is_not_acknowledged_in_time_comes_again_and_is_counted(
    source: FolderSource, folder: Path, clock: Clock
) -> None:
    (folder / "a.json").write_bytes(b'{"a": 1}')
    late = source.receive(0)

    clock.seconds += 29
    assert source.receive(0) == []
    source.extend(late, 30)
    clock.seconds += 29
    assert source.receive(0) == []
    clock.seconds += 2
    again = source.receive(0)
    assert [(piece.deliveries, piece.body) for piece in again] == [(2, b'{"a": 1}')]

    # The late acknowledgement of the first reading must not put the file away under the second one.
    source.acknowledge(late)
    assert here(folder)["."] == ["a.json"]
    source.acknowledge(again)
    assert here(folder)["done"] == ["a.json"]


def test_what_is_given_back_comes_again_at_once_from_its_beginning(source: FolderSource, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(9))
    first = source.receive(0)
    source.acknowledge(first)
    second = source.receive(0)
    assert second[0].first > 1
    source.extend(second, 0)

    assert source.receive(0)[0].first == 1


def test_a_file_that_has_grown_meanwhile_is_read_again(source: FolderSource, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b'{"n": 1}\n')
    received = source.receive(0)
    with (folder / "a.jsonl").open("ab") as file:
        file.write(b'{"n": 2}\n')
    source.acknowledge(received)

    assert here(folder) == {".": ["a.jsonl"], "done": [], "unreadable": []}
    assert [piece.body for piece in source.receive(0)] == [b'{"n": 1}\n{"n": 2}\n']


def test_a_file_that_is_being_copied_is_taken_when_it_is_still(folder: Path, clock: Clock) -> None:
    folder.mkdir()
    path = folder / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n')
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    source = FolderSource(folder, name="drop", cloud="aws", settle=0.25, now=lambda: modified, monotonic=clock)

    assert source.receive(0) == []
    clock.seconds += 0.2
    with path.open("ab") as file:
        file.write(b'{"n": 2}\n')
    assert source.receive(0) == []
    clock.seconds += 0.2
    assert source.receive(0) == [], "it has changed a moment ago"
    clock.seconds += 0.1
    assert [piece.body for piece in source.receive(0)] == [b'{"n": 1}\n{"n": 2}\n']


def test_an_older_file_is_taken_at_first_sight(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.json").write_bytes(b"{}")
    os.utime(folder / "a.json", (1_000_000, 1_000_000))

    assert len(FolderSource(folder, name="drop", cloud="aws").receive(0)) == 1


def test_a_file_that_vanishes_is_no_fault(source: FolderSource, folder: Path) -> None:
    for name in ("a.json", "b.json", "c.json"):
        (folder / name).write_bytes(b"x" * 150)
    received = source.receive(0)
    assert places(received) == [("a.json", 1)]
    (folder / "a.json").unlink()
    (folder / "b.json").unlink()

    assert source.acknowledge(received) == []
    assert places(source.receive(0)) == [("c.json", 1)]


def test_nothing_that_is_put_away_is_overwritten(source: FolderSource, folder: Path) -> None:
    for text in (b'{"a": 1}', b'{"a": 2}', b'{"a": 3}'):
        (folder / "a.json").write_bytes(text)
        source.acknowledge(source.receive(0))

    done = folder / "done"
    assert {path.name: path.read_bytes() for path in done.iterdir()} == {
        "a.json": b'{"a": 1}',
        "a.json.1": b'{"a": 2}',
        "a.json.2": b'{"a": 3}',
    }


def test_names_that_are_no_utf8_are_read_and_shown(source: FolderSource, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    (folder / name).write_bytes(b"{}")

    received = source.receive(0)
    assert places(received) == [(r"caf\xe9.json", 1)]
    source.acknowledge(received)
    assert [os.fsencode(path.name) for path in (folder / "done").iterdir()] == [b"caf\xe9.json"]


def test_a_folder_that_cannot_be_made_is_a_fault_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "drop").write_text("a file")
    source = FolderSource(tmp_path / "drop", name="drop", cloud="aws")

    with pytest.raises(FeedFault) as caught:
        source.receive(0)

    assert caught.value.reason is Reason.SETTINGS
    assert caught.value.permanent
    assert "create" in caught.value.hint()


def test_a_file_that_cannot_be_moved_is_told_and_not_read_in_a_tight_loop(
    source: FolderSource, folder: Path, clock: Clock
) -> None:
    (folder / "a.json").write_bytes(b"{}")
    received = source.receive(0)
    (folder / "done").rmdir()
    (folder / "done").write_bytes(b"in the way")

    assert source.acknowledge(received) == [received[0]]
    (folder / "done").unlink()
    assert source.receive(0) == []
    clock.seconds += 31
    again = source.receive(0)
    assert [piece.deliveries for piece in again] == [2]
    assert source.acknowledge(again) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_file_that_may_not_be_opened_is_told_and_put_away(source: FolderSource, folder: Path) -> None:
    (folder / "a.json").write_bytes(b"{}")
    (folder / "a.json").chmod(0)

    received = source.receive(0)
    assert [piece.fault for piece in received] == ["cannot be opened: Permission denied"]
    source.acknowledge(received, unreadable={received[0].id})
    assert here(folder)["unreadable"] == ["a.json"]


def test_closing_ends_a_waiting_receive(folder: Path) -> None:
    folder.mkdir()
    source = FolderSource(folder, name="drop", cloud="aws")
    threading.Timer(0.05, source.close).start()

    assert source.receive(60) == []


def test_many_small_files_come_in_one_batch_but_not_all_at_once(source: FolderSource, folder: Path) -> None:
    for number in range(25):
        (folder / f"{number:02}.json").write_bytes(b"{}")
    sizes = []
    while received := source.receive(0):
        sizes.append(len(received))
        source.acknowledge(received)

    assert sizes == [10, 10, 5]


# ------------------------------------------------------------------------------------------------ paths, for commands


def test_paths_are_read_in_the_order_given_and_folders_below_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / "a.json").write_bytes(b'{"n": 1}')
    (tmp_path / "in" / "b" / "c.json.gz").write_bytes(gzip.compress(b'{"n": 2}'))
    (tmp_path / "in" / "d.jsonl").write_bytes(b'{"n": 3}\n{"n": 4}\n')
    (tmp_path / "in" / ".hidden").write_bytes(b"{}")
    (tmp_path / "in" / "e.part").write_bytes(b"{}")
    (tmp_path / "last.json").write_bytes(b'{"n": 5}')

    found = list(read_paths([str(tmp_path / "last.json"), str(tmp_path / "in")]))

    assert [(Path(piece.name).name, piece.body) for piece in found] == [
        ("last.json", b'{"n": 5}'),
        ("a.json", b'{"n": 1}'),
        ("c.json.gz", b'{"n": 2}'),
        ("d.jsonl", b'{"n": 3}\n{"n": 4}\n'),
    ]


def test_a_path_that_is_not_there_is_an_error_piece_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")

    found = list(read_paths([str(tmp_path / "none.json"), str(tmp_path / "a.json")]))

    assert [piece.error for piece in found] == ["cannot be opened: No such file or directory", None]


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b'{"n": 1}'))))

    assert [(piece.name, piece.body) for piece in read_paths(["-"])] == [("-", b'{"n": 1}')]


def test_a_named_pipe_is_read_when_it_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b'{"n": 1}',))
    writer.start()
    try:
        assert [piece.body for piece in read_paths([str(pipe)])] == [b'{"n": 1}']
    finally:
        writer.join()


def test_shown_names_can_always_be_printed() -> None:
    assert shown("Zoë.json") == "Zoë.json"
    assert shown(os.fsdecode(b"\xff\xfe.json")) == r"\xff\xfe.json"


def test_reading_paths_needs_no_heavy_package() -> None:
    # `explain` must start in half a second.
    code = (
        "import sys, workers.feeds.folder\n"
        "print([name for name in ('boto3', 'botocore', 'sqlalchemy', 'celery', 'structlog') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
