"""The readout of AWS."""

from functools import partial

from tests.watchdog.clouds import readout
from tests.watchdog.clouds.readout import labelled, ordered
from watchdog import clouds

told = partial(readout.told, clouds.cloud("aws"))

__all__ = ["labelled", "ordered", "told"]
