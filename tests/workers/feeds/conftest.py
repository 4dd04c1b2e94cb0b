"""One moto server for the tests of the feeds; and no test finds the credentials of the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.moto_server import Moto, moto


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws(aws_server: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    for name, value in aws_server.environment.items():
        monkeypatch.setenv(name, value)
    return aws_server
