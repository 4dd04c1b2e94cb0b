"""AWS, the pure half: what CloudTrail and EventBridge deliver, what it means for a key, and how to repair it.

Values inside this package are msgspec Structs, not dataclasses: a frozen dataclass costs a millisecond of every
start of the command, a Struct a fiftieth of that.
"""

from watchdog.clouds.aws.catalogue import catalogue, filters
from watchdog.clouds.aws.envelope import unpack
from watchdog.clouds.aws.meaning import meaning
from watchdog.clouds.aws.repair import steps
from watchdog.clouds.aws.routes import ways

NAME = "aws"

__all__ = ["NAME", "catalogue", "filters", "meaning", "steps", "unpack", "ways"]
