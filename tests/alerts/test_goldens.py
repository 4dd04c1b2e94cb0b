"""Every text as its reader gets it, byte for byte. After a change: `--update-goldens`, then read them aloud."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from alerts import letters
from alerts.channels import build
from alerts.interface import Channel
from tests.alerts import cloud_stories, stories
from tests.alerts.conftest import GOLDEN
from watchdog.notices import Notice, Reader

Golden = Callable[[str, bytes], None]

STORIES = stories.INCIDENTS | cloud_stories.INCIDENTS
READERS = (Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT)
SECRET = "whsec_" + "QUFB" * 8

# Where the wire form matters as much as the words.
MAILS = [
    *((name, Reader.CUSTOMER) for name in ("disabled", "deletion", "half_repaired", "split", "resolved", "drill")),
    ("disabled", Reader.ACCOUNT),
    ("azure.deleted_unprotected", Reader.CUSTOMER),
    ("gcp.destruction_dated", Reader.CUSTOMER),
]
EVENTS = (
    *("disabled", "deletion", "half_repaired", "vendor_fault", "recovering", "resolved", "cleared", "several"),
    *("azure.disabled", "azure.vault_deleted", "gcp.destruction", "gcp.two_versions"),
)


def smtp() -> Channel:
    return build(
        "smtp",
        "customer-mail",
        {
            "host": "relay.vendor.example",
            "sender": "Example Vendor Key Alerts <key-alerts@vendor.example>",
            "reply_to": "key-alerts+{incident}@vendor.example",
            "domain": "alerts.vendor.example",
        },
    )


def pagerduty() -> Channel:
    links = {"runbook_base": "https://runbooks.vendor.example/keys", "status_url": "https://status.vendor.example/"}
    return build("pagerduty", "on-call", {"routing_key": "a1b2" * 8, **links})


def webhook() -> Channel:
    options = {"url": "https://hooks.acme.example/byok", "secrets": [SECRET], "type_prefix": "com.vendor.byok"}
    return build("webhook", "hook", options)


def readable(body: bytes) -> bytes:
    """The same JSON, one value a line: what goes out has no blanks, but a golden is for reading."""
    return json.dumps(json.loads(body), indent=1, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("story", STORIES)
def test_every_story_reads_as_it_was_read_aloud(story: str, reader: Reader, golden: Golden) -> None:
    letter = letters.write(told(story, reader))

    assert letter.flaw == ""
    head = f"Subject: {letter.subject}\n" + (f"Summary: {letter.summary}\n" if reader is Reader.ON_CALL else "")
    golden(f"{story}.{reader}.txt", f"{head}\n{letter.text}".encode())


def test_an_operators_notice_reads_as_it_was_read_aloud(golden: Golden) -> None:
    letter = letters.write(stories.notice(stories.QUARANTINE, Reader.OPERATOR))

    assert letter.flaw == ""
    golden("operator.txt", f"Subject: {letter.subject}\nSummary: {letter.summary}\n\n{letter.text}".encode())


@pytest.mark.parametrize(("story", "reader"), MAILS)
def test_every_mail_is_the_same_bytes_again(story: str, reader: Reader, golden: Golden) -> None:
    golden(f"{story}.{reader}.eml", smtp().render(told(story, reader)).body)


@pytest.mark.parametrize("story", EVENTS)
def test_every_page_is_the_same_event_again(story: str, golden: Golden) -> None:
    rendered = pagerduty().render(page(story))

    golden(f"{story}.pagerduty.json", readable(rendered.body))


@pytest.mark.parametrize("story", EVENTS)
def test_every_webhook_is_the_same_event_again(story: str, golden: Golden) -> None:
    rendered = webhook().render(page(story))

    golden(f"{story}.webhook.json", readable(rendered.body))


def test_an_operators_notice_is_the_same_event_again(golden: Golden) -> None:
    notice = stories.notice(stories.QUARANTINE, Reader.OPERATOR)

    golden("operator.pagerduty.json", readable(pagerduty().render(notice).body))
    golden("operator.webhook.json", readable(webhook().render(notice).body))


def told(story: str, reader: Reader) -> Notice:
    found = stories.notice(STORIES[story](), reader)
    is_globex = story in cloud_stories.INCIDENTS and reader is Reader.CUSTOMER
    return replace(found, recipient=cloud_stories.GRACE) if is_globex else found


def page(story: str) -> Notice:
    return told(story, Reader.ON_CALL)


def test_no_golden_is_left_over() -> None:
    wanted = {f"{story}.{reader}.txt" for story in STORIES for reader in READERS}
    wanted |= {f"{story}.{reader}.eml" for story, reader in MAILS}
    wanted |= {f"{story}.{form}.json" for story in (*EVENTS, "operator") for form in ("pagerduty", "webhook")}

    assert {path.name for path in Path(GOLDEN).iterdir()} == wanted | {"operator.txt"}
