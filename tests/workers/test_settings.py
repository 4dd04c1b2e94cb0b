import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.heartbeat import Healthchecks
from workers.backfill import kinds as archive_kinds
from workers.backfilling import open_archive
from workers.feeds.kinds import KINDS
from workers.runtime import build_channels, build_heartbeat, routing_of
from workers.settings import (
    BROKER_VARIABLE,
    CONFIG_VARIABLE,
    HOME_VARIABLE,
    LEASE,
    STORE_VARIABLE,
    SWEEP_AFTER,
    SYNTHETIC,
    ChannelSettings,
    HeartbeatSettings,
    ProbeSettings,
    Settings,
    SettingsFaults,
    load,
    read,
    resolved,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "byok-watchdog.toml.example"
GOOD = """
home = "/srv/watchdog"
operators = ["page", "tickets"]
customer_mail = "mail"
[store]
url = "postgresql+psycopg://watchdog@db.example/watchdog"
[broker]
url = "redis://queue.example:6379/3"
[worker]
concurrency = 5
lease_seconds = 60
[feeds.events]
kind = "sqs"
url = "https://sqs.eu-west-1.amazonaws.com/999988887777/events"
[feeds.drop]
kind = "folder"
path = "/srv/drop"
[channels.page]
kind = "pagerduty"
routing_key = "env:TEST_ROUTING_KEY"
[channels.mail]
kind = "smtp"
host = "relay.example"
sender = "Key watch <key-watch@vendor.example>"
[channels.tickets]
kind = "console"
[routes.default]
channels = ["page", "tickets"]
[routes.quiet]
channels = ["tickets"]
"""


def write(tmp: Path, text: str) -> Path:
    path = tmp / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(tmp: Path, text: str, **environment: str) -> dict[str, str]:
    """What is wrong with a settings file, by place."""
    with pytest.raises(SettingsFaults) as found:
        load(environment, config=write(tmp, text))
    return {fault.place: fault.text for fault in found.value.faults}


def test_without_file_and_variables_everything_runs_embedded_below_the_working_folder() -> None:
    found = load({})
    home = Path.cwd() / "byok-watchdog-home"
    assert home == found.home
    assert f"sqlite:///{home}/watchdog.db" == found.store_url
    assert f"redis+socket://{home}/broker.sock" == found.celery_broker_url()
    assert [
        ("drop", "folder", "aws", str(home / "drop")),
        ("drop-azure", "folder", "azure", str(home / "drop-azure")),
        ("drop-gcp", "folder", "gcp", str(home / "drop-gcp")),
    ] == [(feed.name, feed.kind, feed.cloud, feed.options["path"]) for feed in found.feeds]
    assert [("console", "console")] == [(channel.name, channel.kind) for channel in found.channels]
    assert ("console", ("console",), {"default": ("console",)}) == (
        found.customer_mail,
        found.operators,
        found.routes,
    )
    assert (LEASE, SWEEP_AFTER) == (found.lease, found.sweep_after)
    assert found.source == "embedded defaults"


def test_a_file_without_channels_keeps_the_console_for_everything(tmp_path: Path) -> None:
    found = load({}, config=write(tmp_path, '[feeds.drop]\nkind = "folder"\npath = "/srv/drop"\n'))
    assert ("console", ("console",)) == (found.customer_mail, found.operators)


def test_it_reads_every_section(tmp_path: Path) -> None:
    found = load({}, config=write(tmp_path, GOOD))
    assert Path("/srv/watchdog") == found.home
    assert "postgresql+psycopg://watchdog@db.example/watchdog" == found.store_url
    assert "redis://queue.example:6379/3" == found.celery_broker_url()
    assert ["events", "drop"] == [feed.name for feed in found.feeds]
    assert ("mail", ("page", "tickets")) == (found.customer_mail, found.operators)
    assert {"default": ("page", "tickets"), "quiet": ("tickets",)} == found.routes
    assert (5, timedelta(minutes=1)) == (found.concurrency, found.lease)


def test_the_file_is_named_by_a_variable(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert str(path) == load({CONFIG_VARIABLE: str(path)}).source


def test_the_variables_win_over_the_file(tmp_path: Path) -> None:
    found = load(
        {
            HOME_VARIABLE: str(tmp_path / "other"),
            STORE_VARIABLE: f"sqlite:///{tmp_path}/other.db",
            BROKER_VARIABLE: "rediss://other.example:6380/1",
        },
        config=write(tmp_path, GOOD),
    )
    assert tmp_path / "other" == found.home
    assert f"sqlite:///{tmp_path}/other.db" == found.store_url
    assert "rediss://other.example:6380/1" == found.broker_url


def test_without_a_section_no_cloud_is_probed() -> None:
    assert ((), 16, 20) == (load({}).probes.clouds, load({}).probes.at_once, load({}).probes.per_account)


def test_it_reads_how_keys_are_probed_and_off_is_off(tmp_path: Path) -> None:
    text = '[probes]\nclouds = ["gcp", "aws", "gcp"]\nat_once = 7\nper_account = 3\n'
    assert (
        ProbeSettings(clouds=("gcp", "aws"), at_once=7, per_account=3) == load({}, config=write(tmp_path, text)).probes
    )
    assert () == load({}, config=write(tmp_path, text + "off = true\n")).probes.clouds


def test_every_fault_of_the_probes_section_is_reported(tmp_path: Path) -> None:
    text = '[probes]\nclouds = ["aws", "ibm"]\noff = "yes"\nat_once = 0\nper_account = true\nspeed = 9\n'
    assert {
        "probes.clouds": "must be a list of 'aws', 'azure', 'gcp', is ['aws', 'ibm']",
        "probes.off": "must be true or false, is 'yes'",
        "probes.at_once": "must be a whole number from 1 to 256, is 0",
        "probes.per_account": "must be a whole number from 1 to 1000, is True",
        "probes.speed": "unknown; there are: 'at_once', 'clouds', 'off', 'per_account'",
    } == faults(tmp_path, text)


def test_a_relative_home_is_made_absolute_so_that_every_process_means_the_same() -> None:
    assert Path.cwd() / "here" == load({HOME_VARIABLE: "here"}).home


EVERY_FAULT = """
operatorz = ["x"]
home = 7
operators = ["page", "nobody"]
customer_mail = "post"
[store]
url = "mysql://watchdog:hunter2@db.example/x"
path = "x"
[broker]
url = 5
[worker]
concurrency = 0
lease_seconds = "long"
threads = 4
[feeds.one]
kind = "kafka"
[feeds.two]
kind = "sqs"
queue = "q"
visibility_seconds = 1
cloud = "gcp"
customers = "acme"
[feeds.four]
kind = "event_grid_push"
secrets = "env:A"
tenants = [1]
[feeds.three]
kind = "folder"
path = 3
[channels.page]
kind = "pagerduty"
[channels.call]
kind = "telephone"
[channels.text]
kind = ["sms"]
[routes.default]
channels = "page"
[routes.empty]
channels = []
[routes.odd]
channel = ["page"]
"""


def test_every_fault_comes_at_once_with_its_place_and_what_may_stand_there(tmp_path: Path) -> None:
    found = faults(tmp_path, EVERY_FAULT)
    for place, words in {
        "operatorz": "there are: store, broker, feeds",
        "home": "is 7",
        "operators": "no channel is called 'nobody'; there are: 'call', 'page', 'text'",
        "customer_mail": "no channel is called 'post'",
        "store.url": "must begin with sqlite:/// or postgresql+psycopg://",
        "store.path": "there is: 'url'",
        "broker.url": "must be a text, is 5",
        "worker.concurrency": "from 1 to 256, is 0",
        "worker.lease_seconds": "is 'long'",
        "worker.threads": "there are: 'concurrency', 'lease_seconds', 'sweep_after_seconds'",
        "feeds.one.kind": "'pubsub_push', 'sqs', 'storage_queue', is 'kafka'",
        "feeds.two.url": "is missing",
        "feeds.two.queue": "knows: 'cloud', 'customers', 'kind', 'region', 'url', 'visibility_seconds'",
        "feeds.two.visibility_seconds": "is 1",
        "feeds.two.cloud": "must be one of 'aws', is 'gcp'",
        "feeds.two.customers": "must be a list of customers' ids, is 'acme'",
        "feeds.four.secrets": "must be a list of texts: env:NAME or file:/path, is 'env:A'",
        "feeds.four.tenants": "must be a list of texts, is [1]",
        "feeds.four.listen": "is missing",
        "feeds.three.path": "must be a text, is 3",
        "channels.call.kind": "must be one of 'console', 'pagerduty', 'smtp', 'webhook', is 'telephone'",
        "channels.text.kind": "is ['sms']",
        "routes.default.channels": "must be a list of channel names, is 'page'",
        "routes.empty.channels": "names no channel; there are: 'call', 'page', 'text'",
        "routes.odd.channel": "there is: 'channels'",
        "routes.odd.channels": "must be a list of channel names, is None",
    }.items():
        assert words in found.pop(place), place
    assert {} == found


@pytest.mark.parametrize("name", ["store", "broker", "feeds", "channels", "routes", "worker"])
def test_a_section_that_is_no_table_is_a_fault(tmp_path: Path, name: str) -> None:
    assert f"must be a table ([{name}...])" in faults(tmp_path, f"{name} = 1\n")[name]


@pytest.mark.parametrize(
    ("text", "words"),
    [("[store\n", "is not TOML"), ("x = 1\nx = 2\n", "is not TOML"), ("é = '\x00'", "is not TOML")],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str, words: str) -> None:
    (found,) = faults(tmp_path, text).values()
    assert words in found


@pytest.mark.parametrize("path", ["none.toml", "."])
def test_a_file_that_cannot_be_read_is_named_with_the_variable_that_names_it(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingsFaults) as found:
        load({CONFIG_VARIABLE: str(tmp_path / path)})
    (fault,) = found.value.faults
    assert str(tmp_path / path) == fault.place
    assert CONFIG_VARIABLE in fault.text


@pytest.mark.parametrize(
    ("variable", "value"), [(STORE_VARIABLE, "mysql://root:hunter2@db/x"), (BROKER_VARIABLE, "hunter2")]
)
def test_a_wrong_variable_is_named_and_its_value_is_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsFaults) as found:
        load({variable: value})
    assert [variable] == [fault.place for fault in found.value.faults]
    assert "hunter2" not in str(found.value)


def test_no_fault_and_no_print_of_the_settings_shows_a_secret(tmp_path: Path) -> None:
    assert "hunter2" not in str(faults(tmp_path, EVERY_FAULT))
    text = GOOD.replace("watchdog@db", "watchdog:hunter2@db").replace("redis://q", "redis://:hunter2@q")
    text = text.replace("env:TEST_ROUTING_KEY", "hunter2")
    found = load({}, config=write(tmp_path, text))
    assert found.store_url.count("hunter2") == found.broker_url.count("hunter2") == 1
    assert "hunter2" not in repr(found)
    assert "hunter2" not in str(found)


def test_with_faults_the_rest_can_still_be_looked_at(tmp_path: Path) -> None:
    found, wrong = read({}, config=write(tmp_path, GOOD.replace('"postgresql+psycopg', '"oracle')))
    assert ["store.url"] == [fault.place for fault in wrong]
    assert ["page", "mail", "tickets"] == [channel.name for channel in found.channels]


def test_a_feed_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    found = load({}, config=write(tmp_path, GOOD))
    assert "folder" == found.feed("drop").kind
    with pytest.raises(SettingsFaults, match=r"feeds\.dorp: there is no such feed; configured: events, drop"):
        found.feed("dorp")


def test_a_long_home_leaves_the_socket_of_the_broker_short_enough_for_the_system() -> None:
    # The system's limit for the path of a socket is 107 bytes, not characters.
    for home in (Path("/" + "x" * 150), Path("/" + "ü" * 60)):
        socket = Settings(home=home, source="", store_url="", broker_url="embedded").embedded_socket()
        assert len(bytes(socket)) <= 107
    near = Settings(home=Path("/srv/a"), source="", store_url="", broker_url="embedded")
    assert Path("/srv/a/broker.sock") == near.embedded_socket()


@pytest.mark.parametrize("name", ["a b", "50%25", "a?b#c", "grün"])
def test_a_home_with_odd_characters_leaves_the_broker_an_address_that_says_what_it_means(name: str) -> None:
    odd = Settings(home=Path("/srv") / name, source="", store_url="", broker_url="embedded")
    assert f"redis+socket://{odd.embedded_socket()}" == odd.celery_broker_url()
    assert name not in odd.celery_broker_url()


def test_two_long_homes_do_not_share_a_broker() -> None:
    one, other = (
        Settings(home=Path("/" + "x" * 150) / name, source="", store_url="", broker_url="embedded").embedded_socket()
        for name in ("one", "other")
    )
    assert one != other


# ------------------------------------------------------------------------------------------------------------- secrets


def channel(**options: Any) -> ChannelSettings:
    return ChannelSettings(name="page", kind="pagerduty", options=options)


def test_a_secret_comes_from_the_environment_or_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n", encoding="utf-8")
    monkeypatch.setenv("TEST_SECRET", "from-env")
    options = {
        "a": "env:TEST_SECRET",
        "b": f"file:{tmp_path / 'secret'}",
        "c": ["env:TEST_SECRET", "plain"],
        "port": 587,
        "url": "https://hooks.example/x",
    }
    assert {
        "a": "from-env",
        "b": "from-file",
        "c": ["from-env", "plain"],
        "port": 587,
        "url": "https://hooks.example/x",
    } == resolved(channel(**options))


def test_every_missing_secret_is_reported_with_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TEST_NONE", raising=False)
    monkeypatch.setenv("TEST_EMPTY", "")
    (tmp_path / "empty").write_text(" \n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(SettingsFaults) as found:
        resolved(
            channel(
                a="env:TEST_NONE",
                b=f"file:{tmp_path / 'none'}",
                c=["env:TEST_EMPTY"],
                d=f"file:{tmp_path / 'empty'}",
                e=f"file:{tmp_path / 'binary'}",
            )
        )
    words = {fault.place: fault.text for fault in found.value.faults}
    assert "TEST_NONE is not set" in words["channels.page.a"]
    assert "No such file or directory" in words["channels.page.b"]
    assert "TEST_EMPTY is not set, or empty" in words["channels.page.c"]
    assert "is empty" in words["channels.page.d"]
    assert "is not UTF-8 text" in words["channels.page.e"]
    assert "hunter2" not in str(found.value)


def test_the_faults_of_all_channels_come_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TEST_ROUTING_KEY", raising=False)
    with pytest.raises(SettingsFaults) as found:
        build_channels(load({}, config=write(tmp_path, GOOD.replace('host = "relay.example"', "prot = 25"))))
    words = {fault.place: fault.text for fault in found.value.faults}
    assert {"channels.page.routing_key", "channels.mail"} == words.keys()
    assert 'unknown option "prot"' in words["channels.mail"]
    assert 'option "host" is missing' in words["channels.mail"]


def test_only_channels_that_keep_an_alert_open_are_cleared(tmp_path: Path) -> None:
    routing = routing_of(load({}, config=write(tmp_path, GOOD)))
    assert [("page", True), ("tickets", False)] == [(one.name, one.pages) for one in routing.route("default")]
    assert [("page", True), ("tickets", False)] == [(one.name, one.pages) for one in routing.operators]
    assert routing.route("quiet") != routing.route("default") == routing.route("unheard-of")


def test_the_example_is_sound_and_holds_no_secret() -> None:
    found = load({}, config=EXAMPLE)
    assert set(KINDS) == {feed.kind for feed in found.feeds}, "a kind of feed that the example does not show"
    assert set(archive_kinds.KINDS) == {one.kind for one in found.archives}, "a kind of archive that it does not show"
    for archive in found.archives:
        open_archive(archive).close()
    plain = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    for name, feed in plain["feeds"].items():
        assert str(feed.get("key", "env:")).startswith("env:"), name
        assert all(one.startswith("env:") for one in feed.get("secrets", [])), name
    for name, options in plain["channels"].items():
        for option in ("routing_key", "password", "secrets"):
            value = options.get(option, "env:")
            assert str(value).removeprefix("['").startswith("env:"), f"{name}.{option}"


# ------------------------------------------------------------------------------------------------------------ archives

FEEDS = """
[feeds.events]
kind = "sqs"
url = "https://sqs.example/1/q"
customers = ["acme", "globex"]
[feeds.own]
kind = "folder"
path = "own"
[feeds.theirs]
kind = "pubsub"
subscription = "projects/p/subscriptions/s"
"""


def test_an_archive_belongs_to_a_feed_and_to_its_customers_unless_it_says_less(tmp_path: Path) -> None:
    text = """
    [archives.all]
    kind = "cloudtrail_lookup"
    feed = "events"
    regions = ["eu-west-1"]
    [archives.less]
    kind = "cloudtrail_lookup"
    feed = "events"
    regions = ["eu-west-1"]
    customers = ["globex"]
    [archives.own]
    kind = "cloudtrail_lookup"
    feed = "own"
    regions = ["eu-west-1"]
    """
    found = load({}, config=write(tmp_path, FEEDS + text))
    assert [
        ("all", "events", "aws", ("acme", "globex")),
        ("less", "events", "aws", ("globex",)),
        ("own", "own", "aws", None),
    ] == [(one.name, one.feed, one.cloud, one.customers) for one in found.archives]
    assert {"regions": ["eu-west-1"]} == found.archive("all").options == resolved(found.archive("all"))
    with pytest.raises(SettingsFaults, match="there is no such archive; configured: all, less, own"):
        found.archive("none")


def test_every_fault_of_an_archive_is_reported(tmp_path: Path) -> None:
    text = """
    [archives.a]
    kind = "tape"
    feed = "events"
    [archives.b]
    kind = "cloudtrail_lookup"
    feed = "theirs"
    [archives.c]
    kind = "trail_bucket"
    feed = "events"
    bucket = ["x"]
    accounts = "111122223333"
    regions = ["eu-west-1"]
    colour = "red"
    customers = ["initech", "acme"]
    """
    found = faults(tmp_path, FEEDS + text)
    assert found.pop("archives.a.kind").startswith("must be one of 'activity_log', 'audit_blobs', 'cloud_logging'")
    assert found == {
        "archives.b.regions": "is missing",
        "archives.b.feed": "must name the feed of aws whose gaps it fills, is 'theirs'; there are: 'events', 'own'",
        "archives.c.bucket": "must be a text, is ['x']",
        "archives.c.accounts": "must be a list of texts, is '111122223333'",
        "archives.c.colour": found["archives.c.colour"],
        "archives.c.customers": "feed events is not set up for 'initech'",
    }
    assert found["archives.c.colour"].startswith("unknown; an archive of kind trail_bucket knows: 'accounts', 'bucket'")


# ----------------------------------------------------------------------------------------------------------- heartbeat


def test_without_a_section_nothing_is_sent_and_the_audit_is_made_every_minute() -> None:
    assert (None, timedelta(seconds=60)) == (load({}).heartbeat, load({}).audit_every)


def test_a_heartbeat_takes_its_secret_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PING", "https://hc.example/uuid")
    text = '[heartbeat]\nkind = "healthchecks"\nurl = "env:TEST_PING"\nevery_seconds = 30\n'
    found = load({}, config=write(tmp_path, text))
    assert timedelta(seconds=30) == found.audit_every
    assert found.heartbeat == HeartbeatSettings(kind="healthchecks", options={"url": "env:TEST_PING"})
    assert {"url": "https://hc.example/uuid"} == resolved(found.heartbeat)
    assert "uuid" not in repr(found.heartbeat)
    assert isinstance(build_heartbeat(found), Healthchecks)


def test_the_pace_of_the_audit_can_be_set_without_a_heartbeat(tmp_path: Path) -> None:
    found = load({}, config=write(tmp_path, "[heartbeat]\nevery_seconds = 300\n"))
    assert (None, timedelta(minutes=5)) == (found.heartbeat, found.audit_every)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('kind = "opsgenie"', {"heartbeat.kind": "must be one of 'healthchecks', 'pagerduty', 'url', is 'opsgenie'"}),
        ('url = "https://x.example"', {"heartbeat.kind": "must be one of 'healthchecks', 'pagerduty', 'url', is None"}),
        (
            'kind = "pagerduty"\nurl = "https://x.example"\nevery_seconds = 5',
            {
                "heartbeat.url": "unknown; a heartbeat of kind pagerduty knows: 'base_url', 'routing_key'",
                "heartbeat.routing_key": "is missing",
                "heartbeat.every_seconds": "must be a whole number from 10 to 3600, is 5",
            },
        ),
    ],
)
def test_every_fault_of_the_heartbeat_section_is_reported(tmp_path: Path, text: str, wanted: dict[str, str]) -> None:
    _, faults = read({}, config=write(tmp_path, f"[heartbeat]\n{text}\n"))
    assert wanted == {fault.place: fault.text for fault in faults}


@pytest.mark.parametrize("options", ['url = "env:TEST_MISSING"', 'url = "http://far.example/x"'])
def test_a_heartbeat_that_cannot_be_built_is_a_fault_with_its_place(tmp_path: Path, options: str) -> None:
    found = load({}, config=write(tmp_path, f'[heartbeat]\nkind = "url"\n{options}\n'))
    with pytest.raises(SettingsFaults) as raised:
        build_heartbeat(found)
    assert raised.value.faults[0].place.startswith("heartbeat")


def test_no_feed_may_bear_the_name_of_the_synthetic_records(tmp_path: Path) -> None:
    _, faults = read({}, config=write(tmp_path, f'[feeds.{SYNTHETIC}]\nkind = "folder"\npath = "/x"\n'))
    assert [(f"feeds.{SYNTHETIC}", True)] == [(fault.place, "reserved" in fault.text) for fault in faults]


def test_how_long_a_way_may_be_silent_is_a_quarter_of_an_hour_unless_said_otherwise(tmp_path: Path) -> None:
    assert load({}).silent_after == timedelta(minutes=15)
    found = load({}, config=write(tmp_path, "[watch]\nsilent_after_seconds = 90\n"))
    assert found.silent_after == timedelta(seconds=90)


def test_every_fault_of_the_watch_section_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsFaults) as caught:
        load({}, config=write(tmp_path, "[watch]\nsilent_after_seconds = 0\nloud = true\n"))
    assert {one.place: one.text for one in caught.value.faults} == {
        "watch.silent_after_seconds": "must be a whole number from 1 to 86400, is 0",
        "watch.loud": "unknown; there are: 'silent_after_seconds'",
    }
