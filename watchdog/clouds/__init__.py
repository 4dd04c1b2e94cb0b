"""The clouds, one pure half each; the half that touches the world has the same name under `workers.clouds`.

The keys of every cloud in CLOUDS can be registered; their records come in through a feed, are explained and replayed.
"""

from importlib import import_module
from typing import cast

from watchdog.cloud import Cloud

CLOUDS = ("aws", "azure", "gcp")


def cloud(name: str) -> Cloud:
    """Return the pure half of one cloud. Raises KeyError for a name that is not in CLOUDS."""
    if name not in CLOUDS:
        raise KeyError(name)
    return cast("Cloud", import_module(f"watchdog.clouds.{name}"))
