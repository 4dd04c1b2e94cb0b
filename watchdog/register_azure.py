"""The Azure sections of the register file: tenants, vaults, what grants the vendor access, and the feeds (azure.md 1).

What need not be written because it follows: a key's vault is the registered container whose `host` stands in the key's
id; the keys that a grant covers are those under its `scope`; an application serves the customers whose service
principal names its `app_id`. The operations that a key needs stand in its generic `access` (principal: the object id
of the service principal; operations: get, wrapKey, unwrapKey, which are also the default).
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from watchdog.parts import Part, Text

Guid = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="Entra or Azure id (GUID)")
]
ResourceId = Annotated[
    str,
    Meta(
        pattern=r"^/[Ss][Uu][Bb][Ss][Cc][Rr][Ii][Pp][Tt][Ii][Oo][Nn][Ss]/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/.+[^/]$",
        max_length=800,
        description="Full id of an Azure resource, /subscriptions/...",
    ),
]
Scope = Annotated[
    str,
    Meta(
        pattern=r"^/",
        max_length=800,
        description="Where a grant holds: a management group, subscription, group, vault or key; "
        "on a managed HSM / or /keys/NAME",
    ),
]
Host = Annotated[
    str, Meta(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", description="DNS name of the vault or HSM, as in the key's id")
]
Version = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{32}$", description="Version of a key, 32 hex digits")]

# ------------------------------------------------------------------------------------------------------ tenant and keys


class AzureManagementGroup(Part, frozen=True):
    """A management group and the registered subscriptions below it: grants and denials there reach their vaults."""

    name: Text
    subscriptions: list[Guid] = field(default_factory=list)


class AzureServicePrincipal(Part, frozen=True):
    """The vendor's enterprise application in this tenant: `object_id` differs in each tenant, `app_id` does not."""

    object_id: Guid
    app_id: Guid


class AzureNetwork(Part, frozen=True):
    """The network settings agreed for a container. `ip_rules` are the addresses that must stay allowed."""

    default_action: Literal["Allow", "Deny"] = "Allow"
    bypass: Literal["AzureServices", "None"] = "AzureServices"
    public_network_access: Literal["Enabled", "Disabled", "SecuredByPerimeter"] = "Enabled"
    ip_rules: list[Text] = field(default_factory=list)


class AzureContainer(Part, frozen=True):
    """A vault or managed HSM that holds registered keys, as agreed.

    `tenant` is the one that it trusts (None: that of its owner). `private_endpoint_connections` are those of the
    vendor, by name.
    """

    id: ResourceId
    host: Host
    kind: Literal["vault", "managed_hsm"] = "vault"
    permission_model: Literal["rbac", "access_policies", "mhsm_local_rbac"] = "rbac"
    purge_protection: bool = False
    retention_days: Annotated[int, Meta(ge=7, le=90)] = 90
    location: str = ""
    tenant: Guid | None = None
    network: AzureNetwork = field(default_factory=AzureNetwork)
    private_endpoint_connections: list[Text] = field(default_factory=list)


class AzureGrant(Part, frozen=True):
    """What lets the vendor's principal use the keys under `scope`.

    `id` is the assignment's (a local one: its GUID; an access policy has none), `role` the role definition's id or
    GUID. `container` is the managed HSM of a local assignment. `key_permissions` are those of an access policy.
    """

    kind: Literal["role_assignment", "local_role_assignment", "access_policy"]
    scope: Scope
    principal: Guid
    id: Text | None = None
    role: Text | None = None
    container: ResourceId | None = None
    key_permissions: list[Text] = field(default_factory=list)


class AzureVersion(Part, frozen=True):
    """A version of a key that data is encrypted under, and the expiry that is known and accepted."""

    version: Version
    expires: Annotated[datetime, Meta(tz=True)] | None = None


class AzureKey(Part, frozen=True):
    """What only Azure keys have: the versions in use, and whether the stores move on to each new version."""

    versions: list[AzureVersion] = field(default_factory=list)
    follows_latest: bool = False


# ---------------------------------------------------------------------------------------------------------------- feeds


class AzureDiagnosticSetting(Part, frozen=True):
    """The setting that sends a container's AuditEvent log to `destination` (an event hub, a storage account)."""

    id: ResourceId
    destination: ResourceId | None = None


class AzureEventSubscription(Part, frozen=True):
    """An Event Grid subscription. `name` is what its deliveries call it (header aeg-subscription-name)."""

    id: ResourceId
    name: str = ""


class AzureForwarder(Part, frozen=True):
    """Whatever republishes log records as CloudEvents: their `source` and `type`."""

    id: ResourceId
    source: Text
    type: str = ""


class AzureNamespace(Part, frozen=True):
    """An Event Grid namespace with the topic and the subscription that are read from it."""

    id: ResourceId
    topic: str = ""
    subscription: str = ""


class AzureFeeds(Part, frozen=True):
    """The resources that carry the audit records; losing one of them, or a parent, blinds the watch (azure.md 3.7).

    `reader_grants` are the ids of role assignments that let the watch read from the others.
    """

    diagnostic_settings: list[AzureDiagnosticSetting] = field(default_factory=list)
    system_topics: list[ResourceId] = field(default_factory=list)
    event_subscriptions: list[AzureEventSubscription] = field(default_factory=list)
    event_hubs: list[ResourceId] = field(default_factory=list)
    storage: list[ResourceId] = field(default_factory=list)
    forwarders: list[AzureForwarder] = field(default_factory=list)
    namespaces: list[AzureNamespace] = field(default_factory=list)
    reader_grants: list[Text] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------- customer and vendor


class AzureCustomer(Part, frozen=True):
    """One side on Azure: its tenant with what lies in it. `service_principal` is the vendor's application there."""

    tenant: Guid
    subscriptions: list[Guid] = field(default_factory=list)
    management_groups: list[AzureManagementGroup] = field(default_factory=list)
    service_principal: AzureServicePrincipal | None = None
    containers: list[AzureContainer] = field(default_factory=list)
    grants: list[AzureGrant] = field(default_factory=list)
    feeds: AzureFeeds = field(default_factory=AzureFeeds)


class AzureFederatedCredential(Part, frozen=True):
    """A federated credential of an application; `subject` is the principal id of the managed identity behind it."""

    name: str
    subject: Text


class AzureApp(Part, frozen=True):
    """An application registration of the vendor; `object_id` is its own, `identity` the managed identity behind it."""

    app_id: Guid
    object_id: Guid
    name: str = ""
    identity: ResourceId | None = None
    federated_credentials: list[AzureFederatedCredential] = field(default_factory=list)


class AzureIdentity(Part, frozen=True):
    """A user-assigned managed identity of the vendor."""

    id: ResourceId
    client_id: Guid | None = None
    principal_id: Guid | None = None


class AzureRole(Part, frozen=True):
    """A role that by itself gives all that a key needs; `id` is the definition's full id, or its GUID if built in."""

    id: Text
    name: str = ""
    plane: Literal["azure_rbac", "mhsm_local_rbac"] = "azure_rbac"


# Built in, and made for this purpose (azure.md 1). Other roles count once they are registered.
ENCRYPTION_ROLES = (
    AzureRole(id="e147488a-f6f5-4113-8e2d-b22465e65bf6", name="Key Vault Crypto Service Encryption User"),
    AzureRole(
        id="33413926-3206-4cdd-b39a-83574fe37a17",
        name="Managed HSM Crypto Service Encryption User",
        plane="mhsm_local_rbac",
    ),
)


class AzureVendor(AzureCustomer, frozen=True):
    """The vendor on Azure: a side like a customer's (for keys of its own), and who calls the customers' keys.

    `addresses` are those from which its own calls come, as told to the customers. `sufficient_roles` extends the two
    built-in ones that are known to suffice.
    """

    addresses: list[Text] = field(default_factory=list)
    apps: list[AzureApp] = field(default_factory=list)
    identities: list[AzureIdentity] = field(default_factory=list)
    sufficient_roles: list[AzureRole] = field(default_factory=list)
