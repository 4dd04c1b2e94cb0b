"""A folder as a feed: files that are dropped into it are read in pieces and put away after the commit."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.pieces import LIMITS, Form, Limits, Piece, cut

DONE = "done"
UNREADABLE = "unreadable"
BATCH = 10
_UNFINISHED = (".part", ".tmp")
_LOOK_EVERY = 0.1  # seconds between two looks into the folder
_LONGEST_WAIT = 1.0  # seconds; shorter than asked, so that a stop is never waited for
_OLD = 2.0  # seconds after which a file is taken for complete at first sight


# ------------------------------------------------------------------------------------------------ paths, for commands


def read_paths(paths: Sequence[str], limits: Limits = LIMITS) -> Iterator[Piece]:
    """Read files, folders (with all below them, in sorted order) and `-` (standard input) in pieces.

    Hidden and unfinished files (`.part`, `.tmp`) of a folder are left out. What cannot be opened is an error piece.
    """
    for path in paths:
        if path == "-":
            yield from cut(sys.stdin.buffer, "-", limits)
        else:
            for found in _below(path):
                yield from _read(found, shown(found), limits)


def shown(name: str) -> str:
    r"""Return a file name as text that can be stored and printed: bytes that are no UTF-8 are written as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _below(path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112  # names that are no UTF-8 stay as the system gave them
        yield path
        return
    for entry in sorted(os.scandir(path), key=lambda entry: os.fsencode(entry.name)):
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith("."):
                yield from _below(entry.path)
        elif _is_ours(entry.name) and entry.is_file():
            yield entry.path


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(_UNFINISHED)


def _read(path: str, name: str, limits: Limits) -> Iterator[Piece]:
    try:
        stream = open(path, "rb")  # noqa: SIM115, PTH123  # closed below; the first line is what may fail
    except OSError as error:
        yield _unopened(name, error)
        return
    with stream:
        yield from cut(stream, name, limits)


def _unopened(name: str, error: OSError) -> Piece:
    reason = f"cannot be opened: {error.strerror or error}"
    return Piece(name=name, form=Form.DOCUMENT, body=f"{name}: {reason}".encode(), error=reason)


# ------------------------------------------------------------------------------------------------------------ the feed


@dataclass(slots=True)
class _File:
    """A file that is being read. It is put away when all its pieces are acknowledged."""

    name: str
    deliveries: int
    stream: BinaryIO | None
    seen: tuple[int, int] | None
    pieces: Iterator[Piece]
    upcoming: Piece | None
    kept_until: float
    given: int = 0
    open: set[str] = field(default_factory=set)
    is_useful: bool = False

    def shut(self) -> None:
        """Close the stream, if there is one."""
        if self.stream is not None:
            self.stream.close()


@dataclass(frozen=True, slots=True)
class _Receipt:
    file: _File
    id: str


def source(name: str, cloud: str, options: Mapping[str, Any]) -> "FolderSource":
    """Return the source of a feed of kind `folder`; the folder is made if it is not there."""
    folder = Path(options["path"])
    folder.mkdir(parents=True, exist_ok=True)
    return FolderSource(folder, name=name, cloud=cloud)


class FolderSource:
    """Source that reads the files of one folder in the order of their names.

    A file is moved to `done/` after all its pieces are acknowledged, or to `unreadable/` when nothing in it could be
    read. A crash in between means reading it again. Files should be dropped whole, by renaming: names that begin with
    a dot or end in `.part` or `.tmp` are left alone. A file that is copied in place is taken when it has been still
    for `settle` seconds, and read again if it has grown meanwhile.
    """

    def __init__(  # settings with defaults, and the clocks
        self,
        folder: Path,
        *,
        name: str,
        cloud: str,
        settle: float = 0.25,
        visibility: float = 30.0,
        limits: Limits = LIMITS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self.visibility = visibility
        self._folder = folder
        self._settle = settle
        self._limits = limits
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._queue: deque[str] = deque()
        self._files: dict[str, _File] = {}
        self._failed: dict[str, int] = {}
        self._moving: dict[str, tuple[tuple[int, int], float]] = {}
        self._stuck_until: dict[str, float] = {}

    def receive(self, wait: float) -> Sequence[Received]:
        """Return the next pieces: at most ten, and no more than one piece's size. Raises FeedFault."""
        self._make_folders()
        end = self._monotonic() + min(wait, _LONGEST_WAIT)
        while True:
            with self._lock:
                batch = self._batch()
            if batch or self._monotonic() >= end or self._closed.wait(_LOOK_EVERY):
                return batch

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Note the pieces and put away the files that are through; return the pieces whose file cannot be moved."""
        stuck: list[Received] = []
        with self._lock:
            for piece in received:
                receipt = _receipt(piece)
                file = receipt.file
                if self._files.get(file.name) is not file:
                    continue  # it took too long and the file is being read again
                file.open.discard(receipt.id)
                file.is_useful = file.is_useful or piece.id not in unreadable
                if not self._put_away(file):
                    stuck.append(piece)
        return stuck

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Keep the files of these pieces back; with 0 they are read again from their beginning."""
        with self._lock:
            for piece in received:
                file = _receipt(piece).file
                file.kept_until = self._monotonic() + seconds
        return ()

    def close(self) -> None:
        """Close all files; `receive` in another thread returns at once."""
        self._closed.set()
        with self._lock:
            for name in list(self._files):
                self._give_back(self._files[name])

    # ---------------------------------------------------------------------------------------------------------- inside

    def _make_folders(self) -> None:
        for place in (self._folder / DONE, self._folder / UNREADABLE):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._fault(place, error) from error

    def _fault(self, place: Path, error: OSError) -> FeedFault:
        text = f"folder {shown(str(place))}: {error.strerror or error}"
        return FeedFault(Reason.SETTINGS, text, hint="let this process read, create and rename files in the folder")

    def _batch(self) -> list[Received]:
        self._expire()
        batch: list[Received] = []
        size = 0
        for file in self._readable():
            while file.upcoming is not None:
                piece, file.upcoming = file.upcoming, next(file.pieces, None)
                if file.upcoming is None:
                    file.shut()
                batch.append(self._received(file, piece))
                size += len(piece.body)
                if len(batch) >= BATCH or size >= self._limits.piece:
                    return batch
        return batch

    def _readable(self) -> Iterator[_File]:
        """Yield the file that is being read, then the next ones, as far as they are there and complete."""
        yield from [file for file in self._files.values() if file.upcoming is not None]
        if not self._queue:
            self._queue.extend(self._names())
        while self._queue:
            file = self._opened(self._queue.popleft())
            if file is not None:
                yield file

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                names = {entry.name for entry in entries if _is_ours(entry.name) and entry.is_file()}
        except OSError as error:
            raise self._fault(self._folder, error) from error
        self._moving = {name: seen for name, seen in self._moving.items() if name in names}
        return sorted((name for name in names if name not in self._files), key=os.fsencode)

    def _opened(self, name: str) -> _File | None:
        now = self._monotonic()
        if self._stuck_until.get(name, now) > now:
            return None
        path = os.path.join(self._folder, name)  # noqa: PTH118  # a name that is no UTF-8 stays as the system gave it
        stream: BinaryIO | None = None
        seen: tuple[int, int] | None = None
        try:
            if not self._is_still(name, _seen(path)):
                return None
            stream = open(path, "rb")  # noqa: SIM115, PTH123  # lives as long as the file is read
            seen = _seen(stream.fileno())
            pieces = cut(stream, shown(name), self._limits)
        except FileNotFoundError:
            return None  # somebody has taken it away: nothing to read
        except OSError as error:
            pieces = iter([_unopened(shown(name), error)])
        file = _File(
            name=name,
            deliveries=self._failed.get(name, 0) + 1,
            stream=stream,
            seen=seen,
            pieces=pieces,
            upcoming=next(pieces),
            kept_until=now + self.visibility,
        )
        self._files[name] = file
        return file

    def _is_still(self, name: str, seen: tuple[int, int]) -> bool:
        """Whether nobody writes to the file any more, as far as two looks can tell."""
        if self._settle <= 0 or self._now().timestamp() - seen[1] / 1e9 >= _OLD:
            return True
        before, since = self._moving.setdefault(name, (seen, self._monotonic()))
        if before != seen:
            self._moving[name] = (seen, self._monotonic())
            return False
        return self._monotonic() - since >= self._settle

    def _received(self, file: _File, piece: Piece) -> Received:
        file.given += 1
        file.kept_until = max(file.kept_until, self._monotonic() + self.visibility)
        piece_id = f"{piece.name}#{file.given}"
        file.open.add(piece_id)
        return Received(
            id=piece_id,
            body=piece.body,
            received_at=self._now(),
            receipt=_Receipt(file, piece_id),
            deliveries=file.deliveries,
            place=piece.name,
            first=piece.first,
            fault=piece.error,
        )

    def _expire(self) -> None:
        now = self._monotonic()
        for file in [file for file in self._files.values() if file.open and file.kept_until <= now]:
            self._give_back(file)

    def _give_back(self, file: _File) -> None:
        file.shut()
        self._failed[file.name] = file.deliveries
        del self._files[file.name]

    def _put_away(self, file: _File) -> bool:
        """Move a file that is through; False when it cannot be moved."""
        if file.open or file.upcoming is not None:
            return True
        del self._files[file.name]
        self._moving.pop(file.name, None)
        source = os.path.join(self._folder, file.name)  # noqa: PTH118  # a name that is no UTF-8 stays as it is
        folder = self._folder / (DONE if file.is_useful else UNREADABLE)
        try:
            # What has grown since is read again; what is known already changes nothing.
            if file.seen is None or _seen(source) == file.seen:
                os.rename(source, _free(folder, file.name))  # noqa: PTH104  # same
        except FileNotFoundError:
            pass  # somebody else has put it away
        except OSError:
            self._failed[file.name] = file.deliveries
            self._stuck_until[file.name] = self._monotonic() + self.visibility
            return False
        self._failed.pop(file.name, None)
        self._stuck_until.pop(file.name, None)
        return True


def _receipt(piece: Received) -> _Receipt:
    if not isinstance(piece.receipt, _Receipt):
        raise TypeError("this piece was not received from a folder")
    return piece.receipt


def _seen(file: str | int) -> tuple[int, int]:
    """Return size and time of the last change of a file (path or descriptor)."""
    found = os.stat(file)  # noqa: PTH116  # a name that is no UTF-8 stays as it is
    return found.st_size, found.st_mtime_ns


def _free(folder: Path, name: str) -> str:
    """Return a path in the folder that overwrites nothing."""
    path = os.path.join(folder, name)  # noqa: PTH118  # a name that is no UTF-8 stays as it is
    number = 0
    while os.path.lexists(path):
        number += 1
        path = os.path.join(folder, f"{name}.{number}")  # noqa: PTH118  # same
    return path
