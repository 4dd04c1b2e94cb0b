"""The store: `open_store`, `migrate` and `schema_revision`, each by URL."""

from workers.store.interface import Store
from workers.store.memory import MemoryStore

MEMORY = "memory:"


def open_store(url: str) -> Store:
    """Open `sqlite:///FILE`, `postgresql+psycopg://...` or `memory:` (a new, empty one). Close it when done.

    Connects only when first used. One per process: open another one after a fork. Raises ValueError for another URL.
    """
    if url == MEMORY:
        return MemoryStore()
    # A program that needs no store must not pay for SQLAlchemy at its start.
    from workers.store.sql import SqlStore  # noqa: PLC0415

    return SqlStore(url)


def migrate(url: str) -> None:
    """Bring the database to the schema of this program; creates the file of an SQLite store.

    Safe to run at every start and from several processes at once: one does it, the others find it done. A schema that
    this program does not know is newer and left alone. Raises `StoreUnavailable`.
    """
    if url == MEMORY:
        return
    from workers.store.sql import SqlStore  # noqa: PLC0415 -- as above

    store = SqlStore(url)
    try:
        store.migrate()
    finally:
        store.close()


def schema_revision(url: str) -> str | None:
    """Return the revision of the database's schema: None when it was never migrated. Raises `StoreUnavailable`."""
    from workers.store.schema import REVISIONS  # noqa: PLC0415 -- as above
    from workers.store.sql import SqlStore  # noqa: PLC0415

    if url == MEMORY:
        return REVISIONS[-1]
    store = SqlStore(url)
    try:
        return store.revision()
    finally:
        store.close()
