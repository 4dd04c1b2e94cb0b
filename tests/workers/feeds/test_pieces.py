"""Pieces: a file of any kind is cut so that nothing readable is lost and nothing unreadable is silent."""

import gzip
import io
import json
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.feeds.pieces import Form, Limits, Piece, cut, records_in, sealed

SMALL = Limits(piece=64, document=400, ratio=20)


def record(number: int, size: int = 20) -> bytes:
    """One JSON line that tells its number, about `size` bytes long."""
    return json.dumps({"n": number, "x": "y" * size}).encode()


def lines(count: int, size: int = 20) -> bytes:
    return b"".join(record(number, size) + b"\n" for number in range(1, count + 1))


def all_of(body: bytes, limits: Limits = SMALL) -> list[Piece]:
    return list(cut(io.BytesIO(body), "f", limits))


def good(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.error is None]


def errors(pieces: list[Piece]) -> list[str]:
    return [piece.error for piece in pieces if piece.error is not None]


def numbers(pieces: list[Piece]) -> list[tuple[int, int]]:
    """(number by the piece, number in the record) of every record of JSON lines."""
    found = []
    for piece in good(pieces):
        records = [json.loads(line) for line in piece.body.split(b"\n") if line.strip()]
        found += [(piece.first + place, one["n"]) for place, one in enumerate(records)]
    return found


def test_lines_are_cut_at_line_ends_and_counted_on() -> None:
    pieces = all_of(lines(50))

    assert len(pieces) > 10
    assert numbers(pieces) == [(number, number) for number in range(1, 51)]
    assert {piece.form for piece in pieces} == {Form.LINES}
    assert errors(pieces) == []


def test_a_last_line_without_its_end_is_used() -> None:
    pieces = all_of(lines(20).rstrip(b"\n"))

    assert numbers(pieces)[-1] == (20, 20)


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"  \n", b"\n\n \t\n"])
def test_blank_lines_are_no_records(blank: bytes) -> None:
    body = b"".join(blank + record(number) + b"\n" for number in range(1, 21)) + blank

    assert numbers(all_of(body)) == [(number, number) for number in range(1, 21)]


@given(st.lists(st.sampled_from([b"{}", b'{"a":1}', b"", b" ", b"\r", b"x"]), max_size=12), st.booleans())
def test_records_are_counted_as_lines_that_are_not_blank(parts: list[bytes], ends: bool) -> None:
    body = b"\n".join(parts) + (b"\n" if ends else b"")

    assert records_in(body) == sum(1 for part in parts if part.strip())


def test_a_broken_first_line_does_not_make_lines_a_document() -> None:
    pieces = all_of(b'{"n": broken\n' + lines(30), Limits(piece=150, document=400))

    assert len(pieces) > 5
    assert pieces[0].form is Form.LINES
    assert pieces[1].first > 1


def test_a_document_over_many_lines_stays_whole() -> None:
    body = json.dumps({"Records": [{"n": number} for number in range(9)]}, indent=1).encode()
    assert len(body) > SMALL.piece

    assert all_of(body) == [Piece(name="f", form=Form.DOCUMENT, body=body)]


def test_a_document_in_one_line_stays_whole() -> None:
    body = json.dumps({"Records": [{"n": number} for number in range(30)]}).encode() + b"\n"
    assert len(body) > SMALL.piece

    assert all_of(body) == [Piece(name="f", form=Form.DOCUMENT, body=body)]


def test_a_document_of_one_record_a_line_stays_whole() -> None:
    body = b'{"Records": [\n' + b",\n".join(record(number) for number in range(9)) + b"\n]}\n"
    assert len(body) > SMALL.piece

    assert all_of(body) == [Piece(name="f", form=Form.DOCUMENT, body=body)]


def test_a_line_longer_than_a_piece_is_still_one_record() -> None:
    body = record(1) + b"\n" + record(2, 200) + b"\n" + record(3) + b"\n"

    assert numbers(all_of(body)) == [(1, 1), (2, 2), (3, 3)]


def test_a_line_without_bound_is_told_and_its_neighbours_go_on() -> None:
    body = record(1) + b"\n" + record(2, 3000) + b"\n" + record(3) + b"\n" + record(4) + b"\n"
    pieces = all_of(body)

    assert numbers(pieces) == [(1, 1), (3, 3), (4, 4)]
    assert errors(pieces) == ["record 2 is longer than 400 bytes"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_unicode_encodings_are_turned_into_utf8(encoding: str) -> None:
    text = "".join(
        json.dumps({"n": number, "name": "Zoë Ångström"}, ensure_ascii=False) + "\n" for number in range(1, 30)
    )
    pieces = all_of(text.encode(encoding))

    assert numbers(pieces) == [(number, number) for number in range(1, 30)]
    assert b"".join(piece.body for piece in pieces) == text.encode()


def test_utf16_that_breaks_off_is_told() -> None:
    pieces = all_of('{"n": 1}\n{"n": 2}\n'.encode("utf-16-le") + b"\x00")

    assert numbers(pieces) == [(1, 1), (2, 2)]
    assert errors(pieces) == ["not valid utf-16-le after byte 36: truncated data; everything before is used"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file holds only blanks"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
    ],
)
def test_an_empty_file_is_told(body: bytes, reason: str) -> None:
    pieces = all_of(body)

    assert errors(pieces) == [reason]
    assert pieces[0].body == f"f: {reason}".encode(), "two empty files must not look alike"


# ------------------------------------------------------------------------------------------------------------- gzip


def test_gzip_is_seen_by_its_bytes_not_by_its_name() -> None:
    assert numbers(all_of(gzip.compress(lines(50)))) == [(number, number) for number in range(1, 51)]


def test_several_gzip_members_are_one_text() -> None:
    body = gzip.compress(lines(3)) + gzip.compress(record(4) + b"\n") + b"\0" * 30

    assert numbers(all_of(body)) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert errors(all_of(body)) == []


def noise(count: int) -> list[bytes]:
    """Lines that do not compress well, so that a cut anywhere falls into one of them."""
    return [
        json.dumps({"n": number, "x": zlib.crc32(str(number).encode()) ** 5}).encode() for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_everything_before_the_cut_of_a_truncated_gzip_of_lines_is_used(part: float) -> None:
    whole = gzip.compress(b"\n".join(noise(200)) + b"\n")
    kept = whole[: int(len(whole) * part)]
    text = zlib.decompressobj(31).decompress(kept)
    complete = text.count(b"\n")

    pieces = all_of(kept)

    assert numbers(pieces) == [(number, number) for number in range(1, complete + 1)]
    assert errors(pieces) == [f"the gzip data is cut off at byte {len(kept)}; everything before is used"]
    assert pieces[-1].first == complete + 1
    rest = text[text.rfind(b"\n") + 1 :]
    assert pieces[-1].body == (rest or f"f: {pieces[-1].error}".encode())


@pytest.mark.parametrize("indent", [None, 1])
def test_whole_records_of_a_truncated_cloudtrail_file_are_used(indent: int | None) -> None:
    document = {"Records": [{"n": number, "name": "Zoë", "x": {"y": [number] * 3}} for number in range(1, 40)]}
    whole = gzip.compress(json.dumps(document, indent=indent, ensure_ascii=False).encode())
    kept = whole[: len(whole) // 2]

    pieces = all_of(kept, Limits(piece=64, document=100_000))

    used = json.loads(pieces[0].body)["Records"]
    assert used == document["Records"][: len(used)]
    assert 0 < len(used) < 39
    assert pieces[1].first == len(used) + 1
    assert (
        pieces[1].error
        == f"the gzip data is cut off at byte {len(kept)}; the {len(used)} whole records before are used"
    )


@pytest.mark.parametrize("end", [b"", b"\n", b" , "])
def test_a_number_that_may_be_cut_is_no_whole_record(end: bytes) -> None:
    # 12 may have been 123; only what follows a number ends it.
    pieces = all_of(_cut_gzip(b"[1, 12" + end))

    assert json.loads(pieces[0].body) == ([1, 12] if end else [1])


def _cut_gzip(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


def test_a_last_line_that_is_whole_is_used_although_the_gzip_breaks_after_it() -> None:
    pieces = all_of(_cut_gzip(lines(3).rstrip(b"\n")))

    assert numbers(pieces) == [(1, 1), (2, 2), (3, 3)]
    assert len(errors(pieces)) == 1


def test_a_truncated_document_that_is_no_list_gives_one_error_with_its_bytes() -> None:
    pieces = all_of(_cut_gzip(b'{"detail": {"eventName": "Dis'))

    assert len(pieces) == 1
    assert pieces[0].error is not None
    assert pieces[0].error.startswith("the gzip data is cut off at byte")
    assert pieces[0].body == b'{"detail": {"eventName": "Dis'


def test_a_document_whose_gzip_breaks_after_its_end_is_used() -> None:
    pieces = all_of(_cut_gzip(b'{"n": 1}'))

    assert [piece.body for piece in good(pieces)] == [b'{"n": 1}']
    assert len(errors(pieces)) == 1


def test_a_damaged_gzip_is_told_with_its_place() -> None:
    whole = bytearray(gzip.compress(b"\n".join(noise(3000)) + b"\n", compresslevel=1))
    whole[len(whole) // 2] ^= 0xFF
    pieces = all_of(bytes(whole))

    # Depending on the bit, the damage shows at once or only by the checksum at the end.
    assert len(errors(pieces)) >= 1
    assert "the gzip data is damaged after byte" in errors(pieces)[-1]


def test_rubbish_after_a_gzip_is_told() -> None:
    pieces = all_of(gzip.compress(lines(3)) + b"rubbish")

    assert numbers(pieces) == [(1, 1), (2, 2), (3, 3)]
    assert "the gzip data is damaged after byte" in errors(pieces)[0]


class _Bomb:
    """An endless gzip stream of one byte, as a hostile writer would make it."""

    def __init__(self, text: bytes) -> None:
        self._packer = zlib.compressobj(9, wbits=31)
        self._text = text
        self.given = 0

    def read(self, size: int, /) -> bytes:
        found = b""
        while len(found) < min(size, 4096):
            found += self._packer.compress(self._text)
        self.given += len(found)
        assert self.given < 1 << 20, "it is followed without end"
        return found


@pytest.mark.parametrize("text", [b" " * 65536, b"\n" * 65536, b"[" * 65536, b'{"a":1}\n' * 8192])
def test_a_gzip_bomb_is_not_followed(text: bytes) -> None:
    limits = Limits(piece=1 << 16, document=1 << 20, ratio=100)
    bomb = _Bomb(text)
    tracemalloc.start()
    try:
        found = [piece.error for piece in cut(bomb, "bomb", limits) if piece.error is not None]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(found) == 1
    assert "bomb" in found[0] or "longer than" in found[0]
    assert bomb.given < 1 << 16
    assert peak < 32 << 20


# ------------------------------------------------------------------------------------------------------------ bounds


class _Endless:
    """Lines without end; remembers how much was asked for."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._line = record(7, 1000) + b"\n"

    def read(self, size: int, /) -> bytes:
        found = self._line * min(self._left, max(1, size // len(self._line)))
        self._left -= len(found) // len(self._line)
        return found


def test_memory_is_flat_over_a_long_file() -> None:
    limits = Limits(piece=1 << 20)
    tracemalloc.start()
    try:
        peaks = []
        for count in (5_000, 60_000):
            tracemalloc.reset_peak()
            assert sum(records_in(piece.body) for piece in cut(_Endless(count), "f", limits)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()

    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 16 << 20


def test_nested_json_does_not_end_the_process() -> None:
    pieces = all_of(_cut_gzip(b'{"Records": [' + b"[" * 100_000), Limits(piece=64, ratio=100_000))

    assert len(errors(pieces)) == 1


def test_a_reading_error_in_the_middle_is_told_and_what_was_read_is_used() -> None:
    class Failing:
        def __init__(self) -> None:
            self._parts: Iterator[bytes] = iter([lines(2)])

        def read(self, _size: int, /) -> bytes:
            for part in self._parts:
                return part
            raise OSError(5, "Input/output error")

    pieces = list(cut(Failing(), "f", SMALL))

    assert numbers(pieces) == [(1, 1), (2, 2)]
    assert errors(pieces) == [f"reading stopped at byte {len(lines(2))}: Input/output error; everything before is used"]


def test_a_fault_of_another_kind_flies() -> None:
    class Failing:
        def read(self, size: int, /) -> bytes:
            raise KeyError(size)

    with pytest.raises(KeyError):
        list(cut(Failing(), "f", SMALL))


def test_a_seal_tells_length_and_hash_of_what_was_cut_off() -> None:
    assert sealed(b"short") == b"short"
    one, other = sealed(b"x" * 100 + b"a", 50), sealed(b"x" * 100 + b"b", 50)

    assert one.startswith(b"x" * 50 + b"\n... cut here: 101 bytes in whole, SHA-256 ")
    assert one != other


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=12),
    st.integers(1, 200),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
def test_no_record_is_lost_wherever_the_cuts_fall(sizes: list[int], piece: int, packed: bool, end: bytes) -> None:
    body = end.join(record(number, size) for number, size in enumerate(sizes, 1)) + end
    pieces = all_of(gzip.compress(body) if packed else body, Limits(piece=piece, ratio=10_000))

    assert numbers(pieces) == [(number, number) for number in range(1, len(sizes) + 1)]
    assert errors(pieces) == []


class _Tiny:
    """Hands out two bytes at a time, fewer than a UTF-32 character has."""

    def __init__(self, body: bytes) -> None:
        self._stream = io.BytesIO(body)

    def read(self, _size: int, /) -> bytes:
        return self._stream.read(2)


class _Dead:
    """Fails at once, as a file on a disk that has gone."""

    def read(self, _size: int, /) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_reads_that_end_inside_a_character_lose_nothing(encoding: str) -> None:
    text = lines(5).decode()

    pieces = list(cut(_Tiny(text.encode(encoding)), "f", SMALL))

    assert numbers(pieces) == [(number, number) for number in range(1, 6)]
    assert errors(pieces) == []


def test_a_file_that_fails_at_the_first_read_is_told_and_does_not_raise() -> None:
    pieces = list(cut(_Dead(), "f", SMALL))

    assert good(pieces) == []
    assert len(errors(pieces)) == 1
    assert "Input/output error" in errors(pieces)[0]
