"""Every loss that a catalogue knows: told by its record, found by a probe, by both, and by two that contradict."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from tests.watchdog.answers import SIDES, Answers, Loss, Side, at, say
from tests.watchdog.clouds.azure import world as azure_world
from tests.watchdog.clouds.gcp import world as gcp_world
from tests.watchdog.stories import Story
from tests.worlds import MINUTE, table
from watchdog import health, probing
from watchdog.assessment import Assessment, assess
from watchdog.cloud import Row
from watchdog.clouds.azure.probe import RECOVERY_LEVEL
from watchdog.health import Condition, Health, Slot, judge
from watchdog.incidents import VENDOR_WATCH, Incident
from watchdog.notices import Kind, Notice, Reader, Verified
from watchdog.observation import advance
from watchdog.probing import Answer, Probed, Question
from watchdog.register import RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import LOSS, Cause, Effect, Fault, Means, Stage, Verdict

E, S, V = Effect, Slot, Verdict
RECORDED = Path(__file__).resolve().parents[1] / "recorded"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOUND = [say(Question.CONTROL)]
BROKEN = [say(Question.CONTROL, Answer.DENIED)]
AWAY = [say(Question.CONTROL, Answer.SERVER_FAULT)]

# ------------------------------------------------------------------------------------------------------------ the cases


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded loss, and one key that it hit: the customer's own where there is one."""

    cloud: str
    file: str
    row: str
    key: str
    signals: tuple[Signal, ...]

    @property
    def side(self) -> Side:
        return SIDES[self.cloud]

    @property
    def registered(self) -> RegisteredKey:
        return self.side.register.keys[self.key]

    @property
    def signal(self) -> Signal:
        """The loss itself; a record may say more than that of a key."""
        return next(one for one in self.signals if one.effect in LOSS)

    @property
    def effect(self) -> Effect:
        return self.signal.effect

    @property
    def loss(self) -> Loss:
        vault = self.registered.container
        return Loss(signal=self.signal, at=self.at, window=timedelta(days=vault.retention_days if vault else 30))

    @property
    def at(self) -> datetime:
        assert self.signal.occurred_at
        return self.signal.occurred_at

    @property
    def slot(self) -> Slot:
        return SLOTS[self.effect]

    @property
    def is_customers(self) -> bool:
        """Whether the customer is to be told: its own key, by its own doing."""
        return self.registered.customer_owned and self.signal.fault is Fault.CUSTOMER


SLOTS = {
    E.KEY_DISABLED: S.DISABLED,
    E.KEY_DELETION_SCHEDULED: S.DELETION,
    E.KEY_DESTROYED: S.DESTROYED,
    E.KEY_MATERIAL_REMOVED: S.MATERIAL,
    E.KEY_EXPIRED: S.MATERIAL,
    E.KEY_STORE_DISCONNECTED: S.STORE,
    E.ACCESS_REVOKED: S.ACCESS,
    E.ACCESS_REDUCED: S.ACCESS,
    E.PATH_BLOCKED: S.PATH,
    E.CONTAINER_LOST: S.CONTAINER,
}


def _cases(name: str) -> Iterator[Case]:
    side = SIDES[name]
    for entry in json.loads((RECORDED / name / "expected.json").read_text(encoding="utf-8")):
        if not any(one["effect"] in LOSS for one in entry["expect"]):
            continue
        body = (RECORDED / name / entry["file"]).read_bytes()
        entries = side.module.unpack(body, register=side.register).entries
        signals = [signal for one in entries for signal in side.module.meaning(one.raw, side.register)]
        keys = dict.fromkeys(one.key for one in signals if one.effect in LOSS and one.key)
        key = next((one for one in keys if side.register.keys[one].customer_owned), next(iter(keys)))
        about = tuple(one for one in signals if one.key == key)
        yield Case(name, entry["file"].removesuffix(".json"), entry["row"] or "", key, about)


CASES = [case for name in SIDES for case in _cases(name)]


def named(case: Case) -> str:
    return f"{case.cloud}-{case.file}"


every_loss = pytest.mark.parametrize("case", CASES, ids=named)


def nothing(name: str) -> str:
    """What a cloud's catalogue says of what no record tells."""
    return str(import_module(f"watchdog.clouds.{name}.rules").Seen.NOTHING)


def loss_rows() -> Iterator[tuple[str, Row]]:
    words = {effect.value for effect in LOSS}
    for name, side in SIDES.items():
        for row in side.module.catalogue():
            if words & set(re.findall(r"[a-z_]+", row.effect.partition(":")[0])):
                yield name, row


def test_every_loss_row_of_every_catalogue_is_a_case() -> None:
    rows = {(name, f"{row.service} {row.operation}") for name, row in loss_rows() if row.seen_through != nothing(name)}
    assert rows - {(case.cloud, case.row) for case in CASES} == NO_RECORD
    assert {case.effect for case in CASES} == LOSS


# The managed HSM of the world has no private endpoint that data depends on; a vault's, told alike, is a case.
NO_RECORD = {
    ("azure", f"Azure Resource Manager Microsoft.KeyVault/managedHSMs/privateEndpointConnections/{word}")
    for word in ("delete", "write")
}

# ------------------------------------------------------------------------------------------------------------ the story


class Tale:
    """One key from a passing probe on; every step is one commit, as the engine makes it."""

    def __init__(self, side: Side, key: str, start: datetime) -> None:
        self.side = side
        self.key = side.register.keys[key]
        self.story = Story(register=side.register, steps=self._steps)
        self.start = start
        assert self.probe(-10, side.well(self.key)).passed

    def _steps(
        self, effect: Effect, key: RegisteredKey, means: Means | None, subject: str | None, cause: Cause | None
    ) -> Sequence[Step]:
        found: Sequence[Step] = self.side.module.steps(
            effect, key, self.side.register, means=means, subject=subject, cause=cause
        )
        return found

    def moment(self, minutes: float) -> datetime:
        return self.start + minutes * MINUTE

    def event(self, minutes: float, signals: Iterable[Signal], *, seen: float | None = None) -> list[Notice]:
        """Push what happened at one moment, and is `seen` then or later."""
        when = self.moment(minutes)
        now = when if seen is None else self.moment(seen)
        return self.story.push(*(replace(one, occurred_at=when) for one in signals), now=now)

    def probe(self, minutes: float, answers: Answers, control: Answers = SOUND) -> Probed:
        when = self.moment(minutes)
        known, watch = self.health(), self.story.healths.get(VENDOR_WATCH)
        asked = at([*answers, *control], when)
        found: Probed = self.side.judge(asked, self.key, self.side.register, probing.before(known, watch), at=when)
        subjects = {self.key.id, *found.marks}
        said = Verified(at=when, passed=found.passed, words=found.words)
        changes = advance(
            {one: found.marks.get(one, ()) for one in subjects}, self.story._known(subjects), self.story.world(),
            now=when, probed={self.key.id: said},
        )  # fmt: skip
        self.story._apply(changes)
        return found

    def health(self) -> Health:
        return self.story.healths.get(self.key.id, Health(subject=self.key.id))

    def open(self) -> tuple[Condition, ...]:
        return judge(self.health()).conditions

    def assessment(self, minutes: float) -> Assessment:
        return assess(self.health(), self.key, table(), self._steps, now=self.moment(minutes))

    @property
    def incident(self) -> Incident:
        """The only incident there is."""
        return self.story.incident

    def told(self, reader: Reader | None = None) -> list[Notice]:
        return [one for one in self.story.notices if reader in {None, one.reader}]


def tale(case: Case) -> Tale:
    return Tale(case.side, case.key, case.at)


def lost(case: Case) -> Answers:
    return case.side.hurt(case.registered, case.loss)


def places(conditions: Iterable[Condition]) -> set[tuple[Slot, str | None]]:
    """What is open, version by version."""
    return {(one.slot, one.version) for one in conditions}


# ------------------------------------------------------------------------------------------------------ the event alone

VERDICTS = {S.DESTROYED: {V.DESTROYED}, S.DELETION: {V.DOOMED}, S.CONTAINER: {V.DOOMED}}
UNUSABLE = {V.UNUSABLE, V.LATENT_LOSS}
STAGES = {S.DESTROYED: Stage.LOST, S.DELETION: Stage.DELETION_SCHEDULED, S.CONTAINER: Stage.DELETION_SCHEDULED}


def is_switch(case: Case) -> bool:
    """What is only switched off destroys nothing: a Region (aws.md 3.7), an API or the billing (gcp.md 3.3)."""
    subject = case.signal.subject or ""
    off = case.signal.operation == "DisableRegion" or subject.startswith(("cloudkms", "billing"))
    return case.slot is S.CONTAINER and off


def may_be_purged(case: Case) -> bool:
    """Without purge protection a deleted key or vault can be made final at any moment (azure.md 2)."""
    vault = case.registered.container
    return vault is not None and case.slot in {S.DELETION, S.CONTAINER} and not vault.purge_protection


def verdicts(case: Case) -> set[Verdict]:
    return UNUSABLE if is_switch(case) else VERDICTS.get(case.slot, UNUSABLE)


def stage(case: Case) -> Stage:
    if is_switch(case):
        return Stage.IMPAIRED
    return Stage.IRREVERSIBLE_SOON if may_be_purged(case) else STAGES.get(case.slot, Stage.IMPAIRED)


@every_loss
def test_an_event_alone_tells_at_once(case: Case) -> None:
    found = tale(case)
    found.event(0, case.signals)
    assessment = found.assessment(0)

    assert case.slot in {slot for slot, _ in places(found.open())}
    assert assessment.verdict in verdicts(case)
    assert assessment.stage is stage(case)
    assert found.told(Reader.ON_CALL)
    assert bool(found.told(Reader.CUSTOMER)) is case.is_customers


# ------------------------------------------------------------------------------------------------------ the probe alone


def lost_by_vendor(case: Case) -> bool:
    """The vendor's own identity is gone: its control key then refuses it too."""
    return case.signal.fault is Fault.VENDOR and case.signal.means is Means.IDENTITY


def control(case: Case) -> Answers:
    return BROKEN if lost_by_vendor(case) else SOUND


def is_hidden(case: Case) -> bool:
    """What no probe sees: a right to wrap (azure.md 7: it unwraps); a vault that is gone, whose name leads nowhere."""
    reduced = case.effect is E.ACCESS_REDUCED and case.signal.means not in {Means.KEY_OPERATIONS, Means.CONDITION}
    return case.cloud == "azure" and (reduced or case.effect is E.CONTAINER_LOST)


def found_slot(case: Case) -> Slot:
    """Where a probe sees the loss: KMS refuses everything of an account or a Region that is gone (aws.md 7)."""
    return S.ACCESS if case.cloud == "aws" and case.slot is S.CONTAINER else case.slot


def found_fault(case: Case) -> Fault:
    """Whose side a probe alone can say it is: the key's owner's, but for grants and accounts that anybody may end.

    A grant is retired by its grantee too (aws.md 3.1), and one to a deleted account is most likely dead by the vendor's
    doing (gcp.md 3.2).
    """
    if case.signal.means is Means.GRANT or (case.cloud == "gcp" and case.signal.fault is None):
        return Fault.UNKNOWN
    return Fault.CUSTOMER if case.registered.customer_owned else Fault.VENDOR


@every_loss
def test_a_probe_alone_finds_it_and_tells_the_same_people(case: Case) -> None:
    found = tale(case)
    probed = found.probe(0, lost(case), control(case))

    if is_hidden(case):
        assert () == found.open()
        assert [] == found.told()
        assert found.side.name == "azure"
        return
    if lost_by_vendor(case):
        assert (None, Fault.VENDOR) == (probed.passed, probed.fault)
        assert (VENDOR_WATCH,) == found.incident.subjects
        assert () == found.open()
        assert [] == found.told(Reader.CUSTOMER)
        return
    assert probed.passed is False
    assert found_slot(case) in {slot for slot, _ in places(found.open())}
    assert found_fault(case) is found.assessment(0).fault
    assert found.assessment(0).verdict in (verdicts(case) if found_slot(case) is case.slot else UNUSABLE)
    assert found.told(Reader.ON_CALL)
    assert bool(found.told(Reader.CUSTOMER)) is (found_fault(case) is Fault.CUSTOMER)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A loss that leaves no record, by its row of the catalogue, and the facts of it that a record would have told."""

    cloud: str
    row: str
    effect: Effect
    means: Means | None = None
    subject: str | None = None
    version: str | None = None


UNSEEN = (
    Unseen("azure", "(key purged by the clock)", E.KEY_DESTROYED),
    Unseen("azure", "(expiry of an older version)", E.KEY_EXPIRED, version=azure_world.V1),
    Unseen("azure", "(subscription disabled, expired, deleted)", E.CONTAINER_LOST),
    Unseen("azure", "(vault's subscription moved to another tenant)", E.ACCESS_REVOKED, Means.IDENTITY),
    Unseen("gcp", "(a scheduled destruction is carried out)", E.KEY_DESTROYED, version="2"),
    Unseen("gcp", "(a timed grant ends)", E.ACCESS_REVOKED, Means.IAM_BINDING, gcp_world.APP),
    Unseen("gcp", "(a member leaves the group that holds the grant)", E.ACCESS_REVOKED),
    Unseen("gcp", "(the project is suspended for non-payment)", E.CONTAINER_LOST, subject="billing of projects/globex"),
    Unseen(
        "gcp", "(the external key manager is away, or a pinned certificate ran out)", E.KEY_STORE_DISCONNECTED,
    ),
)  # fmt: skip


def test_every_loss_row_that_leaves_no_record_is_a_case_of_a_probe() -> None:
    assert {(one.cloud, one.row) for one in UNSEEN} == {
        (name, row.operation) for name, row in loss_rows() if row.seen_through == nothing(name)
    }


@pytest.mark.parametrize("one", UNSEEN, ids=lambda one: f"{one.cloud} {one.row}")
def test_a_probe_finds_what_leaves_no_record(one: Unseen) -> None:
    side = SIDES[one.cloud]
    signal = Signal(
        effect=one.effect, reason="", key=side.key, occurred_at=NOON, fault=Fault.CUSTOMER, means=one.means,
        subject=one.subject, version=one.version,
    )  # fmt: skip
    case = Case(one.cloud, "", one.row, side.key, (signal,))
    found = tale(case)
    probed = found.probe(0, lost(case))
    if is_hidden(case):  # the vendor hears of it when the last proof is too old to count
        found.probe(30, lost(case))
        assert V.UNREACHABLE is found.assessment(30).verdict
        assert "leads nowhere" in found.open()[0].latest.reason
        assert [] == found.told(Reader.CUSTOMER)
        return
    assert probed.passed is False
    assert {(case.slot, one.version)} == places(found.open())
    assert found.assessment(0).verdict in verdicts(case)
    assert found.told(Reader.CUSTOMER)


# ---------------------------------------------------------------------------------------------------------------- both


def standing(found: Tale) -> set[tuple[Slot, str | None, Fault]]:
    return {(one.slot, one.version, one.fault) for one in found.open()}


def is_dated_by_probe(case: Case) -> bool:
    """A deletion whose record has no date, nor the register a window for it: the probe's is told, for it is news."""
    vault = case.registered.container
    return case.slot is S.DELETION and case.signal.deadline is None and vault is None


def is_told_of_whole_key(case: Case) -> bool:
    """A record that names no version of the key, where the probe names those that are hit (azure.md 3.2, row 1)."""
    return case.cloud == "azure" and case.slot is S.DISABLED and case.signal.version is None


@every_loss
def test_a_probe_that_agrees_with_the_event_tells_nothing_anew(case: Case) -> None:
    found = tale(case)
    found.event(0, case.signals)
    alone = standing(found)
    told = len(found.told(Reader.CUSTOMER))
    found.probe(1, lost(case), control(case))
    found.probe(20, lost(case), control(case))

    news = ["deadline earlier"] if is_dated_by_probe(case) else []
    if is_told_of_whole_key(case):
        news = ["more versions"]
        assert {(S.DISABLED, one, Fault.CUSTOMER) for one in found.key.versions} == standing(found) - alone
    else:
        assert alone == standing(found)
    assert told * (1 + len(news)) == len(found.told(Reader.CUSTOMER))
    assert ["opened", *news] == [one.why for one in key_incident(found).turns]


@every_loss
def test_a_probe_before_the_event_comes_to_the_same(case: Case) -> None:
    first, second = tale(case), tale(case)
    first.event(0, case.signals)
    first.probe(1, lost(case), control(case))
    second.probe(1, lost(case), control(case))
    second.event(0, case.signals, seen=2)
    for one in (first, second):
        one.probe(6, lost(case), control(case))

    # A probe that knows of no other cause takes what KMS says of an account that is gone for a revocation (aws.md 7).
    guessed = {(S.ACCESS, None, Fault.CUSTOMER)} if found_slot(case) is not case.slot else set()
    assert standing(first) | guessed == standing(second)
    assert first.assessment(6).verdict is second.assessment(6).verdict
    assert first.assessment(6).fault is second.assessment(6).fault
    assert key_incident(first).subjects == key_incident(second).subjects


# ------------------------------------------------------------------------------------------------------- contradictions


@every_loss
def test_a_probe_that_passes_at_once_does_not_overrule_the_event(case: Case) -> None:
    """Every cloud goes on serving for a while what was just taken away (aws.md 2, azure.md 7, gcp.md 2)."""
    found = tale(case)
    found.event(0, case.signals)
    before, told = found.open(), len(found.told())
    for minutes in (1, 5, 14):
        assert found.probe(minutes, found.side.well(found.key)).passed is None

    assert before == found.open()
    assert told == len(found.told())


@every_loss
def test_a_probe_that_still_passes_when_answers_have_settled_closes_it(case: Case) -> None:
    """Also what was called destroyed: no id of a key or version is given twice, so what works under it is it."""
    found = tale(case)
    found.event(0, case.signals)
    first = 20
    found.probe(first, found.side.well(found.key))
    if is_hidden(case) and case.slot is S.ACCESS:  # that it unwraps is no proof that it wraps: a record has to say so
        assert found.probe(35, found.side.well(found.key)).passed is None
        assert stage(case) is found.incident.stage
        found.event(60, repaired(case))
        first = 65
        found.probe(first, found.side.well(found.key))
    if case.cloud == "azure":  # two successes, ten minutes apart (azure.md 7)
        assert Stage.RECOVERING is found.incident.stage
        found.probe(first + 10, found.side.well(found.key))

    assert Stage.RESOLVED is found.incident.stage
    resolved = [one for one in found.told(Reader.CUSTOMER) if one.kind is Kind.RESOLVED]
    assert bool(resolved) is case.is_customers


RECOVERIES = {
    E.KEY_DISABLED: (E.KEY_ENABLED,),
    E.KEY_DELETION_SCHEDULED: (E.DELETION_CANCELLED, E.KEY_ENABLED),
    E.KEY_MATERIAL_REMOVED: (E.KEY_MATERIAL_RESTORED,),
    E.KEY_EXPIRED: (E.KEY_MATERIAL_RESTORED,),
    E.KEY_STORE_DISCONNECTED: (E.KEY_STORE_RECONNECTED,),
    E.ACCESS_REVOKED: (E.ACCESS_GRANTED,),
    E.ACCESS_REDUCED: (E.ACCESS_GRANTED,),
    E.PATH_BLOCKED: (E.PATH_OPENED,),
    E.CONTAINER_LOST: (E.CONTAINER_RESTORED,),
}


def repaired(case: Case) -> list[Signal]:
    """The records of its repair, a second apart from nothing: what ends the loss, of the same thing."""
    effects = RECOVERIES[case.effect]
    if case.cloud == "azure" and case.slot is S.DELETION:
        effects = (E.KEY_RECOVERED,)
    return [
        replace(case.signal, effect=effect, fault=None, deadline=None, probe=False, event_id=f"repair-{effect}",
                long_operation=None)
        for effect in effects
    ]  # fmt: skip


@pytest.mark.parametrize("case", [one for one in CASES if one.slot is not S.DESTROYED], ids=named)
def test_an_event_that_says_recovered_closes_nothing_that_a_probe_still_finds(case: Case) -> None:
    found = tale(case)
    found.event(0, case.signals)
    found.probe(5, lost(case), control(case))
    for number, one in enumerate(repaired(case)):
        found.event(60 + number / 60, [one])
    recovered = key_incident(found).stage
    # What a probe saw beside the loss itself is not ended by a record of that: uses refused for another reason.
    beside = case.cloud == "aws" and (case.slot is S.CONTAINER or case.signal.means is Means.GRANT)
    assert recovered is (Stage.IMPAIRED if beside else Stage.RECOVERING)

    probed = found.probe(60.5, lost(case), control(case))
    if is_hidden(case) or lost_by_vendor(case):
        assert Stage.RESOLVED is not key_incident(found).stage or case.effect is E.ACCESS_REDUCED
        return
    assert probed.passed is (False if beside else None)
    assert recovered is key_incident(found).stage
    assert found.probe(90, lost(case), control(case)).passed is False
    assert key_incident(found).stage not in {Stage.RECOVERING, Stage.RESOLVED}
    if not beside:
        assert "relapsed" == key_incident(found).turns[-1].why


def key_incident(found: Tale) -> Incident:
    (one,) = [one for one in found.story.incidents.values() if found.key.id in one.subjects]
    return one


# ------------------------------------------------------------------------------------------------- alike from the text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the same refusal comes to: by what the control says, whose side it is, and who is told of what."""

    control: Answers
    passed: bool | None
    fault: Fault
    subject: str | None = None
    mail: bool = False


OUTCOMES = {
    "a revocation": Outcome(control=SOUND, passed=False, fault=Fault.CUSTOMER, mail=True),
    "the vendor's own fault": Outcome(control=BROKEN, passed=None, fault=Fault.VENDOR, subject=VENDOR_WATCH),
    "an outage": Outcome(control=AWAY, passed=None, fault=Fault.PROVIDER, subject=VENDOR_WATCH),
    "without a control": Outcome(control=[], passed=False, fault=Fault.UNKNOWN),
}
clouds = pytest.mark.parametrize("name", SIDES)


@clouds
@pytest.mark.parametrize("which", OUTCOMES)
def test_refusals_that_look_alike_have_outcomes_of_their_own(name: str, which: str) -> None:
    side, expected = SIDES[name], OUTCOMES[which]
    found = Tale(side, side.key, NOON)
    # Long enough after the last proof that an outage is told too.
    probed = found.probe(30, side.refused(found.key), expected.control)

    assert (expected.passed, expected.fault) == (probed.passed, probed.fault)
    assert (expected.subject or side.key,) == found.incident.subjects
    assert expected.fault is found.incident.fault
    assert found.told(Reader.ON_CALL)
    assert bool(found.told(Reader.CUSTOMER)) is expected.mail


@clouds
def test_the_customer_is_written_to_when_the_fault_becomes_known_as_its_own(name: str) -> None:
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    found.probe(0, side.refused(found.key), [])
    assert [] == found.told(Reader.CUSTOMER)

    found.probe(5, side.refused(found.key), SOUND)
    assert "cause known" == found.incident.turns[-1].why
    assert 1 == len(found.told(Reader.CUSTOMER))


@clouds
@pytest.mark.parametrize("which", ["the vendor's own fault", "an outage"])
def test_what_was_not_the_keys_fault_ends_without_a_word_to_the_customer(name: str, which: str) -> None:
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    found.probe(30, side.refused(found.key), OUTCOMES[which].control)
    found.probe(35, side.well(found.key))

    assert Stage.RESOLVED is found.incident.stage
    assert [] == found.told(Reader.CUSTOMER)


# ---------------------------------------------------------------------------------------------------- single questions


def test_what_the_vendor_did_by_its_record_is_not_put_on_the_customer_by_a_probe() -> None:
    case = next(one for one in CASES if one.file == "update_version_by_vendor")
    found = tale(case)
    found.event(0, case.signals)
    for minutes in (1, 5, 20):
        found.probe(minutes, lost(case))

    assert Fault.VENDOR is found.incident.fault
    assert [] == found.told(Reader.CUSTOMER)


def test_a_deletion_that_was_cancelled_and_scheduled_again_has_the_date_that_the_probe_reads() -> None:
    case = next(one for one in CASES if one.file == "schedule_key_deletion")
    assert case.signal.deadline
    found = tale(case)
    found.event(0, case.signals)
    later = case.signal.deadline + timedelta(days=14)
    again = case.side.hurt(found.key, replace(case.loss, signal=replace(case.signal, deadline=later)))
    found.probe(20, again)

    assert later == found.open()[0].latest.deadline


@pytest.mark.parametrize("key", [azure_world.DATA_KEY, azure_world.FILES_KEY])
@pytest.mark.parametrize(("level", "is_dated"), [("Recoverable", True), ("Recoverable+Purgeable", False)])
def test_the_clock_of_a_deleted_key_is_that_of_the_vault_as_the_probe_finds_it(
    key: str, level: str, *, is_dated: bool
) -> None:
    """One of the vaults is registered with purge protection, the other one without: what the answer says counts."""
    end = NOON + timedelta(days=20)
    found = Tale(SIDES["azure"], key, NOON)
    deleted = [
        say(
            Question.STATE, Answer.PENDING_DELETION, version=version, detail={RECOVERY_LEVEL: level},
            deadline=end, deadline_source="scheduledPurgeDate",
        )
        for version in found.key.versions
    ]  # fmt: skip
    found.probe(0, deleted)
    assessment = found.assessment(0)

    assert assessment.headline
    assert (end if is_dated else None) == assessment.headline.at
    assert (Stage.DELETION_SCHEDULED if is_dated else Stage.IRREVERSIBLE_SOON) is assessment.stage


@pytest.mark.parametrize("effect", [E.EXPIRY_AHEAD, E.PROTECTION_WEAKENED, E.ACCESS_GRANTED])
@clouds
def test_a_record_about_the_key_itself_does_not_give_back_what_a_probe_found_refused(name: str, effect: Effect) -> None:
    """Neither names a means: the end of the key, a lock, purge protection are no word about who may use it."""
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    found.probe(0, side.refused(found.key))
    end = NOON + timedelta(days=9) if effect is E.EXPIRY_AHEAD else None
    signal = Signal(
        effect=effect, reason="about the key", key=side.key, occurred_at=NOON, deadline=end, subject="a lock",
        event_id="about",
    )  # fmt: skip
    found.event(20, [signal])

    assert S.ACCESS in {one.slot for one in found.open()}


def test_access_that_is_refused_or_given_back_ends_nothing_that_is_known_of_the_key_itself() -> None:
    side = SIDES["aws"]
    found = Tale(side, side.key, NOON)
    ends = Signal(
        effect=E.EXPIRY_AHEAD, reason="ends", key=side.key, occurred_at=NOON, deadline=NOON + timedelta(days=9),
        event_id="ends",
    )  # fmt: skip
    weak = Signal(
        effect=E.PROTECTION_WEAKENED, reason="weak", key=side.key, occurred_at=NOON, subject="a lock", event_id="weak"
    )
    found.event(0, [ends, weak])
    found.probe(20, side.refused(found.key))
    assert {S.ACCESS, S.EXPIRY, S.PROTECTION} == {one.slot for one in found.open()}

    granted = probing.recovery(E.ACCESS_GRANTED, at=found.moment(40), reason="permitted")
    left = judge(health.add(found.health(), [granted])).conditions
    assert {S.EXPIRY, S.PROTECTION} == {one.slot for one in left}


# -------------------------------------------------------------------------------------- neither a proof nor a loss

SILENT_STORE = say(Question.CONSUMER, Answer.NOT_UNDERSTOOD, subject="stopped database")
CANNOT = {
    "a store that shows nothing": lambda side, key: [*side.well(key), SILENT_STORE],
    "a use that contradicts the state": lambda side, key: (
        [say(Question.STATE, Answer.NOT_FOUND), *(one for one in side.well(key) if one.question is not Question.STATE)]
        if side.name != "azure"
        else [replace(one, answer=Answer.DISABLED) if one.question is Question.STATE else one for one in side.well(key)]
    ),
}


@clouds
@pytest.mark.parametrize("which", CANNOT)
def test_what_cannot_be_told_for_long_is_told_to_the_vendor_and_ends_with_a_proof(name: str, which: str) -> None:
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    answers = CANNOT[which](side, found.key)
    for minutes in (-5, 0, 5):
        assert found.probe(minutes, answers).passed is None
    assert {} == found.story.incidents, "within the time that the last proof counts nobody is bothered"

    for minutes in (15, 20, 80):
        assert found.probe(minutes, answers).passed is None

    assert (Stage.AT_RISK, Fault.UNKNOWN) == (found.incident.stage, found.incident.fault)
    assert (1, 0) == (len(found.incident.turns), len(found.told(Reader.CUSTOMER)))
    assert V.UNREACHABLE is found.assessment(81).verdict
    for minutes in (100, 111):
        found.probe(minutes, side.well(found.key))
    assert Stage.RESOLVED is found.incident.stage
    assert [] == found.told(Reader.CUSTOMER)


@clouds
def test_a_silence_of_a_store_that_passes_by_itself_bothers_nobody(name: str) -> None:
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    for minutes in (0, 15, 60):
        found.probe(minutes, [*side.well(found.key), replace(SILENT_STORE, answer=Answer.SERVER_FAULT)])
    assert {} == found.story.incidents


@clouds
def test_a_store_that_shows_nothing_after_a_repair_tells_no_new_alarm(name: str) -> None:
    side = SIDES[name]
    found = Tale(side, side.key, NOON)
    back = Signal(effect=E.KEY_ENABLED, reason="enabled", key=side.key, event_id="on")
    found.event(0, [Signal(effect=E.KEY_DISABLED, reason="disabled", key=side.key, event_id="off")])
    found.event(30, [back])
    for minutes in (50, 90):
        assert found.probe(minutes, [*side.well(found.key), SILENT_STORE]).passed is None

    assert Stage.RECOVERING is found.incident.stage
