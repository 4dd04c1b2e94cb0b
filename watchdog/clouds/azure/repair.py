"""Repair on Azure: the ordered steps that undo one loss of one key, with commands that can be pasted as they stand.

A command is written only when everything in it matches a strict pattern: ids come from the register and from records,
and a record is an outsider's text. Whatever does not match is left to words. The commands are those of azure.md 3.2.
"""

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from watchdog.clouds.azure import settings
from watchdog.clouds.azure.access import DATA_ACTIONS, SPELLED
from watchdog.clouds.azure.ids import canonical, subscription_of
from watchdog.clouds.azure.index import Container, Grant, Index, WatchedKey, index_of
from watchdog.register import Register, RegisteredKey
from watchdog.register_azure import ENCRYPTION_ROLES
from watchdog.repair import Step
from watchdog.words import Cause, Effect, Means, Owner

GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
NAME = re.compile(r"[A-Za-z][0-9A-Za-z-]{1,23}")
KEY = re.compile(r"[0-9A-Za-z-]{1,127}")
VERSION = re.compile(r"[0-9a-f]{32}")
ID = re.compile(GUID)
GROUP = re.compile(r"[0-9A-Za-z_.-]{1,89}[0-9A-Za-z_-]")
LOCATION = re.compile(r"[a-z0-9]{2,40}")
# Resource ids, without what a shell would read (parentheses are legal in names of groups, and left to words).
RESOURCE = re.compile(rf"/subscriptions/{GUID}(?:/[0-9A-Za-z_.-]+)*")
SCOPE = re.compile(rf"(?:/subscriptions/{GUID}|/providers/Microsoft\.Management/managementGroups/[0-9A-Za-z_.-]+)"
                   r"(?:/[0-9A-Za-z_.-]+)*")  # fmt: skip
LOCAL_SCOPE = re.compile(r"/(?:keys(?:/[0-9A-Za-z-]{1,127})?)?")
ROLE_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z ().-]{0,120}")
ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?")
PERMISSION = re.compile(r"[A-Za-z]{2,20}")

ASSIGNMENT = re.compile(r"role assignment (\S+)")
PRINCIPAL = re.compile(rf"(sign-in of )?service principal ({GUID})")
NEW_PRINCIPAL = re.compile(r"new service principal .*")
LOCK = re.compile(r"lock \S+")
ENDPOINT = re.compile(r"private endpoint connection ([0-9A-Za-z][0-9A-Za-z_.-]*)")

FAR = "2099-12-31T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"
SLOW = "It takes up to 10 minutes to act; token caches may hide it for up to 24 hours."
# Who may run a command, as far as is known (azure.md 7: not confirmed on a live tenant).
OFFICER = "Key Vault Crypto Officer"
# On a managed HSM one local role changes keys and another recovers them:
# https://learn.microsoft.com/azure/key-vault/managed-hsm/built-in-roles
HSM_USER = "Managed HSM Crypto User"
HSM_OFFICER = "Managed HSM Crypto Officer"
HSM_ASSIGNER = "Managed HSM Policy Administrator"
CONTRIBUTOR = "Key Vault Contributor"
ASSIGNER = "User Access Administrator"
APPLICATIONS = "Cloud Application Administrator"
OPERATIONS = "encrypt decrypt wrapKey unwrapKey"


class Loss(Struct, frozen=True, kw_only=True):
    """What is to be undone: a key in its container, and what the signal said about it."""

    watched: WatchedKey
    index: Index
    means: Means | None = None
    subject: str | None = None
    cause: Cause | None = None

    @property
    def container(self) -> Container:
        """The vault or managed HSM of the key."""
        return self.watched.container

    @property
    def subscription(self) -> str:
        """The option that names the subscription, for commands of the management plane; "" if its id is odd."""
        found = subscription_of(self.container.id) or ""
        return f" --subscription {found}" if ID.fullmatch(found) else ""

    @property
    def group(self) -> str | None:
        """Resource group of the container, if it can stand in a command."""
        parts = self.container.facts.id.split("/")
        lowered = [part.lower() for part in parts]
        found = parts[lowered.index("resourcegroups") + 1] if "resourcegroups" in lowered else ""
        return found if GROUP.fullmatch(found) else None

    @property
    def location(self) -> str | None:
        """Location of the container, if it can stand in a command."""
        found = self.container.facts.location
        return found if LOCATION.fullmatch(found) else None

    @property
    def update(self) -> str | None:
        """The command that sets properties of the container, without the properties."""
        if self.vault is None:
            return None
        if not self.container.is_hsm:
            return f"az keyvault update --name {self.vault}{self.subscription}"
        group = f" --resource-group {self.group}{self.subscription}" if self.group else None
        return f"az keyvault update-hsm --hsm-name {self.vault}{group}" if group else None

    @property
    def vault(self) -> str | None:
        """Name of the container, if it can stand in a command."""
        return self.container.name if NAME.fullmatch(self.container.name) else None

    @property
    def place(self) -> str | None:
        """The option that names the container in commands on keys."""
        option = "--hsm-name" if self.container.is_hsm else "--vault-name"
        return f"{option} {self.vault}" if self.vault else None

    @property
    def target(self) -> str | None:
        """The options that name the key."""
        return f"{self.place} --name {self.watched.name}" if self.place and KEY.fullmatch(self.watched.name) else None

    @property
    def versions(self) -> list[str]:
        """The version that was hit, else every version in use."""
        hit = [self.subject] if self.subject and VERSION.fullmatch(self.subject) else []
        return hit or [version for version in self.watched.versions if VERSION.fullmatch(version)]

    @property
    def principal(self) -> str | None:
        """Object id of the vendor's service principal, if it can stand in a command."""
        found = self.container.estate.principal or ""
        return found if ID.fullmatch(found) else None


Plan = Callable[[Loss], list[Step]]


def steps(
    effect: Effect,
    key: RegisteredKey,
    register: Register,
    *,
    means: Means | None = None,
    subject: str | None = None,
    cause: Cause | None = None,
) -> Sequence[Step]:
    """Return the steps that undo a loss on the key's side, in order; the proof by a probe is not among them."""
    index = index_of(register)
    watched = index.by_id.get(key.id)
    plan = CAUSES.get(cause or Cause.UNKNOWN) if effect is Effect.USE_FAILED else PLANS.get(effect)
    if plan is None:
        return []
    if watched is None:
        return [_customer("Undo what was done to the key; its vault is not registered, so no command can be given.")]
    return plan(Loss(watched=watched, index=index, means=means, subject=subject, cause=cause))


# ---------------------------------------------------------------------------------------------------- state of the key


def _attributes(loss: Loss, text: str, options: str, *, note: str | None = None) -> list[Step]:
    """Set attributes, of each version that counts; without a version the current one is meant, which may be another.

    `text` has {what} where it speaks of the version.
    """
    if loss.target is None or not loss.versions:
        said = text.format(what="every version of the key that data is encrypted under")
        listed = f"az keyvault key list-versions {loss.target}" if loss.target else None
        hint = "The command lists the versions." if listed else None
        return [_customer(said, listed, note=" ".join(one for one in (hint, note) if one) or None)]
    role = HSM_USER if loss.container.is_hsm else OFFICER
    return [
        _customer(
            text.format(what=f"version {version} of the key"),
            f"az keyvault key set-attributes {loss.target} --version {version} {options}",
            note=note,
            role=role,
        )
        for version in loss.versions
    ]


def _enabled(loss: Loss) -> list[Step]:
    return _attributes(loss, "Enable {what}.", "--enabled true")


def _permitted(loss: Loss) -> list[Step]:
    return _attributes(loss, "Permit the operations again that the vendor needs, on {what}.", f"--ops {OPERATIONS}")


def _begun(loss: Loss) -> list[Step]:
    return _attributes(loss, "Move the date into the past from which {what} is valid.", f"--not-before {PAST}")


def _extended(loss: Loss) -> list[Step]:
    note = (
        "An earlier date will do, if your policy asks for one. Rotate afterwards, never first: data needs this version."
    )
    return _attributes(loss, "Move the expiry of {what} ahead.", f"--expires {FAR}", note=note)


def _recovered(loss: Loss) -> list[Step]:
    facts = loss.container.facts
    note = None if facts.purge_protection else "Without purge protection it can be purged at any moment."
    command = f"az keyvault key recover {loss.target}" if loss.target else None
    query = "{d:deletedDate,p:scheduledPurgeDate}"
    shown = f'az keyvault key show-deleted {loss.target} --query "{query}"' if loss.target else None
    return [
        _customer(
            "Recover the deleted key.", command, note=note, role=HSM_OFFICER if loss.container.is_hsm else OFFICER
        ),
        _customer("If it cannot be recovered at once, find out until when it can.", shown),
        *_attributes(loss, "Enable {what}, if it was disabled: it comes back as it was.", "--enabled true"),
    ]


def _restored(loss: Loss) -> list[Step]:
    if loss.subject == loss.container.id:
        return [
            _customer(
                "A purged vault cannot be brought back. Make a vault anew, and restore the key from a backup of it, "
                "if there is one: it must be of the same subscription and geography."
            )
        ]
    command = f"az keyvault key restore {loss.place} --file key.backup" if loss.place else None
    return [
        _customer(
            "Restore the key from a backup of it, if there is one (key.backup).",
            command,
            note="A purged key cannot be brought back otherwise; a new key of the same name does not open the data.",
        )
    ]


# ------------------------------------------------------------------------------------------------------------ container


def _container_restored(loss: Loss) -> list[Step]:
    if re.fullmatch("/subscriptions/[^/]*", loss.subject or ""):
        listed = 'az account list --all --query "[].{n:name,s:state}"'
        note = "Until it is active nothing in it can be recovered. The command shows the state of every subscription."
        return [_customer("Reactivate the subscription of the vault; only its billing owner can.", listed, note=note)]
    is_hsm, vault, location = loss.container.is_hsm, loss.vault, loss.location
    what = "managed HSM" if is_hsm else "vault"
    made = f"az group create --name {loss.group} --location {location}{loss.subscription}"
    named = f"--hsm-name {vault} --location {location}" if is_hsm else f"--name {vault}"
    fits = vault and (location or not is_hsm)
    listed = f"az keyvault list-deleted --resource-type {'hsm' if is_hsm else 'vault'}{loss.subscription}"
    return [
        *(
            [_customer("Make its resource group again first, if that was deleted.", made)]
            if loss.group and location
            else []
        ),
        _customer(
            f"Recover the deleted {what}.",
            f"az keyvault recover {named}{loss.subscription}" if fits else None,
            role=CONTRIBUTOR,
        ),
        _customer("If it cannot be recovered at once, find out until when it can.", listed),
        *_completed(loss),
    ]


def _completed(loss: Loss) -> list[Step]:
    """What a recovered container lacks: role assignments on it, and the event subscriptions of the watch (azure.md 0).

    Access policies are settings of the vault and come back with it; what was assigned above its group was never lost.
    """
    group = "/".join(loss.container.facts.id.split("/")[:5]).lower() + "/"
    notes = {
        "role_assignment": "A recovered vault comes back without its role assignments.",
        "local_role_assignment": "Needed only where the recovered managed HSM has lost it.",
    }
    lost = [
        grant
        for grant in loss.watched.grants
        if grant.facts.kind == "local_role_assignment"
        or (grant.facts.kind == "role_assignment" and f"{grant.facts.scope.lower()}/".startswith(group))
    ]
    return [*(_grant(loss, grant, note=notes[grant.facts.kind]) for grant in lost), *_feed_restored(loss)]


# --------------------------------------------------------------------------------------------------------------- access


def _access_restored(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    if subject == loss.container.id:  # recovered, and so without what was assigned on it
        return _completed(loss)
    if loss.means is Means.KEY_OPERATIONS:
        return _permitted(loss)
    if loss.means is Means.CONDITION:
        return _begun(loss)
    if subject == settings.MODEL:
        return _model_restored(loss)
    if subject == settings.TENANT:
        return _tenant_restored(loss)
    if subject == "deny assignment":
        return [_customer("Remove the deny assignment, or except the vendor's principal from it.", note=SLOW)]
    if subject.startswith("role definition "):
        return _definition_restored(loss)
    if loss.means is Means.IDENTITY:
        return _identity_restored(loss)
    return _granted(loss)


def _granted(loss: Loss) -> list[Step]:
    """Make the registered grants again: the one that was lost, else all of the key."""
    grants = loss.watched.grants
    lost = ASSIGNMENT.fullmatch(loss.subject or "")
    if lost:
        grants = [grant for grant in grants if (grant.facts.id or "").lower().endswith(lost[1])] or grants
    made = [_grant(loss, grant) for grant in grants]
    text = "Give the vendor's principal the right to get, wrap and unwrap with the key again."
    return made or [_customer(text, note=SLOW)]


def _grant(loss: Loss, grant: Grant, *, note: str = "") -> Step:
    facts, principal, granted = grant.facts, loss.principal, _role(grant)
    match facts.kind:
        case "role_assignment":
            text = "Assign the role to the vendor's principal again."
            fits = bool(principal and granted and SCOPE.fullmatch(facts.scope))
            command = (
                f"az role assignment create --assignee-object-id {principal} "
                f'--assignee-principal-type ServicePrincipal --role "{granted}" --scope {facts.scope}'
            )
        case "local_role_assignment":
            text = "Assign the local role to the vendor's principal again."
            fits = bool(principal and granted and loss.vault and LOCAL_SCOPE.fullmatch(facts.scope))
            command = (
                f'az keyvault role assignment create --hsm-name {loss.vault} --role "{granted}" '
                f"--assignee-object-id {principal} --scope {facts.scope}"
            )
        case "access_policy":
            text = "Put the vendor's principal into the access policies again."
            wanted = facts.key_permissions or [SPELLED[name] for name in SPELLED if name in loss.watched.needed]
            fits = bool(principal and loss.vault and all(PERMISSION.fullmatch(name) for name in wanted))
            command = (
                f"az keyvault set-policy --name {loss.vault} --object-id {principal} "
                f"--key-permissions {' '.join(wanted)}{loss.subscription}"
            )
    roles = {"access_policy": CONTRIBUTOR, "local_role_assignment": HSM_ASSIGNER}
    said = f"{note} {SLOW}".strip()
    return _customer(text, command if fits else None, note=said, role=roles.get(facts.kind, ASSIGNER))


def _role(grant: Grant) -> str | None:
    """Return the name of a built-in role, or the id of a custom one, if it can stand in a command."""
    wanted = (grant.facts.role or "").lower().rpartition("/")[2]
    named = next((role.name for role in ENCRYPTION_ROLES if role.id == wanted), None)
    found = named or grant.facts.role or ""
    return found if ROLE_NAME.fullmatch(found) or RESOURCE.fullmatch(found) else None


def _model_restored(loss: Loss) -> list[Step]:
    model = loss.container.facts.permission_model
    is_rbac = model == "rbac"
    command = f"{loss.update} --enable-rbac-authorization {str(is_rbac).lower()}" if loss.update else None
    text = f"Switch the vault's permission model back to {settings.WORDS.get(model, model)}."
    return [_customer(text, command, note=SLOW, role=CONTRIBUTOR), *([] if is_rbac else _granted(loss))]


def _tenant_restored(loss: Loss) -> list[Step]:
    tenant = loss.container.tenant
    fits = loss.update and ID.fullmatch(tenant)
    command = f"{loss.update} --set properties.tenantId={tenant}" if fits else None
    return [
        _customer("Let the vault trust its former tenant again.", command),
        _customer("If the subscription itself was moved to another tenant, consent to the vendor's application there."),
        *_granted(loss),
    ]


def _definition_restored(_: Loss) -> list[Step]:
    actions = ", ".join(sorted(DATA_ACTIONS.values()))
    return [_customer(f"Put the data actions back into the role: {actions}.", note=SLOW)]


def _identity_restored(loss: Loss) -> list[Step]:
    subject, app = loss.subject or "", loss.container.estate.app or ""
    if NEW_PRINCIPAL.fullmatch(subject):
        return [
            _customer("Tell the vendor the object id of the new service principal: it must be registered."),
            _customer("Give the new service principal every grant that the old one had.", note=SLOW),
        ]
    found = PRINCIPAL.fullmatch(subject)
    if found is None or found[2].lower() != loss.container.estate.principal:
        return [Step(owner=Owner.VENDOR, text=f"Make the vendor's own sign-in work again: {subject or 'identity'}.")]
    fits = ID.fullmatch(app) is not None
    if found[1]:
        command = f"az ad sp update --id {app} --set accountEnabled=true" if fits else None
        return [_customer("Allow the vendor's application to sign in again.", command, role=APPLICATIONS)]
    restore = f"https://graph.microsoft.com/v1.0/directory/deletedItems/{found[2]}/restore"
    return [
        _customer(
            "Restore the vendor's enterprise application, within 30 days of its removal.",
            f"az rest --method POST --url {restore}",
            role=APPLICATIONS,
        ),
        _customer(
            "If it can no longer be restored, consent to the vendor's application anew.",
            f"az ad sp create --id {app}" if fits else None,
            note="It then has a new object id: tell it to the vendor, and make every grant again for that id.",
        ),
    ]


def _changed(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    if subject == "moved vault":
        return [
            Step(owner=Owner.VENDOR, text="Register the vault under its new resource id."),
            *(_regranted(loss, grant) for grant in loss.watched.grants),
        ]
    return _access_restored(loss)


def _regranted(loss: Loss, grant: Grant) -> Step:
    """Make a grant again on a vault that was moved: what stood on its old id names a scope that is no more."""
    step, old = _grant(loss, grant), loss.container.facts.id.lower()
    if grant.facts.kind != "role_assignment" or not grant.facts.scope.lower().startswith(old):
        return step
    return _customer(
        "Assign the role to the vendor's principal again, with the vault's new id as its scope.", note=SLOW
    )


def _looked_at(loss: Loss) -> list[Step]:
    found = [
        _customer(
            "Look at the key version, and undo what was changed.", f"az keyvault key show {loss.target} --version {one}"
        )
        for one in loss.versions
        if loss.target
    ]
    if found and VERSION.fullmatch(loss.subject or "") and loss.subject not in loss.watched.versions:
        # A store may still be pinned to a version that nobody registered (azure.md 3.2, row 12).
        found += _attributes(loss, "If some store still uses {what}, and it is disabled, enable it.", "--enabled true")
    return found or [_customer("Say what was changed, and undo it if the vendor can no longer use the key.")]


# ----------------------------------------------------------------------------------------------------- path, protection


def _path_opened(loss: Loss) -> list[Step]:
    subject, network = loss.subject or "", loss.container.facts.network
    endpoint = ENDPOINT.fullmatch(subject)
    if endpoint:
        return _endpoint_made(loss, endpoint[1])
    options = {
        settings.DEFAULT_ACTION: f"--default-action {network.default_action}",
        settings.BYPASS: f"--default-action {network.default_action} --bypass {network.bypass}",
        settings.PUBLIC_ACCESS: f"--public-network-access {network.public_network_access}",
    }.get(subject)
    if options:
        command = f"{loss.update} {options}" if loss.update else None
        return [_customer("Set the vault's network back as agreed.", command, role=CONTRIBUTOR)]
    if subject == settings.ADDRESSES:
        return [
            _customer(
                "Let the vendor's address through the vault's firewall again.",
                f"az keyvault network-rule add --{'hsm-' if loss.container.is_hsm else ''}name {loss.vault} "
                f"--ip-address {address}{loss.subscription}"
                if loss.vault and ADDRESS.fullmatch(address)
                else None,
            )
            for address in network.ip_rules
        ]
    if subject == settings.PERIMETER:
        text = "Take the vault out of the network security perimeter, or let the vendor's traffic into it."
        command = f"{loss.update} --public-network-access {network.public_network_access}" if loss.update else None
        return [_customer(text, command, role=CONTRIBUTOR)]
    agreed = (
        f"--default-action {network.default_action} --bypass {network.bypass} "
        f"--public-network-access {network.public_network_access}"
    )
    return [
        _customer(
            "Let the vendor's traffic through to the vault again: firewall, public access, private endpoint.",
            f"{loss.update} {agreed}" if loss.update else None,
            role=CONTRIBUTOR,
        )
    ]


def _endpoint_made(loss: Loss, name: str) -> list[Step]:
    connection = f"{loss.container.facts.id}/privateEndpointConnections/{name}"
    command = f"az keyvault private-endpoint-connection approve --id {connection}"
    return [
        Step(owner=Owner.VENDOR, text=f"Make the private endpoint again, if it is gone ({name})."),
        _customer("Approve its connection to the vault.", command if RESOURCE.fullmatch(connection) else None),
    ]


def _protected(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    lock = LOCK.fullmatch(subject)
    if lock:
        kind = "managedHSMs" if loss.container.is_hsm else "vaults"
        command = (
            f"az lock create --name no-delete --lock-type CanNotDelete --resource {loss.vault} "
            f"--resource-group {loss.group} --resource-type Microsoft.KeyVault/{kind}{loss.subscription}"
        )
        fits = loss.vault and loss.group
        return [_customer("Put a lock on the vault again.", command if fits else None, note="No lock protects a key.")]
    if subject == settings.RETENTION:
        return [
            _customer(
                "The retention of a vault cannot be changed once it is made. Find out which vault this is, "
                "and keep a backup of the key."
            )
        ]
    return [
        _customer(
            "Switch purge protection on.",
            f"{loss.update} --enable-purge-protection true" if loss.update else None,
            note="It cannot be switched off again by anybody.",
        )
    ]


# ----------------------------------------------------------------------------------------------------- feeds and causes


def _feed_restored(loss: Loss) -> list[Step]:
    """Run the onboarding again; the diagnostic setting's command needs a rule's id that nobody registered."""
    feed = loss.index.feeds.get(canonical(loss.subject) or "")
    owner = Owner.VENDOR if feed and feed.estate.customer is None else Owner.CUSTOMER
    what = f" ({feed.kind} {feed.id})" if feed else ""
    text = "Run the onboarding template again, so that the audit events flow: diagnostic setting, event subscriptions"
    return [Step(owner=owner, text=f"{text}{what}.")]


def _denied(loss: Loss) -> list[Step]:
    return [
        Step(
            owner=Owner.VENDOR,
            text="Find out what is missing: role, access policy, condition, deny assignment or permission model.",
        ),
        *_granted(loss),
    ]


def _missing(loss: Loss) -> list[Step]:
    return _recovered(loss)


def _own_fault(_: Loss) -> list[Step]:
    return [Step(owner=Owner.VENDOR, text="Correct the call, or its rate: the key itself is not to blame.")]


def _wait(_: Loss) -> list[Step]:
    return [Step(owner=Owner.PROVIDER, text="Wait and repeat the call: Key Vault has a passing fault of its own.")]


def _reconnected(loss: Loss) -> list[Step]:
    command = f"az keyvault ekm-connection check --hsm-name {loss.vault}" if loss.vault else None
    return [
        _customer(
            "Check the connection to the external key manager, and that manager itself.",
            command,
            note="Nothing about the cause is in Azure: the logs of the proxy and of the external HSM have it.",
        )
    ]


def _asked(_: Loss) -> list[Step]:
    return [Step(owner=Owner.VENDOR, text="Find out by a call of your own why the key cannot be used.")]


def _customer(text: str, command: str | None = None, *, note: str | None = None, role: str | None = None) -> Step:
    hint = f"It takes a role such as {role}." if role and command else None
    said = " ".join(one for one in (note, hint) if one)
    return Step(owner=Owner.CUSTOMER, text=text, command=command, note=said or None)


PLANS: dict[Effect, Plan] = {
    Effect.KEY_DISABLED: _enabled,
    Effect.KEY_DELETION_SCHEDULED: _recovered,
    Effect.KEY_DESTROYED: _restored,
    Effect.KEY_EXPIRED: _extended,
    Effect.KEY_STORE_DISCONNECTED: _reconnected,
    Effect.ACCESS_REVOKED: _access_restored,
    Effect.ACCESS_REDUCED: _access_restored,
    Effect.ACCESS_CHANGED: _changed,
    Effect.PATH_BLOCKED: _path_opened,
    Effect.CONTAINER_LOST: _container_restored,
    Effect.CONTAINER_RESTORED: _completed,
    Effect.KEY_CHANGED: _looked_at,
    Effect.EXPIRY_AHEAD: _extended,
    Effect.PROTECTION_WEAKENED: _protected,
    Effect.FEED_TAMPERED: _feed_restored,
}
CAUSES: dict[Cause, Plan] = {
    Cause.DISABLED: _enabled,
    Cause.PENDING_DELETION: _recovered,
    Cause.UNAVAILABLE: _reconnected,
    Cause.NOT_FOUND: _missing,
    Cause.ACCESS_DENIED: _denied,
    Cause.PATH_BLOCKED: _path_opened,
    Cause.DESTROYED: _restored,
    Cause.EXPIRED: _extended,
    Cause.TRANSIENT: _wait,
    Cause.THROTTLED: _own_fault,
    Cause.CALLER_ERROR: _own_fault,
    Cause.UNKNOWN: _asked,
}
