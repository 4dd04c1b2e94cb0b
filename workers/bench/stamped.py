"""Stamped: a command of the product that also writes down when its process passes each named stop of the walk.

`python -m workers.bench.stamped STAMPS PIPE COMMAND...`: COMMAND is the product's own (`consume events`, `worker ...`),
STAMPS the file that the stamps are added to. What the SQS feed would ask of AWS it asks of the named pipe PIPE.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workers import stops


@dataclass(frozen=True, slots=True)
class Stamp:
    """One process passed one stop. `at` is in seconds of the clock that all processes of this machine share."""

    at: float
    pid: int
    stop: str


def shared_clock() -> float:
    """Return seconds of the one monotonic clock of this machine."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Stamper:
    """Adds stamps to a file. A line is one write: several processes may share the file, also after a fork."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, stop: str) -> None:
        """Write down that this process passes a stop now."""
        os.write(self._file, f"{shared_clock():.6f} {os.getpid()} {stop}\n".encode())


class StampReader:
    """Reads the stamps that were added since it was last asked."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open("rb")
        self._rest = b""

    def fresh(self) -> list[Stamp]:
        """Return the new stamps in their order."""
        *lines, self._rest = (self._rest + self._stream.read()).split(b"\n")
        return [_stamp(line.decode()) for line in lines]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _stamp(line: str) -> Stamp:
    at, pid, stop = line.split(" ")
    return Stamp(float(at), int(pid), stop)


def main(arguments: Sequence[str]) -> None:
    """Put the stamper where the product asks for a crash, put the pipe where AWS is, and run the command."""
    stamps, pipe, *command = arguments
    vars(stops)["stop_at"] = Stamper(Path(stamps))
    # Only now: whoever imports `stop_at` from here on gets the stamper.
    from workers import processes  # noqa: PLC0415
    from workers.bench.piped import piped_source  # noqa: PLC0415
    from workers.cli.commands import cli  # noqa: PLC0415

    vars(processes)["make_source"] = partial(piped_source, Path(pipe), processes.make_source)
    cli(command, prog_name="byok-watchdog")


if __name__ == "__main__":
    main(sys.argv[1:])
