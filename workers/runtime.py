"""The composition root: everything a process works with, built once from the settings."""

import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources

import structlog
import yaml

from alerts import heartbeat
from alerts.channels import build
from alerts.heartbeat import Heartbeat
from alerts.interface import Channel
from watchdog import clouds, impact
from watchdog.impact import ImpactTable
from watchdog.observation import World
from watchdog.register import Register, RegisteredKey
from watchdog.repair import Step
from watchdog.routing import ChannelRef, Routing
from watchdog.words import Cause, Effect, Means
from workers import settings as settings_module
from workers.preflight.readers import Readers
from workers.probes.probers import Probers
from workers.registry import Registry
from workers.settings import Settings, SettingsFaults
from workers.store import open_store
from workers.store.interface import Store, Unit

PAGING_KINDS = frozenset({"pagerduty"})
"""Kinds of channel where an alert stays open at the far end until it is cleared."""


def utc_now() -> datetime:
    """The time of day, aware UTC. Nothing else in the product asks the clock."""
    return datetime.now(UTC)


def impact_table() -> ImpactTable:
    """Read the impact table that travels with the product."""
    text = resources.files("watchdog").joinpath("data/store_impact.yaml").read_text(encoding="utf-8")
    # The C loader is safe too, and ten times as fast; it is missing where PyYAML was built without libyaml.
    return impact.read(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both safe


@dataclass
class Runtime:
    """What a process works with. Built lazily: a process opens only what it uses, and again after a fork."""

    settings: Settings

    @cached_property
    def name(self) -> str:
        """Name of this process, unique: it holds leases under it."""
        return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    @cached_property
    def store(self) -> Store:
        """The store."""
        return open_store(self.settings.store_url)

    @cached_property
    def registry(self) -> Registry:
        """The register as the store has it, kept up to date."""
        return Registry(self.store)

    @cached_property
    def table(self) -> ImpactTable:
        """The impact table."""
        return impact_table()

    @cached_property
    def channels(self) -> Mapping[str, Channel]:
        """The configured channels by name. Raises SettingsFaults with every fault of every channel."""
        return build_channels(self.settings)

    @cached_property
    def heartbeat(self) -> Heartbeat | None:
        """Where the heartbeat goes; None when nowhere. Raises SettingsFaults with what its options lack."""
        return build_heartbeat(self.settings)

    @cached_property
    def routing(self) -> Routing:
        """Where notices go."""
        return routing_of(self.settings)

    @cached_property
    def probers(self) -> Probers:
        """The probers of the clouds that are asked."""
        return Probers(self.settings.probes.clouds)

    @cached_property
    def readers(self) -> Readers:
        """The readers of the clouds that are asked."""
        return Readers(self.settings.probes.clouds)

    @cached_property
    def log(self) -> structlog.stdlib.BoundLogger:
        """The log of this process."""
        log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(process=self.name)
        return log

    def close(self) -> None:
        """Close the store, the probers and the readers, if they were opened."""
        made: tuple[Probers | Readers | None, ...] = (self.__dict__.get("probers"), self.__dict__.get("readers"))
        for one in made:
            if one is not None:
                one.close()
        opened: Store | None = self.__dict__.get("store")
        if opened is not None:
            opened.close()

    def world(self, unit: Unit, register: Register) -> World:
        """Return what the deciding part needs beside the state, for one transaction."""

        def steps(
            effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
        ) -> Sequence[Step]:
            return clouds.cloud(key.cloud).steps(effect, key, register, means=means, subject=subject, cause=cause)

        return World(
            register=register, table=self.table, routing=self.routing, steps=steps, number=unit.incident_number
        )


def routing_of(settings: Settings) -> Routing:
    """Return the routing that the settings describe."""
    pages = {channel.name for channel in settings.channels if channel.kind in PAGING_KINDS}

    def refs(names: Sequence[str]) -> tuple[ChannelRef, ...]:
        return tuple(ChannelRef(name=name, pages=name in pages) for name in names)

    return Routing(
        on_call={route: refs(names) for route, names in settings.routes.items()},
        operators=refs(settings.operators),
        customer_mail=settings.customer_mail,
    )


def build_channels(settings: Settings) -> dict[str, Channel]:
    """Build every configured channel. Raises SettingsFaults with the faults of all of them together."""
    found: dict[str, Channel] = {}
    faults = []
    for one in settings.channels:
        try:
            found[one.name] = build(one.kind, one.name, settings_module.resolved(one))
        except SettingsFaults as error:
            faults += error.faults
        except ValueError as error:  # the channel's own report of its options, all of them in one text
            faults.append(settings_module.SettingsFault(f"channels.{one.name}", str(error)))
    if faults:
        raise SettingsFaults(faults)
    return found


def build_heartbeat(settings: Settings) -> Heartbeat | None:
    """Build the configured heartbeat, if there is one. Raises SettingsFaults with all that its options lack."""
    one = settings.heartbeat
    if one is None:
        return None
    try:
        return heartbeat.build(one.kind, settings_module.resolved(one))
    except (ValueError, OSError) as error:  # the report of its options, or a file of certificates that is not there
        raise SettingsFaults([settings_module.SettingsFault("heartbeat", str(error))]) from error
