"""Who acted: the vendor, an AWS service, or somebody else, by the identity that the record shows (aws.md 3.0)."""

from msgspec import Struct

from watchdog.clouds.aws.arns import session_role
from watchdog.clouds.aws.index import Index
from watchdog.clouds.aws.record import Identity, Record
from watchdog.signals import Actor
from watchdog.words import Fault


class Party(Struct, frozen=True):
    """The one who acted. `principal` is the registered vendor principal, if it is one."""

    account: str | None
    principal: str | None
    is_service: bool
    is_vendor_account: bool
    is_vendor_service: bool

    @property
    def is_vendor(self) -> bool:
        """Whether a use by this party is the vendor's use. Other principals of the vendor's accounts do not count."""
        return self.principal is not None or self.is_vendor_service

    @property
    def fault(self) -> Fault:
        """Whose side a change lies on."""
        return Fault.VENDOR if self.is_vendor_account else Fault.CUSTOMER


def party_of(record: Record, index: Index, recorder: str | None) -> Party:
    """Tell who acted. The account is the identity's, else the one that recorded the event."""
    identity = record.identity
    account = identity.account or record.recipient or recorder
    is_service = identity.type == "AWSService" or (
        identity.type is None and identity.arn is None and identity.invoked_by is not None
    )
    ours = account in index.vendor_accounts
    return Party(
        account=account,
        principal=registered(identity, index),
        is_service=is_service,
        is_vendor_account=ours,
        is_vendor_service=ours and (identity.type == "AWSService" or _is_infrastructure(identity)),
    )


def registered(identity: Identity, index: Index) -> str | None:
    """Return the registered vendor principal behind an identity, by ARN, session issuer, or unique id."""
    for arn in (identity.arn, identity.issuer):
        found = principal_named(arn, index) if arn else None
        if found:
            return found
    unique_id = (identity.principal_id or "").partition(":")[0]
    return index.principal_ids.get(unique_id)


def principal_named(arn: str, index: Index) -> str | None:
    """Return the registered principal that an ARN names: itself, or the role of a session (whose path is not in it)."""
    if arn in index.principals:
        return arn
    session = session_role(arn)
    return index.roles.get(session) if session else None


def actor_of(record: Record) -> Actor | None:
    """Return the actor as the audit log names it, text unchanged; None when the record names nobody."""
    identity = record.identity
    account = identity.account or record.recipient
    name = identity.arn or identity.user_name or identity.principal_id or identity.invoked_by or identity.account
    return Actor(name=name, account=account, address=record.address, agent=record.agent) if name else None


def _is_infrastructure(identity: Identity) -> bool:
    """Whether this is one of AWS' own roles inside an account, such as `aws:ec2-infrastructure`."""
    session = session_role(identity.arn) if identity.arn else None
    if session and session[2].startswith("aws:"):
        return True
    return (identity.principal_id or "").partition(":")[2].startswith("aws:")
