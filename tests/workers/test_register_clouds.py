"""Azure and Google Cloud in a register file: form and sense are checked as for AWS, and each fault has its remedy."""

import json
import time
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
from tests.worlds import agreed, table
from watchdog.clouds import CLOUDS
from watchdog.parts import KEY_FORMS
from watchdog.register import Document, Register, canonical
from watchdog.register_check import check
from workers.register_file import Fault, RegisterFaults, dump, parse, schema_json
from workers.register_form import Form

WORLDS = {"azure": agreed(azure.document()), "gcp": agreed(gcp.document())}
KEY = "customers[0].instances[0].keys[0]"

each_world = pytest.mark.parametrize("cloud", WORLDS)


def plain(cloud: str) -> Any:
    return json.loads(msgspec.json.encode(WORLDS[cloud]))


def refused(facts: Any) -> RegisterFaults:
    with pytest.raises(RegisterFaults) as found:
        parse(json.dumps(facts), name="register.json", stores=None)
    return found.value


def refused_by_table(facts: Any) -> list[Fault]:
    with pytest.raises(RegisterFaults) as found:
        parse(json.dumps(facts), name="register.json", stores=table().topologies())
    return found.value.faults


def faults_at(facts: Any, place: str) -> list[Fault]:
    return [fault for fault in refused(facts).faults if fault.place == place]


def first(facts: Any) -> Any:
    return facts["customers"][0]["instances"][0]["keys"][0]


def spelt(facts: Any, key: str, cloud: str) -> Any:
    first(facts).update(key=key, cloud=cloud)
    return facts


@pytest.mark.parametrize(
    ("cloud", "check", "fix"),
    [
        ("azure", "azure.purge_protections", "did you mean azure.purge_protection?"),
        ("gcp", "gcp.destruction_window", "did you mean gcp."),
        ("gcp", "azure.lock", "`byok-watchdog register check` lists"),
        ("azure", "all.singel_purpose", "did you mean all.single_purpose?"),
    ],
)
@pytest.mark.parametrize("what", ["deviations", "statements"])
def test_a_pre_flight_check_that_there_is_not_is_a_fault(cloud: str, check: str, fix: str, what: str) -> None:
    facts = plain(cloud)
    said = {"deviations": {"owner": "Carol", "reason": "old"}, "statements": {"by": "Ann", "stated_on": "2026-01-01"}}
    good = {"check": "all.named", **said[what]}
    first(facts)["exception"][what] = [good, {"check": check, **said[what]}]
    (fault,) = faults_at(facts, f"{KEY}.exception.{what}[1].check")
    assert (f"is no pre-flight check of a key on {cloud}" in fault.text, fix in fault.fix) == (True, True), fault.fix
    first(facts)["exception"][what] = [good, good]
    (fault,) = faults_at(facts, f"{KEY}.exception.{what}[1].check")
    assert "stands at" in fault.text


def test_there_is_a_form_of_keys_for_every_cloud() -> None:
    assert tuple(KEY_FORMS) == CLOUDS
    assert {"aws", *WORLDS} == set(CLOUDS)


# ------------------------------------------------------------------------------------------------------ what is sound


@each_world
def test_a_sound_register_of_any_cloud_is_read_without_a_fault(cloud: str) -> None:
    document = WORLDS[cloud]
    assert len(Register(document).keys) > 3
    assert parse(dump(document), name="register.yaml", stores=table().topologies()) == document


@each_world
def test_the_exception_and_the_contacts_are_asked_for_whatever_the_cloud(cloud: str) -> None:
    facts = plain(cloud)
    first(facts).pop("exception")
    facts["customers"][0]["contacts"] = []
    assert {fault.place for fault in refused(facts).faults} == {KEY, "customers[0].contacts"}


@each_world
def test_keys_are_not_judged_by_the_rules_for_arns(cloud: str) -> None:
    facts = plain(cloud)
    first(facts)["access"] = [{"principal": "arn:aws:iam::1:role/x", "operations": ["decode"]}]
    said = " ".join(f"{fault.text} {fault.fix}" for fault in refused(facts).faults)
    assert not [word for word in ("partition", "vendor.aws", "ARN", "kms:") if word in said]


@pytest.mark.parametrize(
    ("cloud", "change", "place"),
    [
        ("azure", lambda f: f["customers"][0]["azure"]["grants"][0].update(role="reader"), "azure.grants[0].role"),
        ("gcp", lambda f: f["customers"][0]["gcp"].update(vendor_project="acme-other"), "gcp.vendor_project"),
    ],
)
def test_the_rules_of_the_cloud_are_asked_too(cloud: str, change: Callable[[Any], None], place: str) -> None:
    facts = plain(cloud)
    change(facts)
    [fault] = refused(facts).faults
    assert fault.place == f"customers[0].{place}"
    assert fault.line
    assert fault.fix


@pytest.mark.parametrize(
    ("cloud", "store", "told"),
    [
        ("azure", "azure.postgres_flexible", False),
        ("azure", "customer_bucket", False),
        ("azure", "aws.rds", True),
        ("gcp", "gcp.cloudsql", False),
        ("gcp", "customer_bucket", False),
        ("gcp", "azure.postgres_flexible", True),
        ("gcp", "gcp.database", True),
    ],
)
def test_the_stores_of_a_key_are_those_of_its_own_cloud(cloud: str, store: str, *, told: bool) -> None:
    facts = plain(cloud)
    first(facts)["consumers"] = [{"id": "db", "store": store}]
    found = [] if not told else [fault.text for fault in refused_by_table(facts) if fault.place.endswith(".store")]
    if not told:
        parse(json.dumps(facts), name="register.json", stores=table().topologies())
    assert len(found) == told
    assert all(f"not in the impact table for {cloud}" in text for text in found)


# --------------------------------------------------------------------------------------------------- one key, one owner


def second(facts: Any) -> Any:
    return facts["customers"][1]["instances"][0]["keys"][0]


def test_azure_compares_without_case_so_two_spellings_are_one_key_also_of_two_customers() -> None:
    facts = plain("azure")
    second(facts)["key"] = azure.DATA_KEY.replace("data-cmk", "Data-CMK").replace("glbx", "GLBX")
    told = [fault.text for fault in faults_at(facts, "customers[1].instances[0].keys[0].key")]
    assert any(f"already serves the instance at {KEY}.key" in text for text in told)


def test_a_vault_belongs_to_one_customer_however_it_is_spelt() -> None:
    facts = plain("azure")
    theirs = dict(facts["customers"][0]["azure"]["containers"][0])
    theirs["id"] = theirs["id"].replace("rg-data", "RG-Data")
    facts["customers"][1]["azure"]["containers"].append(theirs)
    places = {fault.place for fault in refused(facts).faults if "already" in fault.text}
    assert places == {"customers[1].azure.containers[1].id", "customers[1].azure.containers[1].host"}


def test_case_counts_on_google_cloud_and_a_number_for_a_project_does_not_hide_a_key() -> None:
    facts = plain("gcp")
    spelt = gcp.KEY.replace(gcp.GLOBEX, gcp.GLOBEX_NUMBER)
    facts["customers"][0]["instances"].append(
        {"id": "more", "keys": [{**first(facts), "key": gcp.KEY.replace("payroll", "Payroll"), "gcp": ring(facts)}]}
    )
    parse(json.dumps(facts), name="register.json", stores=None)
    facts["customers"][0]["instances"][-1]["keys"][0]["key"] = spelt
    [fault] = faults_at(facts, f"customers[0].instances[{len(facts['customers'][0]['instances']) - 1}].keys[0].key")
    assert fault.fix == f"write projects/{gcp.GLOBEX}/..."


def ring(facts: Any) -> Any:
    """The first key's Google Cloud section, with its grant at the ring."""
    section = json.loads(json.dumps(first(facts)["gcp"]))
    section["grants"][0]["level"] = gcp.RING
    return section


# ------------------------------------------------------------------------------------------------------ many keys


def many(cloud: str, number: int) -> Any:
    """A register of one customer with this many keys, each with a grant of its own."""
    facts = plain(cloud)
    model, customer = first(facts), facts["customers"][0]
    customer["instances"] = []
    grants = []
    for count in range(number):
        key = json.loads(json.dumps(model))
        key["key"] = f"{model['key']}-{count}"
        if cloud == "gcp":
            key["gcp"]["grants"][0]["level"] = key["key"]
        else:
            grant = dict(customer["azure"]["grants"][0])
            grant["scope"] = f"{azure.DATA_VAULT}/keys/data-cmk-{count}"
            grant["id"] = azure.at(grant["scope"], f"b6900000-1111-4222-8333-{count:012d}")
            grants.append(grant)
        customer["instances"].append({"id": f"i-{count}", "keys": [key]})
    if cloud == "azure":
        customer["azure"]["grants"] = grants
        customer["azure"]["containers"] = customer["azure"]["containers"][:1]
    facts["customers"] = [customer]
    return facts


@each_world
def test_the_checks_cost_as_much_for_each_key_whatever_their_number(cloud: str) -> None:
    def seconds(number: int) -> float:
        document = msgspec.convert(many(cloud, number), Document)
        begun = time.perf_counter()
        assert check(document, stores=None, knows_timezone=lambda _: True) == []
        return time.perf_counter() - begun

    few, more = min(seconds(300) for _ in range(3)), min(seconds(3000) for _ in range(2))
    assert more < 30 * few  # ten times the keys; a check that is not linear takes a hundred times as long


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
            "the number of a project, in quotes, found the number 920000000101",
            'put it in quotes: "920000000101"',
        ),
        (
            "gcp",
            lambda f: f["customers"][0]["gcp"].update(organization="globex"),
            "customers[0].gcp.organization",
            "'globex' is not an organisation by its number",
            "write it like organizations/920000000001",
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
