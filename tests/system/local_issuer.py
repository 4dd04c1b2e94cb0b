"""The command with one row of the kinds of feed exchanged: Pub/Sub's push tokens come from an issuer on this machine.

Who issues the tokens is no setting (one that is wrong would let anybody in), so a test must build that source itself.
All else is the command as it is: `python -m tests.system.local_issuer consume FEED`.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from workers.cli.entry import main
from workers.feeds import kinds, pubsub_push
from workers.feeds.doors import door
from workers.feeds.listening import Listening

KEY_SET = "LOCAL_ISSUER_KEY_SET"
"""The variable with the URL of its key set."""

NAME = "https://issuer.example"


def source(name: str, cloud: str, options: Mapping[str, Any]) -> Listening:
    """Return the source as `pubsub_push.source` does, but for the issuer."""
    faults: list[str] = []
    where = door(options, path=pubsub_push.PATH, now=datetime.now(UTC), faults=faults)
    assert not faults
    return pubsub_push.make(
        where,
        name=name,
        cloud=cloud,
        audience=options["audience"],
        service_account=options["service_account"],
        issuer=pubsub_push.Issuer(names=(NAME,), key_set=os.environ[KEY_SET]),
    )


if __name__ == "__main__":
    rows = cast("dict[str, kinds.FeedKind]", kinds.KINDS)
    rows["pubsub_push"] = replace(rows["pubsub_push"], module="tests.system.local_issuer")
    main()
