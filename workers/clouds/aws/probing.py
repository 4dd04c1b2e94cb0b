"""The prober of AWS KMS: one key asked for its state, tried, and compared with a key of the vendor's own, by boto3."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from alerts.wire import is_loopback
from watchdog.clouds.aws import failures
from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.probe import REAL, STORE, TEXT_BLAMES
from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from watchdog.register_probe import ConsumerProbe
from watchdog.words import Cause
from workers.clouds.aws.faults import fault_of
from workers.feeds.interface import Reason
from workers.probes.interface import Canary

DEADLINE = 20.0
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
CLIENTS = 256  # the most that are kept open: every one has connections of its own
WORDS = 300  # the most that is kept of what AWS said
CONTEXT = {"purpose": "byok-watchdog canary"}
"""The encryption context of canaries: it stands in the key owner's audit log beside each use of one."""

Client = Any  # boto3 ships no types
Call = Callable[[Client], Mapping[str, Any]]

SEALED = "CiphertextBlob"
_STORE_ORIGINS = frozenset({"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"})
_EARLY = timedelta(minutes=5)
ERRORS = (BotoCoreError, ClientError, ResponseParserError, OSError)

_STATES = {
    "Enabled": Answer.OK,
    "Updating": Answer.OK,  # usable, for the seconds that a primary Region moves (aws.md 2)
    "Disabled": Answer.DISABLED,
    "PendingDeletion": Answer.PENDING_DELETION,
    "PendingReplicaDeletion": Answer.PENDING_DELETION,
    "PendingImport": Answer.PENDING_IMPORT,
    "Unavailable": Answer.UNAVAILABLE,
}
_CAUSES = {
    Cause.DISABLED: Answer.DISABLED,
    Cause.PENDING_DELETION: Answer.PENDING_DELETION,
    Cause.PENDING_IMPORT: Answer.PENDING_IMPORT,
    Cause.UNAVAILABLE: Answer.UNAVAILABLE,
    Cause.NOT_FOUND: Answer.NOT_FOUND,
    Cause.ACCESS_DENIED: Answer.DENIED,
    Cause.PATH_BLOCKED: Answer.PATH_BLOCKED,
    Cause.TRANSIENT: Answer.SERVER_FAULT,
    Cause.THROTTLED: Answer.THROTTLED,
    Cause.CALLER_ERROR: Answer.NOT_UNDERSTOOD,
}
_REASONS = {
    Reason.CREDENTIALS: Answer.CREDENTIALS,
    Reason.THROTTLED: Answer.THROTTLED,
    Reason.NETWORK: Answer.UNREACHABLE,
    Reason.SERVER: Answer.SERVER_FAULT,
}
_INACCESSIBLE = "inaccessible-encryption-credentials"  # also with `-recoverable` behind it (aws.md 5)
_NOT_RUNNING = frozenset({"stopped", "stopping", "starting", "creating", "deleting", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how many clients are kept open."""

    deadline: float = DEADLINE
    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS
    clients: int = CLIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one call came to: `result` of AWS when it worked, an answer in closed words in any case."""

    answer: Answer
    words: str = ""
    result: Mapping[str, Any] | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


class NoCaller(Exception):  # noqa: N818  # not an error of ours: the state of the caller, on its way to the findings
    """There is no caller to ask as: `said` tells why, in the words that every question is then answered with."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.words)
        self.said = said


def prober() -> "AwsProber":
    """Return the prober of AWS keys. Standard variables (AWS_ENDPOINT_URL_KMS and the like) are honoured by boto3."""
    return AwsProber()


class AwsProber:
    """Asks AWS about keys. Safe between threads; clients are shared by all keys of one principal and Region.

    boto3's retries are off: a probe that gets no answer says so, and the schedule asks again.
    """

    cloud = "aws"

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or Limits()
        self._now = now
        self._monotonic = monotonic
        self._callers = Callers(self._limits, now)

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        """Put the questions to the key, about 20 seconds at most in whole; at least one finding for each."""
        del register  # what a probe needs of it stands in the key's entry
        visit = self._visit(key)
        ways: dict[Question, Callable[[], list[Finding]]] = {
            Question.STATE: visit.state,
            Question.USE: visit.use,
            Question.CONTROL: visit.control,
            Question.CANARY: lambda: visit.canary(canaries),
            Question.GRANTS: visit.grants,
            Question.CONSUMER: visit.consumers,
        }
        return [finding for question, way in ways.items() if question in questions for finding in way()]

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Encrypt a random value under the key's current material; what could not be made is a finding."""
        del register
        return self._visit(key).make_canary()

    def close(self) -> None:
        """Let go of connections."""
        self._callers.close()

    def _visit(self, key: RegisteredKey) -> "_Visit":
        until = self._monotonic() + self._limits.deadline - self._limits.connect - self._limits.read
        return _Visit(key, self._callers, self._now, lambda: self._monotonic() < until)


class _Visit:
    """One key asked once. `may_start` tells whether another call still fits into the time."""

    def __init__(
        self, key: RegisteredKey, callers: "Callers", now: Callable[[], datetime], may_start: Callable[[], bool]
    ) -> None:
        arn = parse(key.id)
        self._key = key
        self._region = arn.region if arn else ""
        self._callers = callers
        self._now = now
        self._may_start = may_start
        self._principal = key.entry.probe.principal if key.entry.probe else None
        self._described: Mapping[str, Any] | None = None

    # ------------------------------------------------------------------------------------------------------- questions

    def state(self) -> list[Finding]:
        said = self._describe(self._key.id)
        self._described = said.result
        at, source = _date_in(said.result or {})
        detail = {
            name: str(said.result[place])
            for name, place in _DETAILS.items()
            if said.result and said.result.get(place) is not None
        }
        return [self._finding(Question.STATE, said, deadline=at, deadline_source=source, detail=detail)]

    def use(self) -> list[Finding]:
        return self._tried(self._key.id, Question.USE, real=self._in_store())

    def control(self) -> list[Finding]:
        control = self._key.entry.probe.control if self._key.entry.probe else None
        if control is None:
            return [self._not_asked(Question.CONTROL, "no control key is declared")]
        arn = parse(control)
        region = arn.region if arn else self._region
        described = self._finding(Question.CONTROL, self._describe(control, region), subject="DescribeKey")
        return [described, *self._tried(control, Question.CONTROL, region=region)]

    def canary(self, canaries: Iterable[Canary]) -> list[Finding]:
        found = [
            self._finding(
                Question.CANARY,
                self._kms("Decrypt", _decrypted(canary), real=True),
                version=canary.version,
                subject="canary",
            )
            for canary in canaries
            if canary.key == self._key.id
        ]
        return found or [self._not_asked(Question.CANARY, "no canary is stored for the key")]

    def grants(self) -> list[Finding]:
        wanted = [grant.id for grant in self._key.entry.grants]
        if not wanted:
            return [self._not_asked(Question.GRANTS, "no grant is registered")]
        left = set(wanted)
        marker: dict[str, str] = {}
        while left:
            said = self._kms("ListGrants", _grants_from(self._key.id, marker))
            if said.result is None:
                if said.answer is Answer.NOT_FOUND:  # the key is, not the grant
                    said = replace(said, answer=Answer.NOT_UNDERSTOOD)
                return [self._finding(Question.GRANTS, said, subject=grant) for grant in wanted]
            left -= {str(grant.get("GrantId")) for grant in said.result.get("Grants", ())}
            if not said.result.get("Truncated") or not said.result.get("NextMarker"):
                break
            marker = {"Marker": str(said.result["NextMarker"])}
        missing = Said(answer=Answer.NOT_FOUND, words="ListGrants does not list it")
        return [
            self._finding(Question.GRANTS, missing if grant in left else Said(answer=Answer.OK), subject=grant)
            for grant in wanted
        ]

    def consumers(self) -> list[Finding]:
        declared = self._key.entry.probe.consumers if self._key.entry.probe else []
        ways = {"s3_object": self._object, "rds_status": self._database}
        found = [
            self._finding(
                Question.CONSUMER,
                ways[one.kind](one) if one.kind in ways else Said(answer=Answer.NOT_UNDERSTOOD, words=_OTHER_CLOUD),
                subject=one.consumer,
            )
            for one in declared
        ]
        return found or [self._not_asked(Question.CONSUMER, "no store is declared to be asked")]

    def make_canary(self) -> tuple[list[Canary], list[Finding]]:
        described = self._describe(self._key.id)
        if described.result is None or described.answer is not Answer.OK:
            return [], [self._finding(Question.CANARY, described, subject="DescribeKey")]
        operation = self._operations()[0]
        made = self._kms(operation, _CANARIES[operation](self._key.id))
        ciphertext = (made.result or {}).get(SEALED)
        if not isinstance(ciphertext, bytes):
            return [], [self._finding(Question.CANARY, made, subject=operation)]
        version = str(described.result.get("CurrentKeyMaterialId") or "current")
        canary = Canary(
            key=self._key.id, version=version, ciphertext=ciphertext, algorithm="SYMMETRIC_DEFAULT", made_at=self._now()
        )
        return [canary], [self._finding(Question.CANARY, made, subject=operation, version=version)]

    # ----------------------------------------------------------------------------------------------------------- calls

    def _describe(self, key: str, region: str | None = None) -> Said:
        said = self._kms("DescribeKey", lambda client: client.describe_key(KeyId=key), region=region)
        if said.result is None:
            return said
        metadata = said.result.get("KeyMetadata") or {}
        state = metadata.get("KeyState")
        if state is None:
            return Said(answer=Answer.NOT_UNDERSTOOD, words="the answer to DescribeKey names no state")
        answer = _STATES.get(state, Answer.NOT_UNDERSTOOD)
        return Said(answer=answer, words=f"KeyState {state}", result=metadata)

    def _tried(self, key: str, question: Question, *, real: bool = False, region: str | None = None) -> list[Finding]:
        """Try the operations that the vendor needs. What gets no answer in time is not asked a second time."""
        found: list[Finding] = []
        ciphertext: bytes | None = None
        for operation in self._operations():
            if any(finding.answer is Answer.UNREACHABLE for finding in found):
                said = Said(answer=Answer.UNREACHABLE, words=f"{operation}: not tried after the call before it")
            else:
                carried_out = real and (operation != "Decrypt" or ciphertext is not None)
                call = _attempt(operation, key, ciphertext, real=carried_out)
                said = self._kms(operation, call, real=carried_out, region=region)
            ciphertext = (said.result or {}).get(SEALED, ciphertext)
            found.append(self._finding(question, said, subject=operation))
        return found

    def _operations(self) -> list[str]:
        """Return what is to be tried: what the register says the vendor needs, as far as it can be tried."""
        needed = [operation for access in self._key.entry.access for operation in access.operations]
        found = [
            operation
            for operation in ("GenerateDataKey", "Encrypt", "Decrypt")
            if any(fnmatchcase(f"kms:{operation}".lower(), pattern.lower()) for pattern in needed)
        ]
        if "GenerateDataKey" in found and "Encrypt" in found:
            found.remove("Encrypt")  # stores write by data keys; one way of writing is enough
        return found or ["GenerateDataKey", "Decrypt"]

    def _in_store(self) -> bool:
        """Whether the key lives in a custom key store, of whose health only a real use tells (aws.md 2)."""
        aws = self._key.entry.aws
        described = (self._described or {}).get("CustomKeyStoreId")
        return bool(aws.custom_key_store_id or described) or aws.origin in _STORE_ORIGINS

    def _object(self, probe: ConsumerProbe) -> Said:
        bucket, _, name = probe.target.removeprefix("s3://").partition("/")

        def read(client: Client) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = client.get_object(Bucket=bucket, Key=name)
            body = answer["Body"]
            try:
                body.read(1)
            finally:
                body.close()
            return answer

        said = _unless_ours(self._call("s3", "GetObject", read))
        under = (said.result or {}).get("SSEKMSKeyId")
        if said.result is not None and not self._is_this_key(under):
            words = f"the object is not encrypted under this key but under {under or 'none'}"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words)
        return said

    def _database(self, probe: ConsumerProbe) -> Said:
        name = probe.target.removeprefix("cluster:")
        if name != probe.target or ":cluster:" in name:
            said = self._call(
                "rds", "DescribeDBClusters", lambda client: client.describe_db_clusters(DBClusterIdentifier=name)
            )
            listed, place = (said.result or {}).get("DBClusters") or [], "Status"
        else:
            said = self._call(
                "rds", "DescribeDBInstances", lambda client: client.describe_db_instances(DBInstanceIdentifier=name)
            )
            listed, place = (said.result or {}).get("DBInstances") or [], "DBInstanceStatus"
        if said.result is None:
            return _unless_ours(said)
        if len(listed) != 1:
            return Said(answer=Answer.NOT_UNDERSTOOD, words=f"RDS lists {len(listed)} databases of this name")
        return self._status(str(listed[0].get(place, "")), listed[0].get("KmsKeyId"))

    def _status(self, status: str, under: object) -> Said:
        detail = {"status": status}
        if not self._is_this_key(under):
            words = f"the database is not encrypted under this key but under {under or 'none'}"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words, detail=detail)
        words = f"status {status}"
        if status.startswith(_INACCESSIBLE):
            return Said(answer=Answer.UNAVAILABLE, words=words, detail=detail)
        if status in _NOT_RUNNING or not status:
            words = f"{words}: it does not show whether its key works"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words, detail=detail)
        return Said(answer=Answer.OK, words=words, detail=detail)

    def _is_this_key(self, named: object) -> bool:
        return isinstance(named, str) and named.lower() == self._key.id.lower()

    def _kms(self, operation: str, call: Call, *, real: bool = False, region: str | None = None) -> Said:
        said = self._call("kms", operation, call, region=region)
        return replace(said, detail={**said.detail, REAL: "yes"}) if real and said.answer is Answer.OK else said

    def _call(self, service: str, operation: str, call: Call, *, region: str | None = None) -> Said:
        if not self._may_start():
            return Said(answer=Answer.UNREACHABLE, words=f"{operation}: no time was left to ask")
        said = self._answered(service, operation, call, region or self._region)
        if said.answer is Answer.CREDENTIALS and self._may_start():
            # They may have been renewed, or revoked, since they were kept: once more with new ones.
            self._callers.forget(self._principal)
            said = self._answered(service, operation, call, region or self._region)
        return said

    def _answered(self, service: str, operation: str, call: Call, region: str) -> Said:
        try:
            client = self._callers.acting(service, self._principal, region)
        except NoCaller as none:
            return none.said
        if not self._may_start():
            return Said(answer=Answer.UNREACHABLE, words=f"{operation}: no time was left to ask")
        try:
            return Said(answer=Answer.OK, result=call(client))
        except ERRORS as error:
            return said_of(error, operation, in_store=self._in_store())

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


_OTHER_CLOUD = "a store of this kind is not asked on AWS"
_DETAILS = {
    STORE: "CustomKeyStoreId",
    "origin": "Origin",
    "key_manager": "KeyManager",
    "window_days": "PendingDeletionWindowInDays",
    "expiration_model": "ExpirationModel",
    "multi_region": "MultiRegion",
    "key_spec": "KeySpec",
    "material": "CurrentKeyMaterialId",
}
"""What pre-flight and coverage look at, by name, and the field of DescribeKey that it stands in."""

_CANARIES: Mapping[str, Callable[[str], Call]] = {
    "GenerateDataKey": lambda key: (
        lambda client: client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=CONTEXT)
    ),
    "Encrypt": lambda key: (
        lambda client: client.encrypt(KeyId=key, Plaintext=os.urandom(32), EncryptionContext=CONTEXT)
    ),
    # A vendor that only reads can make none: said by KMS' own refusal.
    "Decrypt": lambda key: (
        lambda client: client.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=CONTEXT)
    ),
}


def _attempt(operation: str, key: str, ciphertext: bytes | None, *, real: bool) -> Call:
    """Return the call that tries an operation; without `real` nothing is encrypted or decrypted (aws.md 7)."""
    dry = not real
    if operation == "GenerateDataKey":
        return lambda client: _use_of(client.generate_data_key(KeyId=key, KeySpec="AES_256", DryRun=dry), SEALED)
    if operation == "Encrypt":
        return lambda client: _use_of(client.encrypt(KeyId=key, Plaintext=b"byok-watchdog", DryRun=dry), SEALED)
    if real:
        return lambda client: _use_of(client.decrypt(KeyId=key, CiphertextBlob=ciphertext), "Plaintext")
    return lambda client: _use_of(
        client.decrypt(KeyId=key, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"]), "Plaintext"
    )


def _decrypted(canary: Canary) -> Call:
    return lambda client: _use_of(
        client.decrypt(KeyId=canary.key, CiphertextBlob=canary.ciphertext, EncryptionContext=CONTEXT), "Plaintext"
    )


def _grants_from(key: str, page: Mapping[str, str]) -> Call:
    return lambda client: _with(client.list_grants(KeyId=key, Limit=100, **page), "Grants")


def _use_of(answer: Mapping[str, Any], sign: str) -> Mapping[str, Any]:
    """Keep of a use only the ciphertext: a plaintext key goes nowhere."""
    return {name: value for name, value in _with(answer, sign).items() if name == SEALED}


def _unless_ours(said: Said) -> Said:
    """Return what a store refuses with; a right to look at it that we lack is no word of the store on its key.

    KMS' own refusal, which S3 hands on, names an operation of KMS.
    """
    by_kms = said.answer is Answer.DENIED and "perform: kms:" in said.words.lower()
    if by_kms or said.answer not in {Answer.DENIED, Answer.PATH_BLOCKED}:
        return said
    words = f"{said.words}; let the probe's principal look at the store, or correct the target"
    return Said(answer=Answer.NOT_UNDERSTOOD, words=words)


def _with(answer: Mapping[str, Any], sign: str) -> Mapping[str, Any]:
    """Return an answer that has what AWS always gives; a page of somebody else's with status 200 has not."""
    if sign not in answer:
        raise ResponseParserError(f"no {sign} in the answer")
    return answer


def _date_in(metadata: Mapping[str, Any]) -> tuple[datetime | None, str | None]:
    """Return the date that DescribeKey gives, and the field it stands in."""
    for name in ("DeletionDate", "ValidTo"):
        value = metadata.get(name)
        if isinstance(value, datetime):
            return value.astimezone(UTC), f"DescribeKey {name}"
    return None, None


# -------------------------------------------------------------------------------------------------------------- answers


def said_of(error: Exception, operation: str, *, in_store: bool) -> Said:
    """Put an error of boto3 into closed words (aws.md 4). Never with more of its text than AWS' own message."""
    if isinstance(error, ResponseParserError):
        return Said(answer=Answer.NOT_UNDERSTOOD, words=f"{operation}: the answer is not one of AWS")
    if not isinstance(error, BotoCoreError | ClientError):
        return Said(answer=Answer.UNREACHABLE, words=f"{operation}: {type(error).__name__}")
    if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == "DryRunOperationException":
        return Said(answer=Answer.OK, words="a dry run would have worked")
    fault = fault_of(error, operation)
    answer = _REASONS.get(fault.reason)
    if not isinstance(error, ClientError):
        # The texts of these may quote a proxy's address with its password: only the kind is told.
        return Said(answer=answer or Answer.NOT_UNDERSTOOD, words=f"{operation}: {type(error).__name__}")
    words = " ".join(str(fault).split())[:WORDS]
    if answer is not None:
        return Said(answer=answer, words=words)
    told = error.response.get("Error", {})
    row = failures.failure(str(told.get("Code", "")), str(told.get("Message", "")), in_store=in_store)
    answer = _CAUSES.get(row.cause, Answer.DENIED if fault.reason is Reason.DENIED else Answer.NOT_UNDERSTOOD)
    detail = {TEXT_BLAMES: row.fault.value} if answer is Answer.DENIED else {}
    return Said(answer=answer, words=words, detail=detail)


# -------------------------------------------------------------------------------------------------------------- callers


@dataclass(frozen=True, slots=True)
class _Credentials:
    """Temporary credentials of a role. Never shown."""

    arguments: Mapping[str, str]
    until: datetime

    def __repr__(self) -> str:
        return f"<credentials until {self.until:%H:%M}>"


class Callers:
    """Clients by service, principal and Region, and the credentials of assumed roles, renewed before they end."""

    def __init__(self, limits: Limits, now: Callable[[], datetime]) -> None:
        self._limits = limits
        self._now = now
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._roles: dict[str, _Credentials] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._clients: OrderedDict[tuple[str, str | None, str, datetime | None], Client] = OrderedDict()

    def acting(self, service: str, principal: str | None, region: str) -> Client:
        """Return a client that acts as the principal. Raises NoCaller when it cannot."""
        credentials = self._credentials(principal, region) if principal else None
        with self._lock:
            # With the end of its credentials in its name a client never outlives them.
            place = (service, principal, region, credentials.until if credentials else None)
            if place not in self._clients:
                self._clients[place] = self._made(service, region, credentials.arguments if credentials else {})
                while len(self._clients) > self._limits.clients:
                    self._clients.popitem(last=False)[1].close()
            self._clients.move_to_end(place)
            return self._clients[place]

    def forget(self, principal: str | None) -> None:
        """Drop what acts as a principal, and its credentials: AWS does not accept them."""
        with self._lock:
            self._drop(principal)
            if principal is None:
                self._session = None

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _credentials(self, role: str, region: str) -> _Credentials:
        with self._lock:
            turn = self._turns.setdefault(role, threading.Lock())
        if not turn.acquire(timeout=self._limits.connect + self._limits.read):
            raise NoCaller(Said(answer=Answer.UNREACHABLE, words="AssumeRole: another probe waits for it still"))
        try:
            known = self._roles.get(role)
            if known is None or known.until - self._now() < _EARLY:
                known = self._assumed(role, region)
                with self._lock:
                    self._drop(role)
                    self._roles[role] = known
            return known
        finally:
            turn.release()

    def _assumed(self, role: str, region: str) -> _Credentials:
        client = self.acting("sts", None, region)
        try:
            answer = _with(client.assume_role(RoleArn=role, RoleSessionName="byok-watchdog"), "Credentials")
        except ERRORS as error:
            said = said_of(error, "AssumeRole", in_store=False)
            if said.answer is Answer.CREDENTIALS:
                self.forget(None)
            if said.answer in {Answer.DENIED, Answer.NOT_FOUND}:
                said = replace(said, answer=Answer.CREDENTIALS)  # whatever is refused here is not the key
            raise NoCaller(said) from error
        arguments = {
            "aws_access_key_id": answer["Credentials"]["AccessKeyId"],
            "aws_secret_access_key": answer["Credentials"]["SecretAccessKey"],
            "aws_session_token": answer["Credentials"]["SessionToken"],
        }
        return _Credentials(arguments, answer["Credentials"]["Expiration"])

    def _drop(self, principal: str | None) -> None:
        self._roles.pop(principal or "", None)
        for place in [place for place in self._clients if place[1] == principal]:
            # Another thread may still be using it: its connections close with its last call.
            del self._clients[place]

    def _made(self, service: str, region: str, arguments: Mapping[str, str]) -> Client:
        config = Config(
            connect_timeout=self._limits.connect,
            read_timeout=self._limits.read,
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra="byok-watchdog",
        )
        try:
            self._session = self._session or Session()
            client = _MAKERS[service](self._session, region_name=region, config=config, **arguments)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise NoCaller(said_of(error, service, in_store=False)) from error
        endpoint = urlsplit(client.meta.endpoint_url)
        if endpoint.scheme != "https" and not is_loopback(endpoint.hostname or ""):
            client.close()
            words = f"{service}: the endpoint is not TLS, which is for loopback only"
            raise NoCaller(Said(answer=Answer.NOT_UNDERSTOOD, words=words))
        return client


_MAKERS: Mapping[str, Callable[..., Any]] = {
    "kms": lambda session, **arguments: session.client("kms", **arguments),
    "sts": lambda session, **arguments: session.client("sts", **arguments),
    "s3": lambda session, **arguments: session.client("s3", **arguments),
    "rds": lambda session, **arguments: session.client("rds", **arguments),
    "cloudtrail": lambda session, **arguments: session.client("cloudtrail", **arguments),
    "events": lambda session, **arguments: session.client("events", **arguments),
}
"""How a client of each service is made: spelled out, so that the house can see what may be talked to."""
