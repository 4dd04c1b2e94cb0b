"""Lookups from what an Azure record names to what is registered, built once per register: hash lookups only."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field

from watchdog.clouds.azure.ids import MANAGEMENT_GROUPS, canonical, holds, name_of, place, prefixes, subscription_of
from watchdog.register import Register, RegisteredKey
from watchdog.register_azure import (
    ENCRYPTION_ROLES,
    AzureApp,
    AzureContainer,
    AzureCustomer,
    AzureForwarder,
    AzureGrant,
    AzureVendor,
)
from watchdog.words import Fault

NEEDED = ("get", "wrapkey", "unwrapkey")  # what a consumer does with a key (azure.md 1)


class Estate(Struct, eq=False):
    """One side on Azure; `customer` is None for the vendor's own."""

    customer: str | None
    facts: AzureCustomer
    keys: list["WatchedKey"] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        """The Entra tenant, in lower case."""
        return self.facts.tenant.lower()

    @property
    def fault(self) -> Fault:
        """Whose side a change lies on."""
        return Fault.VENDOR if self.customer is None else Fault.CUSTOMER

    @property
    def principal(self) -> str | None:
        """Object id of the vendor's service principal in this tenant, in lower case."""
        found = self.facts.service_principal
        return found.object_id.lower() if found else None

    @property
    def app(self) -> str | None:
        """Application id of that service principal, in lower case."""
        found = self.facts.service_principal
        return found.app_id.lower() if found else None


class Container(Struct, eq=False):
    """A registered vault or managed HSM with the watched keys in it; `id` is canonical, `groups` stand above it."""

    id: str
    facts: AzureContainer
    estate: Estate
    groups: frozenset[str] = frozenset()
    keys: list["WatchedKey"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the vault or managed HSM, in the registered spelling."""
        return self.facts.id.rpartition("/")[2]

    @property
    def is_hsm(self) -> bool:
        """Whether it is a managed HSM."""
        return self.facts.kind == "managed_hsm"

    @property
    def tenant(self) -> str:
        """The tenant that it is registered to trust, in lower case."""
        return (self.facts.tenant or self.estate.facts.tenant).lower()


class WatchedKey(Struct, eq=False):
    """A registered key in its container: the versions in use with their known expiry, and what grants its use."""

    key: RegisteredKey
    container: Container
    name: str
    versions: dict[str, datetime | None]
    needed: frozenset[str]
    grants: list["Grant"] = field(default_factory=list)


class Grant(Struct, eq=False):
    """A registered grant with the watched keys that it covers."""

    facts: AzureGrant
    estate: Estate
    keys: list[WatchedKey] = field(default_factory=list)


class Feed(Struct, frozen=True):
    """A resource that carries the watch; `id` is canonical, `kind` for people."""

    id: str
    kind: str
    estate: Estate


class Index(Struct, eq=False):
    """Everything of the register that an Azure record can name, by that name in lower case."""

    vendor: Estate | None = None
    estates: list[Estate] = field(default_factory=list)
    by_tenant: dict[str, list[Estate]] = field(default_factory=dict)
    by_subscription: dict[str, Estate] = field(default_factory=dict)

    containers: dict[str, Container] = field(default_factory=dict)
    by_host: dict[str, Container] = field(default_factory=dict)
    by_name: dict[tuple[str, str, str], Container] = field(default_factory=dict)
    keys: dict[tuple[str, str], WatchedKey] = field(default_factory=dict)
    by_id: dict[str, WatchedKey] = field(default_factory=dict)
    keys_under: dict[str, list[WatchedKey]] = field(default_factory=dict)

    principals: dict[str, Estate] = field(default_factory=dict)
    vendor_ids: set[str] = field(default_factory=set)
    apps: dict[str, AzureApp] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    sufficient: set[str] = field(default_factory=set)

    grants: dict[str, list[Grant]] = field(default_factory=dict)
    by_role: dict[str, list[Grant]] = field(default_factory=dict)
    readers: dict[str, Feed] = field(default_factory=dict)

    feeds: dict[str, Feed] = field(default_factory=dict)
    feeds_under: dict[str, list[Feed]] = field(default_factory=dict)
    subscriptions: dict[str, Feed] = field(default_factory=dict)
    forwarders: dict[str, tuple[AzureForwarder, Estate]] = field(default_factory=dict)
    carries: dict[str | None, set[str | None]] = field(default_factory=dict)

    def container_of(self, resource: str | None) -> Container | None:
        """Return the registered container that a canonical id names or lies in."""
        found = (self.containers.get(prefix) for prefix in prefixes(resource or ""))
        return next((container for container in found if container), None)

    def key_at(self, host: str, name: str | None) -> WatchedKey | None:
        """Return the watched key of a name at a host."""
        return self.keys.get((host, name.lower())) if name else None

    def keys_in_scope(self, scope: str, tenant: str | None) -> list[WatchedKey]:
        """Return the watched keys at and under a canonical scope; "" is a whole tenant.

        Names of management groups are unique in a tenant only: `tenant`, if the record tells it, decides then.
        """
        if scope == "":
            return [key for estate in self.by_tenant.get(tenant or "", []) for key in estate.keys]
        found = self.keys_under.get(scope, [])
        if not scope.startswith(MANAGEMENT_GROUPS) or tenant is None:
            return found
        return [key for key in found if key.container.estate.tenant == tenant]

    def keys_served_by(self, app: AzureApp) -> list[WatchedKey]:
        """Return the watched keys that are used through an application of the vendor."""
        app_id = app.app_id.lower()
        return [key for estate in self.estates if estate.app == app_id for key in estate.keys]

    def keys_served_through(self, identity: str) -> list[WatchedKey]:
        """Return the watched keys that are used through a managed identity of the vendor (canonical resource id)."""
        apps = [app for app in self.apps.values() if canonical(app.identity) == identity]
        return [key for app in apps for key in self.keys_served_by(app)]

    def may_carry(self, forwarder: Estate, owner: str | None) -> bool:
        """Whether a forwarder may speak of a customer's things: its own, the vendor's forwarder of all."""
        return forwarder.customer is None or owner in self.carries.get(forwarder.customer, ())


def index_of(register: Register) -> Index:
    """Return the lookups of a register, building them on first use."""
    return register.view("azure", _build)


def _build(register: Register) -> Index:
    index = Index()
    index.sufficient = {name_of(role.id.lower()) for role in ENCRYPTION_ROLES}
    vendor = register.vendor.azure
    if vendor:
        index.vendor = _add_estate(index, Estate(None, vendor))
        _add_vendor(index, vendor)
    for customer in register.customers.values():
        if customer.azure:
            _add_estate(index, Estate(customer.id, customer.azure))
    for key in register.keys.values():
        if key.cloud == "azure":
            _add_key(index, key)
    for estate in index.estates:
        for grant in estate.facts.grants:
            _add_grant(index, Grant(grant, estate))
        _add_feeds(index, estate)
    for estate in index.estates:
        _add_carriers(index, estate)
    return index


def _add_estate(index: Index, estate: Estate) -> Estate:
    index.estates.append(estate)
    index.by_tenant.setdefault(estate.tenant, []).append(estate)
    for subscription in estate.facts.subscriptions:
        index.by_subscription[subscription.lower()] = estate
    groups = _groups(estate.facts)
    for facts in estate.facts.containers:
        container = Container(canonical(facts.id) or "", facts, estate)
        container.groups = groups.get(subscription_of(container.id) or "", frozenset())
        index.containers[container.id] = container
        index.by_host[facts.host.lower()] = container
        index.by_name[subscription_of(container.id) or "", facts.kind, name_of(container.id)] = container
    principal = estate.facts.service_principal
    if principal:
        index.principals[principal.object_id.lower()] = estate
        index.vendor_ids |= {principal.object_id.lower(), principal.app_id.lower()}
    return estate


def _add_vendor(index: Index, vendor: AzureVendor) -> None:
    index.addresses = set(vendor.addresses)
    index.sufficient |= {name_of(role.id.lower()) for role in vendor.sufficient_roles}
    for app in vendor.apps:
        index.apps[app.object_id.lower()] = app
        index.vendor_ids.add(app.app_id.lower())
    for identity in vendor.identities:
        place_of_identity = canonical(identity.id) or ""
        index.identities[place_of_identity] = place_of_identity
        if identity.principal_id:
            index.identities[identity.principal_id.lower()] = place_of_identity
        index.vendor_ids |= {found.lower() for found in (identity.client_id, identity.principal_id) if found}


def _add_key(index: Index, key: RegisteredKey) -> None:
    where = place(key.id)
    container = index.by_host.get(where.host) if where else None
    if where is None or where.key is None or container is None:
        return  # the check of the register says so: without its container nothing can be decided about a key
    facts = key.entry.azure
    wanted = {operation.lower() for access in key.entry.access for operation in access.operations}
    watched = WatchedKey(
        key=key,
        container=container,
        name=key.id.rpartition("/")[2],
        versions={one.version.lower(): one.expires for one in facts.versions} if facts else {},
        needed=frozenset(wanted or NEEDED),
    )
    index.keys[where.host, where.key] = watched
    index.by_id[key.id] = watched
    container.keys.append(watched)
    container.estate.keys.append(watched)
    for scope in (f"{container.id}/keys/{where.key}", *prefixes(container.id), *container.groups):
        index.keys_under.setdefault(scope, []).append(watched)


def _groups(facts: AzureCustomer) -> dict[str, frozenset[str]]:
    """Return the management groups above each registered subscription, as scopes."""
    found: dict[str, set[str]] = {}
    for group in facts.management_groups:
        for subscription in group.subscriptions:
            found.setdefault(subscription.lower(), set()).add(f"{MANAGEMENT_GROUPS}{group.name.lower()}")
    return {subscription: frozenset(names) for subscription, names in found.items()}


def _add_grant(index: Index, grant: Grant) -> None:
    grant.keys = [
        key for key in _near(index, grant) if key.container.estate is grant.estate and _covers(grant.facts, key)
    ]
    for key in grant.keys:
        key.grants.append(grant)
    if grant.facts.id:
        index.grants.setdefault(name_of(grant.facts.id.lower()), []).append(grant)
    if grant.facts.role:
        index.by_role.setdefault(name_of(grant.facts.role.lower()), []).append(grant)


def _near(index: Index, grant: Grant) -> list[WatchedKey]:
    """Return the keys that a grant could cover at all: so that many grants on many keys cost no more than their sum."""
    facts, scope = grant.facts, canonical(grant.facts.scope) or ""
    if facts.kind == "role_assignment":
        return index.keys_under.get(scope, []) if scope else grant.estate.keys
    place_of_keys = canonical(facts.container) if facts.kind == "local_role_assignment" else scope
    container = index.containers.get(place_of_keys or "")
    return container.keys if container else []


def _covers(facts: AzureGrant, key: WatchedKey) -> bool:
    """Whether a grant covers a key: by its scope, and only if its kind counts in the container's permission model."""
    container, scope = key.container, canonical(facts.scope) or ""
    match facts.kind:
        case "local_role_assignment":
            inside = holds(scope, f"/keys/{key.name.lower()}") if scope else True
            return inside and container.is_hsm and canonical(facts.container) == container.id
        case "access_policy":
            return container.facts.permission_model == "access_policies" and scope == container.id
        case "role_assignment":
            above = scope in container.groups or holds(scope, f"{container.id}/keys/{key.name.lower()}")
            return container.facts.permission_model == "rbac" and above


def _add_feeds(index: Index, estate: Estate) -> None:
    feeds = estate.facts.feeds
    _put(index, estate, "diagnostic setting", (one.id for one in feeds.diagnostic_settings))
    _put(index, estate, "system topic", feeds.system_topics)
    _put(index, estate, "event subscription", (one.id for one in feeds.event_subscriptions))
    _put(index, estate, "event hub", feeds.event_hubs)
    _put(index, estate, "storage", feeds.storage)
    _put(index, estate, "forwarder", (one.id for one in feeds.forwarders))
    _put(index, estate, "Event Grid namespace", (one.id for one in feeds.namespaces))
    for subscription in feeds.event_subscriptions:
        feed = index.feeds[canonical(subscription.id) or ""]
        index.subscriptions[(subscription.name or name_of(subscription.id)).lower()] = feed
    for forwarder in feeds.forwarders:
        index.forwarders[forwarder.source.lower()] = (forwarder, estate)
    for grant in feeds.reader_grants:
        index.readers[name_of(grant.lower())] = Feed(canonical(grant) or grant.lower(), "reader grant", estate)


def _put(index: Index, estate: Estate, kind: str, ids: Iterable[str]) -> None:
    for resource in ids:
        feed = Feed(canonical(resource) or "", kind, estate)
        index.feeds[feed.id] = feed
        for prefix in prefixes(feed.id):
            index.feeds_under.setdefault(prefix, []).append(feed)


def _add_carriers(index: Index, estate: Estate) -> None:
    """Whose records may come through whose forwarder: a diagnostic setting may point at another customer's hub."""
    index.carries.setdefault(estate.customer, set()).add(estate.customer)
    for setting in estate.facts.feeds.diagnostic_settings:
        hub = index.feeds.get(canonical(setting.destination) or "")
        if hub:
            index.carries.setdefault(hub.estate.customer, set()).add(estate.customer)
