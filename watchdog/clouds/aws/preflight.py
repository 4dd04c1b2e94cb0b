"""Pre-flight on AWS: what makes a key hard to lose, line by line of responsibility.md 5.2, from what could be read."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from watchdog.clouds.aws import kms
from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.catalogue import API_CALL, SERVICE_EVENT, filters
from watchdog.clouds.aws.feeds import keeps_kms_writes, matches
from watchdog.clouds.aws.fields import items, mapping
from watchdog.clouds.aws.index import Index, account_of, index_of, region_of
from watchdog.clouds.aws.native import KEY_EVENTS
from watchdog.clouds.aws.native import KMS as KMS_EVENTS
from watchdog.clouds.aws.policy import Answer, needed
from watchdog.clouds.aws.record import ANYTHING, UnreadableError, decoded
from watchdog.clouds.aws.rights import ADMINISTERS, USES, Rights, rights
from watchdog.preflight import Check, Checked, Outcome, Unread
from watchdog.probing import EXPIRY_SOON
from watchdog.register import Register, RegisteredKey, canonical
from watchdog.words import Owner

SOURCE = "responsibility.md 5.2"
LONGEST = 30
LISTED = 5  # the most names that a sentence lists
OWN_MATERIAL = "AWS_KMS"
EXTERNAL = "EXTERNAL"
IN_STORES = frozenset({"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"})
TAKES_AWAY = tuple(one for one in ADMINISTERS if not one.endswith("Grant"))
COME_AND_GO = "aws:ec2-infrastructure"  # EC2 makes a grant for each volume it attaches, and ends it with that
BY_GRANT = (
    "aws.rds", "aws.aurora", "aws.ebs", "aws.eks", "aws.dynamodb", "aws.efs", "aws.opensearch", "aws.elasticache",
    "aws.redshift", "aws.other_databases",
)  # fmt: skip
"""Stores that make a grant of their own when they begin to use a key (aws.md 5)."""


# ---------------------------------------------------------------------------------------------------------- the reading


class Described(Struct, frozen=True, kw_only=True):
    """What DescribeKey says of a key; `family` are the ARNs of its multi-Region relatives, itself included."""

    arn: str
    state: str
    manager: str
    spec: str
    usage: str
    origin: str
    description: str = ""
    expiration: str | None = None
    valid_to: datetime | None = None
    store: str | None = None
    multi_region: bool = False
    family: tuple[str, ...] = ()


class Held(Struct, frozen=True, kw_only=True):
    """One grant as ListGrants lists it; `issuer` is the account under which it was made."""

    id: str
    grantee: str
    issuer: str
    operations: tuple[str, ...] = ()


class Trail(Struct, frozen=True, kw_only=True):
    """A trail: whether it logs, whether in all Regions, and its selectors in the spelling of records."""

    logging: bool
    multi_region: bool
    selectors: Mapping[str, object]


class ForwardRule(Struct, frozen=True, kw_only=True):
    """A rule of EventBridge, and the ARNs that it sends to."""

    enabled: bool
    pattern: str | None
    targets: tuple[str, ...]


class Absent(Struct, frozen=True):
    """What stands for a trail or a rule that is registered, and not there."""


class Reading(Struct, frozen=True, kw_only=True):
    """What was answered about one key. `store` is the state of the connection of its key store (None: it has none)."""

    key: Described | Unread
    grants: tuple[Held, ...] | Unread
    policy: str | Unread
    tags: Mapping[str, str] | Unread
    aliases: tuple[str, ...] | Unread
    store: str | Unread | None
    trails: Mapping[str, Trail | Absent | Unread]
    rules: Mapping[str, ForwardRule | Absent | Unread]


class Found(Struct, frozen=True):
    """What one check came to."""

    outcome: Outcome
    words: str
    fix: str | None = None


class Look(Struct, frozen=True, kw_only=True):
    """A reading beside the register."""

    reading: Reading
    key: RegisteredKey
    register: Register
    index: Index
    at: datetime
    rights: Rights | Unread

    @property
    def region(self) -> str:
        """The Region of the key."""
        return region_of(self.key)

    @property
    def account(self) -> str:
        """The account that owns the key."""
        return account_of(self.key)

    @property
    def target(self) -> str:
        """The options that name the key."""
        return f"--region {self.region} --key-id {self.key.id}"

    @property
    def principals(self) -> list[str]:
        """The vendor's principals that use the key."""
        return list(dict.fromkeys(access.principal for access in self.key.entry.access))

    @property
    def break_glass(self) -> list[str]:
        """The roles that alone may take the key away; of the vendor's own keys none is registered."""
        return self.key.customer.aws.break_glass if self.key.customer_owned else []

    def is_vendors(self, name: str) -> bool:
        """Whether an ARN or an account is the vendor's."""
        arn = parse(name)
        return (arn.account if arn else name) in self.index.vendor_accounts

    def put_policy(self, what: str) -> str:
        """Say how the key policy is changed: it is put as a whole, so the old one is fetched first."""
        return (
            f"{what} Fetch the key policy with `aws kms get-key-policy {self.target} --policy-name default "
            f"--query Policy --output text > policy.json`, change it, and store it with `aws kms put-key-policy "
            f"{self.target} --policy-name default --policy file://policy.json`."
        )


def audit_role(key: RegisteredKey) -> str | None:
    """Return the role in the key's own account that the watchdog may become to read; None when none is registered."""
    roles = key.customer.aws.audit_roles if key.customer_owned else []
    return next((one for one in roles if (arn := parse(one)) and arn.account == account_of(key)), None)


def judge(reading: Reading, key: RegisteredKey, register: Register, *, at: datetime) -> list[Checked]:
    """Return every check of `CHECKS` in its order."""
    index = index_of(register)
    look = Look(
        reading=reading, key=key, register=register, index=index, at=at, rights=_rights(reading, key, index, at)
    )
    checked = []
    for check, found_by in _LINES:
        found = found_by(look)
        owner = Owner.VENDOR if check.owner is Owner.CUSTOMER and not key.customer_owned else check.owner
        checked.append(check.said(found.outcome, found.words, found.fix, owner))
    return checked


def _rights(reading: Reading, key: RegisteredKey, index: Index, at: datetime) -> Rights | Unread:
    if isinstance(reading.policy, Unread):
        return reading.policy
    found = rights(reading.policy, key, index, at=at)
    return found or Unread(why="What GetKeyPolicy answered is not a key policy that can be read.")


def _pass(words: str) -> Found:
    return Found(Outcome.PASS, words)


def _fail(words: str, fix: str) -> Found:
    return Found(Outcome.FAIL, words, fix)


def _unread(look: Look, *missing: Unread) -> Found:
    """Say why something cannot be told, and what would make it readable."""
    why = " ".join(dict.fromkeys(one.why for one in missing))
    needed_rights = ", ".join(dict.fromkeys(one.right for one in missing if one.right))
    role = audit_role(look.key)
    fix = "Probe again; when it stays so, look at the way from the watchdog to AWS."
    if needed_rights and role:
        fix = f"Allow {needed_rights} to {role}."
    elif needed_rights:
        fix = (
            f"Make a role in account {look.account} that the watchdog may assume and that may do nothing but this: "
            f"{needed_rights}. Name it in the register, among `aws.audit_roles` of the customer."
        )
    return Found(Outcome.CANNOT_VERIFY, why, fix)


def _ask(words: str, question: str) -> Found:
    return Found(Outcome.CANNOT_VERIFY, words, f"{question} Write the answer into the register as a statement.")


def _named(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more


# ---------------------------------------------------------------------------------------------------- the key itself


def _key_kind(look: Look) -> Found:
    described = look.reading.key
    if isinstance(described, Unread):
        return _unread(look, described)
    new = "Nothing can change this of a key: make a new one, move the stores to it, and register that."
    if canonical(described.arn) != look.key.id:
        return _fail(f"The answer is about {described.arn}.", "Correct the ARN in the register.")
    if described.manager != "CUSTOMER":
        return _fail(f"The key is managed by {described.manager or 'nobody that is named'}.", new)
    if (described.spec, described.usage) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        return _fail(f"The key is of kind {described.spec}, for {described.usage}.", new)
    if described.state in {"PendingDeletion", "PendingReplicaDeletion"}:
        back = f"aws kms cancel-key-deletion {look.target} && aws kms enable-key {look.target}"
        return _fail(f"Its state is {described.state}.", back)
    if described.state == "Disabled":
        return _fail("It is disabled.", f"aws kms enable-key {look.target}")
    if described.state not in {"Enabled", "Updating"}:
        return _fail(f"Its state is {described.state}.", f"aws kms describe-key {look.target}")
    return _pass(f"A customer managed key for encryption, {described.state}, in {look.region}.")


def _material(look: Look) -> Found:
    described = look.reading.key
    if isinstance(described, Unread):
        return _unread(look, described)
    registered = look.key.entry.aws.origin
    if described.origin != registered:
        words = f"The material is of origin {described.origin}, the register says {registered}."
        return _fail(words, f"Write `origin: {described.origin}` into the register, with the customer's consent.")
    return _pass(f"The material is of origin {described.origin}, as registered.")


def _expiry(look: Look) -> Found:
    described = look.reading.key
    if isinstance(described, Unread):
        return _unread(look, described)
    end = described.valid_to
    if end is None:
        if described.expiration == "KEY_MATERIAL_EXPIRES":
            return _ask("The material expires, and the answer does not say when.", "When does the key material end?")
        return _pass("The material does not expire.")
    again = (
        f"aws kms import-key-material {look.target} --encrypted-key-material fileb://EncryptedKeyMaterial.bin "
        "--import-token fileb://ImportToken.bin --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE"
    )
    words = f"The material ends on {end:%Y-%m-%d %H:%M} UTC."
    if end - look.at <= EXPIRY_SOON:
        return _fail(words, again)
    if look.key.entry.probe and look.key.entry.probe.off:
        return _fail(f"{words} Nobody watches that, because the key is not probed.", again)
    return _pass(f"{words} The watchdog tells of it {EXPIRY_SOON.days} days before.")


def _kept(look: Look) -> Found:
    described = look.reading.key
    if isinstance(described, Unread):
        return _unread(look, described)
    if described.origin != EXTERNAL:
        return _pass(f"The material is of origin {described.origin}: there is none to be imported again.")
    return _ask(
        "Imported material that is deleted or expires can be brought back only by whoever kept the very same bytes.",
        "Ask the customer where the key material is kept, and when it was last seen there.",
    )


def _store(look: Look) -> Found:
    described, agreed = look.reading.key, look.key.entry.aws.custom_key_store_id
    if isinstance(described, Unread):
        return _unread(look, described)
    if described.store != agreed:
        words = f"The key is in {_store_named(described.store)}, the register says {_store_named(agreed)}."
        return _fail(words, "Agree with the customer on where the key lives, and correct the register.")
    if agreed is None:
        return _pass("The key is in no custom key store.")
    state = look.reading.store
    if isinstance(state, str) and state != "CONNECTED":
        connect = f"aws kms connect-custom-key-store --region {look.region} --custom-key-store-id {shlex.quote(agreed)}"
        return _fail(f"The key store {agreed} is {state}.", connect)
    if look.key.entry.probe and look.key.entry.probe.off:
        words = f"The key is in {agreed}, whose health only a use can tell, and it is not probed."
        return _fail(words, "Let the key be probed: remove `off` from its `probe` in the register.")
    return _pass(f"The key is in {agreed}, as agreed, and is probed by real calls.")


def _store_named(store: str | None) -> str:
    return f"the key store {store}" if store else "no custom key store"


def _multi_region(look: Look) -> Found:
    described = look.reading.key
    if isinstance(described, Unread):
        return _unread(look, described)
    family = look.key.entry.aws.multi_region
    registered = {canonical(one) for one in (family.primary, *family.replicas)} if family else set()
    unknown = sorted({canonical(one) for one in described.family} - registered - {look.key.id})
    if described.multi_region and (family is None or unknown):
        words = "The key is a multi-Region key, whose relatives are not all registered."
        return _fail(words, f"Write `aws.multi_region` of the key into the register: {_named(unknown) or look.key.id}.")
    if family and not described.multi_region:
        return _fail("The register says that it is a multi-Region key, and it is not.", "Correct the register.")
    elsewhere = sorted(
        {region for one in look.key.entry.consumers if (region := one.region or _region_in(one.id)) != look.region}
        - {""}
    )
    if elsewhere and not described.multi_region:
        words = f"Stores in {_named(elsewhere)} hang on a key that exists in {look.region} only."
        return _fail(words, "Consider a multi-Region key (a new one: a key cannot become one), or agree that it is so.")
    return _pass("The key has its relatives registered." if family else f"Every registered store is in {look.region}.")


def _region_in(arn: str) -> str:
    parts = parse(arn)
    return parts.region if parts else ""


def _labels(look: Look) -> Found:
    described, tags = look.reading.key, look.reading.tags
    vendor = look.register.vendor
    texts = [] if isinstance(described, Unread) else [described.description]
    texts += [] if isinstance(tags, Unread) else [f"{name} {value}" for name, value in tags.items()]
    said = " ".join(texts).lower()
    if vendor.name.lower() in said or (vendor.product and vendor.product.lower() in said):
        return _pass("The description or the tags name the vendor.")
    missing = [one for one in (described, tags) if isinstance(one, Unread)]
    if missing:
        return _unread(look, *missing)
    words = f"DO NOT DELETE or disable: protects data at {vendor.name}. Ask {look.key.customer.id} key owner first"
    return _fail(
        "Neither the description nor a tag says whose data the key protects.",
        f"aws kms update-key-description {look.target} --description {shlex.quote(words)}",
    )


# ------------------------------------------------------------------------------------------------- rights and grants


def _vendor_rights(look: Look) -> Found:
    granted = _too_little_by_grant(look)
    if isinstance(look.rights, Unread):
        return granted or _unread(look, look.rights)
    for access in look.key.entry.access:
        wanted = [name.removeprefix("kms:") for name in needed(access)]
        missing = [one for one in wanted if look.rights.allows(access.principal, one) is Answer.NO]
        if access.via == "key_policy" and missing:
            words = f"The key policy does not allow {_named(missing)} to {access.principal}."
            return _fail(words, look.put_policy(f"Add this statement: {_allowing(access.principal, wanted)}."))
        excess = [
            one
            for one in ADMINISTERS
            if one not in wanted and look.rights.allows(access.principal, one, but_services=True) is not Answer.NO
        ]
        if excess:
            words = f"The key policy allows {access.principal} more than it needs: {_named(excess)}."
            narrow = f"Allow it only what it needs, by this statement: {_allowing(access.principal, wanted)}."
            return _fail(words, look.put_policy(narrow))
        doubtful = [one for one in wanted if look.rights.allows(access.principal, one) is Answer.UNKNOWN]
        if access.via == "key_policy" and doubtful:
            words = f"Whether {access.principal} may {_named(doubtful)} hangs on conditions that nobody can judge here."
            return _ask(words, "Probe the key: what works is allowed. Ask the customer what the conditions are for.")
    if granted:
        return granted
    if not look.key.entry.access:
        return _fail("No principal of the vendor is registered.", "List them under `access` of the key.")
    return _pass(f"The key policy allows {_named(look.principals)} what is registered, and no administration.")


def _too_little_by_grant(look: Look) -> Found | None:
    held = look.reading.grants
    if isinstance(held, Unread):
        return None
    for access in look.key.entry.access:
        if access.via != "grant":
            continue
        given = {one for grant in held if grant.grantee == access.principal for one in grant.operations}
        missing = [one for name in needed(access) if (one := name.removeprefix("kms:")) not in given]
        if missing and (isinstance(look.rights, Unread) or not look.rights.may(access.principal, missing)):
            make = (
                f"aws kms create-grant {look.target} --grantee-principal {shlex.quote(access.principal)} "
                f"--operations {' '.join(shlex.quote(one.removeprefix('kms:')) for one in needed(access))}"
            )
            return _fail(f"No grant gives {_named(missing)} to {access.principal}.", make)
    return None


def _allowing(principal: str, operations: Iterable[str]) -> str:
    return json.dumps(
        {
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": [f"kms:{one}" for one in operations],
            "Resource": "*",
        }
    )


def _create_grant(look: Look) -> Found:
    stores = [one.store for one in look.key.entry.consumers if one.store.startswith(BY_GRANT)]
    if not stores:
        return _pass("No registered store makes grants of its own.")
    held, given = look.reading.grants, look.rights
    if not isinstance(held, Unread):
        makers = [grant.grantee for grant in held if "CreateGrant" in grant.operations]
        by_grant = [name for name in look.principals if name in makers]
        if by_grant:
            return _pass(f"A grant lets {_named(by_grant)} create grants for {_named(stores)}.")
    if isinstance(given, Unread):
        return _unread(look, given)
    able = [name for name in look.principals if given.allows(name, "CreateGrant") is not Answer.NO]
    if able:
        return _pass(f"The key policy lets {_named(able)} create grants for {_named(stores)}.")
    statement = json.dumps(
        {
            "Effect": "Allow", "Principal": {"AWS": look.principals}, "Action": "kms:CreateGrant", "Resource": "*",
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        }
    )  # fmt: skip
    words = f"{_named(stores)} can only be made, restored or attached by a role that may create grants, and none may."
    return _fail(words, look.put_policy(f"Add this statement: {statement}."))


def _inventory(look: Look) -> Found:
    held = look.reading.grants
    if isinstance(held, Unread):
        return _unread(look, held)
    registered = [grant.id for grant in look.key.entry.grants]
    gone = [one for one in registered if one not in {grant.id for grant in held}]
    if gone:
        words = f"Registered grants are not there any more: {_named(gone)}."
        fix = "Have the grant made again, or the store make it; then put the new id into the register. Nobody can "
        return _fail(words, f"{fix}bring a grant back by its id.")
    unknown = [
        grant.id
        for grant in held
        if grant.id not in registered and _is_vendors_grant(look, grant) and COME_AND_GO not in grant.grantee
    ]
    if unknown:
        words = f"The vendor holds grants that are not registered, so their loss would go unseen: {_named(unknown)}."
        return _fail(words, "Add them under `grants` of the key in the register, each with what it is for.")
    return _pass(f"All {len(registered)} grants of the vendor are registered and there.")


def _is_vendors_grant(look: Look, grant: Held) -> bool:
    return look.is_vendors(grant.issuer) or look.is_vendors(grant.grantee)


def _break_glass(look: Look) -> Found:
    given = look.rights
    if isinstance(given, Unread):
        return _unread(look, given)
    fix = "Agree on a role for emergencies and name it as `aws.break_glass` of the customer; then this says how."
    if look.break_glass:
        reserve = {
            "Effect": "Deny", "Principal": "*", "Action": [f"kms:{one}" for one in TAKES_AWAY], "Resource": "*",
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": look.break_glass}},
        }  # fmt: skip
        fix = look.put_policy(
            f"Make sure that {_named(look.break_glass)} can be used and may change the key policy, for nobody else can "
            f"afterwards. Add this statement: {json.dumps(reserve)}."
        )
    anybody = given.may(given.anybody, TAKES_AWAY)
    if anybody:
        words = (
            f"The key policy leaves {_named(anybody)} to every role of account {look.account} whose own policies allow "
            "it. (A service control policy may still forbid it; that cannot be seen from here.)"
        )
        return _fail(words, fix)
    known = (*look.break_glass, *look.principals)  # what the vendor's own may do is `vendor_rights`
    others = [name for name in given.names if name not in known and given.may(name, (*TAKES_AWAY, "RevokeGrant"))]
    if others and look.break_glass:
        return _fail(f"Besides the break-glass role these may take the key away: {_named(others)}.", fix)
    if others:
        words = f"These may take the key away, and no break-glass role is registered: {_named(others)}."
        question = "Find out which of these are for emergencies only, and name them as `aws.break_glass`."
        return Found(Outcome.CANNOT_VERIFY, words, question)
    return _pass(f"By the key policy only {_named(look.break_glass) or 'nobody'} may take the key away.")


def _duties(look: Look) -> Found:
    given = look.rights
    if isinstance(given, Unread):
        return _unread(look, given)
    both = [name for name in given.names if given.own(name, USES[:3]) and given.own(name, TAKES_AWAY)]
    if both:
        words = f"These may both use the key and take it away: {_named(both)}."
        return _fail(words, look.put_policy("Give the use and the administration of the key to different roles."))
    if given.may(given.anybody, USES[:3]) and given.may(given.anybody, TAKES_AWAY):
        words = f"The key policy leaves both use and administration to the policies of account {look.account}."
        return _ask(words, "Ask the customer to show that no role of that account may do both.")
    return _pass("No role that the key policy names may both use the key and take it away.")


def _window(look: Look) -> Found:
    given = look.rights
    if isinstance(given, Unread):
        return _unread(look, given)
    shortest = given.shortest_window()
    if shortest is None:
        return _pass("By the key policy nobody may schedule its deletion.")
    if shortest >= LONGEST:
        return _pass(f"The key policy allows a deletion with a waiting period of {shortest} days only.")
    deny = json.dumps(
        {
            "Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
            "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": LONGEST}},
        }
    )  # fmt: skip
    words = f"Its deletion may be scheduled with a waiting period of {shortest} days."
    return _fail(words, look.put_policy(f"Add this statement: {deny}."))


def _shared(look: Look) -> Found:
    given, held = look.rights, look.reading.grants
    move = "Give the other workload a key of its own, or this instance one: a clean-up there takes the vendor's data."
    if not isinstance(held, Unread):
        others = [one for one in held if not _is_vendors_grant(look, one)]
        if others and look.key.customer_owned:
            return _fail(f"Others hold grants on the key: {_named(one.grantee for one in others)}.", move)
    if isinstance(given, Unread):
        return _unread(look, given)
    users = [
        name
        for name in given.names
        if not look.is_vendors(name) and name not in look.break_glass and given.own(name, USES)
    ]
    if users or given.services:
        return _fail(f"The key policy lets others use the key: {_named((*users, *given.services))}.", move)
    if isinstance(held, Unread):
        return _unread(look, held)
    if given.may(given.anybody, USES):
        words = f"The key policy lets every role of account {look.account} use the key whose own policies allow it."
        return _ask(words, "Ask the customer whether anything else is encrypted under this key.")
    return _pass("Nobody but the vendor may use the key.")


def _conditions(look: Look) -> Found:
    given = look.rights
    if isinstance(given, Unread):
        return _unread(look, given)
    found = [
        f"{label}: {key} ({words})"
        for access in look.key.entry.access
        for label, key, words in given.fragile(access.principal, (one.removeprefix("kms:") for one in needed(access)))
        if not _is_watched(look, key)
    ]
    if not found:
        return _pass("The vendor's right hangs on nothing that can change by itself and is not registered.")
    words = f"The vendor's right hangs on what can change without anybody touching the key: {_named(found)}."
    return _fail(words, look.put_policy("Take these conditions out, or name the vendor's role instead."))


def _is_watched(look: Look, key: str) -> bool:
    """Whether the register says that the policy hangs on this, so that a change of it is told."""
    aws, name = look.key.entry.aws, key.lower()
    return (
        (name == "aws:principalorgid" and aws.needs_vendor_organization)
        or (name in {"kms:requestalias", "kms:resourcealiases"} and bool(aws.aliases))
        or name in {f"aws:resourcetag/{tag.lower()}" for tag in aws.policy_tags}
    )


def _resource_policies(look: Look) -> Found:
    organization = look.key.customer.aws.organization
    where = f"of organisation {organization.id}" if organization else "of the organisation of the key's account"
    return _ask(
        f"Resource control policies {where} can shut the vendor out, and are not readable from another account.",
        f"Ask the customer which ones lie on account {look.account}, and to tell you before one is changed.",
    )


def _aliases(look: Look) -> Found:
    configured = look.key.entry.aws.aliases
    if not configured:
        return _pass("No alias is registered: the vendor is configured with the key's ARN.")
    there = look.reading.aliases
    gone = [] if isinstance(there, Unread) else [one for one in configured if one not in there]
    if gone:
        return _fail(f"An alias that the vendor uses does not lead to this key: {_named(gone)}.", _by_arn(look))
    return _fail(
        f"The vendor reaches the key by {_named(configured)}, which anybody may point elsewhere.", _by_arn(look)
    )


def _by_arn(look: Look) -> str:
    return f"Configure the instance with {look.key.id}, then take the alias out of the register."


# ----------------------------------------------------------------------------------------------------- trail and rules


def _trail(look: Look) -> Found:
    trails = look.reading.trails
    if not trails:
        fix = "Name it under `aws.feeds.trails` of the customer: without a trail EventBridge hears nothing of KMS."
        return Found(Outcome.CANNOT_VERIFY, "No trail is registered.", fix)
    missing = [one for one in trails.values() if isinstance(one, Unread)]
    faults = [
        (arn, why)
        for arn, one in trails.items()
        if not isinstance(one, Unread)
        for why in _trail_faults(look, arn, one)
    ]
    if len(faults) + len(missing) < len(trails):
        return _pass("A trail records what KMS writes.")
    if missing:
        return _unread(look, *missing)
    arn, why = faults[0]
    region, name = shlex.quote(_region_in(arn)), shlex.quote(arn)
    if why == _STOPPED:
        return _fail(f"The trail {arn} {why}.", f"aws cloudtrail start-logging --region {region} --name {name}")
    fix = (
        f"Let the trail {arn} record management writes in {look.region} and leave nothing of kms.amazonaws.com out. "
        f"What it records now: `aws cloudtrail get-event-selectors --region {region} --trail-name {name}`."
    )
    return _fail(f"The trail {arn} {why}.", fix)


_ABSENT = "is not there"
_STOPPED = "does not log"


def _trail_faults(look: Look, arn: str, trail: Trail | Absent) -> list[str]:
    """Return the first thing that is wrong with a trail, none when it records what KMS writes."""
    if isinstance(trail, Absent):
        return [_ABSENT]
    if not trail.logging:
        return [_STOPPED]
    if not trail.multi_region and _region_in(arn) != look.region:
        return [f"is of {_region_in(arn)} only, and the key in {look.region}"]
    if not keeps_kms_writes(trail.selectors):
        return ["leaves out what KMS writes"]
    return []


def _forward_rule(look: Look) -> Found:
    rules = {arn: one for arn, one in look.reading.rules.items() if _is_beside(look, arn)}
    if not rules:
        words = f"No rule is registered that forwards the events of account {look.account} in {look.region}."
        return _fail(words, _put_rule(look, "byok-watchdog-forward"))
    faults = {arn: why for arn, one in rules.items() if (why := _rule_fault(look, one))}
    sound = [one.pattern for arn, one in rules.items() if arn not in faults and isinstance(one, ForwardRule)]
    lost = [name for name, event in _events(look.key.id) if not any(_lets_through(one, event) for one in sound)]
    if not lost:
        return _pass("What counts of KMS is forwarded, service events included.")
    missing = [one for one in rules.values() if isinstance(one, Unread)]
    if missing:
        return _unread(look, *missing)
    arn, why = next(iter(faults.items()), (next(iter(rules)), f"does not let through {_named(lost)}"))
    if why == _ASTRAY:
        fix = (
            f"Let the rule {arn} send to {_named(_destinations(look))} (`aws events put-targets --region {look.region} "
            f"--rule {shlex.quote(_rule_name(arn))}`)."
        )
        return _fail(f"The rule {arn} {why}.", fix)
    return _fail(f"The rule {arn} {why}.", _put_rule(look, _rule_name(arn)))


_ASTRAY = "sends to nothing that the watchdog reads"


def _is_beside(look: Look, arn: str) -> bool:
    parts = parse(arn)
    return parts is not None and (parts.account, parts.region) == (look.account, look.region)


def _rule_name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _destinations(look: Look) -> list[str]:
    vendor = look.register.vendor.aws
    feeds = [*vendor.feeds.event_buses, *vendor.feeds.queues, *vendor.feeds.topics] if vendor else []
    return feeds + look.key.customer.aws.feeds.topics


def _put_rule(look: Look, name: str) -> str:
    keys = [key.id for key in look.index.keys_in(look.account, look.region)]
    pattern = json.loads(filters()["forward-rule"])
    pattern["$or"][0]["resources"] = keys
    text = shlex.quote(json.dumps(pattern, separators=(",", ":")))
    return (
        f"aws events put-rule --region {look.region} --name {shlex.quote(name)} --state ENABLED --event-pattern {text}"
    )


def _rule_fault(look: Look, rule: ForwardRule | Absent | Unread) -> str | None:
    """Say why a rule forwards nothing at all; None when it does, or when that cannot be told."""
    match rule:
        case Absent():
            return _ABSENT
        case ForwardRule(enabled=False):
            return "is disabled"
        case ForwardRule(targets=targets) if not {*_destinations(look)} & {*targets}:
            return _ASTRAY
        case _:
            return None


def _events(key: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield what a forward rule must let through, with as much of each event as patterns look at."""
    about = {"eventSource": "kms.amazonaws.com", "resources": {"ARN": key}}
    by_service = {"DeleteKey", "DeleteExpiredKeyMaterial"}
    for rule in kms.WATCHED:
        kind = SERVICE_EVENT if rule.operation in by_service else API_CALL
        detail = {"eventName": rule.operation, **about}
        yield rule.operation, {"source": KMS_EVENTS, "detail-type": kind, "detail": detail}
    for name in KEY_EVENTS:
        if name != "KMS CMK Rotation":
            yield name, {"source": KMS_EVENTS, "detail-type": name, "resources": key, "detail": {}}


def _lets_through(pattern: str | None, event: Mapping[str, object]) -> bool:
    try:
        read = decoded(ANYTHING, (pattern or "").encode("utf-8", "surrogatepass"))
    except UnreadableError:
        return False
    return isinstance(read, dict) and bool(read) and _fits(read, event)


def _fits(pattern: Mapping[str, object], event: Mapping[str, object]) -> bool:
    """Whether a pattern lets an event through for certain: what it asks of fields that are not there, it refuses."""
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(_fits(mapping(one), event) for one in items(wanted)):
                return False
        elif isinstance(wanted, dict):
            if not _fits(wanted, mapping(event.get(name))):
                return False
        else:
            value = event.get(name)
            if not isinstance(value, str) or not matches(items(wanted), value):
                return False
    return True


def _vendor_alarms(look: Look) -> Found:
    return _ask(
        f"Whoever may change the trust policy of {_named(look.principals) or 'the role'} can lock the vendor out, and "
        "whether its alarms are set up is not asked.",
        "In us-east-1 of the vendor's account, install the rule of `byok-watchdog catalogue --cloud aws --for "
        "vendor-roles-rule`.",
    )


def _break_glass_alarm(look: Look) -> Found:
    roles = _named(look.break_glass) or "its break-glass role"
    return _ask(
        "Alarms of the customer are not readable from another account.",
        f"Ask the customer who is called when {roles} is used, and when that was last tried.",
    )


# ----------------------------------------------------------------------------------------------------------- the list


def _check(name: str, title: str, *, owner: Owner = Owner.CUSTOMER, hard: bool = False, source: str = SOURCE) -> Check:
    return Check(id=f"aws.{name}", title=title, owner=owner, hard=hard, source=source)


_ALL_CLOUDS = "responsibility.md 5.1"

_LINES: tuple[tuple[Check, Callable[[Look], Found]], ...] = (
    (_check("key_kind", "It is a customer managed, symmetric key for encryption, and it is enabled"), _key_kind),
    (_check("material", "The key material comes from where the register says"), _material),
    (_check("material_expiry", "The key material does not expire, or its end is watched"), _expiry),
    (_check("material_kept", "The customer has kept the imported key material"), _kept),
    (_check("custom_key_store", "A custom key store is agreed, and probed by real calls"), _store),
    (
        _check("deletion_window", "The key policy enforces a waiting period of 30 days before a deletion"),
        _window,
    ),
    (
        _check(
            "vendor_rights",
            "The vendor's principals may do what they need, and no more",
            hard=True,
            source=_ALL_CLOUDS,
        ),
        _vendor_rights,
    ),
    (
        _check(
            "duties_apart", "Key administrators cannot use the key, users cannot take it away", source=_ALL_CLOUDS,
            hard=True,
        ),
        _duties,
    ),
    (_check("break_glass", "The key policy reserves to a break-glass role what takes the key away"), _break_glass),
    (_check("sole_user", "Nobody but the vendor may use the key", source=_ALL_CLOUDS), _shared),
    (_check("labels", "Description or tags say whose data the key protects", source=_ALL_CLOUDS), _labels),
    (_check("arn_in_use", "The vendor is configured with the key's ARN, not an alias", owner=Owner.VENDOR), _aliases),
    (_check("create_grant", "The vendor's role may create grants where its stores need them"), _create_grant),
    (_check("grants_inventoried", "The vendor's grants are registered, and there", owner=Owner.VENDOR), _inventory),
    (_check("conditions", "The vendor's access hangs on no condition that can silently change"), _conditions),
    (_check("resource_policies", "Resource control policies on the key's account are known"), _resource_policies),
    (_check("trail", "A trail records what KMS writes"), _trail),
    (_check("forward_rule", "A rule forwards what KMS tells, service events included"), _forward_rule),
    (
        _check("vendor_alarms", "Changes of the trust policy of the vendor's own role are alarmed", owner=Owner.VENDOR),
        _vendor_alarms,
    ),
    (_check("break_glass_alarm", "The use of the break-glass role is itself alarmed"), _break_glass_alarm),
    (_check("multi_region", "Where stores lie in several Regions a multi-Region key was considered"), _multi_region),
)  # fmt: skip

CHECKS: tuple[Check, ...] = tuple(check for check, _ in _LINES)
