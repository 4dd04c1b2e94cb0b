"""The servers that tests start are real, keep to loopback, and are gone afterwards."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.servers import database, plain, postgres, redis, start_redis

pytestmark = pytest.mark.servers


def client(url: str) -> Any:
    return closing(Redis.from_url(url))


def test_redis_answers_keeps_nothing_and_is_gone_afterwards(tmp_path: Path) -> None:
    with redis(tmp_path) as url:
        assert url.startswith("redis://127.0.0.1:")
        with client(url) as connection:
            connection.set("a", "1")
            assert connection.config_get("save") | connection.config_get("appendonly") == {
                "save": "",
                "appendonly": "no",
            }
    with client(url) as connection, pytest.raises(RedisError):
        connection.ping()
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]


def test_a_killed_redis_that_appends_comes_back_with_what_it_had(tmp_path: Path) -> None:
    first = start_redis(tmp_path, append_only=True)
    with client(first.url) as connection:
        connection.set("a", "1")
    first.kill()
    second = start_redis(tmp_path, port=first.port, append_only=True)
    try:
        with client(second.url) as connection:
            assert (second.url, connection.get("a")) == (first.url, b"1")
    finally:
        second.stop()


def test_two_redis_servers_do_not_know_each_other(tmp_path: Path) -> None:
    with redis(tmp_path) as one, redis(tmp_path) as other:
        assert one != other


def test_postgresql_answers_and_is_gone_afterwards() -> None:
    with postgres(durable=False) as url:
        with database(url, "one") as one, psycopg.connect(plain(one)) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("one",)
        with psycopg.connect(plain(url)) as connection:
            assert connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'one'").fetchone() == (0,)
            assert connection.execute("SHOW fsync").fetchone() == ("off",)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(plain(url))
