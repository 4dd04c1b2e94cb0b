import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOGGING = """
import logging, structlog
from workers import logs
logs.configure(as_json={as_json})
log = structlog.get_logger().bind(process="p-1")
log.debug("hidden")
log.info("record.worked", customer="acme")
logging.getLogger("kombu").warning("from a library")
def fails():
    password = "hun" + "ter2"
    raise RuntimeError("no")
try:
    fails()
except RuntimeError as error:
    log.error("job.failed", exc_info=error)
"""


def run(*, as_json: bool) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING.format(as_json=as_json)],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=30, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    return done.stdout, done.stderr


def test_services_log_one_json_object_a_line_on_standard_error_and_nothing_on_standard_output() -> None:
    out, err = run(as_json=True)
    lines = [json.loads(line) for line in err.splitlines()]
    assert "" == out
    assert ["record.worked", "from a library", "job.failed"] == [line["event"] for line in lines]
    assert ("info", "acme", "p-1") == (lines[0]["level"], lines[0]["customer"], lines[0]["process"])
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "RuntimeError: no" in lines[2]["exception"]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables_for_they_may_be_secrets(as_json: bool) -> None:
    _, err = run(as_json=as_json)
    assert "RuntimeError: no" in err
    assert "hunter2" not in err
