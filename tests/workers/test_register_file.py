"""The register file: a good one is read, a bad one is told whole, with place, line and what to write instead."""

import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds import document, table
from watchdog.register import (
    Access,
    AwsAccount,
    AwsCustomer,
    AwsPrincipal,
    AwsVendor,
    Consumer,
    Contact,
    Customer,
    Document,
    Instance,
    KeyEntry,
    KeyException,
    Vendor,
)
from workers.register_file import Fault, RegisterFaults, _Loader, dump, knows_timezone, load, parse, schema_json
from workers.register_form import Form

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy" / "register.example.yaml"
SCHEMA = ROOT / "deploy" / "register.schema.json"

GOOD = """\
version: 1
vendor:
  name: Example Vendor
  aws:
    accounts:
      - {id: "999988887777"}
      - {id: "777700001111", partition: aws-us-gov}
    principals:
      - {arn: "arn:aws:iam::999988887777:role/acme-prod"}
      - {arn: "arn:aws-us-gov:iam::777700001111:role/acme-gov"}
customers:
  - id: acme
    contacts:
      - {name: Alice, email: alice@acme.example, timezone: Europe/Berlin}
    aws:
      accounts: ["111122223333"]
    instances:
      - id: acme-prod
        keys:
          - key: arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555
            exception: {reference: EX-1, approved_on: 2026-03-02}
            access:
              - principal: arn:aws:iam::999988887777:role/acme-prod
                operations: [kms:Decrypt, kms:Encrypt]
            consumers:
              - {id: db-1, store: aws.rds, topology: {backups: true}}
              - {id: files, store: aws.s3}
  - id: globex
    instances:
      - id: globex-prod
        keys:
          - key: arn:aws:kms:us-east-2:999988887777:key/mrk-0123456789abcdef0123456789abcdef
            owner: vendor
"""


def faults(text: str, *, name: str = "register.yaml") -> list[Fault]:
    with pytest.raises(RegisterFaults) as caught:
        parse(text, name=name, stores=table().topologies())
    return caught.value.faults


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


# ------------------------------------------------------------------------------------------------------------ good ones


def test_the_example_is_read_and_shows_both_kinds_of_keys() -> None:
    example = load(EXAMPLE, stores=table().topologies())

    owners = [entry.owner for one in example.customers for part in one.instances for entry in part.keys]
    assert owners == ["customer", "customer", "vendor", "customer"]
    stores = [store.store for store in example.customers[0].instances[0].keys[0].consumers]
    assert stores == ["aws.rds", "aws.s3"]


def test_dates_names_and_ids_are_read_as_what_they_are() -> None:
    read = parse(GOOD, name="register.yaml", stores=table().topologies())
    entry = read.customers[0].instances[0].keys[0]

    assert entry.exception is not None
    assert entry.exception.approved_on == date(2026, 3, 2)
    assert read.customers[0].aws.accounts == ["111122223333"]
    assert entry.consumers[0].topology == {"backups": True}


def test_the_same_register_as_json_is_the_same() -> None:
    read = parse(GOOD, name="register.yaml")

    assert parse(msgspec.json.encode(read).decode(), name="register.json") == read


def test_anchors_and_merges_may_be_used() -> None:
    text = GOOD.replace("exception: {reference: EX-1", "exception: &ex {reference: EX-1").replace(
        "            owner: vendor", "            owner: vendor\n            exception: {<<: *ex, reference: EX-2}"
    )
    exception = parse(text, name="register.yaml").customers[1].instances[0].keys[0].exception

    assert exception is not None
    assert (exception.reference, exception.approved_on) == ("EX-2", date(2026, 3, 2))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "register.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load(path) == parse(GOOD, name="x")


# ------------------------------------------------------------------------------------------------------------- bad ones


def test_every_fault_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace('- {id: "999988887777"}', "- {id: 999988887777}")
        .replace("email: alice@acme.example", "email: alice")
        .replace("    contacts:", "    nmae: Acme\n    contacts:")
        .replace("kms:Decrypt", "kms:*")
        .replace("store: aws.s3", "store: aws.s4")
        .replace("            owner: vendor", "            owner: customer")
    )
    found = faults(text)

    assert [(fault.place, fault.line) for fault in found] == [
        ("vendor.aws.accounts[0].id", line_of(text, "- {id: 999988887777}")),
        ("customers[0].nmae", line_of(text, "nmae")),
        ("customers[0].contacts[0].email", line_of(text, "email: alice")),
        ("customers[0].instances[0].keys[0].access[0].operations[0]", line_of(text, "kms:*")),
        ("customers[0].instances[0].keys[0].consumers[1].store", line_of(text, "aws.s4")),
        ("customers[1].contacts", line_of(text, "- id: globex")),
        ("customers[1].instances[0].keys[0].key", line_of(text, "mrk-")),
        ("customers[1].instances[0].keys[0]", line_of(text, "mrk-")),
    ]


FORM: list[tuple[str, str, str, str, str]] = [
    # what is written, what it is changed to, place, a part of the text, a part of the fix
    ("version: 1\n", "version: 2\n", "version", "the number 2", "write one of: 1"),
    ("version: 1\n", "", "", "'version' is missing", "add version: 1"),
    ("version: 1\n", "version: true\n", "version", "true is not allowed", "write one of: 1"),
    ("  name: Example Vendor\n", "  name: 2026\n", "vendor.name", "the number 2026", '"2026"'),
    ("  name: Example Vendor\n", "  name:\n", "vendor.name", "there is no value", "remove the line"),
    ("  name: Example Vendor\n", "  name: ''\n", "vendor.name", "empty", "write something"),
    ("  name: Example Vendor\n", f"  name: {'x' * 500}\n", "vendor.name", "500 characters, 400", "shorten"),
    ("  name: Example Vendor\n", "  name: [a]\n", "vendor.name", "expected a text, found a list", '"..."'),
    (
        "timezone: Europe/Berlin",
        "language: no",
        "customers[0].contacts[0].language",
        "'no', which YAML reads as false",
        '"no"',
    ),
    (
        'accounts: ["111122223333"]',
        "accounts: [111122223333]",
        "customers[0].aws.accounts[0]",
        "not in quotes",
        '"111122223333"',
    ),
    (
        'accounts: ["111122223333"]',
        "accounts: [012345670123]",
        "customers[0].aws.accounts[0]",
        "the account id 012345670123 is not in quotes, so YAML reads it as the number 1402433619",
        '"012345670123"',
    ),
    (
        'accounts: ["111122223333"]',
        'accounts: ["1111-2222-3333"]',
        "customers[0].aws.accounts[0]",
        "twelve digits",
        '"111122223333"',
    ),
    ('accounts: ["111122223333"]', 'accounts: "111122223333"', "customers[0].aws.accounts", "expected a list", "dash"),
    ('accounts: ["111122223333"]', "accounts: {a: b}", "customers[0].aws.accounts", "found a mapping", "dash"),
    ("  - id: acme\n", "  - id: Acme Corp\n", "customers[0].id", "short id", "acme-prod"),
    ("contacts:\n", "contcts:\n", "customers[0].contcts", "unknown field 'contcts'", "did you mean 'contacts'?"),
    ("contacts:\n", "zzz:\n", "customers[0].zzz", "unknown field 'zzz'", "Fields here: id, name, contacts"),
    ("contacts:\n", "2026:\n", "customers[0]", "the name of a field must be text", "quotes"),
    (
        ", email: alice@acme.example",
        "",
        "customers[0].contacts[0]",
        "'email' is missing",
        "add email: alice@acme.example",
    ),
    ("alice@acme.example", "alice", "customers[0].contacts[0].email", "not an e-mail address", "alice@acme.example"),
    (
        "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555",
        "11111111-2222-3333-4444-555555555555",
        "customers[0].instances[0].keys[0].key",
        "not the full ARN of a KMS key",
        "arn:aws:kms:",
    ),
    (
        "approved_on: 2026-03-02",
        "approved_on: 2026-02-30",
        "customers[0].instances[0].keys[0].exception.approved_on",
        "date",
        "2026-03-31",
    ),
    (
        "approved_on: 2026-03-02",
        "approved_on: 7",
        "customers[0].instances[0].keys[0].exception.approved_on",
        "date",
        "2026-03-31",
    ),
    (
        "operations: [kms:Decrypt, kms:Encrypt]",
        "operations: []",
        "customers[0].instances[0].keys[0].access[0].operations",
        "empty",
        "at least one",
    ),
    (
        "topology: {backups: true}",
        "topology: {backups: 3}",
        "customers[0].instances[0].keys[0].consumers[0].topology.backups",
        "true or false or a text",
        "write",
    ),
    (
        "topology: {backups: true}",
        "topology: backups",
        "customers[0].instances[0].keys[0].consumers[0].topology",
        "names with values",
        "mapping",
    ),
    (
        "owner: vendor",
        "owner: vendr",
        "customers[1].instances[0].keys[0].owner",
        "did you mean vendor?",
        "write one of: customer, vendor",
    ),
    (
        "  - id: globex\n",
        "  - 7\n  - id: globex\n",
        "customers[1]",
        "expected fields with values, found the number 7",
        "mapping",
    ),
]


@pytest.mark.parametrize(("before", "after", "place", "text", "fix"), FORM)
def test_a_fault_of_form_names_place_line_and_remedy(before: str, after: str, place: str, text: str, fix: str) -> None:
    assert GOOD.count(before) >= 1
    bad = GOOD.replace(before, after, 1)
    start = GOOD[: GOOD.index(before)].count("\n") + 1

    [fault] = [fault for fault in faults(bad) if fault.place == place]

    assert text in fault.text
    assert fix in fault.fix
    assert fault.line is not None
    assert start - 1 <= fault.line <= start + 1 or not place


KEY = "customers[0].instances[0].keys[0]"
PLAIN = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
FAMILY = "arn:aws:kms:us-east-2:999988887777:key/mrk-0123456789abcdef0123456789abcdef"
STRANGER = "arn:aws:kms:us-east-1:999988887777:key/mrk-1123456789abcdef0123456789abcdef"
SENSE: list[tuple[str, str, str, str, str]] = [
    ("id: globex\n", "id: acme\n", "customers[1].id", "stands at customers[0].id already", "rename"),
    (
        "id: globex-prod",
        "id: acme-prod",
        "customers[1].instances[0].id",
        "instance id acme-prod stands at customers[0]",
        "rename",
    ),
    (
        "arn:aws:kms:us-east-2:999988887777:key/mrk-0123456789abcdef0123456789abcdef",
        "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555",
        "customers[1].instances[0].keys[0].key",
        f"already serves the instance at {KEY}.key",
        "a key of its own",
    ),
    (
        'accounts: ["111122223333"]',
        'accounts: ["111122224444"]',
        f"{KEY}.key",
        "account 111122223333 is not one of the customer's",
        'add "111122223333" to customers[0].aws.accounts',
    ),
    (
        "us-east-2:999988887777",
        "us-east-2:999988886666",
        "customers[1].instances[0].keys[0].key",
        "account 999988886666",
        "vendor.aws.accounts",
    ),
    (
        "arn:aws:kms:us-east-2:999988887777",
        "arn:aws-us-gov:kms:us-gov-west-1:999988887777",
        "customers[1].instances[0].keys[0].key",
        "partition aws-us-gov",
        "partition",
    ),
    (
        "principal: arn:aws:iam::999988887777:role/acme-prod",
        "principal: arn:aws:iam::999988887777:role/acme",
        f"{KEY}.access[0].principal",
        "is not registered",
        "vendor.aws.principals",
    ),
    (
        "principal: arn:aws:iam::999988887777:role/acme-prod",
        "principal: arn:aws-us-gov:iam::777700001111:role/acme-gov",
        f"{KEY}.access[0].principal",
        "cannot use a key of partition aws",
        "arn:aws:",
    ),
    (
        'iam::999988887777:role/acme-prod"}',
        'iam::999988886666:role/acme-prod"}',
        "vendor.aws.principals[0].arn",
        "account 999988886666",
        "vendor.aws.accounts",
    ),
    ("kms:Encrypt", "Encrypt", f"{KEY}.access[0].operations[1]", "'Encrypt' is not one KMS operation", "kms:Decrypt"),
    ("kms:Encrypt", "kms:Generate*", f"{KEY}.access[0].operations[1]", "not one KMS operation", "no wildcards"),
    ("Europe/Berlin", "Europe/Atlantis", "customers[0].contacts[0].timezone", "'Europe/Atlantis' is not known", "IANA"),
    ("exception: {reference: EX-1, approved_on: 2026-03-02}", "name: x", KEY, "exception is missing", "reference"),
    (
        "store: aws.s3",
        "store: aws.s4",
        f"{KEY}.consumers[1].store",
        "'aws.s4' is not in the impact table for aws",
        "aws.s3",
    ),
    (
        "store: aws.s3",
        "store: gcp.gcs",
        f"{KEY}.consumers[1].store",
        "'gcp.gcs' is not in the impact table for aws",
        "aws.s3",
    ),
    (
        "topology: {backups: true}",
        "topology: {backup: true}",
        f"{KEY}.consumers[0].topology.backup",
        "changes nothing for aws.rds",
        "backups",
    ),
    ("id: files", "id: db-1", f"{KEY}.consumers[1].id", f"stands at {KEY}.consumers[0].id", "rename"),
    (
        "            consumers:",
        "            aws: {custom_key_store_id: cks-1}\n            consumers:",
        f"{KEY}.aws.custom_key_store_id",
        "is in no custom key store",
        "origin",
    ),
    (
        "            consumers:",
        "            aws: {origin: AWS_CLOUDHSM}\n            consumers:",
        f"{KEY}.aws",
        "needs the id of its custom key store",
        "custom_key_store_id",
    ),
    (
        "            consumers:",
        "            aws: {aliases: ['arn:aws:kms:eu-west-2:111122223333:alias/a']}\n            consumers:",
        f"{KEY}.aws.aliases[0]",
        "not in the account and the region",
        "arn:aws:kms:eu-west-1:111122223333:alias/",
    ),
    (
        "            consumers:",
        "            grants: [{id: g}, {id: g}]\n            consumers:",
        f"{KEY}.grants[1].id",
        "grant id g",
        "rename",
    ),
    (
        "            consumers:",
        f"            aws: {{multi_region: {{type: PRIMARY, primary: '{PLAIN}'}}}}\n            consumers:",
        f"{KEY}.aws.multi_region",
        "mrk-",
        "leave multi_region out",
    ),
    (
        "owner: vendor",
        f"owner: vendor\n            aws: {{multi_region: {{type: REPLICA, primary: '{FAMILY}'}}}}",
        "customers[1].instances[0].keys[0].aws.multi_region.type",
        "type is REPLICA",
        "PRIMARY exactly when",
    ),
    (
        "owner: vendor",
        f"owner: vendor\n            aws: {{multi_region: {{type: REPLICA, primary: '{STRANGER}'}}}}",
        "customers[1].instances[0].keys[0].aws.multi_region.primary",
        "not of the same family",
        "only the region differs",
    ),
    (
        "      - {name: Alice, email: alice@acme.example, timezone: Europe/Berlin}\n",
        "      - {name: Alice, email: alice@acme.example}\n      - {name: Bob, email: Alice@Acme.example}\n",
        "customers[0].contacts[1].email",
        "stands at customers[0].contacts[0].email",
        "rename",
    ),
    (
        "    contacts:\n      - {name: Alice, email: alice@acme.example, timezone: Europe/Berlin}\n",
        "",
        "customers[0].contacts",
        "nobody at acme can be told",
        "at least one contact",
    ),
    (
        "  - id: globex\n",
        "  - id: globex\n    aws: {accounts: ['111122223333']}\n",
        "customers[1].aws.accounts[0]",
        "stands at customers[0].aws.accounts[0]",
        "rename",
    ),
    (
        "  - id: globex\n",
        "  - id: globex\n    aws: {accounts: ['999988887777']}\n",
        "customers[1].aws.accounts[0]",
        "the vendor's too",
        "remove",
    ),
]


@pytest.mark.parametrize(("before", "after", "place", "text", "fix"), SENSE)
def test_a_fault_of_sense_names_place_and_remedy(before: str, after: str, place: str, text: str, fix: str) -> None:
    assert GOOD.count(before) >= 1
    [fault] = [fault for fault in faults(GOOD.replace(before, after, 1)) if text in fault.text]

    assert fault.place == place
    assert fix in fault.fix
    assert fault.line is not None


def test_a_key_in_other_letters_is_the_same_key() -> None:
    text = GOOD.replace("555555555555\n", "55555555aaaa\n").replace(
        FAMILY, PLAIN.replace("555555555555", "55555555AAAA")
    )

    assert [fault.fix for fault in faults(text) if "already serves" in fault.text] == [
        "give each instance a key of its own, or remove one of the two entries"
    ]


def test_a_field_written_twice_is_a_fault_with_both_lines() -> None:
    text = GOOD.replace("  - id: globex\n", "  - id: globex\n    name: one\n    name: two\n")
    line = line_of(text, "name: one")

    assert faults(text) == [
        Fault(
            "customers[1].name",
            line + 1,
            f"the field 'name' stands here twice, first in line {line}",
            "keep one of the two",
        )
    ]


def test_a_field_written_twice_in_json_is_a_fault() -> None:
    text = '{"version": 1,\n\t"vendor": {"name": "a",\n\t"name": "b"}}'

    assert [(fault.place, fault.line) for fault in faults(text, name="register.json")] == [("vendor.name", 3)]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: b: c", 1, "not YAML"),
        ("version: 1\nvendor:\n\tname: x\n", 3, "not YAML"),
        ("version: 1\n---\nversion: 1\n", 2, "not YAML"),
        ("version: 1\nvendor: !!python/object:os.system {}\n", 2, "not YAML"),
        ("version: 1\nvendor: {name: \x07}\n", None, "not YAML"),
        ("[" * 200_000, None, "deep"),
        ("[" * 200_000 + "]" * 200_000, None, "deep"),
        ("{a: " * 50_000, None, "deep"),
        ("- " * 50_000 + "a", None, "deep"),
        ("? - " * 50_000 + "a", None, "deep"),
        ("".join(f"{' ' * number}a:\n" for number in range(2000)), None, "deep"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int | None, said: str) -> None:
    [fault] = faults(text)

    assert said in fault.text
    assert fault.line == line


def test_tabs_are_named_as_what_they_are() -> None:
    [fault] = faults("version: 1\nvendor:\n\tname: x\n")

    assert fault.fix == "indent with spaces, never with tabs"


def test_an_anchor_that_refers_to_itself_is_told() -> None:
    assert faults(GOOD + "extra: &a [*a]\n")


@pytest.mark.parametrize(("text", "line"), [('{"version": 1,\n}', 2), ("", 1), ("[" * 100_000, None)])
def test_what_is_no_json_is_told_with_its_line(text: str, line: int | None) -> None:
    [fault] = faults(text, name="register.json")

    assert fault.line == line


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegisterFaults, match="No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(RegisterFaults, match=r"line 2: .*not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_the_text_of_the_faults_is_fit_for_a_terminal() -> None:
    with pytest.raises(RegisterFaults) as caught:
        parse(GOOD.replace("kms:Encrypt", "kms:*"), name="acme.yaml")

    assert str(caught.value).splitlines() == [
        "acme.yaml: 1 fault(s)",
        (
            f"  line {line_of(GOOD, 'kms:Encrypt')}: {KEY}.access[0].operations[1]: operation 'kms:*' is not one KMS "
            "operation; write each operation as kms:Name, for example kms:Decrypt; no wildcards"
        ),
    ]


def test_stores_are_left_open_when_the_table_is_not_at_hand() -> None:
    assert parse(GOOD.replace("aws.s3", "aws.s4"), name="register.yaml").customers


# ---------------------------------------------------------------------------------- the form is msgspec's, without gaps


def mutations(plain: Any) -> st.SearchStrategy[Callable[[], None]]:
    """Ways to spoil one place of a plain document."""
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for name in value if isinstance(value, dict) else range(len(value)):
            spots.append((value, name))
            if isinstance(value[name], dict | list):
                walk(value[name])

    walk(plain)
    junk = st.sampled_from(
        [None, 7, 1.5, True, "", "x", "a b", [], ["x"], {}, {"x": 1}, "2026-01-01", "customer", 111122223333]
    )
    spoil = st.tuples(st.sampled_from(spots), st.sampled_from(["set", "drop", "add"]), junk)

    def made(chosen: tuple[tuple[Any, Any], str, Any]) -> Callable[[], None]:
        (holder, name), how, value = chosen

        def do() -> None:
            if how == "add" and isinstance(holder, dict):
                holder["extra"] = value
            elif how == "drop":
                del holder[name]
            else:
                holder[name] = value

        return do

    return spoil.map(made)


@given(st.data())
def test_the_form_finds_a_flaw_exactly_where_msgspec_refuses(data: st.DataObject) -> None:
    plain = json.loads(msgspec.json.encode(parse(GOOD, name="x")))
    data.draw(mutations(plain))()
    form = Form({})
    form.read(plain)
    try:
        msgspec.convert(plain, Document)
    except msgspec.ValidationError:
        assert form.flaws
    else:
        assert form.flaws == []


@given(st.data())
def test_a_spoilt_file_is_either_read_or_told_and_never_ends_the_process(data: st.DataObject) -> None:
    plain = json.loads(msgspec.json.encode(parse(GOOD, name="x")))
    for _ in range(3):
        data.draw(mutations(plain))()
    told: list[Fault] = []
    try:
        parse(json.dumps(plain), name="x.json", stores=table().topologies())
    except RegisterFaults as refused:
        told = refused.faults

    assert not any("does not have the form" in fault.text for fault in told)


def test_references_that_multiply_are_told_in_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    assert faults(GOOD + "\n".join(lines))


# --------------------------------------------------------------------------------------------------- writing and schema


@pytest.mark.parametrize("made", [document(), parse(GOOD, name="x"), load(EXAMPLE)])
def test_what_is_written_reads_back_the_same(made: Document) -> None:
    assert parse(dump(made), name="register.yaml") == made


TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()) | st.sampled_from(
    ["no", "1e3", "~", "012", "2026-01-02", "a: b", "- x", "'", '"', "#", "\u202eabc", "Zoë", "null", "=", "<<", "1:30"]
)


@given(TEXTS, TEXTS)
def test_any_text_survives_writing_and_reading(name: str, purpose: str) -> None:
    made = Document(
        version=1,
        vendor=Vendor(name=name, product=purpose),
        customers=[Customer(id="a", name=purpose, instances=[Instance(id="b", purpose=name)])],
    )

    assert parse(dump(made), name="register.yaml") == made


def test_account_ids_are_written_in_quotes_whatever_their_digits() -> None:
    made = Document(
        version=1,
        vendor=Vendor(name="V", aws=AwsVendor(accounts=[AwsAccount(id="012345678901"), AwsAccount(id="111122223333")])),
    )

    assert 'id: "012345678901"' in dump(made)
    assert 'id: "111122223333"' in dump(made)


def test_the_published_schema_is_the_one_in_deploy() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_json(), "write it anew: `byok-watchdog register schema`"


def validator() -> Any:
    return jsonschema.Draft202012Validator(json.loads(schema_json()))


def test_the_schema_is_a_valid_one_with_name_and_descriptions() -> None:
    schema = json.loads(schema_json())
    jsonschema.Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:byok-watchdog:register:1"
    assert schema["title"]
    assert all(part["title"] and part["description"] for part in schema["$defs"].values())


def test_the_schema_accepts_the_example_and_refuses_what_the_reader_refuses() -> None:
    example = yaml.load(EXAMPLE.read_text(encoding="utf-8"), Loader=_Loader)
    validator().validate(example)
    example["customers"][0]["nmae"] = "x"

    assert [list(error.path) for error in validator().iter_errors(example)] == [["customers", 0]]


def test_time_zones_are_known_by_their_iana_names() -> None:
    assert [knows_timezone(name) for name in ("UTC", "Europe/Berlin", "Europe", "../etc", "", "Mars/Base")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.slow
def test_five_thousand_keys_are_read_in_a_few_seconds() -> None:
    role = "arn:aws:iam::999988887777:role/x"

    def entry(customer: int, number: int) -> KeyEntry:
        return KeyEntry(
            key=f"arn:aws:kms:eu-west-1:{100000000000 + customer}:key/11111111-2222-3333-{number:04}-{customer:012}",
            exception=KeyException(reference="EX"),
            access=[Access(principal=role, operations=["kms:Decrypt", "kms:Encrypt", "kms:DescribeKey"])],
            consumers=[Consumer(id="db", store="aws.rds", topology={"backups": True})],
        )

    made = Document(
        version=1,
        vendor=Vendor(
            name="V", aws=AwsVendor(accounts=[AwsAccount(id="999988887777")], principals=[AwsPrincipal(arn=role)])
        ),
        customers=[
            Customer(
                id=f"c{customer}",
                contacts=[Contact(name="A", email="a@acme.example", timezone="Europe/Berlin")],
                aws=AwsCustomer(accounts=[f"{100000000000 + customer}"]),
                instances=[
                    Instance(id=f"c{customer}-{number}", keys=[entry(customer, number)]) for number in range(10)
                ],
            )
            for customer in range(500)
        ],
    )
    text = dump(made)

    started = time.monotonic()
    assert parse(text, name="register.yaml", stores=table().topologies()) == made
    # Two to three seconds on a small machine; the bound only catches what would grow with the square.
    assert time.monotonic() - started < 20
