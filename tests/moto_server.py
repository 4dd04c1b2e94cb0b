"""An AWS that speaks SQS and S3 on loopback: moto, in a process of its own."""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boto3.session import Session

from tests.servers import free_port

START_SECONDS = 30
REGION = "eu-west-1"


@dataclass(frozen=True, slots=True)
class Moto:
    """A running moto server. `environment` makes boto3 of any process speak to it."""

    url: str

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """Return a plain boto3 client of this server, for the side of the test that plays AWS."""
        return _client(self.url, service)

    def queue(self, name: str) -> str:
        """Make a queue and return its URL."""
        url: str = self.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        return url


@cache
def _client(url: str, service: str) -> Any:
    return Session().client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="example",
    )


@contextlib.contextmanager
def moto(tmp: Path) -> Iterator[Moto]:
    """Run a moto server on a free port of loopback; its log goes to `tmp`."""
    port = free_port()
    with (tmp / f"moto-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Moto(f"http://127.0.0.1:{port}")
    try:
        _wait_for(server.url, process)
        yield server
    finally:
        process.kill()
        process.wait(START_SECONDS)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
