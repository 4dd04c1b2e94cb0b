"""The clouds, one pure half each; the half that touches the world has the same name under `workers.clouds`."""

from importlib import import_module
from typing import cast

from watchdog.cloud import Cloud

CLOUDS = ("aws",)


def cloud(name: str) -> Cloud:
    """Return the pure half of one cloud. Raises KeyError for a name that is not in CLOUDS."""
    if name not in CLOUDS:
        raise KeyError(name)
    return cast("Cloud", import_module(f"watchdog.clouds.{name}"))
