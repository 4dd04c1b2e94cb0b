"""The register of the demo, and those of the samples, pass the command that checks a register before it is imported."""

import pytest

from tests.workers.cli.places import Place
from watchdog.register import Document
from workers.register_file import dump
from workers.samples import registers, story
from workers.samples.azure import Vault
from workers.samples.gcp import Project

MANY = registers.document(
    vaults=[Vault(number) for number in range(60)], projects=[Project(number) for number in range(60)]
)


@pytest.mark.parametrize(
    ("document", "customers"), [(story.document(), 3), (MANY, 120)], ids=["the demo's", "of 120 sample customers"]
)
def test_a_register_that_is_written_as_a_file_passes_the_check(bare: Place, document: Document, customers: int) -> None:
    path = bare.write("register.yaml", dump(document))

    told = bare.run("register", "check", path)

    assert (told.code, told.out) == (0, f"{path}: no fault; {customers} customers, {customers} keys.\n")
