"""Decoding: what it costs to read records, against the least that reading the same bytes could cost."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from watchdog import clouds
from watchdog.cloud import Cloud
from watchdog.register import Register
from watchdog.words import Effect
from workers.bench.figures import Bound, Figure, NotMeasured, in_turn, ratio
from workers.bench.workload import Sizes, document
from workers.feeds.folder import read_paths
from workers.feeds.pieces import READ_BYTES

CLOUD = "aws"


class Bare(Struct, gc=False, rename="camel"):
    """The narrow record of the bare decode: the very fields that triage reads, and as it reads them."""

    event_source: str | None = None
    event_name: str | None = None
    error_code: str | None = None
    error_message: Raw = Raw(b"")
    resources: Raw = Raw(b"")


BARE = msgspec.json.Decoder(Bare)


def decode_bare(pieces: Iterable[bytes]) -> int:
    """Decode JSON lines into narrow records and do nothing with them; return how many there are."""
    return sum(len(BARE.decode_lines(piece)) for piece in pieces)


def read(cloud: Cloud, register: Register, pieces: Iterable[bytes]) -> tuple[int, int]:
    """Unpack pieces and ask what is left for its meaning, as the intake does; return how many records, how many matter.

    Raises NotMeasured when something cannot be read: then the numbers would be about something else.
    """
    total = matter = 0
    for piece in pieces:
        unpacked = cloud.unpack(piece, register=register)
        if unpacked.broken:
            raise NotMeasured(f"a record of the corpus cannot be read: {unpacked.broken[0].reason}")
        total += unpacked.dropped_count + len(unpacked.entries)
        for entry in unpacked.entries:
            effects = {signal.effect for signal in cloud.meaning(entry.raw, register)}
            matter += effects != {Effect.NO_EFFECT}
    return total, matter


def inflate(path: Path) -> int:
    """Inflate a file and do nothing with it, by the inflater and in the chunks of the feeds; return its length."""
    inflater = zlib.decompressobj(31)
    length = 0
    with path.open("rb") as stream:
        while rest := stream.read(READ_BYTES):
            while rest:
                length += len(inflater.decompress(rest, READ_BYTES))
                rest = inflater.unconsumed_tail
    while text := inflater.decompress(b"", READ_BYTES):
        length += len(text)
    if not inflater.eof:
        raise NotMeasured(f"{path} is not one whole gzip member")
    return length


def figure_lines(sizes: Sizes, pieces: Sequence[bytes]) -> Figure:
    """Measure triage and meaning of JSON lines against the bare decode."""
    cloud, register = clouds.cloud(CLOUD), Register(document(sizes.few_keys), 1)
    _check(read(cloud, register, pieces), sizes.records, matter=0)
    _same(decode_bare(pieces), sizes.records)
    times = in_turn(
        {"bare": lambda: decode_bare(pieces), "whole": lambda: read(cloud, register, pieces)}, sizes.repeats
    )
    speed = ratio(times["bare"], times["whole"])
    size = sum(map(len, pieces))
    return Figure(
        name="lines",
        title="JSON lines: triage and meaning, against a bare typed decode of the same bytes",
        measured=speed.median,
        target=0.6,
        bound=Bound.AT_LEAST,
        meaning=f"telling what {sizes.records} records mean runs at this part of the speed at which msgspec can merely "
        "decode the fields that triage reads",
        details={
            "records": sizes.records,
            "bytes": size,
            "bytes_per_record": round(size / sizes.records),
            "bare_fields": list(Bare.__struct_encode_fields__),
            "bare": times["bare"].shown(),
            "triage_and_meaning": times["whole"].shown(),
            "records_per_second": round(sizes.records / times["whole"].median),
            "megabytes_per_second": round(size / times["whole"].median / 1e6),
            "spread": round(speed.spread, 4),
        },
    )


def figure_gzip(sizes: Sizes, paths: Sequence[Path]) -> Figure:
    """Measure gzip deliveries, from the file to the meaning, against inflating alone."""
    cloud, register = clouds.cloud(CLOUD), Register(document(sizes.few_keys), 1)
    _check(read(cloud, register, bodies(paths)), sizes.records, matter=0)
    times = in_turn(
        {
            "inflate": lambda: sum(map(inflate, paths)),
            "whole": lambda: read(cloud, register, bodies(paths)),
        },
        sizes.repeats,
    )
    speed = ratio(times["inflate"], times["whole"])
    packed, length = sum(path.stat().st_size for path in paths), sum(map(inflate, paths))
    return Figure(
        name="gzip",
        title="CloudTrail gzip files: read, inflate, triage and meaning, against inflating alone",
        measured=speed.median,
        target=0.45,
        bound=Bound.AT_LEAST,
        meaning=f"a delivery is told through at this part of the speed at which zlib can merely inflate it "
        f"({len(paths)} files, {length / packed:.0f} times grown)",
        details={
            "records": sizes.records,
            "files": len(paths),
            "gzip_bytes": packed,
            "bytes": length,
            "chunk_bytes": READ_BYTES,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "inflate": times["inflate"].shown(),
            "read_to_meaning": times["whole"].shown(),
            "records_per_second": round(sizes.records / times["whole"].median),
            "spread": round(speed.spread, 4),
        },
    )


def bodies(paths: Sequence[Path]) -> Iterable[bytes]:
    """Yield the bodies of files, cut as the folder feed cuts them. Raises NotMeasured for what cannot be read."""
    for piece in read_paths([str(path) for path in paths]):
        if piece.error is not None:
            raise NotMeasured(f"{piece.name} cannot be read: {piece.error}")
        yield piece.body


def figures_register(sizes: Sizes, noise: Sequence[bytes], mixed: Sequence[bytes]) -> list[Figure]:
    """Measure what a record costs with many registered keys against few, without and with uses of registered keys."""
    cloud = clouds.cloud(CLOUD)
    few, many = Register(document(sizes.few_keys), 1), Register(document(sizes.many_keys), 2)
    found = []
    for name, pieces in (("register", noise), ("register_uses", mixed)):
        watched = pieces is mixed
        matter = [read(cloud, register, pieces)[1] for register in (few, many)]
        if matter[0] != matter[1] or bool(matter[0]) != watched:
            raise NotMeasured(f"of the same records {matter[0]} matter with few keys and {matter[1]} with many")
        work: dict[str, Callable[[], object]] = {
            "few": lambda pieces=pieces: read(cloud, few, pieces),  # type: ignore[misc]  # bound on purpose
            "many": lambda pieces=pieces: read(cloud, many, pieces),  # type: ignore[misc]  # same
        }
        times = in_turn(work, sizes.repeats)
        cost = ratio(times["many"], times["few"])
        among = f", of which {matter[0]} are uses of registered keys," if watched else " of noise"
        found.append(
            Figure(
                name=name,
                title=f"Cost per record with {sizes.many_keys} registered keys, against {sizes.few_keys}"
                + (" (with uses of registered keys)" if watched else ""),
                measured=cost.median,
                target=1.2,
                bound=Bound.AT_MOST,
                meaning=f"with {sizes.many_keys} keys {sizes.records} records{among} cost this many times as much",
                details={
                    "records": sizes.records,
                    "matter": matter[0],
                    "few": times["few"].shown(),
                    "many": times["many"].shown(),
                    "microseconds_per_record": round(times["many"].median / sizes.records * 1e6, 3),
                    "spread": round(cost.spread, 4),
                },
            )
        )
    return found


def _check(found: tuple[int, int], total: int, *, matter: int) -> None:
    if found != (total, matter):
        raise NotMeasured(f"of {total} records {matter} should matter; read were {found[0]}, of which {found[1]} do")


def _same(found: int, total: int) -> None:
    if found != total:
        raise NotMeasured(f"{found} of {total} records were decoded")
