"""Repair on AWS: the ordered steps that undo one loss of one key, with commands that can be pasted as they stand.

A command is written only when everything in it matches the provider's own pattern: ids come from records, and a record
is an outsider's text. Whatever does not match is left to words.
"""

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.index import account_of, region_of
from watchdog.clouds.aws.policy import needed
from watchdog.register import Grant, Register, RegisteredKey, canonical
from watchdog.repair import Step
from watchdog.words import Cause, Effect, Means, Owner

GRANT_ID = re.compile(r"[0-9a-f]{64}")
MATERIAL_ID = re.compile(r"[0-9a-f]{64}")
STORE_ID = re.compile(r"cks-[0-9a-f]{17}")
REGION = re.compile(r"[a-z]{2}(?:-[a-z]+){1,3}-[0-9]")
ACCOUNT_ID = re.compile(r"[0-9]{12}")
POLICY_ON_TARGET = re.compile(
    r"(p-[0-9a-zA-Z_]{8,128}) on ([0-9]{12}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})"
)
ALIAS = re.compile(r"arn:aws(?:-us-gov|-cn)?:kms:([a-z0-9-]+):[0-9]{12}:(alias/[0-9A-Za-z/_-]{1,250})")
ROLE = re.compile(r"arn:aws(?:-us-gov|-cn)?:iam::[0-9]{12}:role/[0-9A-Za-z+=,.@_/-]{1,576}")
OPERATION = re.compile(r"[A-Z][A-Za-z]{2,39}")
NAME = re.compile(r"[0-9A-Za-z._-]{1,128}")

# The operations that a grant may carry and that stores and applications use (aws.md 3.4, row 16).
GRANTED = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "DescribeKey",
    "CreateGrant",
    "RetireGrant",
)


class Loss(Struct, frozen=True, kw_only=True):
    """What is to be undone: a key, and what the signal said about it."""

    key: RegisteredKey
    means: Means | None = None
    subject: str | None = None
    cause: Cause | None = None

    @property
    def region(self) -> str:
        """Region of the key."""
        return region_of(self.key)

    @property
    def target(self) -> str:
        """The options that name the key."""
        return f"--region {self.region} --key-id {self.key.id}"


def steps(
    effect: Effect,
    key: RegisteredKey,
    register: Register,  # noqa: ARG001  # part of the port; on AWS the key's own entry says all
    *,
    means: Means | None = None,
    subject: str | None = None,
    cause: Cause | None = None,
) -> Sequence[Step]:
    """Return the steps that undo a loss on the key's side, in order; the proof by a probe is not among them."""
    loss = Loss(key=key, means=means, subject=subject, cause=cause)
    plan = CAUSES.get(cause or Cause.UNKNOWN) if effect is Effect.USE_FAILED else PLANS.get(effect)
    return plan(loss) if plan else []


# --------------------------------------------------------------------------------------------------- state and material


def _enabled(loss: Loss) -> list[Step]:
    return [_customer("Enable the key.", f"aws kms enable-key {loss.target}")]


def _deletion_cancelled(loss: Loss) -> list[Step]:
    cancel = _customer(
        "Cancel the deletion of the key before its window ends.", f"aws kms cancel-key-deletion {loss.target}"
    )
    enable = _customer(
        "Enable the key: cancelling leaves it disabled.",
        f"aws kms enable-key {loss.target}",
    )
    return [cancel, enable]


def _destroyed(loss: Loss) -> list[Step]:
    place = loss.key.entry.aws.multi_region
    primary = canonical(place.primary) if place else ""
    arn = parse(primary)
    if place and arn and place.type == "REPLICA" and primary != loss.key.id:
        command = (
            f"aws kms replicate-key --region {arn.region} --key-id {primary} "
            f"--replica-region {loss.region} --policy file://p.json"
        )
        return [
            _customer(
                "Make the replica again, while its primary lives; p.json is the key policy with the vendor in it.",
                command,
                note="Grants, aliases and tags are not copied: make them again.",
            )
        ]
    if loss.key.entry.aws.origin == "EXTERNAL":
        return [
            _customer(
                "A destroyed key cannot be restored. Only an asymmetric or HMAC key with imported material can be "
                "made again from the same material.",
            )
        ]
    return [_customer("A destroyed key cannot be restored by anybody, AWS Support included.")]


def _reimported(loss: Loss) -> list[Step]:
    extra = ""
    if loss.subject and MATERIAL_ID.fullmatch(loss.subject):
        extra = f" --import-type EXISTING_KEY_MATERIAL --key-material-id {loss.subject}"
    return [
        _customer(
            "Find out which material is missing, and whether you still have exactly that material.",
            f"aws kms list-key-rotations {loss.target} --include-key-material ALL_KEY_MATERIAL",
            note="The column ImportState says which. Without the identical material the data cannot be decrypted.",
        ),
        _customer(
            "Get a wrapping key and an import token.",
            f"aws kms get-parameters-for-import {loss.target} --wrapping-algorithm RSAES_OAEP_SHA_256 "
            "--wrapping-key-spec RSA_3072",
        ),
        _customer("Wrap the material on your own machine with that wrapping key, into EncryptedKeyMaterial.bin."),
        _customer(
            "Import the material again.",
            f"aws kms import-key-material {loss.target} "
            "--encrypted-key-material fileb://EncryptedKeyMaterial.bin --import-token fileb://ImportToken.bin "
            f"--expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE{extra}",
        ),
    ]


def _reconnected(loss: Loss) -> list[Step]:
    store = loss.key.entry.aws.custom_key_store_id
    if store is None or not STORE_ID.fullmatch(store):
        return [_customer("Connect the custom key store of the key again.")]
    return [
        _customer(
            "Connect the custom key store again.",
            f"aws kms connect-custom-key-store --region {loss.region} --custom-key-store-id {store}",
            note="It runs on for up to about 20 minutes and may fail.",
        ),
        _customer(
            "Check that ConnectionState is CONNECTED; ConnectionErrorCode says what is wrong if it is not.",
            f"aws kms describe-custom-key-stores --region {loss.region} --custom-key-store-id {store}",
        ),
    ]


def _container_restored(loss: Loss) -> list[Step]:
    if loss.subject == loss.region and REGION.fullmatch(loss.region):
        return [
            _customer(
                "Switch the Region on again in the account that owns the key.",
                f"aws account enable-region --region-name {loss.region}",
                note="It runs on for a while. The vendor needs the Region switched on as well.",
            )
        ]
    return [
        _customer(
            f"Ask AWS Support to reopen the account {account_of(loss.key)}: only they can, and within 90 days.",
        )
    ]


# --------------------------------------------------------------------------------------------------------------- access


def _access_restored(loss: Loss) -> list[Step]:
    plan = {
        Means.GRANT: _granted,
        Means.IDENTITY: _role_restored,
        Means.ROLE_OR_POLICY: _permissions_restored,
        Means.ORG_CONTROL: _organization_relaxed,
        Means.CONDITION: _tagged,
    }.get(loss.means or Means.KEY_POLICY, _policy_restored)
    return plan(loss)


def _policy_restored(loss: Loss) -> list[Step]:
    served = ", ".join(dict.fromkeys(access.principal for access in loss.key.entry.access)) or "the vendor"
    operations = sorted({name for access in loss.key.entry.access for name in needed(access)})
    note = f"Needed: {', '.join(operations)}." if operations else None
    return [
        _customer(
            "Fetch the key policy.",
            f"aws kms get-key-policy {loss.target} --policy-name default --query Policy --output text > p.json",
        ),
        _customer(f"Put the statement for {served} back into p.json, and take out what denies it.", note=note),
        _customer(
            "Store the key policy.",
            f"aws kms put-key-policy {loss.target} --policy-name default --policy file://p.json",
        ),
    ]


def _granted(loss: Loss) -> list[Step]:
    known = next((grant for grant in loss.key.entry.grants if grant.id == loss.subject), None)
    if known is None:
        return [_customer("Find out what the grant was for, and make it again if the vendor needs it.")]
    if not ROLE.fullmatch(known.grantee):
        return [
            Step(
                owner=Owner.VENDOR,
                text=f"Let the service make its grant again: start or attach {known.purpose or 'the store'}.",
                note="A grant that a service holds cannot be made by hand. The key must be usable first.",
            )
        ]
    operations = " ".join(_operations(known))
    return [
        _customer(
            "Make the grant again. The key has to be enabled first.",
            f"aws kms create-grant {loss.target} --grantee-principal {known.grantee} --operations {operations}",
            note="It takes up to 5 minutes to act.",
        )
    ]


def _operations(grant: Grant) -> Sequence[str]:
    names = [name.removeprefix("kms:") for name in grant.operations]
    return names if names and all(OPERATION.fullmatch(name) for name in names) else GRANTED


def _role_restored(loss: Loss) -> list[Step]:
    role = loss.subject if loss.subject and ROLE.fullmatch(loss.subject) else "the role"
    return [
        Step(owner=Owner.VENDOR, text=f"Make {role} again, with its permissions and its trust policy."),
        _customer(
            "Store the key policy again, naming the new role.",
            note="A role that was made again is another principal: the stored policy shows the old one as AROA... .",
        ),
    ]


def _permissions_restored(loss: Loss) -> list[Step]:
    role = loss.subject if loss.subject and ROLE.fullmatch(loss.subject) else "the registered role"
    return [Step(owner=Owner.VENDOR, text=f"Check the permissions of {role} and put back what it needs on the key.")]


def _organization_relaxed(loss: Loss) -> list[Step]:
    found = POLICY_ON_TARGET.fullmatch(loss.subject or "")
    text = "In the management account: detach the policy that denies the vendor, or write an exception for it."
    if found is None:
        return [_customer(text)]
    command = f"aws organizations detach-policy --policy-id {found[1]} --target-id {found[2]}"
    return [_customer(text, command, note="Only if a probe shows that the vendor lost access.")]


def _tagged(_: Loss) -> list[Step]:
    return [
        _customer(
            "Put the tag back on the key with the value that it had: a policy depends on it.",
            note="It takes up to 5 minutes to act.",
        )
    ]


def _changed(loss: Loss) -> list[Step]:
    found = ALIAS.fullmatch(loss.subject or "")
    if found is None:
        return [_customer("Say what was changed, and undo it if the vendor lost access.")]
    key_id = loss.key.id.rpartition("/")[2]
    options = f"--region {found[1]} --alias-name {found[2]} --target-key-id {key_id}"
    return [
        _customer(
            "Point the alias to the key again.",
            f"aws kms update-alias {options}",
            note=f"If it was deleted: aws kms create-alias {options}",
        )
    ]


def _path_opened(_: Loss) -> list[Step]:
    return [Step(owner=Owner.VENDOR, text="Let the policy of the VPC endpoint of KMS through to the key.")]


def _extended(loss: Loss) -> list[Step]:
    return _policy_restored(loss) if loss.means is Means.KEY_POLICY else _reimported(loss)


def _protected(_: Loss) -> list[Step]:
    return [
        _customer(
            "Make sure that somebody in the account may still change the key policy, "
            "and store it without skipping the lockout safety check.",
        )
    ]


# ----------------------------------------------------------------------------------------------------- feeds and causes


def _feed_restored(loss: Loss) -> list[Step]:
    arn = parse(loss.subject or "")
    owner = Owner.CUSTOMER
    if arn is None or not REGION.fullmatch(arn.region):
        return [Step(owner=owner, text="Switch the audit feed to the watchdog on again, as it was.")]
    kind, _, name = arn.resource.partition("/")
    bus, _, rule = name.rpartition("/")
    if arn.service == "cloudtrail" and kind == "trail" and NAME.fullmatch(name):
        command = f"aws cloudtrail start-logging --region {arn.region} --name {loss.subject}"
        return [Step(owner=owner, text="Start the trail again, with all management events of KMS.", command=command)]
    if arn.service == "events" and kind == "rule" and NAME.fullmatch(rule) and (not bus or NAME.fullmatch(bus)):
        command = f"aws events enable-rule --region {arn.region} --name {rule}" + (
            f" --event-bus-name {bus}" if bus else ""
        )
        text = "Switch the rule on again, with its pattern and its target."
        return [Step(owner=owner, text=text, command=command)]
    return [Step(owner=Owner.VENDOR, text="Make the intake of the watchdog again: bus, permissions, rule and queue.")]


def _denied(_: Loss) -> list[Step]:
    return [
        Step(
            owner=Owner.VENDOR,
            text="Compare the key policy and the grants with the vendor's own permissions: "
            "the refusal does not say which of them is missing.",
        )
    ]


def _missing(_: Loss) -> list[Step]:
    return [
        Step(
            owner=Owner.VENDOR, text="Check ARN, alias and Region: the key was destroyed, or the call looked elsewhere."
        )
    ]


def _own_fault(_: Loss) -> list[Step]:
    return [Step(owner=Owner.VENDOR, text="Correct the call, or its rate: the key itself is not to blame.")]


def _wait(_: Loss) -> list[Step]:
    return [Step(owner=Owner.PROVIDER, text="Wait and repeat the call: KMS has a passing fault of its own.")]


def _customer(text: str, command: str | None = None, *, note: str | None = None) -> Step:
    return Step(owner=Owner.CUSTOMER, text=text, command=command, note=note)


PLANS: dict[Effect, Callable[[Loss], list[Step]]] = {
    Effect.KEY_DISABLED: _enabled,
    Effect.DELETION_CANCELLED: _enabled,
    Effect.KEY_DELETION_SCHEDULED: _deletion_cancelled,
    Effect.KEY_DESTROYED: _destroyed,
    Effect.KEY_MATERIAL_REMOVED: _reimported,
    Effect.KEY_EXPIRED: _reimported,
    Effect.KEY_STORE_DISCONNECTED: _reconnected,
    Effect.ACCESS_REVOKED: _access_restored,
    Effect.ACCESS_REDUCED: _access_restored,
    Effect.ACCESS_CHANGED: _access_restored,
    Effect.PATH_BLOCKED: _path_opened,
    Effect.CONTAINER_LOST: _container_restored,
    Effect.KEY_CHANGED: _changed,
    Effect.EXPIRY_AHEAD: _extended,
    Effect.PROTECTION_WEAKENED: _protected,
    Effect.FEED_TAMPERED: _feed_restored,
}
CAUSES: dict[Cause, Callable[[Loss], list[Step]]] = {
    Cause.DISABLED: _enabled,
    Cause.PENDING_DELETION: _deletion_cancelled,
    Cause.PENDING_IMPORT: _reimported,
    Cause.UNAVAILABLE: _reconnected,
    Cause.NOT_FOUND: _missing,
    Cause.ACCESS_DENIED: _denied,
    Cause.PATH_BLOCKED: _path_opened,
    Cause.DESTROYED: _destroyed,
    Cause.EXPIRED: _reimported,
    Cause.TRANSIENT: _wait,
    Cause.THROTTLED: _own_fault,
    Cause.CALLER_ERROR: _own_fault,
    Cause.UNKNOWN: _denied,
}
