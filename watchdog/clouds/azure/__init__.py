"""Azure, the pure half: what Event Grid, Azure's logs and Entra deliver, what it means for a key, how to repair it."""

from watchdog.clouds.azure.catalogue import catalogue, filters
from watchdog.clouds.azure.envelope import unpack
from watchdog.clouds.azure.meaning import meaning
from watchdog.clouds.azure.repair import steps
from watchdog.clouds.azure.routes import ways

NAME = "azure"

__all__ = ["NAME", "catalogue", "filters", "meaning", "steps", "unpack", "ways"]
