"""What the texts pick from the facts of an incident: the main happening, stores and steps that are said once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from watchdog.notices import ConsumerImpact, Deadline, Facts, Happening, KeyFacts, Kind, Verified
from watchdog.repair import Step
from watchdog.words import Effect, Fault, Owner, Stage

WATCH = "watch:"
"""Prefix of a subject that is no key but the watch of a customer's (or the vendor's own) audit feeds."""

SOON = timedelta(hours=24)

GRAVITY = (
    Effect.KEY_DESTROYED,
    Effect.KEY_DELETION_SCHEDULED,
    Effect.CONTAINER_LOST,
    Effect.KEY_MATERIAL_REMOVED,
    Effect.KEY_EXPIRED,
    Effect.KEY_STORE_DISCONNECTED,
    Effect.KEY_DISABLED,
    Effect.ACCESS_REVOKED,
    Effect.ACCESS_REDUCED,
    Effect.PATH_BLOCKED,
    Effect.USE_FAILED,
    Effect.EXPIRY_AHEAD,
    Effect.ACCESS_CHANGED,
    Effect.KEY_CHANGED,
    Effect.PROTECTION_WEAKENED,
    Effect.FEED_TAMPERED,
    Effect.FEED_SILENT,
)
"""Which of several happenings names the incident: the hardest to undo first. The texts know a phrase for each."""

UNSURE = frozenset({Effect.ACCESS_CHANGED, Effect.KEY_CHANGED, Effect.USE_FAILED})
"""After these nobody knows whether the key still works, even where no loss is known: that is never shown as fine."""

HOLDERS: Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "aws": (("account", re.compile(r"arn:[^:]+:kms:[^:]*:(?P<name>[^:]+):key/(?P<key>.+)")),),
    "azure": (
        ("managed_hsm", re.compile(r"https://(?P<name>[^./]+)\.managedhsm\.[^/]+/keys/(?P<key>[^/]+)(?:/.*)?")),
        ("vault", re.compile(r"https://(?P<name>[^./]+)\.[^/]+/keys/(?P<key>[^/]+)(?:/.*)?")),
    ),
    "gcp": (
        (
            "project",
            re.compile(
                r"projects/(?P<name>[^/]+)/locations/(?P<location>[^/]+)/keyRings/(?P<ring>[^/]+)"
                r"/cryptoKeys/(?P<key>[^/]+)(?:/.*)?"
            ),
        ),
    ),
}
"""What holds a key, by cloud: the word for it and how the key's id names it. The texts know a phrase for each word."""

UNDONE: Mapping[str, tuple[str, ...]] = {
    "aws": ("cancelkeydeletion",),
    "azure": ("keyrecover", "vaultrecover"),
    "gcp": ("restorecryptokeyversion",),
}
"""How the operations end, in lower case, that take a deletion back and leave something else to be done."""

LOGS: Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "azure": (
        ("topic", re.compile(r"microsoft\.(keyvault|eventgrid|resourcenotifications)\.\w.*", re.IGNORECASE)),
        ("activity", re.compile(r"[\w.]+/.*")),
        ("directory", re.compile(r".* .*")),
    ),
    "gcp": (("assets", re.compile(r"asset change: .*")),),
}
"""Which log of a cloud an operation stands in, by the shape of its name; "audit" where none of these fits."""


@dataclass(frozen=True, slots=True)
class StoreLine:
    """What happens to one store, or to several alike. `state` is one of the words that the texts know."""

    names: tuple[str, ...]
    store: str
    state: str  # stopped | may_have_stopped | stopping | running | latent | unaffected | unknown
    impact: Deadline
    terminal: Deadline | None
    what: str
    until: tuple[str, ...]
    still_works: tuple[str, ...]
    inferred: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What the audit log says of one actor doing one thing, to however many keys.

    `first` and `last` are the times of the records; None where the facts only tell since when the key is unwell.
    """

    operation: str | None
    actor: str | None
    agent: str | None
    since: datetime
    first: datetime | None
    last: datetime | None
    events: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What a check of ours said, for all keys of which it said the same. `verified` is None where there was none."""

    keys: tuple[KeyFacts, ...]
    verified: Verified | None


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds some of the keys: `kind` is a word that the texts know, `names` are its names."""

    kind: str  # account | vault | managed_hsm | project
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step with its number in the whole plan, and the commands of all keys that it is done for."""

    number: int
    owner: Owner
    text: str
    commands: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps for keys that need the same ones."""

    keys: tuple[KeyFacts, ...]
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What a template needs beside the facts themselves."""

    keys: tuple[KeyFacts, ...]
    feeds: tuple[KeyFacts, ...]
    main: Happening | None
    alike: bool
    holders: tuple[Holder, ...]
    versions: tuple[str, ...]
    happenings: tuple[Happening, ...]
    records: tuple[Record, ...]
    checks: tuple[Check, ...]
    protections: tuple[Happening, ...]
    silences: tuple[Happening, ...]
    stores: tuple[StoreLine, ...]
    plans: tuple[Plan, ...]
    reach: str  # gone | harmless | unsure | doomed | latent | split | partly | stops
    customer_did_it: bool
    customer_can_act: bool
    urgent: bool


def view(facts: Facts) -> View:
    """Pick what the texts need. Pure; nothing is added to the facts."""
    keys = tuple(key for key in facts.keys if not key.id.startswith(WATCH))
    happenings = tuple(happening for key in facts.keys for happening in key.happenings)
    mains = [main(key) for key in keys]
    effects = {found.effect for found in mains if found is not None}
    return View(
        keys=keys,
        feeds=tuple(key for key in facts.keys if key.id.startswith(WATCH)),
        main=min(happenings, key=_gravity, default=None),
        alike=len(effects) == 1 and None not in mains,
        holders=holders(keys, facts.cloud),
        versions=versions(keys[0]) if len(keys) == 1 else (),
        happenings=happenings,
        records=records(happenings),
        checks=checks(keys),
        protections=tuple(happening for happening in happenings if happening.check is not None),
        silences=tuple(happening for happening in happenings if happening.effect is Effect.FEED_SILENT),
        stores=stores(facts),
        plans=plans(keys or facts.keys),
        reach=reach(facts),
        customer_did_it=facts.fault is Fault.CUSTOMER,
        customer_can_act=_can_act(facts),
        urgent=is_urgent(facts),
    )


def main(key: KeyFacts) -> Happening | None:
    """Return the happening that names the state of a key, None when nothing is open."""
    return min(key.happenings, key=_gravity, default=None)


def _gravity(happening: Happening) -> tuple[int, datetime]:
    rank = GRAVITY.index(happening.effect) if happening.effect in GRAVITY else len(GRAVITY)
    return rank, happening.since


def _can_act(facts: Facts) -> bool:
    """Whether there is something that the customer can do. A destroyed key leaves it words only, and no command."""
    own = [step for key in facts.keys for step in key.steps if step.owner is Owner.CUSTOMER]
    return any(step.command is not None for step in own) if facts.stage is Stage.LOST else bool(own)


def label(key: KeyFacts, facts: Facts) -> str:
    """Return what to call a key: its own name, or what its id calls it where it has none but the system's."""
    if key.name and key.name not in {facts.instance, facts.instance_name}:
        return f'"{key.name}"'
    called = place(key, facts.cloud).get("key", "") if facts.cloud != "aws" else ""  # there it is a number
    return f'"{called or f"...{key.id[-8:]}"}"'


def place(key: KeyFacts, cloud: str) -> dict[str, str]:
    """Return where a key lies, by the parts of its id: what holds it (`kind` and `name`), its ring, its own name."""
    for kind, pattern in HOLDERS.get(cloud, ()):
        found = pattern.fullmatch(key.id)
        if found:
            return {"kind": kind, **found.groupdict()}
    return {}


def holders(keys: Iterable[KeyFacts], cloud: str) -> tuple[Holder, ...]:
    """Return what holds the keys, each once, those of one kind together."""
    found: dict[str, dict[str, None]] = {}
    for key in keys:
        said = place(key, cloud)
        if said:
            found.setdefault(said["kind"], {})[said["name"]] = None
    return tuple(Holder(kind=kind, names=tuple(names)) for kind, names in found.items())


def versions(key: KeyFacts) -> tuple[str, ...]:
    """Return the versions of a key that its gravest happening is about; none when it is about the whole key."""
    leading = main(key)
    alike = [one.version for one in key.happenings if leading is not None and one.effect is leading.effect]
    found = {version for version in alike if version}
    return tuple(sorted(found, key=lambda version: (len(version), version))) if all(alike) else ()


def ways(found: View) -> tuple[str, ...]:
    """Return how the main happening came about, most telling first: by its means, its operation, what holds the key."""
    if found.main is None:
        return ()
    operation = re.split(r"[./]", found.main.operation or "")[-1].lower()
    kinds = (holder.kind for holder in found.holders[:1])
    return tuple(f"{found.main.effect}.{way}" for way in (found.main.means or "", operation, *kinds) if way)


def log_of(cloud: str, operation: str | None) -> str:
    """Say in one word which log of a cloud an operation was read in; the texts know a phrase for each."""
    fitting = (name for name, pattern in LOGS.get(cloud, ()) if pattern.fullmatch(operation or ""))
    return next(fitting, "audit")


def reach(facts: Facts) -> str:
    """Say in one word how far the loss reaches into the system: the texts know a sentence for each."""
    effects = {happening.effect for key in facts.keys for happening in key.happenings}
    states = {line.state for line in stores(facts)}
    if facts.stage is Stage.LOST:
        return "gone"
    if facts.stage is Stage.AT_RISK:
        return "unsure" if effects & UNSURE else "harmless"
    ends = facts.headline is not None and facts.headline.kind == "data_irrecoverable"
    if Effect.KEY_DELETION_SCHEDULED in effects or (Effect.CONTAINER_LOST in effects and ends):
        return "doomed"
    if states and states <= {"latent", "unaffected"}:
        return "latent"
    if facts.split:
        return "split"
    serving = states & {"running", "stopping", "may_have_stopped", "latent"}
    return "partly" if serving and states & {"stopped", "unknown"} else "stops"


def is_urgent(facts: Facts) -> bool:
    """Whether something becomes irreversible within a day. "Not documented" counts as now (impact.md 2.2)."""
    if facts.kind not in {Kind.ALARM, Kind.PROGRESS} or facts.headline is None:
        return False
    return facts.headline.at is None or facts.headline.at - facts.at <= SOON


def deletion_stopped(facts: Facts) -> bool:
    """Whether a scheduled deletion was taken back and something else is still wrong."""
    was = facts.previous_stage in {Stage.DELETION_SCHEDULED, Stage.IRREVERSIBLE_SOON}
    effects = {happening.effect for key in facts.keys for happening in key.happenings}
    cancelled = any(
        happening.operation is not None and happening.operation.lower().endswith(UNDONE.get(facts.cloud, ()))
        for key in facts.keys
        for happening in key.happenings
    )
    return was and cancelled and Effect.KEY_DELETION_SCHEDULED not in effects


def records(happenings: Iterable[Happening]) -> tuple[Record, ...]:
    """Return the audit records behind the happenings, those of one actor doing one thing as one, oldest first."""
    groups: dict[tuple[str | None, ...], list[Happening]] = {}
    for one in happenings:
        if one.operation or one.actor or one.event_id:
            groups.setdefault((one.operation, one.actor, one.actor_agent), []).append(one)
    return tuple(sorted(map(_record, groups.values()), key=lambda one: (one.first or one.since, one.operation or "")))


def _record(group: list[Happening]) -> Record:
    times = [one.recorded_at for one in group if one.recorded_at]
    return Record(
        operation=group[0].operation,
        actor=group[0].actor,
        agent=group[0].actor_agent,
        since=min(one.since for one in group),
        first=min(times, default=None),
        last=max(times, default=None),
        events=tuple(dict.fromkeys(one.event_id for one in group if one.event_id)),
        reasons=tuple(dict.fromkeys(one.reason for one in group if one.reason)),
    )


def checks(keys: Iterable[KeyFacts]) -> tuple[Check, ...]:
    """Return our checks of the keys, equal ones as one."""
    groups: dict[tuple[object, ...], list[KeyFacts]] = {}
    for key in keys:
        said = key.verified
        groups.setdefault((said.at, said.passed, said.words) if said else (), []).append(key)
    return tuple(Check(keys=tuple(group), verified=group[0].verified) for group in groups.values())


def stores(facts: Facts) -> tuple[StoreLine, ...]:
    """Return the stores in the order of the register, those that fare alike as one line."""
    found: dict[tuple[object, ...], list[ConsumerImpact]] = {}
    for consumer in (consumer for key in facts.keys for consumer in key.consumers):
        impact, terminal = consumer.impact, consumer.terminal
        alike = (
            consumer.store,
            consumer.row,
            consumer.what,
            (impact.at, impact.bound, impact.words),
            (terminal.at, terminal.bound, terminal.words) if terminal else None,
        )
        found.setdefault(alike, []).append(consumer)
    return tuple(_line(group, facts.at) for group in found.values())


def _line(group: list[ConsumerImpact], now: datetime) -> StoreLine:
    first = group[0]
    return StoreLine(
        names=tuple(dict.fromkeys(consumer.name or consumer.id for consumer in group)),
        store=first.store,
        state=state(first, now),
        impact=first.impact,
        terminal=first.terminal,
        what=first.what,
        until=first.until,
        still_works=first.still_works,
        inferred=first.inferred,
    )


def state(consumer: ConsumerImpact, now: datetime) -> str:
    """Say how a store stands at `now`, as far as its documents tell."""
    impact = consumer.impact
    if consumer.latent:
        return "latent"
    if impact.at is None:
        return "unaffected" if impact.words == "not affected" else "unknown"
    if impact.at > now:
        # "within" and "about" name a latest or usual moment; it may be sooner.
        return "stopping" if impact.bound in {"at_most", "about"} else "running"
    return "may_have_stopped" if impact.bound == "at_least" else "stopped"


def plans(keys: Iterable[KeyFacts]) -> tuple[Plan, ...]:
    """Return the repair plans; keys with the same steps share one, in which each step lists every key's command."""
    groups: dict[tuple[tuple[Owner, str, bool], ...], list[KeyFacts]] = {}
    for key in (replace(key, steps=_asked_once(key.steps)) for key in keys):
        shape = tuple((step.owner, step.text, step.command is None) for step in key.steps)
        if shape:
            groups.setdefault(shape, []).append(key)
    return tuple(_plan(group) for group in groups.values())


def _asked_once(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Leave out a step whose command an earlier one has given already: two losses may need the same repair."""
    kept: list[Step] = []
    for step in steps:
        if step.command is None or step.command not in {one.command for one in kept}:
            kept.append(step)
    return tuple(kept)


def _plan(group: list[KeyFacts]) -> Plan:
    steps = []
    for number, alike in enumerate(zip(*(key.steps for key in group), strict=True), start=1):
        steps.append(
            PlannedStep(
                number=number,
                owner=alike[0].owner,
                text=alike[0].text,
                commands=tuple(dict.fromkeys(step.command for step in alike if step.command is not None)),
                notes=tuple(dict.fromkeys(step.note for step in alike if step.note)),
            )
        )
    return Plan(keys=tuple(group), steps=tuple(steps))
