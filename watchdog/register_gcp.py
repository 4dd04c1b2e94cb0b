"""The Google Cloud sections of the register file."""

from watchdog.parts import Part


class GcpVendor(Part, frozen=True):
    """The vendor on Google Cloud."""


class GcpCustomer(Part, frozen=True):
    """A customer on Google Cloud."""


class GcpKey(Part, frozen=True):
    """What only Google Cloud keys have."""
