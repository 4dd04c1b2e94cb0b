"""The readout of Google Cloud, whose labels may name noise beside a signal, and nulls."""

from functools import partial
from typing import Any

from tests.watchdog.clouds import readout
from tests.watchdog.clouds.readout import labelled
from watchdog import clouds
from watchdog.words import Effect

told = partial(readout.told, clouds.cloud("gcp"))

__all__ = ["labelled", "ordered", "told"]


def ordered(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort labels for comparing as a multiset; noise beside a signal says nothing, null means absent."""
    said = [{name: value for name, value in one.items() if value not in (None, False)} for one in labels]
    return readout.ordered([one for one in said if one["effect"] != Effect.NO_EFFECT] or [{"effect": "no_effect"}])
