"""Operations of other services that take a key away or blind the watch, as a table (aws.md 3.5)."""

from collections.abc import Iterable

from watchdog.clouds.aws.case import Case
from watchdog.clouds.aws.feeds import rule_put, selectors_put, stopped, trail_updated
from watchdog.clouds.aws.fields import account, mapping, text, truth
from watchdog.clouds.aws.rules import (
    ACCOUNT,
    CLOUDTRAIL,
    EVENTS,
    IAM,
    ORGANIZATIONS,
    SQS,
    Meaning,
    Rule,
    Seen,
    Witness,
)
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

RESOURCE_CONTROL = "RESOURCE_CONTROL_POLICY"


# -------------------------------------------------------------------------------------------------------- organisations


def policy_moved(case: Case) -> list[Signal]:
    """AttachPolicy and DetachPolicy: each watched key under the target; the record does not say the policy's type."""
    target, policy = text(case.record.request.get("targetId")) or "", text(case.record.request.get("policyId")) or ""
    verb = "attached to" if case.record.name == "AttachPolicy" else "detached from"
    reason = (
        f"An organisation policy was {verb} {target}, which holds the key; "
        "a resource control policy could shut the vendor out, and the record does not say the type."
    )
    subject = f"{policy} on {target}" if policy else target
    return _organization_signals(case, case.index.targets.get(target, ()), reason, subject)


def policy_updated(case: Case) -> list[Signal]:
    """UpdatePolicy: only a resource control policy binds the vendor's principals."""
    summary = mapping(mapping(case.record.response.get("policy")).get("policySummary"))
    if text(summary.get("type")) not in (None, RESOURCE_CONTROL):
        return []
    reason = "The text of a policy of the key owner's organisation was changed; it may deny the vendor's principals."
    policy = text(case.record.request.get("policyId"))
    return _organization_signals(case, _keys_of_organization(case), reason, policy)


def policy_type_switched(case: Case) -> list[Signal]:
    """EnablePolicyType and DisablePolicyType: of weight for resource control policies only."""
    if text(case.record.request.get("policyType")) != RESOURCE_CONTROL:
        return []
    verb = "on" if case.record.name == "EnablePolicyType" else "off"
    reason = f"Resource control policies were switched {verb} in the key owner's organisation: they may deny it."
    return _organization_signals(case, _keys_of_organization(case), reason, None)


def account_closed(case: Case) -> list[Signal]:
    """CloseAccount, and its result as a service event: the key's account goes, with everything in it."""
    status = mapping(case.record.service.get("closeAccountStatus"))
    if case.record.name == "CloseAccountResult" and text(status.get("state")) not in (None, "SUCCEEDED"):
        return []
    closed = account(status.get("accountId")) or account(case.record.request.get("accountId")) or ""
    reason = (
        "The account that owns the key is being closed: only AWS Support can reopen it, "
        "and within 90 days; the record gives no date."
    )
    return [case.signal(Effect.CONTAINER_LOST, reason, key, subject=closed) for key in case.index.keys_in(closed)]


def vendor_left(case: Case) -> list[Signal]:
    """LeaveOrganization in a vendor account: key policies that ask for the vendor's organisation id fail."""
    if case.recorder not in case.index.vendor_accounts:
        return []
    reason = "The vendor's account left its organisation, and the key policy asks for the organisation's id."
    return [
        case.signal(
            Effect.ACCESS_CHANGED,
            reason,
            key,
            fault=Fault.VENDOR,
            means=Means.ORG_CONTROL,
            subject=case.recorder,
            probe=True,
        )
        for key in case.index.needs_organization
        if _serves(key, case.recorder)
    ]


def _serves(key: RegisteredKey, vendor_account: str | None) -> bool:
    accounts = {access.principal.split(":")[4] for access in key.entry.access if access.principal.count(":") >= 5}
    return not accounts or vendor_account in accounts


def _keys_of_organization(case: Case) -> list[RegisteredKey]:
    customers = sorted(case.index.customers_of.get(case.recorder or "", ()))
    return [key for customer in customers for key in case.index.by_organized.get(customer, ())]


def _organization_signals(case: Case, keys: Iterable[RegisteredKey], reason: str, subject: str | None) -> list[Signal]:
    return [
        case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.ORG_CONTROL, subject=subject, probe=True)
        for key in keys
    ]


# -------------------------------------------------------------------------------------------------------------- Regions


def region_switched(case: Case) -> list[Signal]:
    """DisableRegion and EnableRegion: every watched key of that Region and account."""
    region = text(case.record.request.get("regionName")) or ""
    owner = account(case.record.request.get("accountId")) or case.recorder or ""
    keys = case.index.keys_in(owner, region)
    if case.record.name == "DisableRegion":
        reason = f"The Region {region} was switched off in the account that owns the key: nobody can use the key there."
        return [case.signal(Effect.CONTAINER_LOST, reason, key, subject=region) for key in keys]
    reason = f"The Region {region} is being switched on again in the account that owns the key."
    return [case.signal(Effect.CONTAINER_RESTORED, reason, key, subject=region, probe=True) for key in keys]


# --------------------------------------------------------------------------------------------------- the vendor's roles


def role_deleted(case: Case) -> list[Signal]:
    """DeleteRole of a registered role: the vendor took its own access, for each key of the role."""
    return [
        case.signal(
            Effect.ACCESS_REVOKED,
            f"The vendor deleted its own role {role}: nothing can use the key through it any more.",
            key,
            fault=Fault.VENDOR,
            means=Means.IDENTITY,
            subject=role,
        )
        for role in _role(case)
        for key in case.index.by_principal.get(role, ())
    ]


def role_changed(case: Case) -> list[Signal]:
    """A change of a registered role's policies, boundary or trust: only a probe can tell what is left."""
    return _role_signals(case, _role(case))


def managed_policy_changed(case: Case) -> list[Signal]:
    """Another default version of a policy that a registered role holds."""
    if case.record.name == "CreatePolicyVersion" and truth(case.record.request.get("setAsDefault")) is not True:
        return []
    policy = text(case.record.request.get("policyArn")) or ""
    return _role_signals(case, case.index.managed_policies.get(policy, ()))


def _role(case: Case) -> list[str]:
    """Return the registered role that an IAM request names; it names it without path."""
    name = text(case.record.request.get("roleName")) or ""
    if case.recorder not in case.index.vendor_accounts:
        return []
    vendor = case.index.vendor_accounts[case.recorder]
    found = case.index.roles.get((vendor.partition, vendor.id, name))
    return [found] if found else []


def _role_signals(case: Case, roles: Iterable[str]) -> list[Signal]:
    return [
        case.signal(
            Effect.ACCESS_CHANGED,
            f"The vendor changed its role {role} ({case.record.name}); only a probe can tell the effect.",
            key,
            fault=Fault.VENDOR,
            means=Means.ROLE_OR_POLICY,
            subject=role,
            probe=True,
        )
        for role in roles
        for key in case.index.by_principal.get(role, ())
    ]


# ---------------------------------------------------------------------------------------------------------------- table

ORGANIZATIONS_API = "https://docs.aws.amazon.com/organizations/latest/APIReference/API_"
ACCOUNT_API = "https://docs.aws.amazon.com/accounts/latest/reference/API_"
CLOUDTRAIL_API = "https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_"
EVENTS_API = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_"
SQS_API = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_"
IAM_API = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_"


def _organization(
    operation: str,
    effect: str,
    meaning: Meaning,
    note: str,
    *,
    witness: Witness = Witness.ORGANIZATION,
    seen: Seen = Seen.MANAGEMENT,
) -> Rule:
    return Rule(
        service=ORGANIZATIONS,
        operation=operation,
        effect=effect,
        meaning=meaning,
        note=note,
        source=f"{ORGANIZATIONS_API}{operation.removesuffix('Result')}.html",
        seen=seen,
        witness=witness,
    )


def _region(operation: str, effect: str, note: str) -> Rule:
    return Rule(
        service=ACCOUNT,
        operation=operation,
        effect=effect,
        meaning=region_switched,
        note=note,
        source=f"{ACCOUNT_API}{operation}.html",
        seen=Seen.KEY_ACCOUNT_GLOBAL,
        witness=Witness.ORGANIZATION,
    )


def _feed(service: str, operation: str, meaning: Meaning, note: str, *, seen: Seen = Seen.KEY_ACCOUNT) -> Rule:
    api = {CLOUDTRAIL: CLOUDTRAIL_API, EVENTS: EVENTS_API, SQS: SQS_API}[service]
    return Rule(
        service=service,
        operation=operation,
        effect="feed_tampered",
        meaning=meaning,
        note=note,
        source=f"{api}{operation}.html",
        seen=seen,
    )


def _role_rule(operation: str, meaning: Meaning = role_changed, effect: str = "access_changed") -> Rule:
    return Rule(
        service=IAM,
        operation=operation,
        effect=effect,
        meaning=meaning,
        note="a change that the vendor makes to its own registered role",
        source=f"{IAM_API}{operation}.html",
        seen=Seen.VENDOR_GLOBAL,
        witness=Witness.VENDOR,
    )


RULES = (
    _organization("AttachPolicy", "access_changed", policy_moved, "each watched key under the target"),
    _organization("DetachPolicy", "access_changed", policy_moved, "each watched key under the target"),
    _organization("UpdatePolicy", "access_changed", policy_updated, "resource control policies only"),
    _organization("EnablePolicyType", "access_changed", policy_type_switched, "resource control policies only"),
    _organization("DisablePolicyType", "access_changed", policy_type_switched, "resource control policies only"),
    _organization(
        "CloseAccount",
        "container_lost",
        account_closed,
        "each watched key of the account; no deadline in the record",
        witness=Witness.MANAGEMENT,
    ),
    _organization(
        "CloseAccountResult",
        "container_lost",
        account_closed,
        "a service event; each watched key of the account",
        witness=Witness.MANAGEMENT,
    ),
    _organization(
        "LeaveOrganization",
        "access_changed",
        vendor_left,
        "keys whose policy asks for the vendor's organisation id",
        witness=Witness.VENDOR,
        seen=Seen.VENDOR_GLOBAL,
    ),
    _region("DisableRegion", "container_lost", "opt-in Regions only; all IAM access there ends"),
    _region("EnableRegion", "container_restored", "asynchronous; the vendor needs the Region as well"),
    _feed(CLOUDTRAIL, "StopLogging", stopped("The trail that feeds the watch was stopped"), "trails of the watch"),
    _feed(CLOUDTRAIL, "DeleteTrail", stopped("The trail that feeds the watch was deleted"), "trails of the watch"),
    _feed(CLOUDTRAIL, "UpdateTrail", trail_updated, "narrowed, or delivering elsewhere"),
    _feed(CLOUDTRAIL, "PutEventSelectors", selectors_put, "when no selector keeps the management writes of KMS"),
    Rule(
        service=CLOUDTRAIL,
        operation="StartLogging",
        effect="no_effect",
        note="whether the feed is back shows in the heartbeat",
        source=f"{CLOUDTRAIL_API}StartLogging.html",
        seen=Seen.NOT_NEEDED,
    ),
    _feed(
        EVENTS, "DisableRule", stopped("The rule that forwards events to the watch was disabled"), "rules of the watch"
    ),
    _feed(
        EVENTS, "DeleteRule", stopped("The rule that forwards events to the watch was deleted"), "rules of the watch"
    ),
    _feed(
        EVENTS,
        "RemoveTargets",
        stopped("Targets of the rule that forwards to the watch were removed"),
        "rules of the watch",
    ),
    _feed(EVENTS, "PutRule", rule_put, "disabled, or with a pattern that lets no KMS event through"),
    _feed(
        EVENTS,
        "RemovePermission",
        stopped("A right to send to the intake bus was removed"),
        "the vendor's intake bus",
        seen=Seen.VENDOR,
    ),
    _feed(EVENTS, "DeleteEventBus", stopped("The intake bus was deleted"), "the vendor's intake bus", seen=Seen.VENDOR),
    _feed(SQS, "DeleteQueue", stopped("The intake queue was deleted"), "the vendor's intake queue", seen=Seen.VENDOR),
    _role_rule("DeleteRole", role_deleted, "access_revoked"),
    _role_rule("AttachRolePolicy"),
    _role_rule("DetachRolePolicy"),
    _role_rule("PutRolePolicy"),
    _role_rule("DeleteRolePolicy"),
    _role_rule("PutRolePermissionsBoundary"),
    _role_rule("DeleteRolePermissionsBoundary"),
    _role_rule("UpdateAssumeRolePolicy"),
    _role_rule("SetDefaultPolicyVersion", managed_policy_changed),
    _role_rule("CreatePolicyVersion", managed_policy_changed),
)
