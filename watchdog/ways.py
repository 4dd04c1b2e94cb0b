"""Ways: every way by which audit records of the registered keys come in, worked out once for each register."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watchdog import clouds
from watchdog.cloud import Cloud
from watchdog.coverage import Way
from watchdog.register import Register


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The ways of a register: each once by its route, those of each key, and the keys of each route."""

    by_route: Mapping[str, Way]
    by_key: Mapping[str, tuple[Way, ...]]
    keys: Mapping[str, tuple[str, ...]]


def ways_of(register: Register, cloud: Callable[[str], Cloud] = clouds.cloud) -> Ways:
    """Return the ways of all keys. However many keys go one way, it stands here once."""
    return register.view("ways", lambda found: _build(found, cloud))


def _build(register: Register, cloud: Callable[[str], Cloud]) -> Ways:
    by_route: dict[str, Way] = {}
    by_key: dict[str, tuple[Way, ...]] = {}
    keys: dict[str, list[str]] = {}
    for key in register.keys.values():
        found = tuple(by_route.setdefault(way.route, way) for way in cloud(key.cloud).ways(key, register))
        by_key[key.id] = found
        for way in found:
            keys.setdefault(way.route, []).append(key.id)
    return Ways(by_route=by_route, by_key=by_key, keys={route: tuple(ids) for route, ids in keys.items()})
