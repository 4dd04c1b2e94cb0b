"""Google Cloud, the pure half: what Pub/Sub delivers of logs and assets, what it means for a key, how to repair it."""

from watchdog.clouds.gcp.catalogue import catalogue, filters
from watchdog.clouds.gcp.envelope import unpack
from watchdog.clouds.gcp.meaning import meaning
from watchdog.clouds.gcp.repair import steps
from watchdog.clouds.gcp.routes import ways

NAME = "gcp"

__all__ = ["NAME", "catalogue", "filters", "meaning", "steps", "unpack", "ways"]
