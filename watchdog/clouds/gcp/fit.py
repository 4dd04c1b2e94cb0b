"""What the Google Cloud sections of a register say against each other: what its form alone cannot tell."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from watchdog.clouds.gcp.access import BROAD, CROWDS, KMS_ROLE, KMS_ROLES
from watchdog.clouds.gcp.index import operations_in
from watchdog.clouds.gcp.names import container_of, key_name, member_email, project_of, ring_of
from watchdog.register import Customer, KeyEntry, Register
from watchdog.register_gcp import (
    GcpCustomer,
    GcpFeed,
    GcpGrant,
    GcpKey,
    GcpPrincipal,
    GcpProject,
    GcpSink,
    GcpVendor,
    GcpVendorProject,
)
from watchdog.words import KeyOwner

T = TypeVar("T")
Finding = tuple[str, str, str]
"""Place in the document, what does not fit, and how to mend it."""

PUBSUB = "pubsub.googleapis.com/"
NUMBER = re.compile(r"[0-9]+")
LOCATION = re.compile(r"[a-z][a-z0-9-]*")
NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
OPERATIONS = ("encrypt", "decrypt")
# Who stands behind a key of these levels is registered with the customer (gcp.md 1); EXTERNAL goes over the internet.
BACKENDS = {"EXTERNAL_VPC": "ekm_connections", "HSM_SINGLE_TENANT": "single_tenant_hsm_instances"}


def findings(register: Register) -> Iterator[Finding]:
    """Yield everything that does not fit together in the Google Cloud sections, in the order of the document."""
    fit = _Fit()
    vendor = register.vendor.gcp
    if vendor:
        yield from fit.vendor(vendor)
    for number, customer in enumerate(register.document.customers):
        yield from fit.customer(f"customers[{number}]", customer)


@dataclass(slots=True)
class _Side:
    """What one customer has registered, by name, so that each of its keys costs a few look-ups.

    `containers` are the projects and what is above them, `served` is what all its principals together may do.
    """

    id: str
    at: str
    facts: GcpCustomer | None
    projects: dict[str, GcpProject] = field(default_factory=dict)
    principals: dict[str, GcpPrincipal] = field(default_factory=dict)
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)
    served: set[str] = field(default_factory=set)

    @property
    def section(self) -> str:
        return f"{self.at}.gcp"


@dataclass(slots=True)
class _Fit:
    """What was named so far, and where: what stands twice is told at its second place."""

    seen: dict[str, str] = field(default_factory=dict)
    topics: dict[str, tuple[str, str]] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    ours: dict[str, GcpVendorProject] = field(default_factory=dict)
    organization: str | None = None

    # ---------------------------------------------------------------------------------------------------------- vendor

    def vendor(self, vendor: GcpVendor) -> Iterator[Finding]:
        self.organization = vendor.organization
        for place, project in _numbered("vendor.gcp.projects", vendor.projects):
            yield from self._project(place, project)
            self.ours[project.id] = project
        yield from self._feeds("vendor.gcp", vendor.feeds, "")

    def _project(self, at: str, project: GcpProject | GcpVendorProject) -> Iterator[Finding]:
        yield from self._once(f"project {project.id}", f"{at}.id")
        yield from self._once(f"project number {project.number}", f"{at}.number")
        self.numbers.setdefault(project.number, project.id)

    # -------------------------------------------------------------------------------------------------------- customer

    def customer(self, at: str, customer: Customer) -> Iterator[Finding]:
        facts = customer.gcp
        side = _Side(customer.id, at, facts)
        if facts:
            side.projects = {one.id: one for one in facts.projects}
            side.principals = {one.email: one for one in facts.principals}
            side.served = {operation for one in facts.principals for operation in one.operations}
            side.containers = {f"projects/{one.id}" for one in facts.projects}
            side.containers |= {ancestor for one in facts.projects for ancestor in one.ancestors}
            side.containers |= {*facts.folders, *facts.billing_accounts}
            side.containers |= {facts.organization} if facts.organization else set()
            yield from self._section(side, facts)
        is_deaf = not (facts and facts.feeds)
        for place, instance in _numbered(f"{at}.instances", customer.instances):
            for spot, entry in _numbered(f"{place}.keys", instance.keys):
                named = key_name(entry.key) if entry.cloud == "gcp" else None
                if named is None or named.key != entry.key:
                    continue  # `register_check` tells of an id of another form, as it does for every cloud
                yield from self._key(spot, entry, side)
                if is_deaf and entry.owner is KeyOwner.CUSTOMER:
                    fix = "list the topic and the subscription that the customer's sink writes to"
                    yield f"{side.section}.feeds", f"no feed of {customer.id} is registered: nothing can be heard", fix
                    is_deaf = False

    def _section(self, side: _Side, facts: GcpCustomer) -> Iterator[Finding]:
        at = side.section
        if facts.organization and facts.organization == self.organization:
            fix = "write the customer's own, or leave it out"
            yield f"{at}.organization", f"{facts.organization} is the vendor's organisation", fix
        for place, project in _numbered(f"{at}.projects", facts.projects):
            yield from self._project(place, project)
            yield from _ancestors(f"{place}.ancestors", project, facts)
        for place, principal in _numbered(f"{at}.principals", facts.principals):
            yield from self._once(f"principal {principal.email} of {side.id}", f"{place}.email")
        if facts.vendor_project and facts.vendor_project not in self.ours:
            fix = "list it in vendor.gcp.projects with its number, or correct the id"
            yield f"{at}.vendor_project", f"project {facts.vendor_project} is not one of the vendor's", fix
        yield from self._feeds(at, facts.feeds, side.id)
        side.roles = {self._normal(one.name): operations_in(one.permissions) for one in facts.custom_roles}
        topics = {self._normal(feed.topic): feed.kind for feed in facts.feeds}
        for place, sink in _numbered(f"{at}.sinks", facts.sinks):
            yield from self._sink(place, sink, side, topics)
        for place, name in _numbered(f"{at}.asset_feeds", facts.asset_feeds):
            yield from self._once(f"asset feed {self._normal(name)}", place)
            if not self._is_inside(name, side):
                fix = "write projects/NUMBER/feeds/NAME of a project, folder or organisation of the customer"
                yield place, f"{name} lies in nothing that is registered for {side.id}", fix
            if "assets" not in topics.values():
                fix = "list its topic and subscription in feeds, with kind: assets"
                yield place, "no feed of kind assets receives what this asset feed sends", fix

    def _sink(self, at: str, sink: GcpSink, side: _Side, topics: Mapping[str, str]) -> Iterator[Finding]:
        yield from self._once(f"sink {self._normal(sink.name)}", f"{at}.name")
        if self._normal(sink.name).rpartition("/sinks/")[0] != self._normal(sink.scope):
            fix = "write as scope what stands before /sinks/ in the name"
            yield f"{at}.scope", f"scope {sink.scope} is not where {sink.name} lies", fix
        elif not self._is_inside(sink.scope, side):
            fix = "list that project, folder, organisation or billing account, or correct the scope"
            yield f"{at}.scope", f"{sink.scope} is not registered for this customer", fix
        topic = sink.destination.removeprefix(PUBSUB)
        if not sink.destination.startswith(PUBSUB) or self._normal(topic) not in topics:
            fix = f"write {PUBSUB} and the topic of one of the customer's feeds, or list that feed"
            yield f"{at}.destination", f"{sink.destination} is not the topic of a feed of this customer", fix
        if not sink.writer_identity.startswith("serviceAccount:"):
            fix = "write it as `gcloud logging sinks describe` shows it: serviceAccount:..."
            yield f"{at}.writer_identity", f"{sink.writer_identity} is no service account", fix

    def _feeds(self, at: str, feeds: Iterable[GcpFeed], owner: str) -> Iterator[Finding]:
        for place, feed in _numbered(f"{at}.feeds", feeds):
            # A message is believed for the one customer that its subscription serves (gcp.md 6.4).
            yield from self._once(f"subscription {self._normal(feed.subscription)}", f"{place}.subscription")
            before, whose = self.topics.setdefault(self._normal(feed.topic), (f"{place}.topic", owner))
            if whose != owner:
                fix = "give each customer a topic of its own: whoever may publish there could speak for both"
                yield f"{place}.topic", f"topic {feed.topic} stands at {before} already, for somebody else", fix
            for spot, name in (("topic", feed.topic), ("subscription", feed.subscription)):
                if (container_of(self._normal(name)) or "").removeprefix("projects/") not in self.ours:
                    fix = "list its project in vendor.gcp.projects, or correct the name"
                    yield f"{place}.{spot}", f"{name} lies in no project of the vendor", fix

    # ------------------------------------------------------------------------------------------------------------- keys

    def _key(self, at: str, entry: KeyEntry, side: _Side) -> Iterator[Finding]:
        yield from _form(f"{at}.key", entry.key)
        yield from self._place_of(f"{at}.key", entry, side)
        facts = entry.gcp or GcpKey()
        yield from _versions(f"{at}.gcp", facts)
        yield from _users(at, entry, facts, side)
        yield from _backend(f"{at}.gcp", facts, side)
        for place, grant in _numbered(f"{at}.gcp.grants", facts.grants):
            yield from self._grant(place, grant, entry, side)
        if entry.owner is KeyOwner.CUSTOMER and not facts.grants:
            fix = "list in gcp.grants the binding that gives the vendor's principals their role: level, role, members"
            yield at, "nothing registered grants the vendor the use of the key", fix

    def _place_of(self, at: str, entry: KeyEntry, side: _Side) -> Iterator[Finding]:
        project = project_of(entry.key)
        if NUMBER.fullmatch(project):
            known = self.numbers.get(project)
            fix = f"write projects/{known}/..." if known else "write the project's id in place of its number"
            yield at, f"the key is named by the number of its project ({project})", fix
        elif entry.owner is KeyOwner.VENDOR:
            if project not in self.ours:
                fix = "list that project in vendor.gcp.projects, or set owner: customer"
                yield at, f"the key is the vendor's, but its project {project} is not", fix
        elif project not in side.projects:
            fix = f"add it, with its number, to {side.section}.projects, or correct the name, or set owner: vendor"
            yield at, f"project {project} is not one of the customer's", fix

    def _grant(self, at: str, grant: GcpGrant, entry: KeyEntry, side: _Side) -> Iterator[Finding]:
        project = side.projects.get(project_of(entry.key))
        above = {entry.key, ring_of(entry.key), f"projects/{project_of(entry.key)}"}
        if project:
            above |= {*project.ancestors}
        if self._normal(grant.level) not in above:
            fix = "write the key itself, its ring, its project, or one of the project's ancestors"
            yield f"{at}.level", f"a binding at {grant.level} does not reach this key", fix
        yield from self._role(f"{at}.role", grant.role, side)
        for place, member in _numbered(f"{at}.members", grant.members):
            email = member_email(member)
            if not member.startswith(CROWDS) and email not in side.principals:
                fix = f"write serviceAccount:EMAIL of one of {side.section}.principals, or list it there"
                yield place, f"{member} is none of the vendor's registered principals", fix

    def _role(self, at: str, role: str, side: _Side) -> Iterator[Finding]:
        if role.startswith("roles/"):
            if role not in KMS_ROLES and role not in BROAD:
                yield at, f"role {role} does not let anybody use a key", f"write {KMS_ROLE}EncrypterDecrypter"
            return
        holds = side.roles.get(self._normal(role))
        if holds is None:
            fix = f"list it, with its permissions, in {side.section}.custom_roles"
            yield at, f"the custom role {role} is not registered", fix
        elif not holds:
            fix = f"add cloudkms.cryptoKeyVersions.useToDecrypt to its permissions in {side.section}.custom_roles"
            yield at, f"the custom role {role} is registered without a permission to use a key", fix

    # ------------------------------------------------------------------------------------------------------------ small

    def _normal(self, name: str) -> str:
        """Spell a name with project ids in place of the numbers that are known so far."""
        head, _, rest = name.partition("/")
        project, slash, tail = rest.partition("/")
        return f"projects/{self.numbers.get(project, project)}{slash}{tail}" if head == "projects" else name

    def _is_inside(self, name: str, side: _Side) -> bool:
        """Whether something lies in a project, folder, organisation or billing account of the customer."""
        return self._normal(container_of(name) or name) in side.containers

    def _once(self, name: str, at: str) -> Iterator[Finding]:
        yield from _once(self.seen, name, at)


def _ancestors(at: str, project: GcpProject, facts: GcpCustomer) -> Iterator[Finding]:
    """The folders and then the organisation: by these a policy, a denial or a move above is known to reach the keys."""
    organizations = [one for one in project.ancestors if one.startswith("organizations/")]
    if len(set(project.ancestors)) != len(project.ancestors):
        yield at, "an ancestor stands here twice", "list each folder once, the nearest first, then the organisation"
    elif len(organizations) > 1 or (organizations and project.ancestors[-1] != organizations[0]):
        yield at, "the organisation is not the last of the ancestors", "list the folders, the nearest first, then it"
    if facts.organization and facts.organization not in project.ancestors:
        fix = f"end the list with {facts.organization}: what is changed there would not be taken to reach the keys"
        yield at, f"the customer's organisation is not among the ancestors of {project.id}", fix
    if organizations and not facts.organization:
        yield at, f"{organizations[0]} is not the customer's organisation", f"set organization: {organizations[0]}"


def _form(at: str, key: str) -> Iterator[Finding]:
    _, _, _, location, _, ring, _, name = key.split("/")
    if not LOCATION.fullmatch(location):
        yield at, f"{location!r} is no location of Cloud KMS", "write it as in europe-west3, eu, or global"
    for what, found in (("key ring", ring), ("key", name)):
        if not NAME.fullmatch(found):
            fix = "letters, digits, dashes and underscores, at most 63; case counts"
            yield at, f"{found!r} is no name of a {what}", fix


def _versions(at: str, facts: GcpKey) -> Iterator[Finding]:
    place = f"{at}.versions"
    seen: dict[str, str] = {}
    for spot, one in _numbered(place, facts.versions):
        yield from _once(seen, f"version {one.version}", f"{spot}.version")
    in_use = {one.version for one in facts.versions if one.in_use}
    if not in_use:
        fix = "list in gcp.versions each version that data is encrypted under"
        yield place, "no version in use is registered, so no loss of one can be told", fix
    elif facts.primary is not None and facts.primary not in in_use:
        fix = "list it in versions with in_use: true: whatever is written now is encrypted under it"
        yield f"{at}.primary", f"the primary version {facts.primary} is not among the versions in use", fix


def _users(at: str, entry: KeyEntry, facts: GcpKey, side: _Side) -> Iterator[Finding]:
    """The principals of a key: registered, allowed to do what they need, and together able to serve the key."""
    needed = set(facts.required_operations)
    served: set[str] = set()
    for place, access in _numbered(f"{at}.access", entry.access):
        principal = side.principals.get(access.principal)
        if principal is None:
            fix = f"list it in {side.section}.principals, spelt alike"
            yield f"{place}.principal", f"principal {access.principal} is not registered", fix
        for spot, operation in _numbered(f"{place}.operations", access.operations):
            if operation not in OPERATIONS:
                yield spot, f"operation {operation!r} is not one of a key", f"write one of: {', '.join(OPERATIONS)}"
            elif principal is not None and operation not in principal.operations:
                fix = f"add it to the operations of {access.principal} in {side.section}.principals, or leave it out"
                yield spot, f"{access.principal} is registered without {operation}", fix
        served |= set(access.operations)
    if not entry.access:
        served = side.served
    if not served:
        fix = f"list in {side.section}.principals the accounts of the instance that use the key"
        yield f"{at}.access", "no principal of the vendor is registered for this key", fix
    elif needed - served:
        fix = "add a principal that needs it, or correct required_operations"
        yield f"{at}.access", f"no principal is registered to {' or '.join(sorted(needed - served))}", fix


def _backend(at: str, facts: GcpKey, side: _Side) -> Iterator[Finding]:
    listed = BACKENDS.get(facts.protection_level)
    if listed is None:
        if facts.backend is not None:
            fix = "leave backend out, or set protection_level: EXTERNAL_VPC or HSM_SINGLE_TENANT"
            yield f"{at}.backend", f"a key of level {facts.protection_level} has no backend", fix
        return
    known: list[str] = getattr(side.facts, listed) if side.facts else []
    if facts.backend not in known:
        fix = f"set backend to one of {side.section}.{listed}, and list it there"
        yield f"{at}.backend", f"the backend of a key of level {facts.protection_level} is not registered", fix


def _numbered(place: str, items: Iterable[T]) -> Iterator[tuple[str, T]]:
    for number, item in enumerate(items):
        yield f"{place}[{number}]", item


def _once(seen: dict[str, str], name: str, at: str) -> Iterator[Finding]:
    before = seen.setdefault(name, at)
    if before != at:
        yield at, f"{name} stands at {before} already", "each must be named once: rename or remove one"
