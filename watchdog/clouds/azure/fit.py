"""What the Azure sections of a register say against each other: what its form alone cannot tell."""

from collections.abc import Collection, Iterator

from watchdog.clouds.azure.forwarder import RECORD
from watchdog.clouds.azure.ids import canonical, name_of, place, subscription_of
from watchdog.clouds.azure.index import NEEDED, Estate, Index, index_of
from watchdog.register import Customer, KeyEntry, Register
from watchdog.register_azure import AzureContainer, AzureCustomer, AzureFeeds, AzureGrant, AzureVendor
from watchdog.words import KeyOwner

Finding = tuple[str, str, str]
"""Place in the document, what does not fit, and how to mend it."""

TYPES = {"vault": "/microsoft.keyvault/vaults/", "managed_hsm": "/microsoft.keyvault/managedhsms/"}
MODELS = {"vault": ("rbac", "access_policies"), "managed_hsm": ("mhsm_local_rbac",)}
PERMISSIONS = ("get", "wrapKey", "unwrapKey")
KEY_OPERATIONS = frozenset(NEEDED)
GRANTS = {"rbac": "role_assignment", "access_policies": "access_policy", "mhsm_local_rbac": "local_role_assignment"}


def findings(register: Register) -> Iterator[Finding]:
    """Yield everything that does not fit together in the Azure sections, in the order of the document."""
    index = index_of(register)
    seen: dict[str, str] = {}
    names: dict[str, tuple[str, str]] = {}
    covering = {id(grant.facts) for key in index.by_id.values() for grant in key.grants}
    vendor = register.vendor.azure
    if vendor:
        yield from _vendor(vendor)
        yield from _side("vendor.azure", vendor, index, seen, covering)
        yield from _feeds("vendor.azure.feeds", vendor.feeds, "the vendor", seen, names)
    for number, customer in enumerate(register.document.customers):
        at = f"customers[{number}]"
        if customer.azure:
            yield from _principal(f"{at}.azure", customer.azure, vendor)
            yield from _side(f"{at}.azure", customer.azure, index, seen, covering)
            yield from _feeds(f"{at}.azure.feeds", customer.azure.feeds, customer.id, seen, names)
        yield from _keys(at, customer, index)


# -------------------------------------------------------------------------------------------------------------- sides


def _vendor(vendor: AzureVendor) -> Iterator[Finding]:
    identities = {canonical(one.id): one for one in vendor.identities}
    for number, app in enumerate(vendor.apps):
        at = f"vendor.azure.apps[{number}]"
        if app.identity is None:
            continue
        identity = identities.get(canonical(app.identity))
        if identity is None:
            yield at + ".identity", f"identity {app.identity} is not registered", "list it in vendor.azure.identities"
        elif identity.principal_id and app.federated_credentials:
            subjects = [one.subject.lower() for one in app.federated_credentials]
            if identity.principal_id.lower() not in subjects:
                yield (
                    at + ".federated_credentials",
                    f"none of them has the subject {identity.principal_id}, the principal id of the identity",
                    "correct the subject, or name the identity that the application is really used with",
                )


def _principal(at: str, side: AzureCustomer, vendor: AzureVendor | None) -> Iterator[Finding]:
    principal = side.service_principal
    known = {app.app_id.lower() for app in vendor.apps} if vendor else set()
    if vendor and side.tenant.lower() == vendor.tenant.lower():
        fix = "write the customer's own: by its tenant it is told whose side a change lies on"
        yield f"{at}.tenant", f"tenant {side.tenant} is the vendor's", fix
    if principal is None and side.containers:
        fix = (
            "add service_principal: {object_id: ..., app_id: ...}, as the vendor's application is found in this tenant"
        )
        yield f"{at}.service_principal", "the vendor's application in this tenant is missing", fix
    if principal and principal.app_id.lower() not in known:
        yield (
            f"{at}.service_principal.app_id",
            f"application {principal.app_id} is not one of the vendor's",
            "list it in vendor.azure.apps, or correct the id",
        )


def _side(
    at: str, side: AzureCustomer, index: Index, seen: dict[str, str], covering: Collection[int]
) -> Iterator[Finding]:
    own = {one.lower() for one in side.subscriptions}
    for number, subscription in enumerate(side.subscriptions):
        yield from _once(seen, f"subscription {subscription.lower()}", f"{at}.subscriptions[{number}]")
    for number, container in enumerate(side.containers):
        yield from _container(f"{at}.containers[{number}]", container, own, seen)
        if container.tenant and container.tenant.lower() != side.tenant.lower():
            fix = f"write the tenant that the vault trusts as the tenant of its owner ({at}.tenant), or leave it out"
            text = f"it trusts tenant {container.tenant}, the vendor's application is registered in {side.tenant}"
            yield f"{at}.containers[{number}].tenant", text, fix
    for number, group in enumerate(side.management_groups):
        for position, subscription in enumerate(group.subscriptions):
            if subscription.lower() not in own:
                fix = f"add it to {at}.subscriptions, or leave it out: it holds no registered vault"
                place = f"{at}.management_groups[{number}].subscriptions[{position}]"
                yield place, f"subscription {subscription} is not listed for this tenant", fix
    for number, grant in enumerate(side.grants):
        yield from _grant(f"{at}.grants[{number}]", grant, side, index, covers=id(grant) in covering)
        if grant.id:
            yield from _once(seen, f"assignment {name_of(grant.id.lower())}", f"{at}.grants[{number}].id")


def _feeds(
    at: str, feeds: AzureFeeds, owner: str, seen: dict[str, str], names: dict[str, tuple[str, str]]
) -> Iterator[Finding]:
    """Tell of feeds that two sides name: what a record says of its way in could then be taken for the other's."""
    for kind, ids in (
        ("diagnostic_settings", [one.id for one in feeds.diagnostic_settings]),
        ("system_topics", feeds.system_topics),
        ("event_subscriptions", [one.id for one in feeds.event_subscriptions]),
        ("event_hubs", feeds.event_hubs),
        ("storage", feeds.storage),
        ("forwarders", [one.id for one in feeds.forwarders]),
        ("namespaces", [one.id for one in feeds.namespaces]),
    ):
        for number, resource in enumerate(ids):
            yield from _once(seen, f"feed {canonical(resource)}", f"{at}.{kind}[{number}]")
    for number, forwarder in enumerate(feeds.forwarders):
        yield from _once(seen, f"source {forwarder.source.lower()}", f"{at}.forwarders[{number}].source")
        if not forwarder.type:
            fix = f"write the type of its events, {RECORD} for the program that the catalogue prints"
            yield f"{at}.forwarders[{number}].type", "without it, what it could not pass on would go unnoticed", fix
    for number, subscription in enumerate(feeds.event_subscriptions):
        name, place = (subscription.name or name_of(subscription.id)).lower(), f"{at}.event_subscriptions[{number}]"
        before, whose = names.setdefault(name, (place, owner))
        if whose != owner:
            fix = "give it a name of its own: deliveries are told apart by nothing but the name of their subscription"
            yield place, f"an event subscription of {whose} has the name {name} too, at {before}", fix


def _container(at: str, container: AzureContainer, own: Collection[str], seen: dict[str, str]) -> Iterator[Finding]:
    resource = canonical(container.id) or ""
    yield from _once(seen, f"container {resource}", f"{at}.id")
    yield from _once(seen, f"host {container.host.lower()}", f"{at}.host")
    if (subscription_of(resource) or "") not in own:
        yield f"{at}.id", "its subscription is not listed beside it", "add it to subscriptions, or correct the id"
    if TYPES[container.kind] not in resource:
        fix = "set kind: managed_hsm for .../managedHSMs/NAME, else kind: vault"
        yield f"{at}.kind", f"{container.kind} does not fit the id {container.id}", fix
    if container.permission_model not in MODELS[container.kind]:
        yield (
            f"{at}.permission_model",
            f"a {container.kind} has no permission model {container.permission_model}",
            f"write one of: {', '.join(MODELS[container.kind])}",
        )
    if container.host.partition(".")[0].lower() != name_of(resource):
        fix = "the host begins with the name of the vault or managed HSM: correct one of the two"
        yield f"{at}.host", f"host {container.host} is not that of {container.id}", fix


def _grant(at: str, grant: AzureGrant, side: AzureCustomer, index: Index, *, covers: bool) -> Iterator[Finding]:
    principal = side.service_principal
    if principal is None or grant.principal.lower() != principal.object_id.lower():
        fix = "write the object id of service_principal, which differs in each tenant"
        yield f"{at}.principal", f"principal {grant.principal} is not the vendor's in this tenant", fix
    if grant.kind != "access_policy" and grant.id is None:
        fix = "write the id of the assignment: only by it its deletion can be told from another's"
        yield f"{at}.id", "the assignment has no id", fix
    if grant.kind == "local_role_assignment" and canonical(grant.container) not in index.containers:
        yield f"{at}.container", "the managed HSM of a local assignment is not registered", "name a registered one"
    if grant.kind != "access_policy" and name_of((grant.role or "").lower()) not in index.sufficient:
        fix = "correct the id, or list the role in vendor.azure.sufficient_roles if it gives all that a key needs"
        yield f"{at}.role", f"role {grant.role} is not known to suffice", fix
    if grant.kind == "access_policy" and not {*NEEDED} <= {one.lower() for one in grant.key_permissions}:
        fix = f"list in key_permissions at least {', '.join(PERMISSIONS)}"
        yield f"{at}.key_permissions", "the access policy does not give all that a key needs", fix
    if not covers:
        fix = "correct scope or kind: roles count in vaults with rbac, access policies in those with access_policies"
        yield f"{at}.scope", "the grant covers no registered key", fix


# --------------------------------------------------------------------------------------------------------------- keys


def _keys(at: str, customer: Customer, index: Index) -> Iterator[Finding]:
    for number, instance in enumerate(customer.instances):
        for position, entry in enumerate(instance.keys):
            if entry.cloud == "azure":
                yield from _key(f"{at}.instances[{number}].keys[{position}]", entry, customer, index)


def _key(at: str, entry: KeyEntry, customer: Customer, index: Index) -> Iterator[Finding]:
    where = place(entry.key)
    if where is None or where.collection != "keys" or len(where.parts) != 2 or not entry.key.startswith("https://"):
        return  # `register_check` tells, as it does for every cloud
    if entry.azure is None or not entry.azure.versions:
        fix = "list in azure.versions each version that data is encrypted under"
        yield f"{at}.azure", "no version in use is registered, so no loss of one can be told", fix
    else:
        seen: dict[str, str] = {}
        for number, one in enumerate(entry.azure.versions):
            yield from _once(seen, f"version {one.version.lower()}", f"{at}.azure.versions[{number}].version")
    owner = None if entry.owner is KeyOwner.VENDOR else customer.id
    watched = index.key_at(where.host, where.key)
    if watched is None or watched.container.estate.customer != owner:
        whose = "vendor.azure" if owner is None else "the customer's azure"
        fix = f"register the vault or managed HSM with host {where.host} in {whose}.containers"
        yield f"{at}.key", f"{where.host} is not the host of a container of the key's owner", fix
        return
    yield from _access(at, entry, watched.container.estate)
    if owner is not None and not watched.grants:
        kind = GRANTS[watched.container.facts.permission_model]
        fix = f"list the {kind} that lets the vendor use the key in {at.partition('.')[0]}.azure.grants"
        yield at, "nothing registered grants the vendor the use of the key", fix


def _access(at: str, entry: KeyEntry, estate: Estate) -> Iterator[Finding]:
    for number, access in enumerate(entry.access):
        if access.principal.lower() != estate.principal:
            fix = "write the object id of service_principal in the tenant of the key's owner"
            text = f"principal {access.principal} is not the vendor's in that tenant"
            yield f"{at}.access[{number}].principal", text, fix
        for position, operation in enumerate(access.operations):
            if operation.lower() not in KEY_OPERATIONS:
                fix = f"write one of: {', '.join(PERMISSIONS)}; leave access out if all three are needed"
                place = f"{at}.access[{number}].operations[{position}]"
                yield place, f"operation {operation!r} is not one that a store needs of a key", fix


def _once(seen: dict[str, str], name: str, at: str) -> Iterator[Finding]:
    before = seen.setdefault(name, at)
    if before != at:
        yield at, f"{name} stands at {before} already", "each must be named once: rename or remove one"
