"""Lookups from what a Google Cloud record names to what is registered, built once per register: hash lookups only."""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from watchdog.clouds.gcp.names import dead_email, key_name, member_email, plain, project_of, ring_of
from watchdog.register import Register, RegisteredKey
from watchdog.register_gcp import GcpCustomer, GcpGrant, GcpPerimeter, GcpPrincipal, GcpSink

OURS = ""  # the owner of the vendor's own containers and feeds; a customer's id is never empty
PERMISSIONS = {
    "cloudkms.cryptoKeyVersions.useToEncrypt": "encrypt",
    "cloudkms.cryptoKeyVersions.useToDecrypt": "decrypt",
}


class Sink(Struct, frozen=True):
    """A registered sink and whose it is."""

    sink: GcpSink
    customer: str


class Feed(Struct, frozen=True):
    """A topic, subscription or asset feed of the watch; `customer` is OURS for what carries the vendor's records."""

    name: str
    customer: str


class Boundary(Struct, frozen=True):
    """A registered perimeter of a customer, with the watched keys that it closes in (none if Cloud KMS is open)."""

    perimeter: GcpPerimeter
    keys: tuple[RegisteredKey, ...]


class Index(Struct):
    """Everything of the register that a Google Cloud record can name, by that name.

    Projects are named by id everywhere in here; `numbers` leads there from their numbers.
    """

    keys: dict[str, RegisteredKey] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    owners: dict[str, set[str]] = field(default_factory=dict)
    under: dict[str, list[RegisteredKey]] = field(default_factory=dict)

    principals: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    by_principal: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    unique_ids: dict[str, str] = field(default_factory=dict)
    emails_with_id: set[str] = field(default_factory=set)

    by_role: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    by_backend: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_billing: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_vendor_project: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    perimeters: dict[str, Boundary] = field(default_factory=dict)

    vendor_projects: set[str] = field(default_factory=set)
    vendor_numbers: set[str] = field(default_factory=set)
    vendor_domains: set[str] = field(default_factory=set)
    organizations: dict[str, str] = field(default_factory=dict)

    sinks: dict[str, Sink] = field(default_factory=dict)
    topics: dict[str, Feed] = field(default_factory=dict)
    subscriptions: dict[str, Feed] = field(default_factory=dict)
    asset_feeds: dict[str, Feed] = field(default_factory=dict)
    writers: dict[str, set[str]] = field(default_factory=dict)
    heartbeats: set[str] = field(default_factory=set)

    def normal(self, name: str | None) -> str:
        """Spell a resource's name as the register does: without a host, with project ids in place of numbers."""
        bare = plain(name or "")
        head, slash, rest = bare.partition("/")
        if head != "projects" or not slash:
            return bare
        project, slash, tail = rest.partition("/")
        return f"projects/{self.numbers.get(project, project)}{slash}{tail}"

    def is_ours(self, container: str | None) -> bool:
        """Whether a project or organisation is the vendor's."""
        return OURS in self.owners.get(container or "", ())

    def is_vendor_key(self, key: RegisteredKey) -> bool:
        """Whether the key lies in a project of the vendor."""
        return project_of(key.id) in self.vendor_projects


def index_of(register: Register) -> Index:
    """Return the lookups of a register, building them on first use."""
    return register.view("gcp", _build)


def grants_at(index: Index, key: RegisteredKey, level: str) -> list[GcpGrant]:
    """Return the registered grants of a key that stand on one level."""
    gcp = key.entry.gcp
    return [grant for grant in gcp.grants if index.normal(grant.level) == level] if gcp else []


def version_of(key: RegisteredKey, version: str) -> tuple[bool | None, str | None]:
    """Tell whether a version is in use (None: the register does not know it) and its registered state."""
    found = next((one for one in key.entry.gcp.versions if one.version == version), None) if key.entry.gcp else None
    return (found.in_use, found.state) if found else (None, None)


def _build(register: Register) -> Index:
    index = Index()
    _add_vendor(index, register)
    customers = [customer for customer in register.customers.values() if customer.gcp]
    for customer in customers:
        if customer.gcp:
            _add_places(index, customer.gcp, customer.id)
    places = {customer.id: _Places(customer.gcp) for customer in customers if customer.gcp}
    for key in register.keys.values():
        if key.cloud == "gcp" and key_name(key.id):
            _add_key(index, key, places.get(key.customer.id, _Places(GcpCustomer())))
    for customer in customers:
        if customer.gcp:
            _add_watch(index, customer.gcp, customer.id)
    return index


def _add_vendor(index: Index, register: Register) -> None:
    vendor = register.vendor.gcp
    if vendor is None:
        return
    for project in vendor.projects:
        index.numbers[project.number] = project.id
        index.vendor_projects.add(project.id)
        index.vendor_numbers.add(project.number)
        index.owners.setdefault(f"projects/{project.id}", set()).add(OURS)
        if project.heartbeat:
            index.heartbeats.add(f"projects/{project.id}")
    if vendor.organization:
        index.owners.setdefault(vendor.organization, set()).add(OURS)
        index.organizations[vendor.organization.partition("/")[2]] = OURS
    index.vendor_domains = {domain.lower() for domain in vendor.domains}
    for feed in vendor.feeds:
        index.topics[index.normal(feed.topic)] = Feed(feed.topic, OURS)
        index.subscriptions[index.normal(feed.subscription)] = Feed(feed.subscription, OURS)


def _add_places(index: Index, gcp: GcpCustomer, customer: str) -> None:
    for project in gcp.projects:
        index.numbers[project.number] = project.id
        for place in (f"projects/{project.id}", *project.ancestors):
            index.owners.setdefault(place, set()).add(customer)
        if project.heartbeat:
            index.heartbeats.add(f"projects/{project.id}")
    billed = [project.billing_account for project in gcp.projects if project.billing_account]
    places = [*gcp.folders, *gcp.billing_accounts, *billed, *([gcp.organization] if gcp.organization else [])]
    for place in places:
        index.owners.setdefault(place, set()).add(customer)
    if gcp.organization:
        index.organizations[gcp.organization.partition("/")[2]] = customer
    for role in gcp.custom_roles:
        index.roles[index.normal(role.name)] = operations_in(role.permissions)


def operations_in(permissions: Iterable[str]) -> frozenset[str]:
    """Return the operations that a list of permissions allows."""
    return frozenset(PERMISSIONS[name] for name in permissions if name in PERMISSIONS)


class _Places:
    """A customer's projects and principals by name, so that each of its keys costs two look-ups."""

    def __init__(self, facts: GcpCustomer) -> None:
        self.projects = {one.id: one for one in reversed(facts.projects)}
        self.principals = {one.email: one for one in facts.principals}


def _add_key(index: Index, key: RegisteredKey, places: _Places) -> None:
    gcp, customer = key.entry.gcp, key.customer.gcp
    index.keys[key.id] = key
    project_id = project_of(key.id)
    project = places.projects.get(project_id)
    ancestors = project.ancestors if project else []
    index.owners.setdefault(f"projects/{project_id}", set()).add(key.customer.id)
    for level in (key.id, ring_of(key.id), f"projects/{project_id}", *ancestors):
        index.under.setdefault(level, []).append(key)
    if project and project.billing_account:
        index.by_billing.setdefault(project.billing_account, []).append(key)
    if customer and customer.vendor_project:
        index.by_vendor_project.setdefault(customer.vendor_project, []).append(key)
    _add_principals(index, key, places.principals)
    for role in dict.fromkeys(index.normal(grant.role) for grant in (gcp.grants if gcp else [])):
        index.by_role.setdefault(role, []).append(key)
    if gcp and gcp.backend:
        index.by_backend.setdefault(index.normal(gcp.backend), []).append(key)


def _add_principals(index: Index, key: RegisteredKey, known: Mapping[str, GcpPrincipal]) -> None:
    """Register who uses a key: its own `access`, else the customer's principals, and every member of its grants."""
    gcp = key.entry.gcp
    required = frozenset[str](gcp.required_operations if gcp else ("encrypt", "decrypt"))
    needs: dict[str, frozenset[str]] = {}
    for access in key.entry.access:
        needs[access.principal] = frozenset(access.operations) & {"encrypt", "decrypt"} or required
    if not needs:
        needs = {email: frozenset[str](one.operations) for email, one in known.items()}
    for grant in gcp.grants if gcp else []:
        for member in grant.members:
            email = member_email(member) or dead_email(member)
            if email:
                needs.setdefault(email, required)
    index.principals[key.id] = needs
    for email in needs:
        index.by_principal.setdefault(email, []).append(key)
        _add_identity(index, known.get(email))


def _add_identity(index: Index, principal: GcpPrincipal | None) -> None:
    if principal and principal.unique_id:
        index.unique_ids[principal.unique_id] = principal.email
        index.emails_with_id.add(principal.email)


def _add_watch(index: Index, gcp: GcpCustomer, customer: str) -> None:
    for feed in gcp.feeds:
        index.topics[index.normal(feed.topic)] = Feed(feed.topic, customer)
        index.subscriptions[index.normal(feed.subscription)] = Feed(feed.subscription, customer)
    for sink in gcp.sinks:
        index.sinks[index.normal(sink.name)] = Sink(sink, customer)
        topic = index.normal(sink.destination.removeprefix("pubsub.googleapis.com/"))
        index.writers.setdefault(topic, set()).add(sink.writer_identity)
    for name in gcp.asset_feeds:
        index.asset_feeds[index.normal(name)] = Feed(name, customer)
    for perimeter in gcp.service_perimeters:
        places = perimeter.projects if perimeter.restricts_cloudkms else []
        inside = [key for place in places for key in index.under.get(index.normal(place), [])]
        index.perimeters[perimeter.name] = Boundary(perimeter, tuple(inside))
