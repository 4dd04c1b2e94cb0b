"""Routing: which channels carry what to whom; plain values, read from the settings once."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRef:
    """A configured channel by name. `pages` is true where an alert stays open at the far end until it is cleared."""

    name: str
    pages: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Where notices go. An instance names its on-call route; `default` is used for a route that does not exist."""

    on_call: Mapping[str, tuple[ChannelRef, ...]] = field(default_factory=dict)
    operators: tuple[ChannelRef, ...] = ()
    customer_mail: str | None = None

    def route(self, name: str) -> tuple[ChannelRef, ...]:
        """Return the channels of an on-call route; never empty-handed while any route or operator channel exists."""
        return self.on_call.get(name) or self.on_call.get("default") or self.operators
