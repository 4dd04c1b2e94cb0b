"""By which ways records come in, and which message is believed as a sign of life of which of them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.gcp.events import AT, asset, audit, pushed, raw, version_update
from tests.watchdog.clouds.gcp.world import (
    ASSETS,
    EXTERNAL,
    GLOBEX,
    GLOBEX_FOLDER,
    GLOBEX_NUMBER,
    GLOBEX_ORG,
    IMPORTED,
    INITECH,
    INSTANCE,
    KEY,
    OWN,
    SELF,
    SUBSCRIPTION,
    SUBSCRIPTION_2,
    document,
    register,
)
from watchdog.clouds import gcp
from watchdog.clouds.gcp.names import HEARTBEAT
from watchdog.coverage import Cover, Way
from watchdog.register import Document, Register
from watchdog.words import Effect

REGISTER = register()
READ = audit("GetCryptoKey", KEY, {"name": KEY}, kind="data_access", by="watchdog@acme-watch.iam.gserviceaccount.com")
VERSION = f"{KEY}/cryptoKeyVersions/3"
ON, OFF = {"state": "ENABLED"}, {"state": "DISABLED"}


def changed(**facts: Any) -> Register:
    """The world with other facts of Globex; `project` are those of its project."""
    tree = msgspec.to_builtins(document())
    globex = tree["customers"][0]["gcp"]
    globex["projects"][0] |= facts.pop("project", {})
    tree["vendor"]["gcp"] |= facts.pop("vendor", {})
    globex |= facts
    return Register(msgspec.convert(tree, Document))


def ways(key: str, of: Register = REGISTER) -> dict[str, Way]:
    return {way.route: way for way in gcp.ways(of.keys[key], of)}


def beat(log: str = f"projects/{GLOBEX}/logs/{HEARTBEAT}", **fields: Any) -> dict[str, Any]:
    entry = {"insertId": "b1", "logName": log, "timestamp": AT, "resource": {"type": "global", "labels": {}}}
    return entry | (fields or {"textPayload": "byok-watchdog heartbeat"})


def route(content: dict[str, Any], of: Register = REGISTER) -> str | None:
    (signal,) = gcp.meaning(raw(content), of)
    return signal.route


# ----------------------------------------------------------------------------------------------------------------- ways


def test_a_customers_key_is_heard_by_its_project_its_asset_feed_and_the_project_of_its_instance() -> None:
    found = ways(KEY)

    assert list(found) == [f"gcp:{GLOBEX}", f"gcp:assets:{GLOBEX}", f"gcp:{INSTANCE}"]
    assert [way.cover for way in found.values()] == [Cover.FORWARDED, Cover.FORWARDED, Cover.SELF_OBSERVED]
    assert [way.customer for way in found.values()] == ["globex", "globex", None]
    assert all(GLOBEX in way.words or INSTANCE in way.words for way in found.values())


def test_a_key_of_the_vendors_own_is_heard_by_the_vendors_project_alone() -> None:
    assert [(way.cover, way.route, way.customer) for way in ways(OWN).values()] == [
        (Cover.SELF_OBSERVED, f"gcp:{INSTANCE}", None)
    ]


def test_keys_of_one_project_have_equal_ways() -> None:
    assert ways(KEY) == ways(IMPORTED)
    assert ways(OWN)[f"gcp:{INSTANCE}"] == ways(KEY)[f"gcp:{INSTANCE}"]


def test_a_sign_is_due_only_where_the_register_says_that_a_heartbeat_is_written() -> None:
    found = ways(KEY)

    assert found[f"gcp:{GLOBEX}"].beats == timedelta(minutes=5)
    assert f"projects/{GLOBEX}/logs/{HEARTBEAT}" in found[f"gcp:{GLOBEX}"].expects
    assert {found[f"gcp:assets:{GLOBEX}"].beats, found[f"gcp:{INSTANCE}"].beats} == {None}
    assert ways(EXTERNAL)[f"gcp:{INITECH}"].beats is None


def test_data_access_logs_alone_make_no_sign_due() -> None:
    quiet = changed(project={"heartbeat": False}, data_access_logs=True)
    assert ways(KEY, quiet)[f"gcp:{GLOBEX}"].beats is None


def test_the_vendors_project_beats_where_it_is_registered_to() -> None:
    projects = msgspec.to_builtins(document())["vendor"]["gcp"]["projects"]
    projects[1]["heartbeat"] = True
    own = changed(vendor={"projects": projects})

    assert ways(KEY, own)[f"gcp:{INSTANCE}"].beats == timedelta(minutes=5)
    assert route(pushed(beat(f"projects/{INSTANCE}/logs/{HEARTBEAT}"), SELF), own) == f"gcp:{INSTANCE}"


@pytest.mark.parametrize(
    ("scope", "children", "is_heard"),
    [
        pytest.param(GLOBEX_ORG, True, True, id="the organisation with what is below"),
        pytest.param(GLOBEX_FOLDER, True, True, id="the folder with what is below"),
        pytest.param(GLOBEX_ORG, False, False, id="the organisation's own log only"),
        pytest.param(f"projects/{GLOBEX}", False, True, id="the project"),
        pytest.param(f"projects/{GLOBEX_NUMBER}", False, True, id="the project by its number"),
        pytest.param("projects/globex-web", False, False, id="another project"),
    ],
)
def test_a_log_is_forwarded_when_a_registered_sink_covers_it(scope: str, *, children: bool, is_heard: bool) -> None:
    sink = msgspec.to_builtins(document())["customers"][0]["gcp"]["sinks"][0]
    covered = changed(sinks=[sink | {"scope": scope, "include_children": children}])
    assert (f"gcp:{GLOBEX}" in ways(KEY, covered)) is is_heard


def test_without_a_feed_there_is_no_way() -> None:
    deaf = changed(feeds=[], vendor={"feeds": []})
    assert ways(KEY, deaf) == {}


# ---------------------------------------------------------------------------------------------------------------- signs


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(pushed(beat()), f"gcp:{GLOBEX}", id="the heartbeat"),
        pytest.param(pushed(beat(jsonPayload={"beat": 1})), f"gcp:{GLOBEX}", id="with a payload of fields"),
        pytest.param(pushed(beat(f"projects/{GLOBEX_NUMBER}/logs/{HEARTBEAT}")), f"gcp:{GLOBEX}", id="by number"),
        pytest.param(beat(), f"gcp:{GLOBEX}", id="from a plain file"),
        pytest.param(pushed(beat(), SUBSCRIPTION_2), None, id="by another customer's subscription"),
        pytest.param(pushed(beat(), SELF), None, id="by the vendor's subscription"),
        pytest.param(pushed(beat(), "projects/evil/subscriptions/audit-globex"), None, id="by an unknown one"),
        pytest.param(pushed(pushed(beat()), SUBSCRIPTION_2), None, id="by an inner wrapper that lies"),
        pytest.param(pushed(beat(f"projects/{INITECH}/logs/{HEARTBEAT}"), SUBSCRIPTION_2), None, id="not agreed"),
        pytest.param(pushed(beat(f"projects/sandbox/logs/{HEARTBEAT}")), None, id="of a stranger"),
        pytest.param(pushed(beat(f"projects/{GLOBEX}/logs/{HEARTBEAT}2")), None, id="of a longer name"),
        pytest.param(pushed(beat(f"{GLOBEX_FOLDER}/logs/{HEARTBEAT}")), None, id="of the folder"),
        pytest.param(pushed(beat(f"projects/{GLOBEX}/logs/app")), None, id="any other log"),
        pytest.param(pushed(version_update()), f"gcp:{GLOBEX}", id="a loss"),
        pytest.param(pushed(version_update(), SUBSCRIPTION_2), None, id="a loss that is not believed"),
        pytest.param(pushed(version_update(code=7)), f"gcp:{GLOBEX}", id="a refused change"),
        pytest.param(pushed(READ), f"gcp:{GLOBEX}", id="the record of our own probe"),
        pytest.param(pushed(READ, SUBSCRIPTION_2), None, id="of our own probe, by another's subscription"),
        pytest.param(
            pushed(audit("CreateKeyRing", f"projects/{GLOBEX}/locations/eu/keyRings/other", {})),
            f"gcp:{GLOBEX}", id="what concerns no key",
        ),
        pytest.param(pushed(version_update(log="projects/sandbox")), None, id="a log that cannot tell"),
        pytest.param(pushed(audit("", KEY, {})), None, id="a record that cannot be read"),
        pytest.param(
            pushed(audit("CreateKeyRing", "x", {}, log="projects/sandbox")), None, id="a project of nobody"
        ),
        pytest.param(
            pushed(audit("SetIamPolicy", GLOBEX_FOLDER, {}, log=GLOBEX_FOLDER)), None, id="the log of a folder"
        ),
        pytest.param(
            pushed(audit("SetIamPolicy", OWN, {}, log=f"projects/{INSTANCE}"), SELF), f"gcp:{INSTANCE}",
            id="the vendor's project by its own subscription",
        ),
        pytest.param(
            pushed(audit("SetIamPolicy", OWN, {}, log=f"projects/{INSTANCE}")), None,
            id="the vendor's project, told by the customer whose key is in it",
        ),
        pytest.param(pushed(asset(VERSION, OFF, ON), ASSETS), f"gcp:assets:{GLOBEX}", id="an asset"),
        pytest.param(pushed(asset(VERSION, ON, ON), ASSETS), f"gcp:assets:{GLOBEX}", id="a quiet asset"),
        pytest.param(
            pushed(asset(VERSION.replace(GLOBEX, GLOBEX_NUMBER), ON, ON), ASSETS), f"gcp:assets:{GLOBEX}",
            id="an asset by number",
        ),
        pytest.param(pushed(asset(VERSION, ON, ON), SUBSCRIPTION_2), None, id="an asset by another's subscription"),
        pytest.param(
            pushed(asset("projects/sandbox/locations/eu/keyRings/r/cryptoKeys/k", ON, ON), ASSETS), None,
            id="an asset of nobody",
        ),
        pytest.param({"insertId": "x", "logName": f"projects/{GLOBEX}/logs/{HEARTBEAT}", "protoPayload": []}, None,
                     id="unreadable"),
    ],
)  # fmt: skip
def test_a_message_proves_the_way_of_its_projects_owner(content: dict[str, Any], expected: str | None) -> None:
    assert route(content) == expected


def test_an_imitation_in_the_heartbeats_log_is_not_believed_and_proves_nothing() -> None:
    (signal,) = gcp.meaning(raw(pushed(beat(jsonPayload=version_update()["protoPayload"]))), REGISTER)
    assert (signal.effect, signal.route) == (Effect.UNTRUSTED, None)


def test_the_heartbeat_changes_nothing() -> None:
    (signal,) = gcp.meaning(raw(pushed(beat())), REGISTER)
    assert (signal.effect, signal.key, signal.customer) == (Effect.NO_EFFECT, None, None)
    assert signal.occurred_at is not None


def test_each_key_that_a_record_is_about_has_the_sign_on_its_signal() -> None:
    gone = audit(
        "DeleteProject", f"projects/{GLOBEX}", {}, service="cloudresourcemanager.googleapis.com"
    )  # two keys in it
    assert {(signal.key, signal.route) for signal in gcp.meaning(raw(pushed(gone)), REGISTER)} == {
        (KEY, f"gcp:{GLOBEX}"), (IMPORTED, f"gcp:{GLOBEX}")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (pushed(beat()), True),
        (pushed(beat(jsonPayload={"beat": 1})), True),
        (pushed(beat(f"projects/{INITECH}/logs/{HEARTBEAT}"), SUBSCRIPTION_2), False),
        (pushed(beat(f"projects/sandbox/logs/{HEARTBEAT}")), False),
        (pushed(beat(f"projects/{GLOBEX}/logs/{HEARTBEAT}2")), False),
    ],
)
def test_triage_keeps_the_heartbeat_of_a_registered_project_alone(content: dict[str, Any], *, kept: bool) -> None:
    assert bool(gcp.unpack(raw(content), register=REGISTER).entries) is kept


def test_without_a_register_triage_keeps_every_heartbeat() -> None:
    assert gcp.unpack(raw(beat(f"projects/sandbox/logs/{HEARTBEAT}"))).entries


def test_two_beats_are_two_happenings() -> None:
    first, second = pushed(beat()), pushed(beat() | {"insertId": "b2"})
    ids = {entry.event_id for content in (first, second) for entry in gcp.unpack(raw(content)).entries}
    assert len(ids) == 2


# -------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize("name", ["sink-filter", "vendor-sink-filter"])
def test_the_filters_let_the_heartbeat_through(name: str) -> None:
    """OR binds more tightly than AND in the language of Cloud Logging: what is joined by AND stands in brackets."""
    text = gcp.filters()[name]
    first, *others = text.split("\nOR ")
    assert f'log_id("{HEARTBEAT}")' in others
    assert (first[0], first[-1]) == ("(", ")")
    assert first.count("(") == first.count(")")


def test_a_sink_that_is_kept_by_its_agreed_older_filter_is_no_alarm() -> None:
    """Only a change is: the world's filter knows no heartbeat."""
    old = msgspec.to_builtins(document())["customers"][0]["gcp"]["sinks"][0]
    assert HEARTBEAT not in old["filter"]
    touched = audit(
        "google.logging.v2.ConfigServiceV2.UpdateSink", old["name"],
        {"sink": {"filter": old["filter"], "destination": old["destination"]}, "updateMask": "filter"},
        service="logging.googleapis.com", log=GLOBEX_ORG,
    )  # fmt: skip
    assert [signal.effect for signal in gcp.meaning(raw(pushed(touched, SUBSCRIPTION)), REGISTER)] == [Effect.NO_EFFECT]
