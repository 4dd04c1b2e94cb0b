"""Impact: what a lost key does to each store under it, when, and for how long it can be undone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

from msgspec import Struct, convert, field

from watchdog.notices import ConsumerImpact, Deadline
from watchdog.register import Consumer
from watchdog.words import Effect, Means

Bound = Literal["exact", "at_least", "at_most", "about"]
NOT_DOCUMENTED = "not documented by the provider"
ACT_NOW = "no grace period is documented: act now"
ANY_MOMENT = "it can be made final at any moment: act now"

_DURATION = re.compile(r"^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")


class Source(Struct, frozen=True):
    """A document that a number was read in, and the age of its text."""

    title: str
    where: str
    dated: str


class Impact(Struct, frozen=True):
    """When and how a store stops."""

    after: str
    what: str
    bound: Bound = "exact"
    start: str = field(name="from", default="loss")
    state: str | None = None
    until: tuple[str, ...] = ()


class Terminal(Struct, frozen=True):
    """When the store object can no longer resume."""

    after: str
    start: str = field(name="from", default="entering_state")
    state: str | None = None
    then: str | None = None


class RowStep(Struct, frozen=True):
    """One step of a row's repair: a word of the table's `repair_steps`, and who does it."""

    owner: str
    do: str
    command: str | None = None
    note: str | None = None


class Row(Struct, frozen=True):
    """One store, in one topology, under some ways of losing the key."""

    id: str
    cloud: str
    store: str
    kind: str
    loss: tuple[Effect, ...]
    means: tuple[str, ...]
    impact: Impact
    terminal: Terminal
    holds: tuple[str, ...]
    recovery: str
    confidence: Literal["high", "medium", "low"]
    source: tuple[str, ...]
    checked_on: date
    variant: dict[str, bool | str] = {}
    irrecoverable_when: tuple[str, ...] = ()
    still_works: tuple[str, ...] = ()
    repair: tuple[RowStep, ...] = ()
    observed_by: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()
    note: str | None = None


class Undo(Struct, frozen=True):
    """Who can undo a loss of the key, and how it is called."""

    owner: str
    do: str
    then: str | None = None
    note: str | None = None


class KeyClock(Struct, frozen=True):
    """The clock of the key itself under one way of losing it."""

    id: str
    cloud: str
    loss: tuple[Effect, ...]
    takes_effect: str
    destroyed_after: str | dict[str, str]
    undo: Undo
    confidence: Literal["high", "medium", "low"]
    source: tuple[str, ...]
    checked_on: date
    means: tuple[str, ...] = ("any",)
    variant: dict[str, bool | str] = {}
    deadline_from: str | None = None
    recoverable_if: str | None = None
    inferred: tuple[str, ...] = ()


class Vocabulary(Struct, frozen=True):
    """The words that rows may use."""

    holds: dict[str, str]


class ImpactTable(Struct, frozen=True):
    """The table, whole."""

    vocabulary: Vocabulary
    repair_steps: dict[str, str]
    sources: dict[str, Source]
    key_clocks: tuple[KeyClock, ...]
    stores: tuple[Row, ...]

    def row(self, row_id: str) -> Row:
        """Return the row with this id. Raises KeyError."""
        for row in self.stores:
            if row.id == row_id:
                return row
        raise KeyError(row_id)

    def key_clock(self, clock_id: str) -> KeyClock:
        """Return the key clock with this id. Raises KeyError."""
        for clock in self.key_clocks:
            if clock.id == clock_id:
                return clock
        raise KeyError(clock_id)

    def cite(self, source_ids: Sequence[str]) -> str:
        """Name the document that a number stands in (the first of a row's sources), with the age of its text."""
        source = self.sources[source_ids[0]]
        dated = f"text of {source.dated}" if source.dated[:1].isdigit() else "undated text"
        return f"{source.title} ({dated})"

    def topologies(self) -> dict[str, frozenset[str]]:
        """Return every known store with the names of the topology facts that change its row."""
        found: dict[str, set[str]] = {}
        for row in self.stores:
            found.setdefault(row.store, set()).update(row.variant)
        return {store: frozenset(names) for store, names in found.items()}


def read(plain: object) -> ImpactTable:
    """Check and return the table from its plain form (the parsed file `watchdog/data/store_impact.yaml`).

    Raises msgspec.ValidationError when a row lacks its source, its date or its confidence, or says an unknown word;
    ValueError when a row names an unknown source, hold, step or duration.
    """
    table = convert(plain, ImpactTable, strict=True)
    for row in table.stores:
        unknown = [name for name in row.source if name not in table.sources]
        unknown += [name for name in row.holds if name not in table.vocabulary.holds]
        unknown += [step.do for step in row.repair if step.do not in table.repair_steps]
        if unknown or not row.source:
            raise ValueError(f"{row.id}: unknown or missing words: {unknown or 'source'}")
        duration(row.impact.after)
        duration(row.terminal.after)
    return table


def duration(text: str) -> timedelta | None:
    """Return an ISO 8601 duration as timedelta; None for the words that are no duration. Raises ValueError."""
    if text in {"latent", "none", "unknown", "key_destroyed"}:
        return None
    found = _DURATION.match(text)
    if not found:
        raise ValueError(f"not a duration: {text!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def rows_for(table: ImpactTable, consumer: Consumer, loss: Effect, means: Means | None, cloud: str) -> list[Row]:
    """Return the rows that may apply to this store under this loss, before one of them is chosen.

    A row applies when nothing registered contradicts its variant. Unknown topology keeps every variant in play.
    """
    fitting = [
        row
        for row in table.stores
        if row.store == consumer.store
        and row.cloud in {cloud, "any"}
        and loss in row.loss
        and (means is None or "any" in row.means or means.value in row.means)
        and all(consumer.topology.get(name, value) == value for name, value in row.variant.items())
    ]
    exact = [row for row in fitting if means is not None and means.value in row.means]
    fitting = exact or fitting
    known = [row for row in fitting if row.variant.keys() <= consumer.topology.keys()]
    if len(known) == len(fitting) and known:
        most = max(len(row.variant) for row in known)
        return [row for row in known if len(row.variant) == most]
    return fitting


def consumer_impact(
    table: ImpactTable, consumer: Consumer, loss: Effect, means: Means | None, *, since: datetime, cloud: str
) -> ConsumerImpact:
    """Tell what happens to one store, with the worst row where its topology leaves several open (impact.md 2.2)."""
    candidates = [
        row_impact(table, row, since=since, consumer=consumer) for row in rows_for(table, consumer, loss, means, cloud)
    ]
    if not candidates:
        return _undocumented(consumer)
    return min(candidates, key=lambda found: urgency(found, since))


def row_impact(table: ImpactTable, row: Row, *, since: datetime, consumer: Consumer) -> ConsumerImpact:
    """Tell what one row means when the loss took effect at `since` (aware UTC)."""
    source = table.cite(row.source)
    return ConsumerImpact(
        id=consumer.id,
        name=consumer.name or consumer.id,
        store=row.store,
        impact=_impact_deadline(row, since, source, consumer.id),
        terminal=_terminal_deadline(row, since, source, consumer.id),
        what=row.impact.what,
        latent=row.impact.after == "latent",
        until=row.impact.until,
        still_works=row.still_works,
        inferred=row.inferred,
        row=row.id,
    )


def urgency(found: ConsumerImpact, since: datetime) -> tuple[int, datetime, datetime]:
    """Sort key of a store's impact: the most urgent first. Undated "act now" comes before any date."""
    never = datetime.max.replace(tzinfo=since.tzinfo)
    terminal = found.terminal
    if terminal is not None and terminal.at is None and terminal.words == ACT_NOW:
        rank = 0
    elif terminal is not None and terminal.at is not None:
        rank = 1
    elif found.impact.at is not None or (found.impact.words == NOT_DOCUMENTED):
        rank = 2
    else:
        rank = 3
    first = terminal.at if terminal is not None and terminal.at is not None else never
    return rank, first, found.impact.at or never


def holds_for(table: ImpactTable, rows: Iterable[str]) -> tuple[str, ...]:
    """Return the holds of these rows, in the order of the table's vocabulary, each once, in words."""
    wanted = {hold for row_id in rows if row_id for hold in table.row(row_id).holds}
    return tuple(words for name, words in table.vocabulary.holds.items() if name in wanted)


def _impact_deadline(row: Row, since: datetime, source: str, consumer: str) -> Deadline:
    after = duration(row.impact.after)
    if after is not None:
        words = f"{row.store}: {row.impact.what}"
        return Deadline(
            kind="impact", at=since + after, words=words, source=source, bound=row.impact.bound, consumer=consumer
        )
    words = {
        "latent": "nothing visible while it runs; it breaks at the next "
        + (" or ".join(word.replace("_", " ") for word in row.impact.until) or "restart"),
        "none": "not affected",
        "unknown": NOT_DOCUMENTED,
        "key_destroyed": "when the key is destroyed",
    }[row.impact.after]
    return Deadline(kind="impact", at=None, words=words, source=source, consumer=consumer)


def _terminal_deadline(row: Row, since: datetime, source: str, consumer: str) -> Deadline | None:
    if row.terminal.after in {"none", "key_destroyed", "latent"}:
        return None
    after = duration(row.terminal.after)
    then = row.terminal.then or "the store cannot resume"
    if after is None:
        return Deadline(kind="store_terminal", at=None, words=NOT_DOCUMENTED, source=source, consumer=consumer)
    start = _earliest_impact(row, since)
    if start is None and row.terminal.start == "loss":
        start = since
    if start is None and after == timedelta(0):
        return Deadline(kind="store_terminal", at=None, words=ACT_NOW, source=source, consumer=consumer)
    return Deadline(
        kind="store_terminal", at=(start or since) + after, words=then, source=source, bound="at_least",
        consumer=consumer,
    )  # fmt: skip


def _earliest_impact(row: Row, since: datetime) -> datetime | None:
    after = duration(row.impact.after)
    if after is None:
        return None
    # "within ten minutes" may be at once: the earliest possible start is the event itself.
    return since if row.impact.bound in {"at_most", "about"} else since + after


def _undocumented(consumer: Consumer) -> ConsumerImpact:
    unknown = Deadline(
        kind="impact", at=None, words=NOT_DOCUMENTED, source="no document read says it", consumer=consumer.id
    )
    return ConsumerImpact(
        id=consumer.id,
        name=consumer.name or consumer.id,
        store=consumer.store,
        impact=unknown,
        terminal=None,
        what="what this store does when its key is lost in this way is not documented",
        latent=False,
        until=(),
        still_works=(),
        inferred=(),
        row="",
    )


def key_deadline(
    table: ImpactTable, clock_id: str, *, since: datetime, stated: datetime | None, stated_by: str | None
) -> Deadline | None:
    """Return the moment of the key's own destruction under one clock, None where the clock has none.

    `stated` is the date that the provider's record or answer gave (it wins over any default), `stated_by` names it.
    Where nothing keeps anybody from ending it before that date, there is none: it is the latest.
    """
    clock = table.key_clock(clock_id)
    cite = table.cite(clock.source)
    if isinstance(clock.destroyed_after, Mapping) and not _shortest(clock.destroyed_after):
        source = f"{stated_by}; {cite}" if stated and stated_by else cite
        return Deadline(kind="data_irrecoverable", at=None, words=ANY_MOMENT, source=source, latest=stated)
    if stated is not None:
        late = _may_be_late(clock.destroyed_after)
        return Deadline(
            kind="data_irrecoverable", at=stated, words="the key is destroyed and nothing encrypted under it can be "
            "read again", source=f"{stated_by or 'the record'}; {cite}", bound="at_least",
            latest=stated + late if late else None,
        )  # fmt: skip
    if isinstance(clock.destroyed_after, Mapping):
        told_by = re.split(r"\.\s|[;(]", clock.deadline_from or "", maxsplit=1)[0].strip()
        words = f"date not known yet; {told_by} tells it" if told_by else "date not known yet"
        return Deadline(kind="data_irrecoverable", at=None, words=words, source=cite)
    if clock.destroyed_after in {"none", "unknown"}:
        return None
    after = duration(clock.destroyed_after)
    if after == timedelta(0) and clock.recoverable_if and clock.undo.do != "none":
        words = f"no waiting period: recoverable only if {clock.recoverable_if}"
        return Deadline(kind="data_irrecoverable", at=None, words=words, source=cite)
    return Deadline(
        kind="data_irrecoverable", at=since + (after or timedelta(0)),
        words="nothing encrypted under this key can be read again", source=cite,
        bound="exact" if after == timedelta(0) else "at_least",
    )  # fmt: skip


def is_now(deadline: Deadline) -> bool:
    """Whether a deadline without a date leaves no time at all."""
    return deadline.at is None and deadline.words in {ACT_NOW, ANY_MOMENT}


def _shortest(destroyed_after: Mapping[str, str]) -> timedelta | None:
    return duration(destroyed_after["min"])


def _may_be_late(destroyed_after: str | dict[str, str]) -> timedelta | None:
    if isinstance(destroyed_after, str):
        return None
    return duration(destroyed_after.get("may_be_late_by", "none"))
