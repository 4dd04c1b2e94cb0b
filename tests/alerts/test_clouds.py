"""What a text calls things on each cloud: where the key is, which log says it, which version, which command."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace

import pytest

from alerts import letters, views
from alerts.letters import FALLBACK, TEXTS
from alerts.moments import Clock
from alerts.outline import outline
from alerts.text import cleaned
from tests.alerts import cloud_stories, stories
from tests.alerts.cloud_stories import AZURE, GCP, INCIDENTS, RECORDED, signals, story, world
from tests.alerts.test_letters import Reading, bare, flat
from tests.worlds import T0, table
from watchdog import impact
from watchdog.clouds import CLOUDS
from watchdog.notices import Facts, Reader
from watchdog.words import LOSS, RISK, Effect, Fault

READERS = (Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT)
ALL = [(name, reader) for name in INCIDENTS for reader in READERS]
ELSEWHERE = {
    "aws": r"Azure|Google|gcloud|Entra|\bvault\b",
    "azure": r"AWS|\bARNs?\b|\barn:|CloudTrail|\bKMS\b|\bIAM\b|Google|gcloud|key ring|your account|our account",
    "gcp": r"AWS|\bARNs?\b|\barn:|CloudTrail|Azure|Entra|\bvaults?\b(?!\.)|your account|our account",
}
"""Words of the other clouds, which a reader of this one would stumble over."""


def letter(name: str, reader: Reader) -> letters.Letter:
    return letters.write(stories.notice(INCIDENTS[name](), reader))


# ---------------------------------------------------------------------------------------------- the files of the words


@pytest.mark.parametrize("language", [path.name for path in TEXTS.iterdir() if (path / "words.j2").is_file()])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_words_of_a_cloud_are_laid_over_words_that_are_there(language: str, cloud: str) -> None:
    shelf = letters._shelf(language, "text")
    base, own = letters._exports(shelf, "words.j2"), letters._exports(shelf, f"clouds/{cloud}.j2")

    assert own.keys() <= base.keys()
    for name in ("happened", "subjects", "still", "stages", "verdicts"):
        table_of_all, table_of_own = base[name], own.get(name, {})
        assert isinstance(table_of_all, dict)
        assert isinstance(table_of_own, Mapping)
        assert table_of_own.keys() <= table_of_all.keys(), name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_phrase_for_a_way_is_reached_by_what_was_recorded(cloud: str) -> None:
    words = letters.words_of(FALLBACK, cloud)
    effects = {str(effect) for effect in LOSS | RISK}

    for way in {**words.happened_by, **words.subjects_by, **words.still_by}:
        effect, _, rest = way.partition(".")
        assert effect in effects
        assert rest


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_every_log_that_an_operation_may_stand_in_has_its_name(cloud: str) -> None:
    words = letters.words_of(FALLBACK, cloud)
    files = [path.stem for path in (RECORDED / cloud).glob("*.json") if path.stem != "expected"]
    logs = {views.log_of(cloud, signal.operation) for file in files for signal in signals(cloud, file)}

    assert {"azure": {"audit", "activity", "directory", "topic"}, "gcp": {"audit", "assets"}}[cloud] == logs
    assert logs <= words.logs.keys()


@pytest.mark.parametrize(
    ("cloud", "operation", "log"),
    [
        ("aws", "DisableKey", "audit"),
        ("azure", "KeyUpdate", "audit"),
        ("azure", "KeyExpiredEventGridNotification", "audit"),
        ("azure", "MICROSOFT.KEYVAULT/VAULTS/DELETE", "activity"),
        ("azure", "Microsoft.KeyVault.KeyExpired", "topic"),
        ("azure", "Microsoft.ResourceNotifications.Resources.CreatedOrUpdated", "topic"),
        ("azure", "Remove service principal", "directory"),
        ("azure", None, "audit"),
        ("gcp", "DestroyCryptoKeyVersion", "audit"),
        ("gcp", "google.iam.v2.Policies.CreatePolicy", "audit"),
        ("gcp", "asset change: cloudkms.googleapis.com/CryptoKeyVersion", "assets"),
        ("moon", "x/y", "audit"),
    ],
)
def test_an_operation_is_looked_for_in_the_log_that_carries_it(cloud: str, operation: str | None, log: str) -> None:
    assert views.log_of(cloud, operation) == log


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_every_registered_key_has_a_place_that_people_can_find(cloud: str) -> None:
    words = letters.words_of(FALLBACK, cloud)

    for key in world(cloud).keys:
        found = views.place(stories.key(id=key), cloud)
        assert found["kind"] in words.holders
        assert found["name"] in key
        assert found["key"] == key.rpartition("/")[2]
        pieces = letters.pieces(words.where[found["kind"]], found, account="", region="")
        assert pieces
        assert not any("{" in piece for piece in pieces)


@pytest.mark.parametrize("clock", [clock for clock in table().key_clocks if clock.cloud in CLOUDS], ids=lambda c: c.id)
def test_where_no_date_is_known_a_person_is_told_what_to_make_of_it(clock: impact.KeyClock) -> None:
    found = impact.key_deadline(table(), clock.id, since=T0, stated=None, stated_by=None)
    if found is None or found.at is not None or clock.id == "azure.subscription.disabled":
        return  # a clock without an end, with a date, or with nothing more to say than that no date is known
    said = Clock(T0, "UTC", letters.words_of(FALLBACK, clock.cloud).undated).deadline(found)

    assert said != found.words
    assert "probe" not in said


# ---------------------------------------------------------------------------------------------------------- the stories


@pytest.mark.parametrize("told", [AZURE, GCP], ids=["azure", "gcp"])
def test_every_effect_that_makes_a_notice_has_a_story(told: dict[str, cloud_stories.Told]) -> None:
    name = "azure" if told is AZURE else "gcp"
    never = {
        # azure.md 2: no key material of its own, and an external manager shows as a failed use
        "azure": {Effect.KEY_MATERIAL_REMOVED, Effect.KEY_STORE_DISCONNECTED},
        # gcp.md 3: versions do not expire, and material goes only with its version
        "gcp": {Effect.KEY_MATERIAL_REMOVED, Effect.KEY_EXPIRED},
    }
    found = {happening.effect for one in told.values() for happening in story(name, one).keys[0].happenings}
    assert (LOSS | RISK | {Effect.USE_FAILED}) - never[name] == found


@pytest.mark.parametrize(("name", "reader"), ALL)
def test_html_carries_the_same_sentences_as_the_plain_text(name: str, reader: Reader) -> None:
    found = letter(name, reader)

    assert found.flaw == ""
    assert bare("".join(Reading(found.html).words)) == bare(found.text)


@pytest.mark.parametrize(("name", "reader"), ALL)
def test_a_text_speaks_of_its_own_cloud_only(name: str, reader: Reader) -> None:
    found = letter(name, reader)
    cloud = name.partition(".")[0]

    # ids hold whatever their owners put into them
    text = re.sub(r"\S*[/@_]\S*|\b(projects?|Key ring) [\w-]+|\w+-vault\b", "", found.text)
    strange = re.search(ELSEWHERE[cloud], f"{found.subject} {found.summary} {flat(text)}")
    assert strange is None, strange


@pytest.mark.parametrize("name", INCIDENTS)
def test_nobody_who_did_nothing_is_named_to_the_customer(name: str) -> None:
    facts: Facts = INCIDENTS[name]()
    text = flat(letter(name, Reader.CUSTOMER).text)

    if facts.fault is not Fault.CUSTOMER:
        assert "audit log" not in text
        assert "RESPONSIBILITY" not in text
    assert "you deleted" not in text.casefold()
    assert "The vendor" not in text
    assert "the vendor" not in text


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", INCIDENTS)
def test_every_command_stands_whole_in_a_line_of_its_own(name: str, reader: Reader) -> None:
    facts = INCIDENTS[name]()
    if reader is Reader.CUSTOMER and facts.fault is not Fault.CUSTOMER:
        return
    commands = {step.command for key in facts.keys for step in key.steps if step.command}

    assert {f"    {command}" for command in commands} <= set(letter(name, reader).text.splitlines())


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (
            "azure.disabled",
            'version 11111111... of the encryption key "data-cmk" in your Azure key vault glbx-data-kv was disabled',
        ),
        ("azure.two_versions", "versions 11111111... and abcdefab... of the encryption key"),
        ("azure.hsm_deleted", 'the encryption key "hsm-cmk" in your Azure managed HSM glbxhsm was deleted on'),
        ("azure.half_repaired", "was recovered - thank you. But the key is still closed to Example Vendor"),
        ("gcp.disabled", 'version 3 of the encryption key "payroll" in your Google Cloud project globex-keys was'),
        ("gcp.two_versions", 'versions 2 and 3 of the encryption key "payroll" in your Google Cloud project'),
        ("gcp.half_repaired", 'the destruction of version 3 of the encryption key "payroll" in your Google Cloud'),
        ("gcp.project_restored", "is still without billing, and perhaps without the Cloud KMS API"),
        ("gcp.api", "the Cloud KMS API was switched off in its project on 2026-04-02"),
        ("gcp.access_changed", "had its permissions changed on 2026-04-02 10:00 UTC"),
    ],
)
def test_the_first_lines_say_which_key_and_which_version_of_it(name: str, first: str) -> None:
    assert first in flat(letter(name, Reader.CUSTOMER).text)


@pytest.mark.parametrize("reader", READERS)
def test_the_whole_version_and_the_place_stand_beside_the_id(reader: Reader) -> None:
    azure, gcp = (flat(letter(name, reader).text) for name in ("azure.disabled", "gcp.disabled"))

    if reader is not Reader.ACCOUNT:
        assert f"Version: {'1' * 32}." in azure
    assert "Where: Key vault glbx-data-kv, subscription b5ab0000-1111-4222-8333-000000000b01" in azure
    assert "Where: Key ring acme, location europe-west3, project globex-keys." in gcp
    assert "Version: 3." in gcp


def test_what_cannot_be_told_is_not_called_fine() -> None:
    for name in ("azure.access_changed", "azure.key_changed", "gcp.access_changed", "gcp.key_changed"):
        text = flat(letter(name, Reader.CUSTOMER).text)
        assert "Everything works today" not in text
        assert "we cannot tell yet whether it can still use the key" in text


def test_a_key_without_purge_protection_is_said_to_end_at_any_moment() -> None:
    text = flat(letter("azure.deleted_unprotected", Reader.CUSTOMER).text)

    assert "at any moment" in text.split("WHAT THIS KEY IS FOR")[0]


def test_a_version_without_a_known_date_is_said_to_have_none() -> None:
    text = flat(letter("gcp.destruction", Reader.CUSTOMER).text)

    assert "It is not known yet when this becomes final: act now." in text.split("WHAT THIS KEY IS FOR")[0]
    assert "usually 30 days after the call, for older keys 24 hours" in text
    restore, enable = text.index("versions restore 3"), text.index("versions enable 3")
    assert restore < enable


def test_a_recovered_vault_asks_for_its_role_assignments_and_subscriptions() -> None:
    text = flat(letter("azure.half_repaired", Reader.CUSTOMER).text)

    assert "az role assignment create" in text
    assert "event subscriptions" in text


def test_a_restored_project_asks_for_billing_then_the_api() -> None:
    text = flat(letter("gcp.project", Reader.CUSTOMER).text)
    wanted = ("gcloud projects undelete", "gcloud billing projects link", "gcloud services enable")

    assert [text.index(command) for command in wanted] == sorted(text.index(command) for command in wanted)


def test_our_own_failed_use_is_not_told_as_somebodys_deed() -> None:
    for name in ("azure.use_failed", "gcp.use_failed"):
        assert "WHO DID IT" not in letter(name, Reader.CUSTOMER).text


def test_a_store_whose_id_is_an_address_keeps_its_name_beside_its_deadline() -> None:
    base = stories.disabled()
    address = "https://globexfiles.blob.core.windows.net/"
    assert base.headline is not None
    consumer = replace(stories.database(), id=address, name="globex files")
    keys = (replace(base.keys[0], consumers=(consumer,)),)
    facts = replace(base, keys=keys, headline=replace(base.headline, consumer=address))

    text = flat(letters.write(stories.notice(facts, Reader.CUSTOMER)).text)
    assert 'Point of no return for "globex files"' in text


def test_a_hostile_name_of_a_key_stays_one_word_of_the_command_that_shows_it() -> None:
    base = INCIDENTS["gcp.access_changed"]()
    hostile = "projects/p/locations/l/keyRings/$(reboot)/cryptoKeys/x; reboot"
    facts = replace(base, fault=Fault.UNKNOWN, keys=(replace(base.keys[0], id=hostile),))

    text = letters.write(stories.notice(facts, Reader.ON_CALL)).text
    (command,) = [line for line in text.splitlines() if line.startswith("    byok-watchdog status")]
    assert shlex.split(command) == ["byok-watchdog", "status", hostile]


def test_the_outline_tells_the_version() -> None:
    notice = cleaned(stories.notice(INCIDENTS["gcp.two_versions"](), Reader.ON_CALL))
    keys = outline(notice)["keys"]
    assert isinstance(keys, list)
    (key,) = keys

    assert [one["version"] for one in key["happenings"]] == ["3", "2"]


def test_what_is_lost_with_its_container_can_still_be_saved_until_that_is_gone() -> None:
    for name, final in (("azure.vault_deleted", "purged"), ("gcp.project", "destroyed")):
        text = flat(letter(name, Reader.CUSTOMER).text)
        assert f"Once it is {final}, its data is lost for good. Today it can still be saved." in text
