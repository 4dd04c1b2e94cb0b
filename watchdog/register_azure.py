"""The Azure sections of the register file."""

from watchdog.parts import Part


class AzureVendor(Part, frozen=True):
    """The vendor on Azure."""


class AzureCustomer(Part, frozen=True):
    """A customer on Azure."""


class AzureKey(Part, frozen=True):
    """What only Azure keys have."""
