"""The prober of Cloud KMS: the states of a key and its versions, uses, policies and stores, asked by REST."""

import base64
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.access import Binding, Hold
from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.fields import mapping, text, texts
from watchdog.clouds.gcp.index import index_of, version_of
from watchdog.clouds.gcp.names import key_name, ring_of
from watchdog.clouds.gcp.probe import AS, DEAD, JUSTIFICATIONS, LACKS, PRIMARY, STATUS
from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from watchdog.register_probe import ConsumerProbe
from workers.clouds.gcp.calls import Desk, Endpoints, Limits, Said
from workers.clouds.gcp.identities import Callers
from workers.probes.interface import Canary

_STATES = {
    "ENABLED": Answer.OK,
    "DISABLED": Answer.DISABLED,
    "DESTROY_SCHEDULED": Answer.PENDING_DELETION,
    "DESTROYED": Answer.DESTROYED,
    "PENDING_EXTERNAL_DESTRUCTION": Answer.DESTROYED,  # it can never be used again (gcp.md 2)
    "EXTERNAL_DESTRUCTION_FAILED": Answer.DESTROYED,
    "PENDING_IMPORT": Answer.PENDING_IMPORT,
    "IMPORT_FAILED": Answer.PENDING_IMPORT,
    "PENDING_GENERATION": Answer.PENDING_IMPORT,
    "GENERATION_FAILED": Answer.PENDING_IMPORT,
}

_KEY_DETAILS = {
    "purpose": "purpose",
    "destroy_scheduled_duration": "destroyScheduledDuration",
    "rotation_period": "rotationPeriod",
    "next_rotation_time": "nextRotationTime",
    "import_only": "importOnly",
    "backend": "cryptoKeyBackend",
}
_VERSION_DETAILS = {
    "state": "state",
    "protection_level": "protectionLevel",
    "algorithm": "algorithm",
    "destroy_event_time": "destroyEventTime",
    "reimport_eligible": "reimportEligible",
    "external_destruction_failure_reason": "externalDestructionFailureReason",
    "import_failure_reason": "importFailureReason",
    "generation_failure_reason": "generationFailureReason",
}
"""What pre-flight and coverage look at, by name, and the field of the answer that it stands in."""

_AGENTS = {
    "gcs_object": "@gs-project-accounts.iam.gserviceaccount.com",
    "cloud_sql_state": "@gcp-sa-cloud-sql.iam.gserviceaccount.com",
}
"""Whose right a store's answer shows: the agent of its service (gcp.md 1)."""


def prober() -> "GcpProber":
    """Return the prober of Google Cloud keys, with the application default credentials of the process."""
    return GcpProber()


class GcpProber:
    """Asks Google Cloud about keys. Safe between threads; one session for each account that keys are asked as.

    Nothing is retried: a probe that gets no answer says so, and the schedule asks again.
    """

    cloud = "gcp"

    def __init__(
        self,
        limits: Limits | None = None,
        endpoints: Endpoints | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or Limits()
        self._endpoints = endpoints or Endpoints()
        self._now = now
        self._monotonic = monotonic
        times = (self._limits.connect, self._limits.read)
        self._callers = Callers(times, self._endpoints.iam, self._limits.sessions)

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        """Put the questions to the key, about 20 seconds at most in whole; at least one finding for each."""
        visit = self._visit(key, register, canaries)
        ways: dict[Question, Callable[[], list[Finding]]] = {
            Question.STATE: visit.state,
            Question.USE: visit.use,
            Question.CONTROL: visit.control,
            Question.CANARY: visit.canary,
            Question.GRANTS: visit.grants,
            Question.CONSUMER: visit.consumers,
        }
        return [finding for question, way in ways.items() if question in questions for finding in way()]

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Encrypt a random value under each version in use; what could not be made is a finding."""
        return self._visit(key, register, ()).make_canaries()

    def close(self) -> None:
        """Let go of connections."""
        self._callers.close()

    def _visit(self, key: RegisteredKey, register: Register, canaries: Sequence[Canary]) -> "_Visit":
        until = self._monotonic() + self._limits.deadline - self._limits.connect - self._limits.read
        mine = [canary for canary in canaries if canary.key == key.id]
        desk = Desk(
            self._callers, self._endpoints, self._limits, lambda: self._monotonic() < until, index_of(register),
            key.entry.probe.principal if key.entry.probe else None,
        )  # fmt: skip
        return _Visit(key, register, desk, mine, self._now)


# --------------------------------------------------------------------------------------------------------------- visits


class _Visit:
    """One key asked once."""

    def __init__(
        self,
        key: RegisteredKey,
        register: Register,
        desk: Desk,
        canaries: Sequence[Canary],
        now: Callable[[], datetime],
    ) -> None:
        probe = key.entry.probe
        vendor = register.vendor.gcp
        self._key = key
        self._index = index_of(register)
        self._desk = desk
        self._canaries = canaries
        self._now = now
        self._control = probe.control if probe else None
        self._declared = probe.consumers if probe else []
        self._caller = desk.principal or (vendor.watchdog_principal if vendor else None) or ""
        self._principals = self._index.principals.get(key.id, {})

    # ------------------------------------------------------------------------------------------------------- questions

    def state(self) -> list[Finding]:
        """The key, then all its versions but those that the register says are not in use any more."""
        asked = self._desk.kms(self._key.id, "GetCryptoKey")
        told = self._finding(Question.STATE, asked, subject=asked.subject or "GetCryptoKey", detail=_of_key(asked))
        if asked.answer not in {Answer.OK, Answer.DENIED}:
            return [told]
        return [told, *self._versions(text(mapping((asked.result or {}).get("primary")).get("name")))]

    def _versions(self, primary: str | None) -> list[Finding]:
        listed, said = self._desk.versions(self._key.id)
        found = [
            self._version(version, Said(answer=Answer.OK, result=fields))
            for version, fields in listed.items()
            if self._counts(version, fields)
        ]
        if said.answer not in {Answer.OK, Answer.DENIED}:
            found.append(self._finding(Question.STATE, said, subject="ListCryptoKeyVersions"))
        for version in self._known(primary):
            if version in listed:
                continue
            name = f"{self._key.id}/cryptoKeyVersions/{version}"
            one = self._version(version, self._desk.kms(name, "GetCryptoKeyVersion"))
            found.append(one)
            if one.answer not in _STATES.values() and one.answer is not Answer.NOT_FOUND:
                break  # what refuses one, or does not answer, does so for all
        return found

    def _known(self, primary: str | None) -> list[str]:
        """Return the versions that are known to be in use without asking."""
        gcp = self._key.entry.gcp
        names = [one.version for one in gcp.versions if one.in_use] if gcp else []
        named = key_name(primary)
        names += [named.version] if named and named.version else []
        names += [canary.version for canary in self._canaries]
        return [name for name in dict.fromkeys(names) if version_of(self._key, name)[0] is not False]

    def _counts(self, version: str, fields: Mapping[str, Any]) -> bool:
        """Whether data may be encrypted under a version: not under one that the register does not know and that has
        never had any material.
        """  # noqa: D205 - one thought
        in_use = version_of(self._key, version)[0]
        return in_use is True or (in_use is None and _STATES.get(str(fields.get("state"))) is not Answer.PENDING_IMPORT)

    def _version(self, version: str, said: Said) -> Finding:
        if said.result is None:
            return self._finding(Question.STATE, said, version=version, subject=said.subject or "GetCryptoKeyVersion")
        state = text(said.result.get("state")) or "missing"
        destroyed_at = moment(said.result.get("destroyTime"))
        words = f"state {state}"
        if destroyed_at:
            words += f", destroyTime {destroyed_at:%Y-%m-%d %H:%M} UTC"
        if said.result.get("reimportEligible") is True:
            words += "; its original material may be imported again"
        read = replace(said, answer=_STATES.get(state, Answer.NOT_UNDERSTOOD), words=words)
        return self._finding(
            Question.STATE, read, version=version, deadline=destroyed_at,
            deadline_source="CryptoKeyVersion destroyTime" if destroyed_at else None,
            detail=_details(said.result, _VERSION_DETAILS),
        )  # fmt: skip

    def use(self) -> list[Finding]:
        """Encrypt and decrypt as the watchdog, where the register says that it may."""
        needed = self._principals.get(self._caller, frozenset())
        if not needed:
            who = self._caller or "the watchdog"
            words = f"{who} is not among the registered users of the key, so it tries no use of it"
            return [self._not_asked(Question.USE, words)]
        return self._tried(self._key.id, needed, Question.USE)

    def control(self) -> list[Finding]:
        """The vendor's own key: looked at, and tried in the same ways as the key."""
        if self._control is None:
            return [self._not_asked(Question.CONTROL, "no control key is declared")]
        if key_name(self._control) is None:
            words = f"what is declared as the control is not the name of a key: {self._control}"
            return [self._not_asked(Question.CONTROL, words)]
        looked = self._finding(
            Question.CONTROL, self._desk.kms(self._control, "GetCryptoKey"), subject="GetCryptoKey"
        )  # fmt: skip
        needed = self._principals.get(self._caller, frozenset())
        return [looked, *self._tried(self._control, needed, Question.CONTROL)]

    def canary(self) -> list[Finding]:
        """The stored canaries, one for each version."""
        found = [
            self._finding(
                Question.CANARY, self._desk.decrypt(self._key.id, canary.ciphertext), version=canary.version,
                subject="canary", detail=self._as(),
            )
            for canary in self._canaries
        ]  # fmt: skip
        return found or [self._not_asked(Question.CANARY, "no canary is stored for the key")]

    def grants(self) -> list[Finding]:
        """What each registered principal holds by the policies of the key and its ring."""
        if not self._principals:
            return [self._not_asked(Question.GRANTS, "no principal is registered for the key")]
        policies = self._policies()
        if isinstance(policies, Said):
            return [self._finding(Question.GRANTS, policies, subject=email) for email in self._principals]
        return [self._held(email, policies) for email in self._principals]

    def consumers(self) -> list[Finding]:
        """The stores that are declared to be asked."""
        ways = {"gcs_object": self._object, "cloud_sql_state": self._database}
        found: list[Finding] = []
        for one in self._declared:
            way = ways.get(one.kind)
            said, version = (
                way(one)
                if way
                else (
                    Said(answer=Answer.NOT_UNDERSTOOD, words="a store of this kind is not asked on Google Cloud"),
                    None,
                )
            )
            if said.answer is Answer.CREDENTIALS:
                # The vendor's own side of the store: it says nothing of the caller at Cloud KMS, nor of the key.
                said = replace(said, answer=Answer.NOT_UNDERSTOOD)
            found.append(
                self._finding(
                    Question.CONSUMER, said, subject=one.consumer, version=version, detail=self._agent(one.kind)
                )
            )
        return found or [self._not_asked(Question.CONSUMER, "no store is declared to be asked")]

    def make_canaries(self) -> tuple[list[Canary], list[Finding]]:
        """Encrypt a random value under each version that can be used."""
        states = self.state()
        in_use = [one.version for one in states if one.version and one.answer is Answer.OK]
        if not in_use:
            first = next((one for one in states if one.answer is not Answer.OK), states[0])
            return [], [replace(first, question=Question.CANARY)]
        made: list[Canary] = []
        found: list[Finding] = []
        for version in in_use:
            said = self._desk.encrypt(f"{self._key.id}/cryptoKeyVersions/{version}", os.urandom(32))
            found.append(
                self._finding(Question.CANARY, said, version=version, subject="Encrypt", detail=self._as())
            )  # fmt: skip
            sealed = _bytes(said, "ciphertext")
            if sealed:
                made.append(
                    Canary(
                        key=self._key.id, version=version, ciphertext=sealed, algorithm="SYMMETRIC_DEFAULT",
                        made_at=self._now(),
                    )
                )  # fmt: skip
        return made, found

    # ------------------------------------------------------------------------------------------------------------ uses

    def _tried(self, key: str, needed: frozenset[str], question: Question) -> list[Finding]:
        """Try what is needed of a key; what does not answer is not asked a second time."""
        found: list[Finding] = []
        plain = os.urandom(32)
        sealed: bytes | None = None
        if "encrypt" in needed:
            said = self._desk.encrypt(key, plain)
            sealed = _bytes(said, "ciphertext")
            name = key_name(text((said.result or {}).get("name")))
            found.append(
                self._finding(
                    question, said, subject="Encrypt", version=name.version if name else None, detail=self._as()
                )
            )
            if said.answer is Answer.UNREACHABLE:
                return found
        if "decrypt" in needed:
            opened = self._opened(key, plain, sealed)
            found.append(self._finding(question, opened, subject="Decrypt", detail=self._as()))
        return found

    def _opened(self, key: str, plain: bytes, sealed: bytes | None) -> Said:
        if sealed is not None:
            said = self._desk.decrypt(key, sealed)
            if said.answer is Answer.OK and _bytes(said, "plaintext") != plain:
                return replace(said, answer=Answer.NOT_UNDERSTOOD, words="Decrypt: gave something else than was sealed")
            return said
        kept = self._canaries[0].ciphertext if self._canaries and key == self._key.id else None
        if kept is None:
            return Said(answer=Answer.NOT_ASKED, words="there is nothing to decrypt: nothing could be encrypted")
        return self._desk.decrypt(key, kept)

    def _as(self) -> dict[str, str]:
        return {AS: self._caller} if self._caller else {}

    # ---------------------------------------------------------------------------------------------------------- grants

    def _policies(self) -> "dict[str, list[Binding]] | Said":
        """Return the bindings of the key and, where they may be seen, of its ring; why not, when the key's may not."""
        levels: dict[str, list[Binding]] = {}
        for level in (self._key.id, ring_of(self._key.id)):
            said = self._desk.policy(level)
            if said.result is not None:
                levels[level] = access.bindings_in(said.result)
            elif level == self._key.id:
                # Not to be let to read it is the usual case, and no trouble: the key's viewer may not (gcp.md 7).
                unseen = said.answer in {Answer.DENIED, Answer.PATH_BLOCKED}
                return replace(said, answer=Answer.NOT_ASKED) if unseen else replace(said, answer=_silent(said.answer))
        return levels

    def _held(self, email: str, policies: Mapping[str, list[Binding]]) -> Finding:
        member = f"serviceAccount:{email}"
        gcp = self._key.entry.gcp
        registered = [
            self._index.normal(grant.level) for grant in (gcp.grants if gcp else []) if member in grant.members
        ]
        level = next((one for one in registered if one in policies), self._key.id)
        bindings = [one for found in policies.values() for one in found]
        held = access.held(member, bindings, self._key, level, self._index, self._now())
        detail = {"hold": held.hold.name.lower()}
        if held.hold in {Hold.COMPLETE, Hold.TIMED}:
            words = "the policy gives what is needed" + (" until a date" if held.until else "")
            return self._finding(
                Question.GRANTS, Said(answer=Answer.OK, words=words), subject=email, deadline=held.until,
                deadline_source="time limit of the binding" if held.until else None, detail=detail,
            )  # fmt: skip
        elsewhere = not registered or any(one not in policies for one in registered)
        if held.hold is Hold.UNCLEAR or elsewhere:
            words = "it cannot be told from the policies of key and ring: the right is given above them, or by a group"
            return self._finding(
                Question.GRANTS, Said(answer=Answer.NOT_ASKED, words=words), subject=email, detail=detail
            )
        lacks = {LACKS: " and ".join(sorted(held.lacks))} if held.hold is Hold.PART else {}
        dead = {DEAD: "yes"} if held.dead else {}
        said = Said(answer=Answer.DENIED, words="the policy does not give what is registered")
        return self._finding(Question.GRANTS, said, subject=email, detail={**detail, **lacks, **dead})

    # ---------------------------------------------------------------------------------------------------------- stores

    def _object(self, probe: ConsumerProbe) -> tuple[Said, str | None]:
        """Look at an object, then read of it: both need the same right on the bucket, only reading needs the key."""
        bucket, slash, name = probe.target.removeprefix("gs://").partition("/")
        if not slash or not name:
            return Said(answer=Answer.NOT_UNDERSTOOD, words=f"{probe.target}: not of the form gs://BUCKET/OBJECT"), None
        looked = self._desk.look_at_object(bucket, name)
        if looked.result is None:
            unseen = {Answer.DENIED, Answer.NOT_FOUND, Answer.PATH_BLOCKED}
            return (replace(looked, answer=Answer.NOT_UNDERSTOOD) if looked.answer in unseen else looked), None
        under = text(looked.result.get("kmsKeyName"))
        version = self._version_under(under)
        if version is None and not self._is_this_key(under):
            words = f"the object is not encrypted under this key but under {under or 'none of the customer'}"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words), None
        read = self._desk.read_object(bucket, name, self._key.id)
        return (replace(read, answer=Answer.NOT_UNDERSTOOD) if read.answer is Answer.NOT_FOUND else read), version

    def _database(self, probe: ConsumerProbe) -> tuple[Said, str | None]:
        place = _instance(probe.target)
        if place is None:
            words = f"{probe.target}: not of the form projects/PROJECT/instances/NAME"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words), None
        said = self._desk.database(place)
        if said.result is None:
            unseen = {Answer.DENIED, Answer.NOT_FOUND, Answer.PATH_BLOCKED}
            return (replace(said, answer=Answer.NOT_UNDERSTOOD) if said.answer in unseen else said), None
        under = text(mapping(said.result.get("diskEncryptionConfiguration")).get("kmsKeyName"))
        if not self._is_this_key(under):
            words = f"the database is not encrypted under this key but under {under or 'none of the customer'}"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words), None
        version = self._version_under(text(mapping(said.result.get("diskEncryptionStatus")).get("kmsKeyVersionName")))
        return _status(said.result), version

    def _is_this_key(self, name: str | None) -> bool:
        named = key_name(self._index.normal(name)) if name else None
        return named is not None and named.key == self._key.id

    def _version_under(self, name: str | None) -> str | None:
        named = key_name(self._index.normal(name)) if name else None
        return named.version if named and named.key == self._key.id else None

    def _agent(self, kind: str) -> dict[str, str]:
        """Name the agent whose right a store shows, where only one of the registered principals can be it."""
        agents = [email for email in self._principals if email.endswith(_AGENTS.get(kind, "?"))]
        return {AS: agents[0]} if len(agents) == 1 else {}

    # -------------------------------------------------------------------------------------------------------- findings

    def _finding(
        self, question: Question, said: Said, *, version: str | None = None, subject: str | None = None,
        deadline: datetime | None = None, deadline_source: str | None = None, detail: Mapping[str, str] | None = None,
    ) -> Finding:  # fmt: skip
        return Finding(
            question=question, answer=said.answer, at=self._now(), words=said.words, version=version, subject=subject,
            deadline=deadline, deadline_source=deadline_source, detail={**said.detail, **(detail or {})},
        )  # fmt: skip

    def _not_asked(self, question: Question, words: str) -> Finding:
        return self._finding(question, Said(answer=Answer.NOT_ASKED, words=words))


def _silent(answer: Answer) -> Answer:
    """Return an answer on a policy that says nothing of anybody's right: a key that is not found has lost no grant."""
    lost = {Answer.NOT_FOUND, Answer.CONTAINER_LOST, Answer.DISABLED, Answer.DESTROYED, Answer.PENDING_DELETION}
    return Answer.NOT_UNDERSTOOD if answer in lost else answer


def _of_key(said: Said) -> dict[str, str]:
    """Return what is kept of GetCryptoKey, the access reasons that it allows among it (gcp.md 3.2, B9)."""
    if said.result is None:
        return {}
    detail = _details(said.result, _KEY_DETAILS)
    primary = key_name(text(mapping(said.result.get("primary")).get("name")))
    if primary and primary.version:
        detail[PRIMARY] = primary.version
    if "keyAccessJustificationsPolicy" in said.result:
        policy = mapping(said.result["keyAccessJustificationsPolicy"])
        detail[JUSTIFICATIONS] = " ".join(sorted(texts(policy.get("allowedAccessReasons"))))
    return detail


def _details(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    return {name: str(fields[place]) for name, place in names.items() if fields.get(place) is not None}


def _bytes(said: Said, name: str) -> bytes | None:
    """Return what an answer holds in base64; None when it is none."""
    held = text((said.result or {}).get(name))
    if held is None:
        return None
    try:
        return base64.b64decode(held, validate=True)
    except ValueError:
        return None


_INSTANCE = re.compile(r"(?:projects/([^/]+)/instances/|([^:/]+):(?:[^:/]+:)?)([^:/]+)", re.ASCII)


def _instance(target: str) -> str | None:
    """Return the name of a Cloud SQL instance, given as it is or as PROJECT:NAME or PROJECT:REGION:NAME."""
    found = _INSTANCE.fullmatch(target)
    return f"projects/{found[1] or found[2]}/instances/{found[3]}" if found else None


def _status(instance: Mapping[str, Any]) -> Said:
    """Read what Cloud SQL says of an instance (gcp.md 2); one that its owner stopped shows nothing."""
    state = text(instance.get("state")) or "missing"
    reasons = texts(instance.get("suspensionReason"))
    words = f"state {state}" + (f", suspensionReason {', '.join(reasons)}" if reasons else "")
    detail = {STATUS: words}
    if "KMS_KEY_ISSUE" in reasons:
        return Said(answer=Answer.UNAVAILABLE, words=words, detail=detail)
    stopped = mapping(instance.get("settings")).get("activationPolicy") == "NEVER"
    if state != "RUNNABLE" or stopped:
        words += "; stopped by its owner" if stopped else ""
        words += ": it does not show whether its key works"
        return Said(answer=Answer.NOT_UNDERSTOOD, words=words, detail=detail)
    return Said(answer=Answer.OK, words=words, detail=detail)
