"""Stories: facts of incidents put together by hand, so that the texts can be read without running the engine."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from watchdog.notices import (
    ConsumerImpact,
    Deadline,
    Facts,
    Happening,
    KeyFacts,
    Kind,
    Notice,
    OperatorFacts,
    Person,
    Reader,
    Verified,
)
from watchdog.repair import Step
from watchdog.words import Effect, Fault, KeyOwner, Means, Owner, Severity, Stage, Verdict

LOST_AT = datetime(2026, 12, 1, 9, 0, 12, tzinfo=UTC)
SEEN_AT = LOST_AT + timedelta(minutes=2)

ACCOUNT = "444455556666"
REGION = "eu-central-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/CostCleanup/nightly"

ALICE = Person(
    name="Alice Owner", email="alice@acme.example", role="key_owner", language="en", timezone="Europe/Berlin"
)
BOB = Person(name="Bob Account", email="bob@vendor.example", role="account_staff", timezone="America/New_York")

KMS_GUIDE = "AWS KMS Developer Guide, key states (text of 2023-02)"
RDS_GUIDE = "Amazon RDS User Guide, Encrypting Amazon RDS resources (text of 2025-2026)"
S3_GUIDE = "Amazon S3 User Guide, bucket keys (text of 2024)"

DATABASE = f"arn:aws:rds:{REGION}:111122223333:db:acme-prod"
BUCKET = "arn:aws:s3:::acme-prod-artifacts"

HOLDS = (
    "do not stop, start, reboot or restart the store or the processes that hold its key",
    "do not fail over, promote or switch zones",
    "delete nothing: store, replica, snapshot, deployment or key record",
    "pause the application's own garbage collection and artifact clean-up",
    "pause bucket lifecycle, retention, TTL and expiry jobs",
)

ENABLE = Step(
    owner=Owner.CUSTOMER,
    text="Enable the key.",
    command=f"aws kms enable-key --key-id {KEY} --region {REGION}",
)
CANCEL = Step(
    owner=Owner.CUSTOMER,
    text="Cancel the scheduled deletion.",
    command=f"aws kms cancel-key-deletion --key-id {KEY} --region {REGION}",
    note="The key is disabled after this, so the next step is needed too.",
)
PROVE_KEY = Step(owner=Owner.WATCHDOG, text="Prove that the vendor can use the key: encrypt and decrypt with its role.")
START = Step(
    owner=Owner.VENDOR,
    text="acme-prod database: Start the stopped RDS instance.",
    command=f"aws rds start-db-instance --db-instance-identifier acme-prod --region {REGION}",
    note="before the key works this usually fails; enabling the key alone does not bring the instance back",
)
PROVE_STORES = Step(
    owner=Owner.WATCHDOG,
    text="Prove it at every store: connect and query the database, read an old object and write a new one.",
)


def database(*, since: datetime = LOST_AT, latent: bool = False) -> ConsumerImpact:
    if latent:
        return ConsumerImpact(
            id=DATABASE,
            name="acme-prod database",
            store="aws.rds",
            impact=Deadline(
                kind="impact",
                at=None,
                words="nothing visible while it runs; it breaks at the next restore or create or snapshot copy",
                source=RDS_GUIDE,
                consumer=DATABASE,
            ),
            terminal=None,
            what="running instance unaffected: RDS holds its own grant for the life of the instance",
            latent=True,
            until=("restore", "create", "snapshot_copy"),
            still_works=("the running database",),
            inferred=("failure of new creates and restores",),
            row="aws.rds.policy_revoked",
        )
    return ConsumerImpact(
        id=DATABASE,
        name="acme-prod database",
        store="aws.rds",
        impact=Deadline(
            kind="impact",
            at=since + timedelta(hours=2),
            words="aws.rds: instance is stopped",
            source=RDS_GUIDE,
            bound="at_least",
            consumer=DATABASE,
        ),
        terminal=Deadline(
            kind="store_terminal",
            at=since + timedelta(hours=2, days=7),
            words="restore from a backup only, and only while the key works",
            source=RDS_GUIDE,
            bound="at_least",
            consumer=DATABASE,
        ),
        what="instance is stopped",
        latent=False,
        until=(),
        still_works=("the instance keeps serving until it is stopped",),
        inferred=("loss modes other than key_disabled",),
        row="aws.rds.stoppable.unusable",
    )


def bucket(*, since: datetime = LOST_AT, row: str = "aws.s3.unusable") -> ConsumerImpact:
    return ConsumerImpact(
        id=BUCKET,
        name="acme-prod-artifacts",
        store="aws.s3",
        impact=Deadline(
            kind="impact",
            at=since,
            words="aws.s3: GET, PUT and copy of encrypted objects fail",
            source=S3_GUIDE,
            consumer=BUCKET,
        ),
        terminal=None,
        what="GET, PUT and copy of encrypted objects fail with 4xx (KMS.DisabledException)",
        latent=False,
        until=(),
        still_works=("list", "delete", "lifecycle_expiry"),
        inferred=("still_works",),
        row=row,
    )


def destroyed_stores() -> tuple[ConsumerImpact, ...]:
    gone = Deadline(
        kind="store_terminal", at=LOST_AT, words="nothing: every recovery method needs the key", source=RDS_GUIDE
    )
    return (
        replace(
            database(),
            impact=replace(database().impact, at=LOST_AT, bound="exact"),
            terminal=replace(gone, consumer=DATABASE),
            what="live data, automated backups, snapshots and point-in-time recovery are lost together",
            still_works=("the running instance may serve for a while on cached keys: export at once if it does",),
            inferred=("still_works",),
            row="aws.rds.destroyed",
        ),
        replace(
            bucket(),
            terminal=replace(
                gone, consumer=BUCKET, words="data irrecoverable; copies under another key only", source=S3_GUIDE
            ),
            what="object data unreadable for ever",
            row="aws.s3.destroyed",
        ),
    )


def happening(effect: Effect, **changes: object) -> Happening:
    base = Happening(
        key=KEY,
        effect=effect,
        since=LOST_AT,
        fault=Fault.CUSTOMER,
        reason="DisableKey succeeded",
        operation="DisableKey",
        actor=ROLE,
        actor_address="203.0.113.7",
        actor_agent="aws-cli/2.15.30 md/prompt#off command#kms.disable-key",
        event_id="8f1f7c62-5d4a-4b6f-9a6e-2f3f6f1d2c11",
        recorded_at=LOST_AT,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test may change any field


def key(**changes: object) -> KeyFacts:
    base = KeyFacts(
        id=KEY,
        name="acme-prod-data",
        owner=KeyOwner.CUSTOMER,
        account=ACCOUNT,
        region=REGION,
        verdict=Verdict.UNUSABLE,
        claimed="DisableKey succeeded (since 2026-12-01 09:00 UTC)",
        verified=Verified(
            at=SEEN_AT - timedelta(minutes=1), passed=False, words="decrypt was refused: the key is disabled"
        ),
        happenings=(happening(Effect.KEY_DISABLED),),
        consumers=(database(), bucket()),
        steps=(ENABLE, PROVE_KEY, START, PROVE_STORES),
        exception="EX-2025-017",
        terms_version="2.1",
        terms_accepted_on="2025-03-14",
        terms_accepted_by="Carol Director",
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test may change any field


def facts(**changes: object) -> Facts:
    base = Facts(
        incident="KW-1042",
        kind=Kind.ALARM,
        stage=Stage.IMPAIRED,
        previous_stage=None,
        turn=1,
        severity=Severity.CRITICAL,
        fault=Fault.CUSTOMER,
        at=SEEN_AT,
        opened_at=SEEN_AT,
        vendor="Example Vendor",
        product="Experiment Hub",
        emergency_contact="+1 555 0100 (24 hours), key-emergency@vendor.example",
        verify_url="https://vendor.example/verify",
        customer="acme",
        customer_name="Acme GmbH",
        instance="acme-prod",
        instance_name="Acme Production",
        purpose="experiment tracking of the research teams",
        business_owner="Dana Contract, Research Platform",
        cloud="aws",
        keys=(key(),),
        headline=database().terminal,
        second=None,
        next_impact=database().impact,
        holds=HOLDS,
        why="opened",
        told=(
            "customer: e-mail to 2 contacts goes out now",
            "incident opened 2026-12-01 09:02 UTC",
        ),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test may change any field


# ---------------------------------------------------------------------------------------------------------- stories


def disabled() -> Facts:
    """The key is disabled; a database with backups and a bucket are under it (impact.md 8, A)."""
    return facts()


def _destruction(at: datetime) -> Deadline:
    return Deadline(
        kind="data_irrecoverable",
        at=at,
        words="the key is destroyed and nothing encrypted under it can be read again",
        source=f"the event's deletionDate; {KMS_GUIDE}",
        bound="at_least",
        latest=at + timedelta(days=1),
    )


def _deletion_key(at: datetime) -> KeyFacts:
    return key(
        verdict=Verdict.DOOMED,
        claimed="ScheduleKeyDeletion succeeded (since 2026-12-01 09:00 UTC)",
        verified=Verified(
            at=SEEN_AT - timedelta(minutes=1), passed=False, words="decrypt was refused: the key is pending deletion"
        ),
        happenings=(
            happening(
                Effect.KEY_DELETION_SCHEDULED,
                reason="ScheduleKeyDeletion succeeded",
                operation="ScheduleKeyDeletion",
                deadline=_destruction(at),
            ),
        ),
        steps=(CANCEL, ENABLE, PROVE_KEY, START, PROVE_STORES),
    )


def deletion() -> Facts:
    """Deletion is scheduled with a window of seven days (impact.md 8, C)."""
    at = datetime(2026, 12, 8, 9, 0, tzinfo=UTC)
    return facts(
        stage=Stage.DELETION_SCHEDULED,
        keys=(_deletion_key(at),),
        headline=_destruction(at),
        second=database().terminal,
    )


def last_day() -> Facts:
    """The same, with less than a day left: the reader must see it in the subject."""
    now = datetime(2026, 12, 7, 22, 3, tzinfo=UTC)
    return replace(
        deletion(),
        at=now,
        stage=Stage.IRREVERSIBLE_SOON,
        previous_stage=Stage.DELETION_SCHEDULED,
        turn=2,
        why="worse",
    )


def half_repaired() -> Facts:
    """The deletion was cancelled on the third day, the key is still disabled (impact.md 8, E)."""
    now = datetime(2026, 12, 3, 10, 4, tzinfo=UTC)
    cancelled_at = datetime(2026, 12, 3, 10, 0, 31, tzinfo=UTC)
    still = happening(
        Effect.KEY_DISABLED,
        since=LOST_AT,
        reason="CancelKeyDeletion succeeded; the key stays disabled",
        operation="CancelKeyDeletion",
        actor=f"arn:aws:sts::{ACCOUNT}:assumed-role/KeyAdmin/alice",
        actor_agent="console.amazonaws.com",
        event_id="0c2d5b1e-77aa-4c51-8d4c-7f0b8e4a9d02",
        recorded_at=cancelled_at,
    )
    return facts(
        kind=Kind.PROGRESS,
        stage=Stage.IMPAIRED,
        previous_stage=Stage.DELETION_SCHEDULED,
        turn=2,
        why="partly repaired",
        at=now,
        keys=(
            key(
                happenings=(still,),
                claimed="CancelKeyDeletion succeeded; the key stays disabled (since 2026-12-03 10:00 UTC)",
                verified=Verified(
                    at=now - timedelta(minutes=2), passed=False, words="decrypt was refused: the key is disabled"
                ),
            ),
        ),
        told=("customer: e-mail to 2 contacts goes out now", "incident opened 2026-12-01 09:02 UTC"),
    )


RESTORE_POLICY = Step(
    owner=Owner.CUSTOMER,
    text="Put the statement that allows arn:aws:iam::111122223333:role/hub-data back into the key policy.",
    command=f"aws kms put-key-policy --key-id {KEY} --policy-name default "
    f"--policy file://policy.json --region {REGION}",
    note="policy.json: the policy from before the change, which your own records or AWS Config may hold.",
)


def split() -> Facts:
    """The vendor was taken out of the key policy: the files are unreadable, the database runs on (impact.md 8, F)."""
    files = replace(
        bucket(row="aws.s3.policy_revoked"),
        what="each caller without the right fails at its next KMS call",
        still_works=("list", "delete", "lifecycle_expiry", "callers that keep their right"),
        inferred=("impact", "still_works"),
    )
    return facts(
        severity=Severity.CRITICAL,
        keys=(
            key(
                claimed="the new policy allows none of the registered operations (since 2026-12-01 09:00 UTC)",
                verified=Verified(at=SEEN_AT - timedelta(minutes=1), passed=False, words="decrypt was denied"),
                happenings=(
                    happening(
                        Effect.ACCESS_REVOKED,
                        reason="the new key policy no longer allows arn:aws:iam::111122223333:role/hub-data",
                        operation="PutKeyPolicy",
                        means=Means.KEY_POLICY,
                    ),
                ),
                consumers=(database(latent=True), files),
                steps=(RESTORE_POLICY, PROVE_KEY, PROVE_STORES),
            ),
        ),
        headline=None,
        next_impact=files.impact,
        split="acme-prod-artifacts cannot be read; acme-prod database goes on running for now",
        holds=HOLDS[2:],
    )


def destroyed() -> Facts:
    """The key is gone."""
    stores = destroyed_stores()
    return facts(
        stage=Stage.LOST,
        previous_stage=Stage.IRREVERSIBLE_SOON,
        turn=3,
        why="worse",
        keys=(
            key(
                verdict=Verdict.DESTROYED,
                claimed="the key was deleted (since 2026-12-01 09:00 UTC)",
                verified=Verified(
                    at=SEEN_AT - timedelta(minutes=1), passed=False, words="decrypt was refused: the key does not exist"
                ),
                happenings=(
                    happening(
                        Effect.KEY_DESTROYED,
                        reason="the key was deleted at the end of its waiting period",
                        operation="DeleteKey",
                        actor=None,
                        actor_agent=None,
                    ),
                ),
                consumers=stores,
                steps=(
                    Step(
                        owner=Owner.VENDOR,
                        text="acme-prod database: Take the data out under another key while it can still be read.",
                    ),
                    Step(
                        owner=Owner.VENDOR,
                        text="acme-prod database: Build the store again from a backup that can still be decrypted.",
                    ),
                ),
            ),
        ),
        headline=Deadline(
            kind="data_irrecoverable",
            at=LOST_AT,
            words="nothing encrypted under this key can be read again",
            source=KMS_GUIDE,
        ),
        second=None,
        next_impact=stores[0].impact,
        holds=(HOLDS[0], HOLDS[2], HOLDS[3]),
    )


def vendor_fault() -> Facts:
    """Our own role was changed: the page says so, and nobody writes to the customer."""
    return facts(
        fault=Fault.VENDOR,
        keys=(
            key(
                claimed="DetachRolePolicy on the vendor's own role (since 2026-12-01 09:00 UTC)",
                verified=Verified(
                    at=SEEN_AT - timedelta(minutes=1),
                    passed=False,
                    words="decrypt was denied by the identity policy of the vendor's role",
                ),
                happenings=(
                    happening(
                        Effect.ACCESS_REVOKED,
                        fault=Fault.VENDOR,
                        reason="the policy hub-data-kms was detached from the vendor's role hub-data",
                        operation="DetachRolePolicy",
                        actor="arn:aws:sts::111122223333:assumed-role/Platform/terraform",
                        means=Means.ROLE_OR_POLICY,
                    ),
                ),
                steps=(
                    Step(
                        owner=Owner.VENDOR,
                        text="Attach the policy to the role again.",
                        command="aws iam attach-role-policy --role-name hub-data "
                        "--policy-arn arn:aws:iam::111122223333:policy/hub-data-kms",
                    ),
                    PROVE_KEY,
                    PROVE_STORES,
                ),
                consumers=(database(latent=True), bucket(row="aws.s3.policy_revoked")),
            ),
        ),
        headline=None,
        next_impact=bucket().impact,
        split="acme-prod-artifacts cannot be read; acme-prod database goes on running for now",
        told=(
            "customer: not told (the fault is not shown to lie with the customer (fault: vendor))",
            "incident opened 2026-12-01 09:02 UTC",
        ),
    )


def cannot_tell() -> Facts:
    """Permissions were changed, and neither the record nor a check can tell what that did."""
    return facts(
        stage=Stage.AT_RISK,
        severity=Severity.ERROR,
        fault=Fault.UNKNOWN,
        keys=(
            key(
                verdict=Verdict.UNREACHABLE,
                claimed="PutKeyPolicy with a policy that cannot be judged (since 2026-12-01 09:00 UTC)",
                verified=Verified(at=SEEN_AT - timedelta(minutes=1), passed=None, words="the check timed out twice"),
                happenings=(
                    happening(
                        Effect.ACCESS_CHANGED,
                        fault=Fault.UNKNOWN,
                        reason="the new key policy has a condition on aws:SourceVpc that cannot be judged from outside",
                        operation="PutKeyPolicy",
                    ),
                ),
                consumers=(),
                steps=(PROVE_KEY,),
            ),
        ),
        headline=None,
        next_impact=None,
        holds=(),
        told=(
            "customer: not told (the fault is not shown to lie with the customer (fault: unknown))",
            "incident opened 2026-12-01 09:02 UTC",
        ),
    )


def expiry() -> Facts:
    """Imported key material runs out in nine days."""
    ends_at = datetime(2026, 12, 10, 12, 0, tzinfo=UTC)
    end = Deadline(
        kind="expiry", at=ends_at, words="the key, or the right to use it, ends", source="validTo of ImportKeyMaterial"
    )
    return facts(
        stage=Stage.AT_RISK,
        severity=Severity.WARNING,
        keys=(
            key(
                verdict=Verdict.AT_RISK,
                claimed="key material imported with an end on 2026-12-10 (since 2026-12-01 09:00 UTC)",
                verified=Verified(at=SEEN_AT - timedelta(minutes=1), passed=True, words="encrypt and decrypt work"),
                happenings=(
                    happening(
                        Effect.EXPIRY_AHEAD,
                        reason="the imported key material expires on 2026-12-10",
                        operation="ImportKeyMaterial",
                        deadline=end,
                    ),
                ),
                consumers=(database(since=ends_at), bucket(since=ends_at)),
                steps=(
                    Step(
                        owner=Owner.CUSTOMER,
                        text="Import the same key material again, with a later end or with none.",
                        command=f"aws kms get-parameters-for-import --key-id {KEY} --wrapping-algorithm "
                        f"RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_4096 --region {REGION}",
                        note="Only the identical material helps; with other material the data stays unreadable.",
                    ),
                    PROVE_KEY,
                ),
            ),
        ),
        headline=end,
        next_impact=bucket(since=ends_at).impact,
        holds=(),
    )


def recovering() -> Facts:
    """The audit log says that the key was enabled; nobody has proven it yet."""
    now = datetime(2026, 12, 1, 11, 30, tzinfo=UTC)
    return facts(
        kind=Kind.RECOVERING,
        stage=Stage.RECOVERING,
        previous_stage=Stage.IMPAIRED,
        turn=2,
        severity=Severity.INFO,
        fault=Fault.CUSTOMER,
        at=now,
        why="recovered, unproven",
        keys=(
            key(
                verdict=Verdict.RECOVERING,
                claimed="the audit events leave nothing open",
                verified=Verified(
                    at=SEEN_AT - timedelta(minutes=1), passed=False, words="decrypt was refused: the key is disabled"
                ),
                happenings=(),
                consumers=(),
                steps=(),
            ),
        ),
        headline=None,
        next_impact=None,
        holds=(),
        told=(
            "customer: told earlier in this incident; not written to about this step",
            "incident opened 2026-12-01 09:02 UTC",
        ),
    )


def flapping() -> Facts:
    """Proven by a check, but lost and proven back before within the hour."""
    proven = Verified(at=SEEN_AT, passed=True, words="state and use are proven")
    known = recovering()
    keys = tuple(replace(one, verdict=Verdict.HEALTHY, verified=proven) for one in known.keys)
    return replace(known, why="recovered, flapping", keys=keys)


def resolved() -> Facts:
    """Proven by a check."""
    now = datetime(2026, 12, 1, 11, 42, tzinfo=UTC)
    return replace(
        recovering(),
        kind=Kind.RESOLVED,
        stage=Stage.RESOLVED,
        previous_stage=Stage.RECOVERING,
        turn=3,
        at=now,
        why="proven",
        keys=(
            key(
                verdict=Verdict.HEALTHY,
                claimed="the audit events leave nothing open",
                verified=Verified(
                    at=now - timedelta(minutes=1),
                    passed=True,
                    words="encrypt and decrypt work, also with data from before the loss",
                ),
                happenings=(),
                consumers=(),
                steps=(),
            ),
        ),
        told=("customer: e-mail to 2 contacts goes out now", "incident opened 2026-12-01 09:02 UTC"),
    )


def decided() -> Facts:
    """Closed by the decision of a named person, without a passing check."""
    closed = resolved()
    return replace(
        closed,
        why="decided",
        resolved_by="Erin Operator: the system was moved to another key",
        keys=tuple(replace(one, verified=None) for one in closed.keys),
    )


def cleared() -> Facts:
    """The page of a stage that has been left is closed."""
    return replace(deletion(), kind=Kind.CLEAR)


def several() -> Facts:
    """One actor disabled three keys within a minute: one incident, one mail with a table."""
    keys = []
    for number, name in enumerate(("acme-prod-data", "acme-prod-files", "acme-prod-logs")):
        arn = KEY.replace("1234567890ab", f"1234567890a{number}")
        at = LOST_AT + timedelta(seconds=17 * number)
        keys.append(
            key(
                id=arn,
                name=name,
                happenings=(
                    happening(
                        Effect.KEY_DISABLED,
                        key=arn,
                        since=at,
                        recorded_at=at,
                        event_id=f"8f1f7c62-5d4a-4b6f-9a6e-2f3f6f1d2c1{number}",
                    ),
                ),
                consumers=(database(),)
                if number == 0
                else (replace(bucket(), id=f"arn:aws:s3:::{name}", name=name.replace("acme", "bucket")),),
                steps=(
                    replace(ENABLE, command=f"aws kms enable-key --key-id {arn} --region {REGION}"),
                    PROVE_KEY,
                    *((START,) if number == 0 else ()),
                    PROVE_STORES,
                ),
            )
        )
    return facts(keys=tuple(keys))


def drill() -> Facts:
    """The same as `disabled`, as an exercise."""
    return replace(disabled(), drill=True)


def feed() -> Facts:
    """The customer's audit events stopped: no key is known to be wrong, and nothing would be seen if one were."""
    watch = key(
        id="watch:acme",
        name="the audit feed of Acme GmbH",
        owner=KeyOwner.VENDOR,
        account="",
        region="",
        verdict=Verdict.BLIND,
        claimed="StopLogging on the trail that feeds the watch (since 2026-12-01 09:00 UTC)",
        verified=None,
        happenings=(
            happening(
                Effect.FEED_TAMPERED,
                key="watch:acme",
                reason="StopLogging on the trail that feeds the watch",
                operation="StopLogging",
            ),
        ),
        consumers=(),
        steps=(),
        exception=None,
        terms_version=None,
        terms_accepted_on=None,
        terms_accepted_by=None,
    )
    return facts(
        stage=Stage.AT_RISK,
        severity=Severity.ERROR,
        instance="",
        instance_name="",
        purpose="",
        business_owner="",
        keys=(watch,),
        headline=None,
        next_impact=None,
        holds=(),
        told=("customer: not told (the key is the vendor's own)", "incident opened 2026-12-01 09:02 UTC"),
    )


ASKED = (
    "Concerned: 2 keys (arn:aws:kms:eu-central-1:444455556666:key/11111111-2222-3333-4444-555555555555, "
    "arn:aws:kms:eu-central-1:444455556666:key/66666666-7777-8888-9999-000000000000). They are still asked by probes"
)


def silent() -> Facts:
    """Nothing has come from the customer's account, and nobody is known to have done anything."""
    reason = (
        "No sign of life has come from the audit records of AWS account 444455556666 in eu-central-1 since 2026-12-01 "
        "08:44 UTC (blind since then). Expected: an event of the scheduled rule byok-heartbeat (rate(5 minutes)) of "
        f"AWS account 444455556666 in eu-central-1. {ASKED}"
    )
    told = feed()
    happenings = (
        replace(
            told.keys[0].happenings[0], effect=Effect.FEED_SILENT, reason=reason, operation=None, actor=None,
            actor_agent=None, actor_address=None, event_id=None, fault=Fault.UNKNOWN,
            since=datetime(2026, 12, 1, 8, 44, tzinfo=UTC),
        ),
    )  # fmt: skip
    watch = replace(told.keys[0], claimed="the audit events leave nothing open", happenings=happenings)
    return replace(told, keys=(watch,), fault=Fault.UNKNOWN, told=("customer: not told (it is about the audit feed)",))


def unasked() -> Facts:
    """We do not listen ourselves: that is the vendor's, and some keys are asked by nobody either."""
    reason = (
        "The feed acme-sqs is not asked since 2026-12-01 08:57 UTC: nobody listens, and nothing that it carries is "
        "seen. This says nothing of the customers. Start `byok-watchdog consume acme-sqs` (or `up`); `byok-watchdog "
        "doctor` says what it lacks. Concerned: 1 key (arn:aws:kms:eu-central-1:444455556666:key/1111). It is not "
        "probed either (never probed: the register says so (probe.off)): nothing watches it now, so check it by hand"
    )
    told = silent()
    happenings = (replace(told.keys[0].happenings[0], key="watch:vendor", reason=reason, fault=Fault.VENDOR),)
    watch = replace(
        told.keys[0], id="watch:vendor", name="the watch itself, on the vendor's side", happenings=happenings
    )
    return replace(
        told, keys=(watch,), customer="", customer_name=told.vendor, fault=Fault.VENDOR, severity=Severity.CRITICAL,
        told=("customer: not told (the incident is not about one customer)",),
    )  # fmt: skip


def heard() -> Facts:
    """A sign of life has come again, and proves the way."""
    told = silent()
    return replace(
        told,
        kind=Kind.RESOLVED,
        stage=Stage.RESOLVED,
        previous_stage=Stage.AT_RISK,
        turn=2,
        why="proven",
        severity=Severity.INFO,
        at=datetime(2026, 12, 1, 9, 42, tzinfo=UTC),
        keys=(replace(told.keys[0], happenings=(), verdict=Verdict.BLIND),),
    )


def undocumented() -> Facts:
    """A replica leaves no documented grace period: there is no date, and the text says to act now (impact.md 8, B)."""
    now_or_never = Deadline(
        kind="store_terminal",
        at=None,
        words="no grace period is documented: act now",
        source=RDS_GUIDE,
        consumer=DATABASE,
    )
    replica = replace(
        database(),
        impact=replace(database().impact, at=None, words="not documented by the provider", bound="exact"),
        terminal=now_or_never,
        what="instance becomes unusable; no delay is stated for instances that cannot be stopped",
        still_works=(),
        inferred=(),
        row="aws.rds.replica.unusable",
    )
    return facts(
        stage=Stage.IRREVERSIBLE_SOON,
        keys=(key(consumers=(replica, bucket())),),
        headline=now_or_never,
        next_impact=bucket().impact,
    )


INCIDENTS: dict[str, Callable[[], Facts]] = {
    story.__name__: story
    for story in (
        disabled,
        deletion,
        last_day,
        half_repaired,
        split,
        destroyed,
        undocumented,
        vendor_fault,
        cannot_tell,
        feed,
        silent,
        unasked,
        heard,
        expiry,
        recovering,
        flapping,
        resolved,
        decided,
        cleared,
        several,
        drill,
    )
}

QUARANTINE = OperatorFacts(
    subject="3 records could not be read",
    what="Three records of the feed acme-trail are no JSON (from byte 17). They are kept in quarantine; nothing else "
    "was held up.",
    where="feed acme-trail, delivery 2026/12/01/0900.json.gz, records 4, 5 and 9",
    next="Look at them with `byok-watchdog quarantine show acme-trail`; if the feed's format has changed, keys of Acme "
    "may be unwatched.",
    at=SEEN_AT,
    severity=Severity.ERROR,
    vendor="Example Vendor",
)


def notice(story: Facts | OperatorFacts, reader: Reader, **changes: object) -> Notice:
    """Wrap facts into a notice for one reader, with ids of the engine's own shape."""
    people = {Reader.CUSTOMER: ALICE, Reader.ACCOUNT: BOB}
    if isinstance(story, OperatorFacts):
        base = Notice(
            id="op-7f3a",
            incident=None,
            kind=Kind.OPERATOR,
            reader=Reader.OPERATOR,
            channel="test",
            recipient=None,
            dedup="operator:quarantine:acme-trail",
            severity=story.severity,
            why="quarantine",
            facts=story,
            created_at=story.at,
        )
    else:
        base = Notice(
            id=f"{story.incident}-{story.turn}-{story.kind}-{reader}",
            incident=story.incident,
            kind=story.kind,
            reader=reader,
            channel="test",
            recipient=people.get(reader),
            dedup=f"{story.incident}:{story.stage}:{story.turn}",
            severity=story.severity,
            why=story.why,
            facts=story,
            created_at=story.at,
            previous_dedup=f"{story.incident}:{story.previous_stage}:{story.turn - 1}"
            if story.previous_stage
            else None,
        )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test may change any field
