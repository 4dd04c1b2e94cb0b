"""The Google Cloud sections of the register: projects, principals, grants, versions, and the feeds (gcp.md 1).

What need not be written because it follows: a key's project is the one that its id names; which keys a policy, a
switch or a closed billing account reaches follows from the `ancestors` and the `billing_account` of that project.
Which principals a key serves stands in its generic `access` (principal: the e-mail of a service account; operations:
encrypt, decrypt); without it, all principals of the customer count. Names are compared exactly, case included.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from watchdog.parts import Part, Text

ProjectId = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$",
        description="Id of a project: what key names, log names and commands are written with",
    ),
]
ProjectNumber = Annotated[
    str, Meta(pattern=r"^[0-9]{4,20}$", description="Number of a project, in quotes: many records name it by this only")
]
Organization = Annotated[str, Meta(pattern=r"^organizations/[0-9]+$", description="organizations/NUMBER")]
Folder = Annotated[str, Meta(pattern=r"^folders/[0-9]+$", description="folders/NUMBER")]
Ancestor = Annotated[str, Meta(pattern=r"^(folders|organizations)/[0-9]+$", description="A folder or organisation")]
BillingAccount = Annotated[str, Meta(pattern=r"^billingAccounts/[0-9A-Z-]+$", description="billingAccounts/ID")]
Perimeter = Annotated[
    str,
    Meta(
        pattern=r"^accessPolicies/[0-9]+/servicePerimeters/[^/]+$", description="accessPolicies/N/servicePerimeters/P"
    ),
]
Topic = Annotated[str, Meta(pattern=r"^projects/[^/]+/topics/[^/]+$", description="projects/P/topics/T")]
Subscription = Annotated[
    str, Meta(pattern=r"^projects/[^/]+/subscriptions/[^/]+$", description="projects/P/subscriptions/S")
]
Level = Annotated[
    str,
    Meta(
        pattern=r"^(projects|folders|organizations)/[^/]+(/locations/[^/]+/keyRings/[^/]+(/cryptoKeys/[^/]+)?)?$",
        description="Where a policy holds: an organisation, folder, project, key ring or key",
    ),
]
Role = Annotated[
    str,
    Meta(
        pattern=r"^(roles/[A-Za-z0-9_.]+|(projects|organizations)/[^/]+/roles/[A-Za-z0-9_.]+)$",
        description="roles/NAME, or the full name of a custom role",
    ),
]
Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,9}s$", description="Seconds, as in 2592000s")]
Operation = Literal["encrypt", "decrypt"]
BOTH: list[Operation] = ["encrypt", "decrypt"]
State = Literal[
    "PENDING_GENERATION",
    "ENABLED",
    "DISABLED",
    "DESTROY_SCHEDULED",
    "DESTROYED",
    "PENDING_IMPORT",
    "IMPORT_FAILED",
    "GENERATION_FAILED",
    "PENDING_EXTERNAL_DESTRUCTION",
    "EXTERNAL_DESTRUCTION_FAILED",
]


class GcpFeed(Part, frozen=True):
    """A topic of the vendor and the subscription that is read from it; each serves one customer (gcp.md 6.2)."""

    topic: Topic
    subscription: Subscription
    kind: Literal["audit", "assets"] = "audit"


# ----------------------------------------------------------------------------------------------------------- the vendor


class GcpVendorProject(Part, frozen=True):
    """A project of the vendor. `use` says what for, in words, `heartbeat` whether it writes one (see `GcpProject`)."""

    id: ProjectId
    number: ProjectNumber
    use: str = ""
    heartbeat: bool = False


class GcpVendor(Part, frozen=True):
    """The vendor on Google Cloud.

    `domains` are those of its people's addresses. `feeds` carry the records of its own projects. A push is believed
    when its token was made for `push_service_account` and `push_audience`.
    """

    organization: Organization | None = None
    domains: list[Text] = field(default_factory=list)
    projects: list[GcpVendorProject] = field(default_factory=list)
    watchdog_principal: Text | None = None
    push_service_account: Text | None = None
    push_audience: Text | None = None
    service_perimeters: list[Perimeter] = field(default_factory=list)
    feeds: list[GcpFeed] = field(default_factory=list)


# --------------------------------------------------------------------------------------------------------- the customer


class GcpProject(Part, frozen=True):
    """A project that holds registered keys. `ancestors` are its folders and its organisation, the nearest first.

    `services` are the APIs that the keys need switched on. `heartbeat` says that a job of the project writes an entry
    to its log byok-watchdog-heartbeat every 5 minutes, and that the sink carries it: then its silence means something.
    """

    id: ProjectId
    number: ProjectNumber
    ancestors: list[Ancestor] = field(default_factory=list)
    billing_account: BillingAccount | None = None
    services: list[Text] = field(default_factory=lambda: ["cloudkms.googleapis.com"])
    heartbeat: bool = False


class GcpPerimeter(Part, frozen=True):
    """A VPC service perimeter of the customer as agreed; `projects` are given by number (projects/NUMBER)."""

    name: Perimeter
    restricts_cloudkms: bool = False
    projects: list[Text] = field(default_factory=list)


class GcpRole(Part, frozen=True):
    """A custom role by which the vendor's principals get their rights."""

    name: Role
    permissions: list[Text] = field(default_factory=list)


class GcpSink(Part, frozen=True):
    """A log sink of the customer that feeds the watch; `filter` is the text that was agreed."""

    name: Annotated[str, Meta(pattern=r"^(projects|folders|organizations|billingAccounts)/[^/]+/sinks/[^/]+$")]
    destination: Text
    filter: str
    writer_identity: Text
    scope: Text
    include_children: bool = False


class GcpPrincipal(Part, frozen=True):
    """An account of the vendor's instance that uses the keys: most are service agents, one for each product.

    `unique_id` is the numeric id by which records about the account itself name it.
    """

    email: Text
    product: str = ""
    unique_id: Annotated[str, Meta(pattern=r"^[0-9]+$")] | None = None
    operations: Annotated[list[Operation], Meta(min_length=1)] = field(default_factory=lambda: list(BOTH))


class GcpCustomer(Part, frozen=True):
    """A customer on Google Cloud.

    `vendor_project` is the id of the vendor's project that runs this customer's instance. `data_access_logs` says
    whether the customer writes DATA_READ logs of Cloud KMS: without them no use of a key is ever seen.
    """

    domain: str = ""
    organization: Organization | None = None
    folders: list[Folder] = field(default_factory=list)
    billing_accounts: list[BillingAccount] = field(default_factory=list)
    projects: list[GcpProject] = field(default_factory=list)
    service_perimeters: list[GcpPerimeter] = field(default_factory=list)
    ekm_connections: list[Text] = field(default_factory=list)
    single_tenant_hsm_instances: list[Text] = field(default_factory=list)
    custom_roles: list[GcpRole] = field(default_factory=list)
    sinks: list[GcpSink] = field(default_factory=list)
    asset_feeds: list[Text] = field(default_factory=list)
    feeds: list[GcpFeed] = field(default_factory=list)
    vendor_project: ProjectId | None = None
    principals: list[GcpPrincipal] = field(default_factory=list)
    data_access_logs: bool = False


# -------------------------------------------------------------------------------------------------------------- the key


class GcpVersion(Part, frozen=True):
    """A version of a key. `in_use` stays true as long as any data is encrypted under it, primary or not."""

    version: Annotated[str, Meta(pattern=r"^[1-9][0-9]*$")]
    in_use: bool = True
    state: State = "ENABLED"


class GcpGrant(Part, frozen=True):
    """The binding that gives the vendor's principals their rights: where it stands, which role, to whom.

    `condition` is the agreed expression of a conditional binding.
    """

    level: Level
    role: Role
    members: Annotated[list[Text], Meta(min_length=1)]
    condition: str | None = None


class GcpKey(Part, frozen=True):
    """What only Google Cloud keys have.

    A version that is not listed counts as in use. `backend` is the EKM connection or the single-tenant HSM instance
    that holds the key. `required_operations` is what a principal needs for which `access` names none.
    `destroy_scheduled_duration` is the key's own, as the API writes it (2592000s are 30 days); it never changes, and
    no record of a destruction tells it.
    """

    purpose: str = "ENCRYPT_DECRYPT"
    protection_level: Literal["SOFTWARE", "HSM", "HSM_SINGLE_TENANT", "EXTERNAL", "EXTERNAL_VPC"] = "SOFTWARE"
    versions: list[GcpVersion] = field(default_factory=list)
    primary: str | None = None
    required_operations: Annotated[list[Operation], Meta(min_length=1)] = field(default_factory=lambda: list(BOTH))
    imported: bool = False
    backend: Text | None = None
    destroy_scheduled_duration: Duration | None = None
    grants: list[GcpGrant] = field(default_factory=list)
