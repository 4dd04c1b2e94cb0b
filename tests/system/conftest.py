"""The servers that all system tests share, and the logs of the processes when one fails."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.moto_server import Moto, moto
from tests.servers import postgres
from tests.system.stage import Stage


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    # Only processes are killed, never the machine: what the disk has is what the server has.
    with postgres(durable=False) as url:
        yield url


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for stage in item.funcargs.values():
            if isinstance(stage, Stage):
                report.sections.append(("logs of the processes", stage.trouble()))
    return report
