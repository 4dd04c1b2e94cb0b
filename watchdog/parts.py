"""Parts: the base of everything in the register file, and the kinds of text that several sections share."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Short stable id")]
AccountId = Annotated[str, Meta(pattern=r"^[0-9]{12}$", description="AWS account id, twelve digits, in quotes")]
Partition = Literal["aws", "aws-us-gov", "aws-cn"]
Text = Annotated[str, Meta(min_length=1, max_length=400)]
Arn = Annotated[str, Meta(pattern=r"^arn:aws(-us-gov|-cn)?:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:.+$")]
KeyArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:aws(-us-gov|-cn)?:kms:[a-z0-9-]+:[0-9]{12}:key/"
        r"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|mrk-[0-9a-fA-F]{32})$",
        description="Full key ARN",
    ),
]
KeyId = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=400,
        description="Canonical key id: an AWS key ARN, https://VAULT.vault.azure.net/keys/NAME (or .managedhsm.azure.net), "
        "or projects/P/locations/L/keyRings/R/cryptoKeys/K",
    ),
]
Email = Annotated[str, Meta(pattern=r"^[^@\s<>,;\"]+@[^@\s<>,;\"]+\.[^@\s<>,;\"]+$", max_length=254)]


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of everything in the file: unknown fields are faults, defaults are left out when written."""
