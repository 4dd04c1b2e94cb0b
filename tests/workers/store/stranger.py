"""Another process on the same store: run as a program by the tests, `stranger.py WHAT URL [WORD]`."""

import os
import sys
import time

from tests.workers.store.things import T0, arrival
from workers.store import migrate, open_store
from workers.store.interface import WrongProcess

REFUSED = 42


def append(url: str, name: str) -> None:
    """Append ten entries, one commit each."""
    store = open_store(url)
    for number in range(10):
        with store.write() as unit:
            unit.append_evidence("signal", name, {"n": number}, at=T0)
    store.close()


def hold(url: str, _name: str) -> None:
    """Write much, say so, and never commit."""
    store = open_store(url)
    with store.write() as unit:
        # More than SQLite keeps in its cache, so that there is something on disk to be forgotten.
        unit.receive([arrival(f"held-{number}", body=b"x" * (1 << 20)) for number in range(8)])
        unit.append_evidence("signal", "held", {}, at=T0)
        sys.stdout.write("holding\n")
        sys.stdout.flush()
        time.sleep(60)


def fork(url: str, _name: str) -> None:
    """Open a store, fork, and use it in the child; the child's status is ours."""
    store = open_store(url)
    with store.read() as unit:
        unit.register_revision()
    child = os.fork()
    if child == 0:
        for use in (store.read, store.write):
            try:
                with use():
                    os._exit(1)
            except WrongProcess:
                continue
        os._exit(REFUSED)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with store.read() as unit:  # and the parent's connection is whole
        unit.register_revision()
    store.close()
    sys.exit(status)


if __name__ == "__main__":
    what, where, *word = sys.argv[1:]
    if what == "migrate":
        migrate(where)
    else:
        {"append": append, "hold": hold, "fork": fork}[what](where, *(word or [""]))
