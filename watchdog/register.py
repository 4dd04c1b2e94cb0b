"""The exception register: whose key protects what, who must keep access to it, and whom to tell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, field

from watchdog.parts import AccountId, Arn, Email, Identifier, KeyArn, KeyId, Part, Partition, Text
from watchdog.register_azure import AzureContainer, AzureCustomer, AzureKey, AzureVendor
from watchdog.register_gcp import GcpCustomer, GcpKey, GcpVendor
from watchdog.register_probe import KeyProbe
from watchdog.words import KeyOwner

T = TypeVar("T")

# ---------------------------------------------------------------------------------------------------------- people


class Contact(Part, frozen=True):
    """A person or list at the customer who must be told; the order in the file is the order of asking."""

    name: Text
    email: Email
    role: Literal["key_owner", "deputy", "security", "account"] = "key_owner"
    language: str = "en"
    timezone: str = "UTC"


class Staff(Part, frozen=True):
    """A person at the vendor who looks after the customer's contract."""

    name: Text
    email: Email
    timezone: str = "UTC"


# -------------------------------------------------------------------------------------------------------- AWS parts


class AwsAccount(Part, frozen=True):
    """An account of the vendor; `organization` is the id of the AWS organisation that it belongs to."""

    id: AccountId
    partition: Partition = "aws"
    organization: str | None = None


class AwsPrincipal(Part, frozen=True):
    """A vendor role that keys must keep serving. `unique_id` is the AROA... id that owner-side records show."""

    arn: Arn
    unique_id: str | None = None
    managed_policies: list[Arn] = field(default_factory=list)


class AwsVendorFeeds(Part, frozen=True):
    """The vendor's own resources that carry the audit events; a change of any of them blinds the watch."""

    event_buses: list[Arn] = field(default_factory=list)
    queues: list[Arn] = field(default_factory=list)
    rules: list[Arn] = field(default_factory=list)
    heartbeat_rules: list[Arn] = field(default_factory=list)
    topics: list[Arn] = field(default_factory=list)
    trail_buckets: list[str] = field(default_factory=list)


class AwsVendor(Part, frozen=True):
    """The vendor on AWS."""

    accounts: list[AwsAccount]
    principals: list[AwsPrincipal] = field(default_factory=list)
    feeds: AwsVendorFeeds = field(default_factory=AwsVendorFeeds)


class AwsOrganization(Part, frozen=True):
    """The customer's AWS organisation: its root and every unit above the registered accounts."""

    id: str
    management_account: AccountId
    root: str
    units: list[str] = field(default_factory=list)


class AwsCustomerFeeds(Part, frozen=True):
    """The customer's own resources that forward its audit events to the vendor."""

    trails: list[Arn] = field(default_factory=list)
    rules: list[Arn] = field(default_factory=list)
    heartbeat_rules: list[Arn] = field(default_factory=list)
    topics: list[Arn] = field(default_factory=list)


class AwsCustomer(Part, frozen=True):
    """The customer on AWS.

    `audit_roles` are roles, one in each account with keys, that the watchdog may become to read what no other account
    can see (key policy, tags, trail, rules). `break_glass` are the roles that alone may take a key away.
    """

    accounts: list[AccountId] = field(default_factory=list)
    organization: AwsOrganization | None = None
    feeds: AwsCustomerFeeds = field(default_factory=AwsCustomerFeeds)
    audit_roles: list[Arn] = field(default_factory=list)
    break_glass: list[Arn] = field(default_factory=list)


class AwsMultiRegion(Part, frozen=True):
    """The place of a multi-Region key in its family."""

    type: Literal["PRIMARY", "REPLICA"]
    primary: KeyArn
    replicas: list[KeyArn] = field(default_factory=list)


class AwsKey(Part, frozen=True):
    """What only AWS keys have. `aliases` are those that the vendor is configured with, as ARNs."""

    origin: Literal["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"] = "AWS_KMS"
    custom_key_store_id: str | None = None
    multi_region: AwsMultiRegion | None = None
    aliases: list[Arn] = field(default_factory=list)
    policy_tags: list[str] = field(default_factory=list)
    needs_vendor_organization: bool = False


# -------------------------------------------------------------------------------------------------------------- keys


class Access(Part, frozen=True):
    """One vendor principal, the way its right comes about, and the operations that it needs."""

    principal: str
    operations: Annotated[list[str], Meta(min_length=1)]
    via: Literal["key_policy", "grant"] = "key_policy"


class Grant(Part, frozen=True):
    """A grant on the key that the vendor depends on."""

    id: str
    grantee: str = ""
    operations: list[str] = field(default_factory=list)
    purpose: str = ""


class Consumer(Part, frozen=True):
    """A store that the key protects. `store` names a row group of the impact table, `topology` its variant."""

    id: Text
    store: str
    name: str = ""
    region: str | None = None
    topology: dict[str, bool | str] = field(default_factory=dict)


class Terms(Part, frozen=True):
    """The responsibility terms that the customer accepted."""

    version: Text
    accepted_on: date | None = None
    accepted_by: str | None = None
    sha256: str | None = None


class Deviation(Part, frozen=True):
    """A pre-flight check that is agreed to fail: its id (`aws.deletion_window`), who answers for it, why, how long."""

    check: Text
    owner: Text
    reason: Text
    until: date | None = None


class Statement(Part, frozen=True):
    """What the customer has said about a pre-flight check that nobody else can verify."""

    check: Text
    by: Text
    stated_on: date
    words: str = ""


class KeyException(Part, frozen=True):
    """The reviewed exception by which the customer's own key is used."""

    reference: Text
    approved_by: str | None = None
    approved_on: date | None = None
    review_by: date | None = None
    terms: Terms | None = None
    deviations: list[Deviation] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


class KeyEntry(Part, frozen=True):
    """One key as written in the register file."""

    key: KeyId
    owner: KeyOwner = KeyOwner.CUSTOMER
    cloud: Literal["aws", "azure", "gcp"] = "aws"
    name: str = ""
    exception: KeyException | None = None
    access: list[Access] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    aws: AwsKey = field(default_factory=AwsKey)
    azure: AzureKey | None = None
    gcp: GcpKey | None = None
    probe: KeyProbe | None = None


class Instance(Part, frozen=True):
    """One dedicated instance, run by the vendor for one customer."""

    id: Identifier
    keys: list[KeyEntry] = field(default_factory=list)
    name: str = ""
    purpose: str = ""
    business_owner: str = ""
    on_call: str = "default"


class Customer(Part, frozen=True):
    """A customer, its people, and its side of the clouds."""

    id: Identifier
    name: str = ""
    contacts: list[Contact] = field(default_factory=list)
    account_staff: list[Staff] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    aws: AwsCustomer = field(default_factory=AwsCustomer)
    azure: AzureCustomer | None = None
    gcp: GcpCustomer | None = None


class Vendor(Part, frozen=True):
    """The vendor: how it calls itself, how to reach it at any hour, and its side of the clouds."""

    name: Text
    product: str = ""
    emergency_contact: str = ""
    verify_url: str = ""
    aws: AwsVendor | None = None
    azure: AzureVendor | None = None
    gcp: GcpVendor | None = None


class Document(Part, frozen=True):
    """The register file, whole."""

    version: Literal[1]
    vendor: Vendor
    customers: list[Customer] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------------------- index


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key of the register with the customer and the instance that it belongs to; on Azure also with its vault."""

    id: str
    entry: KeyEntry
    instance: Instance
    customer: Customer
    container: AzureContainer | None = None

    @property
    def cloud(self) -> str:
        """Name of the cloud that holds the key."""
        return self.entry.cloud

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that data is encrypted under, as far as they are registered; none on AWS."""
        if self.entry.gcp is not None:
            return tuple(one.version for one in self.entry.gcp.versions if one.in_use)
        return tuple(one.version.lower() for one in self.entry.azure.versions) if self.entry.azure is not None else ()

    @property
    def customer_owned(self) -> bool:
        """Whether the customer's own key is used, by exception."""
        return self.entry.owner is KeyOwner.CUSTOMER


class Register:
    """The register, indexed. Immutable; clouds keep their own lookups in `view`."""

    __slots__ = ("_views", "customers", "document", "keys", "revision")

    def __init__(self, document: Document, revision: int = 0) -> None:
        self.document = document
        self.revision = revision
        self.customers: dict[str, Customer] = {customer.id: customer for customer in document.customers}
        self.keys: dict[str, RegisteredKey] = {key.id: key for key in registered_keys(document)}
        self._views: dict[str, object] = {}

    @property
    def vendor(self) -> Vendor:
        """The vendor."""
        return self.document.vendor

    def view(self, name: str, build: Callable[["Register"], T]) -> T:
        """Return the lookup called `name`, built once for this register."""
        found: Any = self._views.get(name)
        if found is None:
            found = self._views[name] = build(self)
        return found  # type: ignore[no-any-return]  # a view's type is its builder's


def canonical(key: str) -> str:
    """Return the canonical spelling of a key id: the hex part of an AWS key ARN in lower case (aws.md, 3.0).

    Keys of other clouds keep theirs: case counts on Google Cloud, and Azure's half compares ids in its own way.
    """
    head, slash, tail = key.rpartition("key/")
    return f"{head}{slash}{tail.lower()}" if slash and key.startswith("arn:") else key


def registered_keys(document: Document) -> Iterator[RegisteredKey]:
    """Yield every key of the document with its owner, in the order of the file."""
    own = _containers(document.vendor.azure)
    for customer in document.customers:
        theirs = _containers(customer.azure)
        for instance in customer.instances:
            for entry in instance.keys:
                host = _host(entry.key) if entry.cloud == "azure" else ""
                container = theirs.get(host) or own.get(host)
                yield RegisteredKey(canonical(entry.key), entry, instance, customer, container)


def _containers(side: AzureCustomer | None) -> dict[str, AzureContainer]:
    return {container.host.lower(): container for container in side.containers} if side else {}


def _host(key: str) -> str:
    """Return the DNS name in an Azure key's id, in lower case."""
    return key.partition("://")[2].partition("/")[0].lower()
