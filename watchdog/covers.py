"""Covers: by which ways a key is watched at a moment - forwarded, self-observed, probed - each proven, and dated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from watchdog.assessment import FRESH
from watchdog.coverage import Cover, Way
from watchdog.silence import Concerned, Standing, State, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """One cover of one key: `at` is its last proof, `since` from when on it is blind, `words` say what to do next."""

    cover: Cover
    state: State
    words: str
    at: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFacts:
    """What is known of the probing of one key. `never` says why nobody asks it at all (None: it is asked).

    `answered_at` is when the key last gave an answer, good or bad; `failures` how many probes since could not tell.
    """

    every: timedelta
    answered_at: datetime | None = None
    failures: int = 0
    never: str | None = None


_FROM_WORST = (State.SILENT, State.NOT_YET, State.QUIET, State.PROVEN)

_NO_WAY = {
    Cover.FORWARDED: "no audit records of the key's owner come in by the register; let the owner forward them "
    "(deploy/), and register what carries them",
    Cover.SELF_OBSERVED: "no audit records of the vendor's own side come in by the register",
}

_FAILURES_AT_MOST = 3
"""Probes that may fail to get a first answer before that is called silence; as many as may be missed later."""


def covers(
    ways: Sequence[Way], standings: Mapping[str, Standing], probe: ProbeFacts, *, at: datetime
) -> tuple[Covering, ...]:
    """Return the three covers of a key, in the order of `Cover`."""
    of = {
        cover: [standings[way.route] for way in ways if way.cover is cover]
        for cover in (Cover.FORWARDED, Cover.SELF_OBSERVED)
    }
    return (*(_heard(cover, found) for cover, found in of.items()), probed(probe, at=at))


def _heard(cover: Cover, found: Sequence[Standing]) -> Covering:
    """Fold the ways of one cover: it is no better than its worst one."""
    if not found:
        return Covering(cover=cover, state=State.NONE, words=_NO_WAY[cover])
    state = min((one.state for one in found), key=_FROM_WORST.index)
    worst = [one for one in found if one.state is state]
    times = [one.at for one in worst]
    return Covering(
        cover=cover,
        state=state,
        words="; ".join(one.words for one in worst),
        at=None if None in times else min(filter(None, times)),
        since=min((one.since for one in worst if one.since), default=None),
    )


def probed(probe: ProbeFacts, *, at: datetime) -> Covering:
    """Return the cover that our own asking gives: proven while the last answer is young enough, whatever it said."""
    limit = max(FRESH, 3 * probe.every)
    if probe.never is not None:
        return Covering(cover=Cover.PROBED, state=State.NONE, words=probe.never)
    last = probe.answered_at
    if last is not None and at - last <= limit:
        return Covering(cover=Cover.PROBED, state=State.PROVEN, words=f"the key last answered {moment(last)}", at=last)
    if last is None and probe.failures < _FAILURES_AT_MOST:
        return Covering(cover=Cover.PROBED, state=State.NOT_YET, words="the key has not answered a probe yet")
    words = f"no probe has got an answer since {moment(last)}" if last else "no probe has ever got an answer"
    words += "; `byok-watchdog probe KEY` says why, `byok-watchdog doctor` whether a scheduler and a worker run"
    return Covering(cover=Cover.PROBED, state=State.SILENT, words=words, at=last, since=last)


def is_watched(covering: Covering) -> bool:
    """Whether a cover may be counted on: it is proven, or within its first bound."""
    return covering.state in {State.PROVEN, State.NOT_YET}


def concerned(keys: Iterable[tuple[str, Covering]]) -> Concerned:
    """Say of which keys something is silent, and by what they are still watched; and whether some are by nothing.

    Each key comes with its probed cover.
    """
    every = list(keys)
    blind = [(name, found) for name, found in every if not is_watched(found)]
    if not every:
        return Concerned(words="No registered key is known to come this way", unwatched=False)
    head = f"Concerned: {_named([name for name, _ in every])}"
    if not blind:
        still = "It is still asked by probes" if len(every) == 1 else "They are still asked by probes"
        return Concerned(words=f"{head}. {still}", unwatched=False)
    rest = len(every) - len(blind)
    more = f" The other {rest} {'is' if rest == 1 else 'are'} still asked by probes." if rest else ""
    name, first = blind[0]
    if len(every) == 1:
        said = f"It is not probed either ({first.words}): nothing watches it now, so check it by hand"
        return Concerned(words=f"{head}. {said}", unwatched=True)
    which = "None of them is" if not rest else f"Of these, {_named([one for one, _ in blind])} {_be(len(blind))} not"
    said = f"{which} probed either ({first.words if rest else f'{name}: {first.words}'})"
    them = "it" if len(blind) == 1 else "them"
    return Concerned(words=f"{head}. {said}: nothing watches {them} now, so check by hand.{more}", unwatched=True)


_NAMED_AT_MOST = 5


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return f"{len(names)} key{'s' if len(names) != 1 else ''} ({shown}{more})"
