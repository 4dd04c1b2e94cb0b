"""Parts: the base of everything in the register file, and the kinds of text that several sections share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct


@dataclass(frozen=True, slots=True)
class KeyForm:
    """How one cloud's keys are named: the pattern, the words for it, and an example."""

    pattern: str
    name: str
    example: str


KEY_FORMS = {
    "aws": KeyForm(
        r"^arn:aws(-us-gov|-cn)?:kms:[a-z0-9-]+:[0-9]{12}:key/"
        r"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|mrk-[0-9a-fA-F]{32})$",
        "the full ARN of a KMS key",
        "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555",
    ),
    "azure": KeyForm(
        r"^https://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+/keys/[A-Za-z0-9-]+$",
        "the id of an Azure key without a version",
        "https://acme-kv.vault.azure.net/keys/acme-prod",
    ),
    "gcp": KeyForm(
        r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$",
        "the name of a Cloud KMS key without a version",
        "projects/acme-keys/locations/europe-west1/keyRings/prod/cryptoKeys/acme-prod",
    ),
}

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Short stable id")]
AccountId = Annotated[str, Meta(pattern=r"^[0-9]{12}$", description="AWS account id, twelve digits, in quotes")]
Partition = Literal["aws", "aws-us-gov", "aws-cn"]
Text = Annotated[str, Meta(min_length=1, max_length=400)]
Arn = Annotated[str, Meta(pattern=r"^arn:aws(-us-gov|-cn)?:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:.+$")]
KeyArn = Annotated[str, Meta(pattern=KEY_FORMS["aws"].pattern, description="Full key ARN")]
# Which of the patterns must fit depends on `cloud`, which a kind of text cannot know: `register_check` asks for that.
KeyId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=400,
        description="Full id of a key, in the form of its cloud, without a version",
        examples=[form.example for form in KEY_FORMS.values()],
        extra_json_schema={"anyOf": [{"pattern": form.pattern} for form in KEY_FORMS.values()]},
    ),
]
Email = Annotated[str, Meta(pattern=r"^[^@\s<>,;\"]+@[^@\s<>,;\"]+\.[^@\s<>,;\"]+$", max_length=254)]


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of everything in the file: unknown fields are faults, defaults are left out when written."""
