"""Registers: a sound register document of any number of sample customers, each with one key of its own."""

from collections.abc import Sequence

from watchdog.register import (
    Consumer,
    Contact,
    Customer,
    Document,
    Instance,
    KeyException,
    Staff,
    Terms,
    Vendor,
)
from workers.samples import azure, gcp
from workers.samples.azure import Vault
from workers.samples.gcp import Project

EXCEPTION = KeyException(reference="EX-17", terms=Terms(version="2026-03", accepted_by="Alice Ahlberg"))


def document(vaults: Sequence[Vault] = (), projects: Sequence[Project] = ()) -> Document:
    """Return the register of these customers; each has a database and files under its key, and one contact."""
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Dedicated Cloud",
            emergency_contact="+1 555 0100, at any hour",
            verify_url="https://vendor.example/verify",
            azure=azure.vendor() if vaults else None,
            gcp=gcp.vendor(projects) if projects else None,
        ),
        customers=[*map(_of_vault, vaults), *map(_of_project, projects)],
    )


def contact(of: Vault | Project) -> Contact:
    """Return the one person who is told at this customer."""
    return Contact(name="Alice Ahlberg", email=f"alice@{of.stem}.example", timezone="Europe/Berlin")


def staff(of: Vault | Project) -> Staff:
    """Return the one person at the vendor who looks after this customer."""
    return Staff(name="Carol Clark", email=f"carol+{of.stem}@vendor.example")


def stores_on_azure(vault: Vault) -> list[Consumer]:
    """Return what lies under the key of a vault: a database and files of the vendor's."""
    group = f"/subscriptions/{azure.VENDOR_SUBSCRIPTION}/resourceGroups/rg-{vault.stem}/providers"
    return [
        Consumer(
            id=f"{group}/Microsoft.DBforPostgreSQL/flexibleServers/{vault.stem}",
            store="azure.postgres_flexible",
            name="the database",
        ),
        Consumer(
            id=f"{group}/Microsoft.Storage/storageAccounts/{vault.stem.replace('-', '')}",
            store="azure.blob",
            name="the files",
        ),
    ]


def stores_on_gcp(project: Project) -> list[Consumer]:
    """Return what lies under the key of a project: a database and files of the vendor's."""
    instance = project.instance.id
    return [
        Consumer(id=f"projects/{instance}/instances/{project.stem}", store="gcp.cloudsql", name="the database"),
        Consumer(id=f"projects/_/buckets/{instance}-files", store="gcp.gcs", name="the files"),
    ]


def _of_vault(vault: Vault) -> Customer:
    entry = vault.entry(EXCEPTION, consumers=stores_on_azure(vault))
    return Customer(
        id=vault.stem,
        name=vault.stem,
        contacts=[contact(vault)],
        account_staff=[staff(vault)],
        azure=vault.side(),
        instances=[Instance(id=f"{vault.stem}-prod", name=f"{vault.stem} production", keys=[entry])],
    )


def _of_project(project: Project) -> Customer:
    entry = project.entry(EXCEPTION, consumers=stores_on_gcp(project))
    return Customer(
        id=project.stem,
        name=project.stem,
        contacts=[contact(project)],
        account_staff=[staff(project)],
        gcp=project.side(),
        instances=[Instance(id=f"{project.stem}-prod", name=f"{project.stem} production", keys=[entry])],
    )
