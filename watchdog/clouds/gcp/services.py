"""Operations of the services around Cloud KMS: policies, projects, APIs, billing, perimeters, accounts, the watch."""

from collections.abc import Iterable, Mapping

from watchdog.clouds.gcp import access, feeds
from watchdog.clouds.gcp.case import Case
from watchdog.clouds.gcp.fields import covers, either, items, mapping, mappings, mask, text, texts
from watchdog.clouds.gcp.index import Boundary, operations_in
from watchdog.clouds.gcp.kms import POLICY_EFFECTS, access_signal
from watchdog.clouds.gcp.names import attachment, container_of, project_of
from watchdog.clouds.gcp.rules import (
    ACCESS_CONTEXT,
    ASSET,
    BILLING,
    IAM,
    KMS,
    LOGGING,
    MANAGEMENT,
    ORGPOLICY,
    PUBSUB,
    RESOURCES,
    USAGE,
    Meaning,
    Rule,
    Seen,
    Witness,
)
from watchdog.clouds.gcp.trust import DistrustedError
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

DOCS = "https://cloud.google.com/"
PERMISSION_LIST = "includedPermissions"


# ----------------------------------------------------------------------------------------------------- policies, B3 B4


def _place(case: Case, *fields: str) -> str:
    """Return the project, folder or organisation that a record of Resource Manager is about."""
    names = [case.record.resource, *(text(either(case.record.request, name)) for name in fields)]
    for name in names:
        if name and "/" in name:
            return case.index.normal(name)
    for name in names:  # old records write a bare project id or number
        if name and case.record.resource_type in ("project", None):
            return case.index.normal(f"projects/{name}")
    project = text(case.record.labels.get("project_id"))
    return f"projects/{project}" if project and case.record.resource_type == "project" else ""


def _under(case: Case, place: str) -> list[RegisteredKey]:
    return case.index.under.get(place, [])


def policy_set(case: Case) -> list[Signal]:
    """SetIamPolicy on a project, folder or organisation: the `policyDelta` says what changed."""
    level = _place(case, "resource")
    keys = _under(case, level)
    if not keys or level.count("/") != 1:
        return []
    delta = case.record.service_data.get("policyDelta", case.record.metadata.get("policyDelta"))
    if not isinstance(delta, dict):
        paths = mask(case.record.request)
        if paths is not None and not covers(paths, "bindings"):
            return []
        reason = f"The policy of {level} was changed, and this record does not show how."
        return case.each(Effect.ACCESS_CHANGED, reason, keys, means=Means.IAM_BINDING, subject=level, probe=True)
    changes = access.changes_in(delta)
    found = []
    for key in keys:
        verdict = access.judge_changes(changes, key, level, case.index, case.at)
        if verdict:
            found.append(access_signal(case, key, verdict))
    return found + _audit_narrowed(case, delta, keys, level)


def _audit_narrowed(case: Case, delta: Mapping[str, object], keys: Iterable[RegisteredKey], level: str) -> list[Signal]:
    """A log type switched off, or somebody exempted from it, for Cloud KMS or for all services."""
    narrowed = any(
        one.get("service") in (KMS, "allServices")
        and (text(one.get("action")) or "").upper() == ("ADD" if text(one.get("exemptedMember")) else "REMOVE")
        for one in mappings(delta.get("auditConfigDeltas"))
    )
    if not narrowed:
        return []
    reason = f"The audit logs of Cloud KMS were narrowed on {level}: records that the watch relies on may stop."
    return [case.tampered(reason, customer, level) for customer in sorted({key.customer.id for key in keys})]


# ---------------------------------------------------------------------------------------------------- custom roles, B6


def _role(case: Case) -> str:
    return case.index.normal(case.record.resource or text(case.record.request.get("name")) or "")


def role_updated(case: Case) -> list[Signal]:
    """UpdateRole: what the new list of permissions leaves of a registered role."""
    role = _role(case)
    keys = case.index.by_role.get(role, [])
    body = either(case.record.request, "role")
    paths = mask(case.record.request)
    new = mapping(body)
    if text(new.get("stage")) == "DISABLED" and (paths is None or covers(paths, "stage")):
        reason = f"The role {role} was switched off: it gives nobody anything."
        return case.each(Effect.ACCESS_REVOKED, reason, keys, means=Means.ROLE_OR_POLICY, subject=role)
    if paths is not None and not covers(paths, PERMISSION_LIST):
        return []
    listed = either(new, PERMISSION_LIST)
    removed = texts(mapping(case.record.service_data.get("permissionDelta")).get("removedPermissions"))
    if isinstance(body, dict) and (listed is not None or paths is not None):
        left = operations_in(texts(listed))
    elif removed:
        left = access.BOTH - operations_in(removed)
    else:
        reason = f"The role {role}, by which the vendor uses the key, was changed; the record does not say how."
        return case.each(Effect.ACCESS_CHANGED, reason, keys, means=Means.ROLE_OR_POLICY, subject=role, probe=True)
    return [_role_left(case, key, role, left) for key in keys]


def _role_left(case: Case, key: RegisteredKey, role: str, left: frozenset[str]) -> Signal:
    needs = frozenset[str]().union(*case.index.principals[key.id].values()) or access.BOTH
    lacks = needs - left
    if not lacks:
        reason = f"The role {role} holds all that the vendor needs."
        return case.signal(Effect.ACCESS_GRANTED, reason, key, means=Means.ROLE_OR_POLICY, subject=role)
    what = " and ".join(sorted(lacks))
    effect = Effect.ACCESS_REDUCED if needs & left else Effect.ACCESS_REVOKED
    reason = f"The role {role}, by which the vendor uses the key, no longer lets it {what}."
    return case.signal(effect, reason, key, means=Means.ROLE_OR_POLICY, subject=role)


def role_deleted(case: Case) -> list[Signal]:
    """DeleteRole: the bindings stay and give nothing."""
    role = _role(case)
    reason = f"The role {role}, by which the vendor uses the key, was deleted: its bindings give nothing."
    return case.each(
        Effect.ACCESS_REVOKED, reason, case.index.by_role.get(role, []), means=Means.ROLE_OR_POLICY, subject=role
    )


def role_undeleted(case: Case) -> list[Signal]:
    """UndeleteRole: the role is back; what it holds is not in the record."""
    role = _role(case)
    reason = f"The role {role} was undeleted; what it holds only a probe can tell."
    return case.each(
        Effect.ACCESS_GRANTED, reason, case.index.by_role.get(role, []), means=Means.ROLE_OR_POLICY, subject=role,
        probe=True,
    )  # fmt: skip


# ----------------------------------------------------------------------------------- denials and boundaries, B8 and B8b


def _attached(case: Case) -> tuple[str, str]:
    """Return where a deny policy is attached, and its id."""
    policy = mapping(case.record.request.get("policy"))
    names = (
        case.record.resource,
        text(case.record.request.get("name")),
        text(policy.get("name")),
        text(case.record.request.get("parent")),
    )
    place = next((found for found in map(attachment, names) if found), None)
    shown = next((name for name in names if name and "/denypolicies/" in name), "")
    identity = shown.rpartition("/denypolicies/")[2] or text(either(case.record.request, "policyId")) or ""
    return case.index.normal(place), identity


def denial_written(case: Case) -> list[Signal]:
    """CreatePolicy and UpdatePolicy of IAM v2: the vendor is usually hit without being named."""
    place, identity = _attached(case)
    keys = _under(case, place)
    policy = case.record.request.get("policy")
    if not isinstance(policy, dict):
        policy = case.record.response if isinstance(case.record.response.get("rules"), list) else None
    subject = f"{identity} on {place}"
    if policy is None:
        reason = f"The deny policy {identity} on {place} was written; the record does not show its rules."
        return case.each(Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=subject, probe=True)
    found = []
    for key in keys:
        verdict = access.judge_denial(policy, key, case.index)
        if verdict:
            found.append(
                case.signal(
                    verdict.effect,
                    verdict.reason,
                    key,
                    means=verdict.means,
                    subject=subject,
                    probe=verdict.probe,
                )
            )
    return found


def denial_deleted(case: Case) -> list[Signal]:
    """DeletePolicy of IAM v2: the record does not say what the policy denied."""
    place, identity = _attached(case)
    reason = f"The deny policy {identity} on {place} was deleted; the record does not say what it denied."
    return case.each(
        Effect.ACCESS_CHANGED, reason, _under(case, place), means=Means.ORG_CONTROL, subject=f"{identity} on {place}",
        probe=True,
    )  # fmt: skip


def boundary_changed(case: Case) -> list[Signal]:
    """Principal access boundaries and their bindings: whom they hit is not in the record."""
    names = (case.record.resource, text(case.record.request.get("name")), text(case.record.request.get("parent")))
    place = case.index.normal(next((found for found in map(container_of, names) if found), None))
    ours = case.index.is_ours(place)
    _same_side(case, ours=ours)
    if not ours:
        keys = _under(case, place)
    elif place.startswith("organizations/"):
        keys = list(case.index.keys.values())
    else:
        keys = case.index.by_vendor_project.get(place.removeprefix("projects/"), [])
    reason = f"A principal access boundary was changed on {place}; whether it hits the vendor only a probe can tell."
    fault = Fault.VENDOR if ours else None
    return case.each(
        Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=place, fault=fault, probe=True
    )


def _same_side(case: Case, *, ours: bool) -> None:
    """Check that what lies on the vendor's side is told by the vendor's log, and the other way round."""
    if case.container is not None and ours != case.in_our_log:
        raise DistrustedError(f"it lies in a log of {case.container}, which cannot tell of that resource")


# ------------------------------------------------------------------------------------------------------ perimeters, B10


def perimeter_written(case: Case) -> list[Signal]:
    """CreateServicePerimeter and UpdateServicePerimeter: only the enforced part counts, `status`."""
    body = either(case.record.request, "servicePerimeter")
    name = text(mapping(body).get("name")) or case.record.resource or ""
    if not isinstance(body, dict):
        return _unshown_perimeter(case, name)
    paths = mask(case.record.request)
    if paths is not None and not covers(paths, "status"):
        return []
    return _perimeter(case, name, body, paths)


def _perimeter(case: Case, name: str, body: Mapping[str, object], paths: list[str] | None) -> list[Signal]:
    status = body.get("status")
    known = case.index.perimeters.get(name)
    if not isinstance(status, dict):
        whole = paths is not None and covers(paths, "status")
        return _opened(case, known) if known and whole else []
    partial = paths is not None and "status" not in paths and "*" not in paths
    places = _listed(status, "resources", paths, partial=partial)
    services = _listed(status, "restrictedServices", paths, partial=partial)
    restricts = services is None or KMS in services or "*" in services
    if places is None:
        inside = list(known.keys) if known else []
        ours: list[RegisteredKey] = []
    else:
        spelled = [case.index.normal(place) for place in places]
        inside = [key for place in spelled for key in _under(case, place)]
        ours = [key for place in spelled for key in case.index.by_vendor_project.get(place.rpartition("/")[2], [])]
    if not restricts:
        inside, ours = [], []
    reason = f"The perimeter {name} now encloses the project of the key and restricts Cloud KMS."
    found = case.each(Effect.ACCESS_CHANGED, reason, inside, means=Means.ORG_CONTROL, subject=name, probe=True)
    reason = f"The vendor's perimeter {name} now encloses its instance and restricts Cloud KMS."
    if case.in_our_log:
        found += case.each(
            Effect.ACCESS_CHANGED, reason, ours, means=Means.ORG_CONTROL, subject=name, fault=Fault.VENDOR, probe=True
        )
    if known:
        hit = {key.id for key in inside}
        found += _opened(case, known, spare=hit)
    return found


def _listed(status: Mapping[str, object], name: str, paths: list[str] | None, *, partial: bool) -> list[str] | None:
    """Return a list of the enforced part; None when the call did not touch it."""
    value = either(status, name)
    if value is None and partial and not covers(paths, f"status.{name}"):
        return None
    return texts(value)


def _opened(case: Case, known: Boundary, spare: Iterable[str] = ()) -> list[Signal]:
    reason = f"The perimeter {known.perimeter.name} no longer keeps Cloud KMS of the key's project closed."
    keys = [key for key in known.keys if key.id not in set(spare)]
    name = known.perimeter.name
    return case.each(Effect.PATH_OPENED, reason, keys, subject=name, part=name, probe=True)


def _unshown_perimeter(case: Case, name: str) -> list[Signal]:
    known = case.index.perimeters.get(name)
    keys = list(known.keys) if known else _under(case, case.container or "")
    reason = f"The perimeter {name} was changed, and the record does not show how."
    return case.each(Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=name, probe=True)


def perimeter_deleted(case: Case) -> list[Signal]:
    """DeleteServicePerimeter: of a registered one."""
    known = case.index.perimeters.get(case.record.resource or text(case.record.request.get("name")) or "")
    return _opened(case, known) if known else []


def perimeters_replaced(case: Case) -> list[Signal]:
    """ReplaceServicePerimeters: the request holds all perimeters of the access policy."""
    listed = either(case.record.request, "servicePerimeters")
    if not isinstance(listed, list):
        return perimeters_committed(case)
    found = [
        signal for body in mappings(listed) for signal in _perimeter(case, text(body.get("name")) or "", body, None)
    ]
    names = {text(body.get("name")) for body in mappings(listed)}
    policy = case.record.resource or text(case.record.request.get("parent")) or ""
    for name, known in case.index.perimeters.items():
        if name not in names and policy and name.startswith(f"{policy}/"):
            found += _opened(case, known)
    return _one_each(found)


def _one_each(found: list[Signal]) -> list[Signal]:
    """Keep one signal per key: a risk outranks a recovery."""
    best: dict[str | None, Signal] = {}
    for signal in found:
        if signal.key not in best or signal.effect is Effect.ACCESS_CHANGED:
            best[signal.key] = signal
    return list(best.values())


def perimeters_committed(case: Case) -> list[Signal]:
    """CommitServicePerimeters: the dry-run parts become enforced; the record does not show them."""
    reason = "The dry-run settings of perimeters were put in force; what they are is not in the record."
    keys = _under(case, case.container or "")
    return case.each(
        Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=case.record.resource, probe=True
    )


def access_level_changed(case: Case) -> list[Signal]:
    """Access levels: of weight for keys inside a registered perimeter of the same access policy."""
    policy = (case.record.resource or text(case.record.request.get("parent")) or "").partition("/accessLevels")[0]
    keys = [
        key
        for name, known in case.index.perimeters.items()
        if policy and name.startswith(f"{policy}/")
        for key in known.keys
    ]
    reason = "An access level was changed, and the key lies inside a perimeter of the same access policy."
    return case.each(
        Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=case.record.resource, probe=True
    )


# ------------------------------------------------------------------------------------------- organisation policies, B11

GUARDS = ("cloudkms.disableBeforeDestroy", "cloudkms.minimumDestroyScheduledDuration")
SERVICES = "gcp.restrictServiceUsage"


def _constraint(case: Case) -> tuple[str, str]:
    """Return where an organisation policy holds and which constraint it sets, without `constraints/`."""
    policy = mapping(case.record.request.get("policy"))
    named = text(policy.get("name")) or text(case.record.request.get("name"))
    resource = case.record.resource or named or ""
    place, _, constraint = resource.partition("/policies/")
    if not constraint:
        constraint = (named or "").partition("/policies/")[2]
    constraint = constraint or text(case.record.request.get("constraint")) or text(policy.get("constraint")) or ""
    return case.index.normal(container_of(place)), constraint.removeprefix("constraints/")


def org_policy_written(case: Case) -> list[Signal]:
    """CreatePolicy, UpdatePolicy and SetOrgPolicy: guards that stop guarding, and Cloud KMS made forbidden."""
    place, constraint = _constraint(case)
    keys = _under(case, place)
    policy = case.record.request.get("policy")
    if constraint in GUARDS:
        return _guard_lowered(case, keys, constraint, place) if _is_off(policy) else []
    if constraint != SERVICES:
        return []
    if isinstance(policy, dict) and not _forbids_kms(policy):
        return []
    reason = (
        f"An organisation policy on {place} forbids Cloud KMS, or may: whether it hits the key only a probe can tell."
    )
    return case.each(
        Effect.ACCESS_CHANGED, reason, keys, means=Means.ORG_CONTROL, subject=f"{constraint} on {place}", probe=True
    )


def org_policy_deleted(case: Case) -> list[Signal]:
    """DeletePolicy and ClearOrgPolicy: of weight for the guards against destruction."""
    place, constraint = _constraint(case)
    return _guard_lowered(case, _under(case, place), constraint, place) if constraint in GUARDS else []


def _guard_lowered(case: Case, keys: list[RegisteredKey], constraint: str, place: str) -> list[Signal]:
    reason = f"The guard {constraint} no longer holds on {place}: keys can be destroyed more easily."
    return case.each(Effect.PROTECTION_WEAKENED, reason, keys, subject=f"{constraint} on {place}")


def _rules(policy: Mapping[str, object]) -> list[Mapping[str, object]] | None:
    """Return the rules in force; None when the policy has only a dry-run part."""
    spec = policy.get("spec")
    if not isinstance(spec, dict):
        return None if "dryRunSpec" in policy or "dry_run_spec" in policy else []
    return [] if spec.get("reset") is True else mappings(spec.get("rules"))


def _is_off(policy: object) -> bool:
    """Whether a guard is not enforced by this policy; one that the record does not show may be."""
    if not isinstance(policy, dict):
        return True
    old = policy.get("booleanPolicy")
    if isinstance(old, dict):
        return old.get("enforced") is not True
    if isinstance(policy.get("listPolicy"), dict):
        return text(mapping(policy["listPolicy"]).get("allValues")) == "ALLOW"
    rules = _rules(policy)
    if rules is None:
        return False
    return not rules or any(
        one.get("allowAll") is True
        or ("values" not in one and one.get("enforce") is not True and not one.get("denyAll"))
        for one in rules
    )


def _forbids_kms(policy: Mapping[str, object]) -> bool:
    old = policy.get("listPolicy")
    if isinstance(old, dict):
        lists = [(mapping(old), text(old.get("allValues")) == "DENY")]
    else:
        lists = [(mapping(one.get("values")), one.get("denyAll") is True) for one in _rules(policy) or []]
    for values, all_denied in lists:
        allowed, denied = values.get("allowedValues"), texts(values.get("deniedValues"))
        if all_denied or KMS in denied or f"is:{KMS}" in denied:
            return True
        if items(allowed) and KMS not in texts(allowed) and f"is:{KMS}" not in texts(allowed):
            return True
    return False


# ------------------------------------------------------------------------------------------ accounts of the vendor, B12


def _account_keys(case: Case) -> tuple[str, list[RegisteredKey]]:
    """Find the account by its unique id; its e-mail counts only where the register knows no id."""
    named = (case.record.resource or text(case.record.request.get("name")) or "").rpartition("/")[2]
    unique = named if named.isdigit() else text(case.record.labels.get("unique_id")) or ""
    email = case.index.unique_ids.get(unique)
    if email is None:
        shown = named if "@" in named else text(case.record.labels.get("email_id")) or ""
        email = shown if shown not in case.index.emails_with_id or not unique else ""
    return email, case.index.by_principal.get(email, [])


def account_lost(case: Case) -> list[Signal]:
    """DisableServiceAccount and DeleteServiceAccount: the vendor's own doing."""
    email, keys = _account_keys(case)
    extra = " Its grants die even if it is made again." if case.record.operation == "deleteserviceaccount" else ""
    word = "deleted" if extra else "disabled"
    reason = f"The vendor's own account {email} was {word}: it can no longer use the key.{extra}"
    return case.each(Effect.ACCESS_REVOKED, reason, keys, means=Means.IDENTITY, subject=email, fault=Fault.VENDOR)


def account_back(case: Case) -> list[Signal]:
    """EnableServiceAccount and UndeleteServiceAccount."""
    email, keys = _account_keys(case)
    reason = f"The vendor's own account {email} is back."
    return case.each(Effect.ACCESS_GRANTED, reason, keys, means=Means.IDENTITY, subject=email)


# ------------------------------------------------------------------------------------------------------ containers, 3.3


def project_deleted(case: Case) -> list[Signal]:
    """DeleteProject: 30 days, by the record's time; the deadline is not in the record (C1)."""
    place = _place(case, "name", "projectId")
    reason = (
        f"The project {project_of(place) if '/' in place else place} was shut down: its keys cannot be used, and after "
        "30 days they are gone with it."
    )
    return case.each(Effect.CONTAINER_LOST, reason, _under(case, place), subject=place)


def project_restored(case: Case) -> list[Signal]:
    """UndeleteProject: billing is not linked again by it."""
    place = _place(case, "name", "projectId")
    reason = "The project was restored; billing is not linked again by that, and the API may be off."
    return case.each(Effect.CONTAINER_RESTORED, reason, _under(case, place), subject=place, probe=True, partial=True)


def lien_deleted(case: Case) -> list[Signal]:
    """DeleteLien: the project stands in log name and labels only."""
    project = text(case.record.labels.get("project_id"))
    place = case.container or (f"projects/{project}" if project else "")
    reason = "A lien that kept the project of the key from being deleted was removed."
    return case.each(Effect.PROTECTION_WEAKENED, reason, _under(case, place), subject=place)


def moved(case: Case) -> list[Signal]:
    """MoveProject and MoveFolder: what was inherited changes, and an organisation's sink may no longer see it."""
    place = _place(case, "name")
    keys = _under(case, place)
    target = text(either(case.record.request, "destinationParent")) or ""
    reason = (
        f"{place} was moved to {target or 'another place'}: the grants and policies that it inherited have changed."
    )
    found = case.each(Effect.ACCESS_CHANGED, reason, keys, means=Means.IAM_BINDING, subject=place, probe=True)
    for customer in {key.customer.id: key.customer for key in keys}.values():
        gcp = customer.gcp
        if gcp is None or not _leaves(target, gcp.organization):
            continue
        for sink in gcp.sinks:
            if sink.scope == gcp.organization:
                reason = f"{place} left the organisation whose sink feeds the watch."
                found.append(case.tampered(reason, customer.id, sink.name))
                break
    return found


def _leaves(target: str, organization: str | None) -> bool:
    """Whether a destination is outside the organisation; of a folder that is not known."""
    return target.startswith("organizations/") and target != organization


def _services_named(case: Case) -> set[str]:
    """Collect the services that a record names: in the resource, as one name or as a list (C2)."""
    request, names = case.record.request, set[str]()
    for name in (case.record.resource, text(request.get("name"))):
        _, mark, tail = (name or "").partition("/services/")
        if mark:
            names |= {one.strip() for one in tail.strip("[]").split(",")}
    for field in ("serviceName", "serviceNames", "serviceIds", "services", "service"):
        names |= {one.removeprefix("services/") for one in texts(either(request, field))}
    return names


def _rules_named(case: Case) -> set[str] | None:
    """Collect the services in the enable rules of a consumer policy (v2); None when it shows none."""
    request = case.record.request
    policy = mapping(either(request, "consumerPolicy")) or mapping(request.get("policy"))
    rules = either(policy, "enableRules")
    if rules is None:
        rules = either(request, "enableRules")
    if rules is None:
        rule = either(request, "enableRule")
        rules = [rule] if isinstance(rule, dict) else None
    if rules is None:
        return None
    return {one.rpartition("services/")[2] for rule in mappings(rules) for one in texts(rule.get("services"))}


def _consumer(case: Case) -> str:
    """Return the project whose API is switched."""
    request = case.record.request
    names = (
        case.record.resource,
        text(request.get("name")),
        text(request.get("parent")),
    )
    for name in names:
        if name and name.startswith(("projects/", "folders/", "organizations/")):
            return case.index.normal(container_of(name))
    consumer = (
        text(either(request, "consumerProjectId")) or (text(either(request, "consumerId")) or "").partition(":")[2]
    )
    return case.index.normal(f"projects/{consumer}") if consumer else case.container or ""


def service_off(case: Case) -> list[Signal]:
    """Cloud KMS switched off: in the key's project all is lost, in the vendor's own its calls fail (C2, B13)."""
    return _switched(case, on=False) if KMS in _services_named(case) else []


def service_on(case: Case) -> list[Signal]:
    """Cloud KMS switched on."""
    return _switched(case, on=True) if KMS in _services_named(case) else []


def rules_added(case: Case) -> list[Signal]:
    """AddEnableRules: services switched on by rule."""
    named = (_rules_named(case) or set()) | _services_named(case)
    return _switched(case, on=True) if KMS in named else []


def rules_removed(case: Case) -> list[Signal]:
    """RemoveEnableRules: services switched off by rule."""
    named = (_rules_named(case) or set()) | _services_named(case)
    return _switched(case, on=False) if KMS in named else []


def rules_replaced(case: Case) -> list[Signal]:
    """UpdateConsumerPolicyLRO: the whole list; what it lacks is off, unless a level above has it on."""
    named = _rules_named(case)
    if named is None:
        return []
    return _switched(case, on=KMS in named, probe=KMS not in named)


def _switched(case: Case, *, on: bool, probe: bool = False) -> list[Signal]:
    place = _consumer(case)
    keys = _under(case, place)
    ours = case.index.is_ours(place)
    _same_side(case, ours=ours)
    if on:
        reason = "The Cloud KMS API was switched on in the key's project."
        found = case.each(Effect.CONTAINER_RESTORED, reason, keys, subject=f"{KMS} in {place}")
    else:
        reason = "The Cloud KMS API was switched off in the key's project: no key there can be used."
        fault = Fault.VENDOR if ours else None
        found = case.each(Effect.CONTAINER_LOST, reason, keys, subject=f"{KMS} in {place}", fault=fault, probe=probe)
    inside = {key.id for key in keys}
    served = [key for key in _served(case, place) if key.id not in inside]
    word = "on" if on else "off"
    reason = f"The vendor switched the Cloud KMS API {word} in its own project {place.removeprefix('projects/')}."
    effect = Effect.ACCESS_GRANTED if on else Effect.ACCESS_CHANGED
    return found + case.each(
        effect, reason, served, means=Means.ORG_CONTROL, subject=place, fault=Fault.VENDOR, probe=True
    )


def _served(case: Case, place: str) -> list[RegisteredKey]:
    """Return the keys that the vendor's instance in a project uses."""
    return case.index.by_vendor_project.get(place.removeprefix("projects/"), []) if case.index.is_ours(place) else []


def _billed(case: Case) -> str:
    name = text(either(case.record.request, "resourceName")) or text(case.record.request.get("name"))
    if name and name.startswith("projects/"):
        return case.index.normal(container_of(name))
    return _place(case)


def billing_off(case: Case) -> list[Signal]:
    """DisableResourceBilling: the keys of a project without billing cannot be used (C3)."""
    place = _billed(case)
    reason = "Billing was unlinked from the key's project: its keys stop working soon."
    return case.each(Effect.CONTAINER_LOST, reason, _under(case, place), subject=f"billing of {place}")


def billing_on(case: Case) -> list[Signal]:
    """AssignResourceToBillingAccount; an empty account is the same as none."""
    if either(case.record.request, "billingAccountName") == "":
        return billing_off(case)
    place = _billed(case)
    reason = "Billing was linked to the key's project."
    return case.each(Effect.CONTAINER_RESTORED, reason, _under(case, place), subject=f"billing of {place}")


def _account(case: Case) -> tuple[str, list[RegisteredKey]]:
    names = (case.record.resource, text(case.record.request.get("name")), case.container)
    account = next((found for found in map(container_of, names) if found and found.startswith("billingAcc")), "")
    return account, case.index.by_billing.get(account, [])


def billing_closed(case: Case) -> list[Signal]:
    """CloseBillingAccount: hits every project that it pays for."""
    account, keys = _account(case)
    reason = f"The billing account {account} of the key's project was closed: its keys stop working soon."
    return case.each(Effect.CONTAINER_LOST, reason, keys, subject=account)


def billing_reopened(case: Case) -> list[Signal]:
    """ReopenBillingAccount."""
    account, keys = _account(case)
    return case.each(
        Effect.CONTAINER_RESTORED, f"The billing account {account} was opened again.", keys, subject=account
    )


# ---------------------------------------------------------------------------------------------------------------- table


def _watched(
    service: str,
    operations: str,
    effect: str,
    meaning: Meaning,
    note: str,
    page: str,
    seen: Seen = Seen.PLACE,
    witness: Witness = Witness.CUSTOMER,
) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            service=service,
            operation=operation,
            effect=effect,
            meaning=meaning,
            note=note,
            source=f"{DOCS}{page}",
            seen=seen,
            witness=witness,
        )
        for operation in operations.split()
    )


def _ignored(service: str, operations: str, why: str, page: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            service=service,
            operation=operation,
            effect="no_effect",
            note=why,
            source=f"{DOCS}{page}",
            seen=Seen.NOT_NEEDED,
        )
        for operation in operations.split()
    )


IAM_PAGE = "iam/docs/audit-logging"
VPC_PAGE = "vpc-service-controls/docs/audit-logging"
RM_PAGE = "resource-manager/docs/audit-logging"
SU_PAGE = "service-usage/docs/audit-logging"
BILLING_PAGE = "billing/docs/audit-logging"
ORG_PAGE = "resource-manager/docs/organization-policy/audit-logging"
LOG_PAGE = "logging/docs/audit-logging"
PUBSUB_PAGE = "pubsub/docs/audit-logging"
ASSET_PAGE = "asset-inventory/docs/audit-logging"

RULES = (
    *_watched(
        RESOURCES,
        "SetIamPolicy",
        f"{POLICY_EFFECTS} or feed_tampered",
        policy_set,
        "by the policyDelta; of a project, folder or organisation, whose own log carries it",
        IAM_PAGE,
    ),
    *_watched(
        IAM,
        "UpdateRole",
        "access_revoked, access_reduced, access_changed or access_granted",
        role_updated,
        "of a registered custom role",
        IAM_PAGE,
    ),
    *_watched(IAM, "DeleteRole", "access_revoked", role_deleted, "of a registered custom role", IAM_PAGE),
    *_watched(IAM, "UndeleteRole", "access_granted", role_undeleted, "of a registered custom role", IAM_PAGE),
    *_watched(
        IAM,
        "CreatePolicy UpdatePolicy",
        "access_revoked, access_reduced or access_changed",
        denial_written,
        "a deny policy; the vendor is usually hit without being named",
        IAM_PAGE,
    ),
    *_watched(IAM, "DeletePolicy", "access_changed", denial_deleted, "does not say what the policy denied", IAM_PAGE),
    *_watched(
        IAM,
        "CreatePolicyBinding UpdatePolicyBinding DeletePolicyBinding CreatePrincipalAccessBoundaryPolicy "
        "UpdatePrincipalAccessBoundaryPolicy DeletePrincipalAccessBoundaryPolicy",
        "access_changed",
        boundary_changed,
        "whom a boundary hits is not in the record",
        IAM_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        IAM,
        "DisableServiceAccount DeleteServiceAccount",
        "access_revoked",
        account_lost,
        "of a registered principal, by its unique id; the vendor's own doing",
        IAM_PAGE,
        Seen.VENDOR,
        Witness.VENDOR,
    ),
    *_watched(
        IAM,
        "EnableServiceAccount UndeleteServiceAccount",
        "access_granted",
        account_back,
        "of a registered principal, by its unique id",
        IAM_PAGE,
        Seen.VENDOR,
        Witness.VENDOR,
    ),
    *_watched(
        ACCESS_CONTEXT,
        "CreateServicePerimeter UpdateServicePerimeter",
        "access_changed or path_opened",
        perimeter_written,
        "only the enforced part counts, never the dry run",
        VPC_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        ACCESS_CONTEXT,
        "DeleteServicePerimeter",
        "path_opened",
        perimeter_deleted,
        "of a registered perimeter",
        VPC_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        ACCESS_CONTEXT,
        "ReplaceServicePerimeters",
        "access_changed or path_opened",
        perimeters_replaced,
        "all perimeters of an access policy at once",
        VPC_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        ACCESS_CONTEXT,
        "CommitServicePerimeters",
        "access_changed",
        perimeters_committed,
        "the dry run becomes enforced; the record does not show what it holds",
        VPC_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        ACCESS_CONTEXT,
        "CreateAccessLevel UpdateAccessLevel DeleteAccessLevel ReplaceAccessLevels",
        "access_changed",
        access_level_changed,
        "for keys inside a registered perimeter of the same access policy",
        VPC_PAGE,
        Seen.ORGANIZATION,
        Witness.EITHER,
    ),
    *_watched(
        ORGPOLICY,
        "CreatePolicy UpdatePolicy",
        "access_changed or protection_weakened",
        org_policy_written,
        "Cloud KMS made forbidden, or a guard against destruction not enforced; custom constraints are read by hand",
        ORG_PAGE,
    ),
    *_watched(
        ORGPOLICY,
        "DeletePolicy",
        "protection_weakened",
        org_policy_deleted,
        "of a guard against destruction",
        ORG_PAGE,
    ),
    *(
        rule
        for service in (RESOURCES, ORGPOLICY)  # which of the two the older records name is not documented
        for rule in (
            *_watched(
                service,
                "SetOrgPolicy",
                "access_changed or protection_weakened",
                org_policy_written,
                "the older form of UpdatePolicy",
                ORG_PAGE,
            ),
            *_watched(
                service,
                "ClearOrgPolicy",
                "protection_weakened",
                org_policy_deleted,
                "the older form of DeletePolicy",
                ORG_PAGE,
            ),
        )
    ),
    *_watched(
        RESOURCES,
        "DeleteProject",
        "container_lost",
        project_deleted,
        "all its keys; 30 days, which the record does not say",
        "resource-manager/docs/delete-restore-projects",
    ),
    *_watched(
        RESOURCES,
        "UndeleteProject",
        "container_restored",
        project_restored,
        "billing is not linked again, the API may be off",
        "resource-manager/docs/delete-restore-projects",
    ),
    *_watched(
        RESOURCES, "DeleteLien", "protection_weakened", lien_deleted, "the project stands in the log name only", RM_PAGE
    ),
    *_watched(
        RESOURCES,
        "MoveProject MoveFolder",
        "access_changed and feed_tampered",
        moved,
        "what was inherited changes; an organisation's sink no longer sees what left it",
        RM_PAGE,
    ),
    *_watched(
        USAGE, "DisableService", "container_lost or access_changed", service_off, "exactly cloudkms.googleapis.com",
        SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        USAGE, "EnableService BatchEnableServices", "container_restored or access_granted", service_on,
        "exactly cloudkms.googleapis.com", SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        USAGE, "AddEnableRules", "container_restored or access_granted", rules_added, "the newer form of EnableService",
        SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        USAGE, "RemoveEnableRules", "container_lost or access_changed", rules_removed,
        "the newer form of DisableService", SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        USAGE, "UpdateConsumerPolicyLRO UpdateConsumerPolicy", "container_lost, container_restored or access_changed",
        rules_replaced, "the whole list of what is switched on", SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        MANAGEMENT, "DisableService DeactivateServices", "container_lost or access_changed", service_off,
        "the older form of DisableService", SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        MANAGEMENT, "EnableService ActivateServices", "container_restored or access_granted", service_on,
        "the older form of EnableService", SU_PAGE, Seen.PLACE, Witness.EITHER,
    ),
    *_watched(
        BILLING, "DisableResourceBilling", "container_lost", billing_off, "names the project by number", BILLING_PAGE
    ),
    *_watched(
        BILLING, "AssignResourceToBillingAccount", "container_restored", billing_on, "names the project by number",
        BILLING_PAGE,
    ),
    *_watched(
        BILLING, "CloseBillingAccount", "container_lost", billing_closed, "every project that it pays for",
        BILLING_PAGE, Seen.BILLING_LOG,
    ),
    *_watched(
        BILLING, "ReopenBillingAccount", "container_restored", billing_reopened, "every project that it pays for",
        BILLING_PAGE, Seen.BILLING_LOG,
    ),
    *_watched(LOGGING, "DeleteSink", "feed_tampered", feeds.sink_deleted, "of a registered sink", LOG_PAGE),
    *_watched(
        LOGGING, "UpdateSink", "feed_tampered", feeds.sink_updated,
        "switched off, or with another filter, destination or exclusion", LOG_PAGE,
    ),
    *_watched(
        PUBSUB, "DeleteTopic", "feed_tampered", feeds.topic_deleted, "of a topic of the watch", PUBSUB_PAGE,
        Seen.VENDOR, Witness.VENDOR,
    ),
    *_watched(
        PUBSUB, "DeleteSubscription DetachSubscription", "feed_tampered", feeds.subscription_lost,
        "of a subscription of the watch", PUBSUB_PAGE, Seen.VENDOR, Witness.VENDOR,
    ),
    *_watched(
        PUBSUB, "SetIamPolicy", "feed_tampered", feeds.topic_policy_set,
        "a registered writer identity must stay a publisher of its topic", PUBSUB_PAGE, Seen.VENDOR, Witness.VENDOR,
    ),
    *_watched(
        ASSET, "DeleteFeed UpdateFeed", "feed_tampered", feeds.asset_feed_changed, "of a registered asset feed",
        ASSET_PAGE,
    ),
    *_ignored(RESOURCES, "CreateLien", "protects the project", RM_PAGE),
    *_ignored(RESOURCES, "CreateProject UpdateProject", "touches no existing key", RM_PAGE),
    *_ignored(IAM, "CreateRole", "a new role takes nothing away", IAM_PAGE),
    *_ignored(IAM, "SetIAMPolicy", "of a service account: who may act as it, not what it may do", IAM_PAGE),
    *_ignored(LOGGING, "CreateSink", "a new sink takes nothing away", LOG_PAGE),
    *_ignored(
        LOGGING, "CreateExclusion UpdateExclusion DeleteExclusion",
        "believed to touch the _Default sink only; the heartbeat decides", LOG_PAGE,
    ),
    *_ignored(
        BILLING, "UpdateResourceBillingProtection", "exists, its shape is not known; it switches nothing off",
        BILLING_PAGE,
    ),
    *_ignored(
        ORGPOLICY, "CreateCustomConstraint UpdateCustomConstraint DeleteCustomConstraint",
        "constrains changes of keys, not their use; read by hand", ORG_PAGE,
    ),
)  # fmt: skip
