"""The registry gives what the store has, and decodes it only when it has changed."""

import msgspec

from tests.worlds import ACME_KEY, T0, VENDOR_KEY, document, key
from watchdog.register import Document
from watchdog.words import KeyOwner
from workers.registry import Registry
from workers.store.interface import Store
from workers.store.memory import MemoryStore


def imported(store: Store, added: Document) -> None:
    with store.write() as unit:
        unit.register_add(msgspec.json.encode(added), at=T0, by="alice", source="test")


def test_before_the_first_import_no_key_is_registered() -> None:
    store = MemoryStore()

    with store.read() as unit:
        register = Registry(store).current(unit)

    assert register.keys == {}
    assert register.revision == 0


def test_a_new_revision_counts_from_the_next_transaction_on() -> None:
    store = MemoryStore()
    registry = Registry(store)
    imported(store, document(key(ACME_KEY)))
    with store.read() as unit:
        first = registry.current(unit)
    imported(store, document(key(VENDOR_KEY, owner=KeyOwner.VENDOR)))
    assert registry.known() is first, "it does not ask the store"

    with store.read() as unit:
        second = registry.current(unit)

    assert ACME_KEY in first.keys
    assert ACME_KEY not in second.keys
    assert second.revision > first.revision
    assert registry.known() is second


def test_an_unchanged_register_is_decoded_once() -> None:
    store = MemoryStore()
    registry = Registry(store)
    imported(store, document())

    with store.read() as unit:
        first = registry.current(unit)
    with store.write() as unit:
        assert registry.current(unit) is first


def test_a_transaction_that_sees_an_older_register_does_not_bring_it_back() -> None:
    store = MemoryStore()
    registry = Registry(store)
    imported(store, document())
    with store.read() as old:
        old.register_revision()
        imported(store, document(key(ACME_KEY)))
        with store.read() as new:
            newest = registry.current(new)
        assert registry.current(old).revision < newest.revision

    assert registry.known() is newest
