"""The clouds, one pure half each; the half that touches the world has the same name under `workers.clouds`.

The records of every cloud in CLOUDS can be read and explained. Those in WATCHED are complete: their records come in
through a feed, and the engine keeps the health of their keys. Keys of the others cannot be imported into the register.
"""

from importlib import import_module
from typing import cast

from watchdog.cloud import Cloud

CLOUDS = ("aws", "azure", "gcp")
WATCHED = ("aws",)


def cloud(name: str) -> Cloud:
    """Return the pure half of one cloud. Raises KeyError for a name that is not in CLOUDS."""
    if name not in CLOUDS:
        raise KeyError(name)
    return cast("Cloud", import_module(f"watchdog.clouds.{name}"))
