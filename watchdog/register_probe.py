"""The part of the register that says how a key is probed; everything in it is optional.

Without it a key is probed with the process' own credentials: state, and use as far as the cloud lets it be tried
without a canary. What is declared here is asked too, and then belongs to the proof that an incident is over.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from watchdog.parts import Part, Text


class ConsumerProbe(Part, frozen=True):
    """How a store is asked whether its key works: an object to read, or the status that its own service gives.

    `target` is what to ask: s3://BUCKET/KEY, https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB, gs://BUCKET/OBJECT,
    or the id of the database.
    """

    consumer: Text
    kind: Literal["s3_object", "rds_status", "blob", "azure_database_state", "gcs_object", "cloud_sql_state"]
    target: Text


class KeyProbe(Part, frozen=True):
    """How one key is probed.

    `principal` is what the watchdog becomes for it: an AWS role to assume, the client id of an Azure application, a
    Google service account to impersonate (None: what it is). `control` is a key of the vendor's own in the same cloud,
    asked with the same credentials. `canary` says whether a stored ciphertext is decrypted at a slower pace.
    """

    principal: Text | None = None
    control: Text | None = None
    canary: bool = False
    consumers: list[ConsumerProbe] = field(default_factory=list)
    every_seconds: Annotated[int, Meta(ge=60, le=86400)] = 300
    off: bool = False
