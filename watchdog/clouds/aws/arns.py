"""ARNs: keys, aliases, roles and the resources of the feeds, in the forms in which records name them (aws.md 3.0)."""

import re

from msgspec import Struct

from watchdog.register import canonical

KEY = re.compile(r"arn:aws(?:-[a-z-]+)?:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9A-Za-z-]+")
ALIAS = re.compile(r"arn:aws(?:-[a-z-]+)?:kms:[a-z0-9-]+:[0-9]{12}:alias/[0-9A-Za-z/_-]+")
EITHER = re.compile(f"{KEY.pattern}|{ALIAS.pattern}")
KEY_ID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[mM][rR][kK]-[0-9a-fA-F]{32}"
)
ALIAS_NAME = re.compile(r"alias/[0-9A-Za-z/_-]+")


class Arn(Struct, frozen=True):
    """An ARN in its parts; `resource` is everything behind the account."""

    partition: str
    service: str
    region: str
    account: str
    resource: str


def parse(value: str) -> Arn | None:
    """Cut an ARN into its parts; None when it is none."""
    parts = value.split(":", 5)
    return Arn(*parts[1:]) if len(parts) == 6 and parts[0] == "arn" else None


def partition_of(region: str) -> str:
    """Return the partition that a Region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def key_arn(value: object) -> str | None:
    """Return a key ARN in its canonical spelling; None for anything else, aliases included."""
    return canonical(value) if isinstance(value, str) and KEY.fullmatch(value) else None


def alias_arn(value: object) -> str | None:
    """Return an alias ARN as it is (alias names distinguish case); None for anything else."""
    return value if isinstance(value, str) and ALIAS.fullmatch(value) else None


def in_text(value: str) -> list[str]:
    """Return every key and alias ARN that stands in a text, without the quotes and full stops around it."""
    return [key_arn(found) or found for found in EITHER.findall(value)]


def built(kind: str, name: str, *, region: str | None, account: str | None) -> str | None:
    """Build the ARN of a KMS key or alias from the Region and the account of the record; None when one is missing."""
    if not region or not account:
        return None
    return f"arn:{partition_of(region)}:kms:{region}:{account}:{kind}/{name}"


def role_name(arn: str) -> str | None:
    """Return the name of a role without its path, as IAM requests and session ARNs have it."""
    parts = parse(arn)
    kind, _, name = parts.resource.partition("/") if parts else ("", "", "")
    return name.rpartition("/")[2] if kind == "role" and name else None


def session_role(value: str) -> tuple[str, str, str] | None:
    """Return partition, account and role name of an assumed-role session ARN; the role's path is not in it."""
    arn = parse(value)
    if arn is None or arn.service != "sts":
        return None
    kind, _, rest = arn.resource.partition("/")
    role, slash, _ = rest.partition("/")
    return (arn.partition, arn.account, role) if kind == "assumed-role" and role and slash else None
