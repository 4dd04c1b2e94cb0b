import hashlib
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.workers.runtimes import make_runtime
from tests.workers.test_observing import FailingStore, change, observed
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, T0, VENDOR_KEY, document, key, stores
from watchdog.register import Contact, Document
from workers.registering import Imported, import_document
from workers.runtime import Runtime
from workers.samples.corpus import eventbridge


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime(tmp_path)


def imported(runtime: Runtime, found: Document) -> Imported:
    return import_document(runtime, found, by="alice", source="register.yaml", now=T0)


def evidence(runtime: Runtime) -> list[dict[str, object]]:
    with runtime.store.read() as unit:
        return [{**json.loads(one.body), "subject": one.subject} for one in unit.evidence() if one.kind == "register"]


def test_the_first_import_adds_every_key(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    (first,) = evidence(runtime)
    assert sorted([ACME_KEY, GLOBEX_KEY, VENDOR_KEY]) == first["added"]


def test_the_same_document_again_changes_nothing(runtime: Runtime) -> None:
    again = imported(runtime, document())
    assert (1, False, 3, 3, ()) == (again.revision, again.changed, again.customers, again.keys, again.added)
    assert 1 == len(evidence(runtime))


def test_it_says_which_keys_are_new_gone_and_changed_and_keeps_it_as_evidence(runtime: Runtime) -> None:
    found = document(key(ACME_SECOND_KEY))
    globex = found.customers[1]
    moved = msgspec.structs.replace(globex, contacts=[Contact(name="Greta", email="greta@globex.example")])
    new = msgspec.structs.replace(found, customers=[found.customers[0], moved, found.customers[2]])
    outcome = imported(runtime, new)
    assert ((ACME_SECOND_KEY,), (ACME_KEY,), (GLOBEX_KEY,)) == (outcome.added, outcome.removed, outcome.altered)
    kept = evidence(runtime)[-1]
    assert ("alice", "register.yaml", "revision 2") == (kept["by"], kept["source"], kept["subject"])
    assert ([ACME_SECOND_KEY], [ACME_KEY], [GLOBEX_KEY]) == (kept["added"], kept["removed"], kept["altered"])
    with runtime.store.read() as unit:
        latest = unit.register_latest()
    assert latest is not None
    assert hashlib.sha256(latest[1]).hexdigest() == kept["sha256"]


def test_a_store_that_is_added_to_a_key_changes_it(runtime: Runtime) -> None:
    outcome = imported(runtime, document(key(ACME_KEY, *stores(backups=False))))
    assert ((), (), (ACME_KEY,)) == (outcome.added, outcome.removed, outcome.altered)


def test_an_import_that_cannot_be_proven_does_not_happen(runtime: Runtime) -> None:
    store = runtime.store
    runtime.__dict__["store"] = FailingStore(store, "append_evidence", RuntimeError("no"))
    with pytest.raises(RuntimeError, match="no"):
        imported(runtime, document(key(ACME_SECOND_KEY)))
    with store.read() as unit:
        assert 1 == unit.register_revision()


def test_the_next_record_is_read_against_the_new_register(runtime: Runtime) -> None:
    imported(runtime, document(key(ACME_SECOND_KEY)))
    assert ("no_effect",) == observed(runtime, eventbridge(change("DisableKey"))).effects
    assert ("key_disabled",) == observed(
        runtime, eventbridge(change("DisableKey", ACME_SECOND_KEY)), event_id="e-2"
    ).effects
    assert replace(imported(runtime, document()), changed=False).revision == 3
