"""The exception register: whose key protects what, who must keep access to it, and whom to tell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, field

from watchdog.parts import AccountId, Arn, Email, Identifier, KeyArn, KeyId, Part, Partition, Text
from watchdog.register_azure import AzureCustomer, AzureKey, AzureVendor
from watchdog.register_gcp import GcpCustomer, GcpKey, GcpVendor
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
    managed_policies: list[Arn] = []


class AwsVendorFeeds(Part, frozen=True):
    """The vendor's own resources that carry the audit events; a change of any of them blinds the watch."""

    event_buses: list[Arn] = []
    queues: list[Arn] = []
    rules: list[Arn] = []
    topics: list[Arn] = []
    trail_buckets: list[str] = []


class AwsVendor(Part, frozen=True):
    """The vendor on AWS."""

    accounts: list[AwsAccount]
    principals: list[AwsPrincipal] = []
    feeds: AwsVendorFeeds = field(default_factory=AwsVendorFeeds)


class AwsOrganization(Part, frozen=True):
    """The customer's AWS organisation: its root and every unit above the registered accounts."""

    id: str
    management_account: AccountId
    root: str
    units: list[str] = []


class AwsCustomerFeeds(Part, frozen=True):
    """The customer's own resources that forward its audit events to the vendor."""

    trails: list[Arn] = []
    rules: list[Arn] = []
    heartbeat_rules: list[Arn] = []
    topics: list[Arn] = []


class AwsCustomer(Part, frozen=True):
    """The customer on AWS."""

    accounts: list[AccountId] = []
    organization: AwsOrganization | None = None
    feeds: AwsCustomerFeeds = field(default_factory=AwsCustomerFeeds)


class AwsMultiRegion(Part, frozen=True):
    """The place of a multi-Region key in its family."""

    type: Literal["PRIMARY", "REPLICA"]
    primary: KeyArn
    replicas: list[KeyArn] = []


class AwsKey(Part, frozen=True):
    """What only AWS keys have. `aliases` are those that the vendor is configured with, as ARNs."""

    origin: Literal["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"] = "AWS_KMS"
    custom_key_store_id: str | None = None
    multi_region: AwsMultiRegion | None = None
    aliases: list[Arn] = []
    policy_tags: list[str] = []
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
    operations: list[str] = []
    purpose: str = ""


class Consumer(Part, frozen=True):
    """A store that the key protects. `store` names a row group of the impact table, `topology` its variant."""

    id: Text
    store: str
    name: str = ""
    region: str | None = None
    topology: dict[str, bool | str] = {}


class Terms(Part, frozen=True):
    """The responsibility terms that the customer accepted."""

    version: Text
    accepted_on: date | None = None
    accepted_by: str | None = None
    sha256: str | None = None


class KeyException(Part, frozen=True):
    """The reviewed exception by which the customer's own key is used."""

    reference: Text
    approved_by: str | None = None
    approved_on: date | None = None
    review_by: date | None = None
    terms: Terms | None = None


class KeyEntry(Part, frozen=True):
    """One key as written in the register file."""

    key: KeyId
    owner: KeyOwner = KeyOwner.CUSTOMER
    cloud: Literal["aws", "azure", "gcp"] = "aws"
    name: str = ""
    exception: KeyException | None = None
    access: list[Access] = []
    grants: list[Grant] = []
    consumers: list[Consumer] = []
    aws: AwsKey = field(default_factory=AwsKey)
    azure: AzureKey | None = None
    gcp: GcpKey | None = None


class Instance(Part, frozen=True):
    """One dedicated instance, run by the vendor for one customer."""

    id: Identifier
    keys: list[KeyEntry] = []
    name: str = ""
    purpose: str = ""
    business_owner: str = ""
    on_call: str = "default"


class Customer(Part, frozen=True):
    """A customer, its people, and its side of the clouds."""

    id: Identifier
    name: str = ""
    contacts: list[Contact] = []
    account_staff: list[Staff] = []
    instances: list[Instance] = []
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
    customers: list[Customer] = []


# ------------------------------------------------------------------------------------------------------------- index


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key of the register with the customer and the instance that it belongs to."""

    id: str
    entry: KeyEntry
    instance: Instance
    customer: Customer

    @property
    def cloud(self) -> str:
        """Name of the cloud that holds the key."""
        return self.entry.cloud

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
    """Return the canonical spelling of a key id: the hex part of an AWS key ARN in lower case (aws.md, 3.0)."""
    head, slash, tail = key.rpartition("key/")
    return f"{head}{slash}{tail.lower()}" if slash else key


def registered_keys(document: Document) -> Iterator[RegisteredKey]:
    """Yield every key of the document with its owner, in the order of the file."""
    for customer in document.customers:
        for instance in customer.instances:
            for entry in instance.keys:
                yield RegisteredKey(canonical(entry.key), entry, instance, customer)
