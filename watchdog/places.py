"""Places: in which cloud, whose account and where a key lies, as far as its id and the register tell."""

from collections.abc import Iterator

from watchdog.assessment import WATCH
from watchdog.register import Register, RegisteredKey

_FORMS = {"arn:": "aws", "https://": "azure", "projects/": "gcp"}


def place_of(subject: str, key: RegisteredKey | None) -> tuple[str, str]:
    """Return the account (Azure: subscription, Google Cloud: project) and the region of a key; "" where not known."""
    match _cloud_of(subject):
        case "aws":
            parts = subject.split(":")
            return (parts[4], parts[3]) if len(parts) > 5 else ("", "")
        case "gcp":
            parts = subject.split("/")
            return (parts[1], parts[3]) if len(parts) > 3 and parts[2] == "locations" else ("", "")
        case "azure" if key is not None and key.container is not None:
            return key.container.id.split("/")[2], key.container.location
        case _:
            return "", ""


def cloud_of(subjects: tuple[str, ...], customer: str, register: Register) -> str:
    """Return the cloud that an incident is about: that of its keys, else the one where its customer has keys.

    The vendor's own watch spans all clouds that the vendor uses: the first of them is named. "" when nothing tells.
    """
    found = (cloud for cloud in _clouds(subjects, customer, register) if cloud)
    return next(found, "")


def _clouds(subjects: tuple[str, ...], customer: str, register: Register) -> Iterator[str]:
    yield from (_cloud_of(subject) for subject in subjects if not subject.startswith(WATCH))
    known = register.customers.get(customer)
    for instance in known.instances if known else ():
        yield from (entry.cloud for entry in instance.keys)
    vendor = register.vendor
    sides = {"aws": vendor.aws, "azure": vendor.azure, "gcp": vendor.gcp}
    yield from (cloud for cloud, side in sides.items() if side is not None)


def _cloud_of(subject: str) -> str:
    """Name the cloud of a key by the form of its id; "" for what is no key."""
    return next((cloud for form, cloud in _FORMS.items() if subject.startswith(form)), "")
