from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worlds import T0, table
from watchdog import impact
from watchdog.impact import Row, row_impact
from watchdog.notices import ConsumerImpact, Deadline
from watchdog.register import Consumer
from watchdog.words import Effect, Means

EXAMPLES = {
    one["id"]: one
    for one in yaml.safe_load(Path(__file__).with_name("impact_examples.yaml").read_text(encoding="utf-8"))["examples"]
}
SINGLE = [name for name in EXAMPLES if "after" not in EXAMPLES[name]["given"]]


def began(given: dict[str, Any]) -> datetime:
    """When the loss begins: with the event, or with the end that it foretells."""
    moment = given["at"] if "at" in given else given["deadline"]
    assert isinstance(moment, datetime)
    return moment


def impacts(given: dict[str, Any]) -> list[ConsumerImpact]:
    return [
        row_impact(
            table(), table().row(name), since=began(given), consumer=Consumer(id=name, store=table().row(name).store)
        )
        for name in given["stores"]
    ]


@pytest.mark.parametrize("name", SINGLE)
def test_it_gives_the_worked_next_impact(name: str) -> None:
    wanted = EXAMPLES[name]["expect"].get("next_impact")
    if wanted is None:
        return
    dated = [found for found in impacts(EXAMPLES[name]["given"]) if found.impact.at is not None]
    first = min(dated, key=lambda found: found.impact.at or T0)
    assert (wanted["store"], wanted["at"]) == (first.store, first.impact.at)


@pytest.mark.parametrize("name", SINGLE)
def test_it_gives_the_worked_store_terminal(name: str) -> None:
    wanted = EXAMPLES[name]["expect"].get("headline", {})
    if wanted.get("kind") != "store_terminal":
        return
    given = EXAMPLES[name]["given"]
    found = min(impacts(given), key=lambda one: impact.urgency(one, began(given)))
    assert found.terminal is not None
    assert (wanted["store"], wanted["at"]) == (found.store, found.terminal.at)


def test_it_says_act_now_where_no_grace_is_documented() -> None:
    found = impacts(EXAMPLES["aws-disabled-with-replica"]["given"])[0]
    assert found.terminal is not None
    assert (None, impact.ACT_NOW) == (found.terminal.at, found.terminal.words)


def test_it_takes_the_worst_row_when_the_topology_is_not_known() -> None:
    consumer = Consumer(id="db", store="aws.rds", topology={"backups": True})
    found = impact.consumer_impact(table(), consumer, Effect.KEY_DISABLED, None, since=T0, cloud="aws")
    assert found.row == "aws.rds.replica.unusable"


def test_it_takes_the_exact_row_when_the_topology_is_known() -> None:
    consumer = Consumer(id="db", store="aws.rds", topology={"backups": True, "read_replica": False})
    found = impact.consumer_impact(table(), consumer, Effect.KEY_DISABLED, None, since=T0, cloud="aws")
    assert found.row == "aws.rds.stoppable.unusable"


@pytest.mark.parametrize(
    ("means", "row"), [(Means.KEY_POLICY, "aws.rds.policy_revoked"), (Means.GRANT, "aws.rds.grant_revoked")]
)
def test_the_same_loss_by_other_means_hits_the_database_differently(means: Means, row: str) -> None:
    consumer = Consumer(id="db", store="aws.rds", topology={"backups": True, "read_replica": False})
    assert row == impact.consumer_impact(
        table(), consumer, Effect.ACCESS_REVOKED, means, since=T0, cloud="aws"
    ).row  # fmt: skip


def test_a_store_without_a_row_is_not_documented_rather_than_fine() -> None:
    found = impact.consumer_impact(
        table(), Consumer(id="x", store="aws.unheard_of"), Effect.KEY_DISABLED, None, since=T0, cloud="aws"
    )
    assert found.impact.words == impact.NOT_DOCUMENTED
    assert found.impact.at is None


def test_the_date_of_the_record_wins_and_may_be_late_by_a_day() -> None:
    stated = datetime(2026, 12, 8, 9, tzinfo=UTC)
    found = impact.key_deadline(
        table(), "aws.kms.deletion_scheduled", since=T0, stated=stated, stated_by="deletionDate"
    )
    assert found == Deadline(
        kind="data_irrecoverable", at=stated, words=found.words if found else "", bound="at_least",
        latest=stated + timedelta(days=1), source=found.source if found else "",
    )  # fmt: skip
    assert found.source.startswith("deletionDate; AWS KMS Developer Guide")


def test_an_undocumented_window_never_becomes_a_date() -> None:
    found = impact.key_deadline(
        table(), "aws.kms.deletion_scheduled.multi_region_primary", since=T0, stated=None, stated_by=None
    )
    assert found is not None
    assert found.at is None


@pytest.mark.parametrize("row", table().stores, ids=lambda row: row.id)
def test_every_row_says_where_it_comes_from(row: Row) -> None:
    assert table().cite(row.source).startswith(table().sources[row.source[0]].title)
    assert row.checked_on.year >= 2026


@pytest.mark.parametrize("field", ["source", "checked_on", "confidence"])
def test_a_row_without_its_provenance_fails(field: str) -> None:
    plain = yaml.safe_load((Path(impact.__file__).parent / "data" / "store_impact.yaml").read_text(encoding="utf-8"))
    del plain["stores"][0][field]
    with pytest.raises(ValueError, match=field):
        impact.read(plain)


@pytest.mark.parametrize(("text", "hours"), [("PT2H", 2), ("P7D", 168), ("PT0S", 0), ("PT90M", 1.5), ("P1DT12H", 36)])
def test_it_reads_durations(text: str, hours: float) -> None:
    assert impact.duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["7 days", "P1W", "", "PX"])
def test_it_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        impact.duration(text)
