"""The register as the store has it, decoded once for each revision."""

import threading

import msgspec

from watchdog.register import Document, Register, Vendor
from workers.store.interface import Store, Unit

NOBODY = Document(version=1, vendor=Vendor(name="(no register imported)"))
"""What holds before the first import: no key is registered."""


class Registry:
    """Gives the current register; decodes it again only when its revision has changed. Safe between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._register: Register | None = None

    def current(self, unit: Unit) -> Register:
        """Return the register as this transaction sees it.

        Raises msgspec.DecodeError when the stored document is none: that is a fault of the program.
        """
        revision = unit.register_revision()
        known = self._register
        if known is not None and known.revision == revision:
            return known
        latest = unit.register_latest()
        number, body = latest or (0, None)
        register = Register(msgspec.json.decode(body, type=Document) if body is not None else NOBODY, number)
        with self._lock:
            # Another thread may have seen a newer one meanwhile; the newest stays.
            if self._register is None or self._register.revision <= register.revision:
                self._register = register
        return register

    def known(self) -> Register:
        """Return the register last seen, without asking the store once there is one: perhaps no longer the current."""
        known = self._register
        if known is not None:
            return known
        with self._store.read() as unit:
            return self.current(unit)
