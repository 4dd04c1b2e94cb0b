"""The bench measures what it says: its corpus, its way through the product, its sums, and the file that it writes."""

import gzip
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from watchdog import clouds
from watchdog.clouds.aws.triage import Narrow
from watchdog.register import Register
from watchdog.words import Effect
from workers.bench import workload
from workers.bench.__main__ import Work, main, measure
from workers.bench.decoding import BARE, Bare, bodies, decode_bare, inflate, read
from workers.bench.figures import Bound, Figure, Gap, NotMeasured, Times, Verdict, in_turn, percentile, ratio
from workers.bench.latency import STAGES, walk
from workers.bench.piped import PipeClient
from workers.bench.stamped import Stamp, Stamper, StampReader
from workers.bench.workload import Sizes, document, key_arn, lines, records, trail_files
from workers.feeds.sqs import SqsSource
from workers.samples.corpus import Corpus, Shares, json_lines, trail_file, trail_gzip

TINY = Sizes(mode="tiny", records=200, trail_records=100, repeats=2, events=3, backlog=400, many_keys=30, few_keys=3)


# ---------------------------------------------------------------------------------------------------------- the corpus


def sizes_of(made: list[dict[str, Any]]) -> list[int]:
    return [len(msgspec.json.encode(record)) for record in made]


def test_records_are_as_long_as_real_ones() -> None:
    sizes = sizes_of(records(1, 500))

    assert 1200 < sum(sizes) / len(sizes) < 1600
    assert min(sizes) > 1000
    assert max(sizes) < 1700


def test_a_seed_makes_the_same_records_and_another_seed_others() -> None:
    assert records(7, 50, watched_keys=3) == records(7, 50, watched_keys=3)
    assert records(7, 50) != records(8, 50)


def test_the_shares_are_kept() -> None:
    shares = Shares(key_uses=0.5, refusals=0.2, watched_uses=0.1, watched_failures=0.05)
    keys = [key_arn(number) for number in range(3)]

    found = Counter(
        (record["eventSource"] == "kms.amazonaws.com", "errorCode" in record, "sharedEventID" in record)
        for record in Corpus(3, shares=shares, keys=keys).records(4000)
    )

    parts = {kind: count / 4000 for kind, count in found.items()}
    assert parts.pop((True, False, False)) == pytest.approx(0.5, abs=0.03)
    assert parts.pop((False, True, False)) == pytest.approx(0.2, abs=0.03)
    assert parts.pop((True, False, True)) == pytest.approx(0.1, abs=0.02)
    assert parts.pop((True, True, True)) == pytest.approx(0.05, abs=0.02)
    assert parts.pop((False, False, False)) == pytest.approx(0.15, abs=0.03)
    assert parts == {}


@pytest.mark.parametrize("shares", [{"key_uses": 1.1}, {"refusals": -0.1}, {"key_uses": 0.7, "watched_uses": 0.4}])
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="come to 1 at most"):
        Shares(**shares)


def test_uses_of_registered_keys_need_the_keys() -> None:
    with pytest.raises(ValueError, match="need the keys"):
        Corpus(1, shares=Shares(watched_uses=0.1))


def test_noise_means_nothing_and_what_is_about_registered_keys_does() -> None:
    cloud, register = clouds.cloud("aws"), Register(document(3), 1)
    corpus = Corpus(5)

    def effects(record: dict[str, Any]) -> set[tuple[Effect, str | None]]:
        return {(one.effect, one.key) for one in cloud.meaning(msgspec.json.encode(record), register)}

    for record in corpus.records(200):
        assert effects(record) == {(Effect.NO_EFFECT, None)}
    assert effects(corpus.use(key_arn(1))) == {(Effect.USE_SUCCEEDED, key_arn(1))}
    assert effects(corpus.failed_use(key_arn(1))) == {(Effect.USE_FAILED, key_arn(1))}
    assert effects(corpus.change("DisableKey", key_arn(2))) == {(Effect.KEY_DISABLED, key_arn(2))}


def test_the_three_ways_of_writing_records_hold_the_same_records() -> None:
    made = records(2, 20)

    assert [json.loads(line) for line in json_lines(made).splitlines()] == made
    assert json.loads(trail_file(made)) == {"Records": made}
    assert gzip.decompress(trail_gzip(made)) == trail_file(made)
    assert trail_gzip(made)[4:8] == bytes(4)  # no time of day in it


def test_pieces_and_files_lose_no_record(tmp_path: Path) -> None:
    made = records(2, 250)

    pieces = lines(made, piece=100 * 1400)
    paths = trail_files(tmp_path, made, 100)

    assert len(pieces) == 3
    assert [json.loads(line) for piece in pieces for line in piece.splitlines()] == made
    assert [record for path in paths for record in json.loads(gzip.decompress(path.read_bytes()))["Records"]] == made


def test_every_key_of_the_register_is_another_customers() -> None:
    register = Register(document(30), 1)

    assert len(register.keys) == len(register.customers) == 30
    assert len({key.id.split(":")[4] for key in register.keys.values()}) == 30
    assert {key.customer.aws.accounts[0] for key in register.keys.values()} == {
        key.id.split(":")[4] for key in register.keys.values()
    }


# ------------------------------------------------------------------------------------------------------------ decoding


def test_the_bare_decode_reads_the_very_fields_that_triage_reads() -> None:
    def read_by(kind: type[msgspec.Struct]) -> dict[str, object]:
        return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}

    assert read_by(Bare) == read_by(Narrow)


def test_the_bare_decode_really_decodes() -> None:
    [record] = BARE.decode_lines(json_lines([Corpus(1).failed_use(key_arn(1))]))

    assert (record.event_source, record.error_code) == ("kms.amazonaws.com", "DisabledException")
    assert bytes(record.error_message) == f'"{key_arn(1)} is disabled."'.encode()
    assert json.loads(bytes(record.resources))[0]["ARN"] == key_arn(1)
    assert decode_bare(lines(records(1, 250), piece=100 * 1400)) == 250


def test_reading_counts_every_record_once_and_those_that_matter() -> None:
    cloud, register = clouds.cloud("aws"), Register(document(3), 1)
    made = records(1, 500, watched_keys=3)
    matter = sum("sharedEventID" in record for record in made)

    assert read(cloud, register, lines(made, piece=100 * 1400)) == (500, matter)
    assert matter > 0


def test_a_corpus_that_cannot_be_read_is_no_measurement(tmp_path: Path) -> None:
    cloud, register = clouds.cloud("aws"), Register(document(1), 1)
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(trail_gzip(records(1, 50))[:-20])

    with pytest.raises(NotMeasured, match="cannot be read"):
        read(cloud, register, [b'{"eventSource": \n{"eventSource": }\n'])
    with pytest.raises(NotMeasured, match="cannot be read"):
        list(bodies([cut]))
    with pytest.raises(NotMeasured, match="gzip"):
        inflate(cut)


def test_inflating_alone_inflates_everything(tmp_path: Path) -> None:
    made = records(1, 1500)  # more than one chunk
    [path] = trail_files(tmp_path, made, 1500)

    assert inflate(path) == len(trail_file(made))


# ------------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("measured", "bound", "verdict"),
    [
        (0.61, Bound.AT_LEAST, Verdict.MET),
        (0.6, Bound.AT_LEAST, Verdict.MET),
        (0.59, Bound.AT_LEAST, Verdict.MISSED),
        (0.59, Bound.AT_MOST, Verdict.MET),
        (0.6, Bound.AT_MOST, Verdict.MET),
        (0.61, Bound.AT_MOST, Verdict.MISSED),
    ],
)
def test_a_figure_knows_on_which_side_of_its_target_it_is(measured: float, bound: Bound, verdict: Verdict) -> None:
    assert Figure(name="x", title="", measured=measured, target=0.6, bound=bound, meaning="").verdict is verdict


def test_things_are_timed_in_turn_after_one_turn_that_does_not_count() -> None:
    order: list[str] = []

    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3)

    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert [len(one.seconds) for one in times.values()] == [3, 3]


def test_ratios_are_taken_turn_by_turn() -> None:
    # The machine became twice as slow in between: neither thing became slower than the other.
    slow, fast = Times((3.0, 6.0, 6.0)), Times((1.0, 2.0, 2.0))

    assert ratio(slow, fast) == Times((3.0, 3.0, 3.0))
    assert (ratio(slow, fast).median, ratio(slow, fast).spread) == (3.0, 0.0)
    assert Times((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(2 / 3)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (90, 90), (99, 99), (100, 100), (0, 1)])
def test_percentiles_are_values_that_occurred(percent: float, expected: int) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_few_values_is_not_too_low() -> None:
    assert (percentile([1.0, 2.0, 3.0], 50), percentile([1.0, 2.0, 3.0], 99)) == (2.0, 3.0)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


# ------------------------------------------------------------------------------------------------------ stamps and pipe


ONE, OTHER = 41, 42

WALK = [
    Stamp(0.8, ONE, "deliver.rendered"),
    Stamp(1.0, 1, "consumer.received"),
    Stamp(1.1, 1, "consumer.committed"),
    Stamp(1.2, 1, "consumer.acknowledged"),
    Stamp(1.3, 1, "consumer.handed_on"),
    Stamp(1.4, ONE, "observe.taken"),
    Stamp(1.5, ONE, "observe.committed"),
    Stamp(1.6, OTHER, "deliver.rendered"),
    Stamp(1.7, ONE, "deliver.rendered"),
    Stamp(2.1, ONE, "deliver.settled"),
    Stamp(2.2, ONE, "deliver.rendered"),
]


def test_a_walk_is_cut_at_the_stops_of_the_process_that_pages() -> None:
    times = walk(WALK, page_at=2.0)

    assert times == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0]
    assert len(times) == len(STAGES) + 1


@pytest.mark.parametrize("lost", ["consumer.committed", "observe.committed", "deliver.rendered"])
def test_a_walk_that_misses_a_stop_is_no_measurement(lost: str) -> None:
    stamps = [stamp for stamp in WALK if stamp.stop != lost or stamp.pid == OTHER]

    with pytest.raises(NotMeasured, match=f"did not pass .*{lost}"):
        walk(stamps, page_at=2.0)


def test_stamps_are_read_once_and_only_whole(tmp_path: Path) -> None:
    path = tmp_path / "stamps"
    reader = StampReader(path)
    stamp = Stamper(path)

    stamp("observe.taken")
    stamp("observe.committed")
    with path.open("ab") as other:
        other.write(b"3.5 7 observe.com")
    first = reader.fresh()
    with path.open("ab") as other:
        other.write(b"mitted\n")

    assert [(one.stop, one.pid) for one in first] == [
        ("observe.taken", os.getpid()),
        ("observe.committed", os.getpid()),
    ]
    assert 0 < first[0].at <= first[1].at
    assert reader.fresh() == [Stamp(3.5, 7, "observe.committed")]
    assert reader.fresh() == []
    reader.close()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    yield path, end
    os.close(end)


def test_the_pipe_gives_its_lines_to_the_real_feed_ten_at_a_time(pipe: tuple[Path, int]) -> None:
    path, end = pipe
    source = SqsSource("https://sqs.example/1/q", name="events", connect=lambda _region: PipeClient(path))
    os.write(end, b"".join(b'{"number":%d}\n' % number for number in range(12)))

    first, second = source.receive(1), source.receive(1)

    assert [one.body for one in [*first, *second]] == [b'{"number":%d}' % number for number in range(12)]
    assert (len(first), len({one.id for one in [*first, *second]})) == (10, 12)
    assert (source.acknowledge(first), source.extend(second, 0)) == ([], [])
    source.close()


def test_an_empty_line_ends_a_long_poll(pipe: tuple[Path, int]) -> None:
    path, end = pipe
    source = SqsSource("https://sqs.example/1/q", name="events", connect=lambda _region: PipeClient(path))
    threading.Timer(0.05, lambda: os.write(end, b"\n")).start()

    assert list(source.receive(5)) == []
    source.close()


# ----------------------------------------------------------------------------------------------------------- the whole


def figures_in(path: Path) -> dict[str, dict[str, Any]]:
    return {figure["name"]: figure for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]}


def test_the_decoding_figures_are_computed_printed_and_written(tmp_path: Path) -> None:
    path, said = tmp_path / "bench.json", StringIO()

    code = main(["--only", "lines", "gzip", "register", "--json", str(path)], sizes=TINY, stream=said)

    report = json.loads(path.read_text(encoding="utf-8"))
    figures = figures_in(path)
    assert (code, report["not_measured"]) == (0, [])
    assert list(figures) == ["lines", "gzip", "register", "register_uses"]
    for figure in figures.values():
        assert figure["measured"] > 0
        assert figure["verdict"] in {"met", "missed"}
        assert figure["details"]["records"] == TINY.records
        assert f"{figure['name']}: " in said.getvalue()
    assert (figures["register"]["details"]["matter"], figures["register_uses"]["details"]["matter"] > 0) == (0, True)
    assert len(figures["lines"]["details"]["bare"]["seconds"]) == TINY.repeats
    assert figures["gzip"]["details"]["files"] == 2
    assert report["corpus"]["seed"] == 20261102
    assert {"python", "cpus", "versions", "load_average"} <= report["machine"].keys()


@pytest.mark.servers
def test_the_figures_of_the_schedule_come_from_both_stores(tmp_path: Path) -> None:
    path, said = tmp_path / "bench.json", StringIO()

    code = main(["--only", "schedule", "--json", str(path)], sizes=replace(TINY, probe_window=300), stream=said)

    assert code == 0, said.getvalue()
    figures = figures_in(path)
    names = ["schedule_sqlite", "schedule_memory_sqlite", "schedule_postgresql", "schedule_memory_postgresql"]
    assert list(figures) == names
    for name in names[::2]:
        details = figures[name]["details"]
        assert details["probes"] == TINY.probe_intervals * TINY.many_keys
        assert details["keys_per_second"] / details["needed_keys_per_second"] == pytest.approx(
            figures[name]["measured"], rel=0.1
        )
        assert 0 < details["commits_per_second"]


def test_a_missed_target_is_no_failure(tmp_path: Path) -> None:
    hopeless = [
        Figure(name="x", title="", measured=0.1, target=0.6, bound=Bound.AT_LEAST, meaning=""),
    ]

    assert [one.verdict for one in hopeless] == [Verdict.MISSED]
    assert main(["--only", "lines", "--json", str(tmp_path / "b.json")], sizes=TINY, stream=StringIO()) == 0


def test_what_cannot_be_measured_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")

    found = list(measure(Work(TINY, 1, in_the_way), ["lines", "gzip"]))

    assert [type(one) for one in found] == [Figure, Gap]
    assert isinstance(found[1], Gap)
    assert (found[1].part, found[1].reason.startswith("NotADirectoryError")) == ("gzip", True)


def test_a_gap_ends_the_bench_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "WATCHED", Shares(watched_uses=0.0))  # nothing matters where something should

    code = main(["--only", "register", "--json", str(tmp_path / "b.json")], sizes=TINY, stream=StringIO())

    report = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert code == 1
    assert [gap["part"] for gap in report["not_measured"]] == ["register"]


@pytest.mark.servers
@pytest.mark.slow
def test_the_figures_of_the_whole_way_come_from_real_servers_and_processes(tmp_path: Path) -> None:
    path, said = tmp_path / "bench.json", StringIO()

    code = main(["--only", "latency", "backlog", "--json", str(path)], sizes=TINY, stream=said)

    assert code == 0, said.getvalue()
    figures = figures_in(path)
    assert list(figures) == ["latency", "backlog", "memory"]
    latency = figures["latency"]["details"]
    assert latency["store"].startswith("PostgreSQL")
    assert list(latency["stages"]) == [name for name, _, _ in STAGES]
    assert min(stage["p50_ms"] for stage in latency["stages"].values()) > 0
    assert latency["page"]["p50_ms"] > 0
    assert min(latency["round_trip"]["p50_ms"], latency["commit"]["p50_ms"]) > 0
    assert figures["backlog"]["details"]["files"] == 4
    assert min(figures["backlog"]["details"]["page_seconds"]) > 0
    assert figures["memory"]["details"]["resident_megabytes"]["100%"] > 30
