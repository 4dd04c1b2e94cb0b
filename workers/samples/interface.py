"""The shape that the makers of sample records share: the same four happenings, uses and noise on every cloud."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol, TypeVar

Key_contra = TypeVar("Key_contra", contravariant=True)

Made = dict[str, Any]
"""One audit record, as the provider writes it."""


class Maker(Protocol[Key_contra]):
    """Makes records one after the other: equal arguments make equal records, and no two of them are one happening.

    `key` says which key is meant: an ARN on AWS, a `Vault` on Azure, a `Project` on Google Cloud. `at` is the event's
    own time (aware); None: a moment after the record before.
    """

    def noise(self) -> Made:
        """One record that means nothing for any registered key."""
        ...

    def records(self, count: int) -> Iterator[Made]:
        """Yield so many records, noise unless the maker was told otherwise."""
        ...

    def use(self, key: Key_contra, at: datetime | None = None) -> Made:
        """A successful use of the key by the vendor: `use_succeeded`."""
        ...

    def failed_use(self, key: Key_contra, at: datetime | None = None) -> Made:
        """A use by the vendor that is refused because the key is disabled: `use_failed`."""
        ...

    def disabled(self, key: Key_contra, at: datetime | None = None) -> Made:
        """Somebody disables the key (the version in use): `key_disabled`."""
        ...

    def deletion_scheduled(self, key: Key_contra, at: datetime | None = None) -> Made:
        """Somebody has the key deleted, which can be undone for a while: `key_deletion_scheduled`."""
        ...

    def deletion_cancelled(self, key: Key_contra, at: datetime | None = None) -> Made:
        """Somebody undoes that: `deletion_cancelled`, or `key_recovered` on Azure."""
        ...

    def enabled(self, key: Key_contra, at: datetime | None = None) -> Made:
        """Somebody enables the key (the version in use): `key_enabled`."""
        ...
