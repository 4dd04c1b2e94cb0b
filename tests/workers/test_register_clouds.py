"""Azure and Google Cloud in a register file: its form is checked, its keys can be explained, and none is imported."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watchdog.clouds.azure import world as azure
from tests.watchdog.clouds.gcp import world as gcp
from tests.workers.test_register_file import mutations
from tests.worlds import table
from watchdog.clouds import CLOUDS, WATCHED
from watchdog.parts import KEY_FORMS
from watchdog.register import Document, Register, canonical
from workers.register_file import Fault, RegisterFaults, dump, parse, schema_json
from workers.register_form import Form

WORLDS = {"azure": azure.document(), "gcp": gcp.document()}
UNWATCHED = "can be explained but not watched yet"
KEY = "customers[0].instances[0].keys[0]"

each_world = pytest.mark.parametrize("cloud", WORLDS)


def plain(cloud: str) -> Any:
    return json.loads(msgspec.json.encode(WORLDS[cloud]))


def refused(facts: Any) -> RegisterFaults:
    with pytest.raises(RegisterFaults) as found:
        parse(json.dumps(facts), name="register.json", stores=None)
    return found.value


def faults_at(facts: Any, place: str) -> list[Fault]:
    return [fault for fault in refused(facts).faults if fault.place == place]


def first(facts: Any) -> Any:
    return facts["customers"][0]["instances"][0]["keys"][0]


def spelt(facts: Any, key: str, cloud: str) -> Any:
    first(facts).update(key=key, cloud=cloud)
    return facts


def test_there_is_a_form_of_keys_for_every_cloud() -> None:
    assert tuple(KEY_FORMS) == CLOUDS
    assert set(WORLDS) == set(CLOUDS) - set(WATCHED)


# ----------------------------------------------------------------------------------------------- explained, not watched


@each_world
def test_every_key_of_a_cloud_that_nobody_watches_is_refused(cloud: str) -> None:
    places = [fault.place for fault in refused(plain(cloud)).faults if UNWATCHED in fault.text]
    assert len(places) == len(Register(WORLDS[cloud]).keys) > 3
    assert f"{KEY}.cloud" in places


@each_world
def test_what_is_written_reads_back_the_same_and_serves_to_explain(cloud: str) -> None:
    with pytest.raises(RegisterFaults) as found:
        parse(dump(WORLDS[cloud]), name="register.yaml")
    assert found.value.document == WORLDS[cloud]
    assert all(fault.line for fault in found.value.faults)


@each_world
def test_keys_are_not_judged_by_the_rules_for_arns(cloud: str) -> None:
    said = " ".join(f"{fault.text} {fault.fix}" for fault in refused(plain(cloud)).faults)
    assert not [word for word in ("partition", "vendor.aws", "ARN", "kms:") if word in said]


def test_the_rules_for_azure_are_asked_too() -> None:
    facts = plain("azure")
    facts["customers"][0]["azure"]["grants"][0]["role"] = "reader"
    [fault] = faults_at(facts, "customers[0].azure.grants[0].role")
    assert "not known to suffice" in fault.text


# ------------------------------------------------------------------------------------------------------ ids of the keys


@pytest.mark.parametrize(
    ("key", "cloud", "text", "fix"),
    [
        (gcp.KEY, "aws", "not the full ARN of a KMS key", "set cloud: gcp"),
        (azure.DATA_KEY, "aws", "not the full ARN of a KMS key", "set cloud: azure"),
        ("arn:aws:kms:eu-west-1:111122223333:alias/acme", "aws", "not the full ARN of a KMS key", "arn:aws:kms:"),
        (gcp.KEY, "azure", "not the id of an Azure key", "set cloud: gcp"),
        (f"{azure.DATA_KEY}/{azure.V1}", "azure", "without a version", "https://"),
        ("http://glbx-data-kv.vault.azure.net/keys/data-cmk", "azure", "not the id of an Azure key", "https://"),
        (f"{gcp.KEY}/cryptoKeyVersions/1", "gcp", "without a version", "projects/"),
        (gcp.RING, "gcp", "not the name of a Cloud KMS key", "projects/"),
    ],
)
def test_an_id_that_its_cloud_does_not_know_is_told_and_nothing_is_read_against_it(
    key: str, cloud: str, text: str, fix: str
) -> None:
    faults = refused(spelt(plain("azure"), key, cloud))
    [fault] = [fault for fault in faults.faults if fault.place == f"{KEY}.key"]
    assert text in fault.text
    assert fix in fault.fix
    assert faults.document is None


def test_only_arns_are_brought_into_one_spelling() -> None:
    arn = "arn:aws:kms:eu-west-1:111122223333:key/AAAAAAAA-2222-3333-4444-555555555555"
    name = "projects/acme-keys/locations/europe-west1/keyRings/master-key/cryptoKeys/Payroll"
    assert canonical(arn) == arn.replace("AAAAAAAA", "aaaaaaaa")
    assert canonical(name) == name


# ----------------------------------------------------------------------------------------------------------------- form


@pytest.mark.parametrize(
    ("cloud", "change", "place", "text", "fix"),
    [
        (
            "azure",
            lambda f: f["customers"][0]["azure"]["containers"][0].update(retention_days=6),
            "customers[0].azure.containers[0].retention_days",
            "a whole number, at least 7, at most 90, found the number 6",
            "number",
        ),
        (
            "azure",
            lambda f: first(f)["azure"]["versions"][0].update(expires="2027-01-01T00:00:00"),
            f"{KEY}.azure.versions[0].expires",
            "a date and time with its zone",
            "Z",
        ),
        (
            "azure",
            lambda f: f["customers"][0]["azure"].update(tenant="globex"),
            "customers[0].azure.tenant",
            "not the GUID of something in Azure or Entra",
            "11111111-2222",
        ),
        (
            "azure",
            lambda f: f["customers"][0]["azure"]["containers"][0].update(id="glbx-data-kv"),
            "customers[0].azure.containers[0].id",
            "not the full id of an Azure resource",
            "/subscriptions/",
        ),
        (
            "gcp",
            lambda f: f["customers"][0]["gcp"]["projects"][0].update(number=920000000101),
            "customers[0].gcp.projects[0].number",
            "^[0-9]{4,20}$",
            "quotes",
        ),
        (
            "gcp",
            lambda f: f["customers"][0]["gcp"].update(organization="globex"),
            "customers[0].gcp.organization",
            "^organizations/[0-9]+$",
            "write",
        ),
    ],
)
def test_a_fault_of_form_names_place_and_remedy(
    cloud: str, change: Callable[[Any], None], place: str, text: str, fix: str
) -> None:
    facts = plain(cloud)
    change(facts)
    [fault] = faults_at(facts, place)
    assert text in fault.text
    assert fix in fault.fix


@each_world
@given(data=st.data())
@settings(max_examples=60)
def test_the_form_finds_a_flaw_exactly_where_msgspec_refuses(cloud: str, data: st.DataObject) -> None:
    facts = plain(cloud)
    data.draw(mutations(facts))()
    form = Form({})
    form.read(facts)
    try:
        msgspec.convert(facts, Document)
    except msgspec.ValidationError:
        assert form.flaws
    else:
        assert form.flaws == []


@each_world
@given(data=st.data())
@settings(max_examples=60)
def test_a_spoilt_file_is_told_and_never_ends_the_process(cloud: str, data: st.DataObject) -> None:
    facts = plain(cloud)
    for _ in range(3):
        data.draw(mutations(facts))()
    told: list[Fault] = []
    try:
        parse(json.dumps(facts), name="x.json", stores=table().topologies())
    except RegisterFaults as found:
        told = found.faults

    assert not any("does not have the form" in fault.text for fault in told)


# --------------------------------------------------------------------------------------------------------------- schema


@each_world
def test_the_schema_accepts_what_the_form_accepts_and_refuses_an_id_of_no_cloud(cloud: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_json()))
    facts = plain(cloud)
    validator.validate(facts)
    first(facts)["key"] = "alias/acme"
    [error] = validator.iter_errors(facts)
    assert list(error.path) == ["customers", 0, "instances", 0, "keys", 0, "key"]
