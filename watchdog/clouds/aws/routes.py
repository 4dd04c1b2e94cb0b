"""Routes: by which ways the audit records about a key come in on AWS, and what shows that a way is open.

AWS keeps the records of each account and Region apart, and each is forwarded by rules of its own (aws.md 6): so a route
is an account and a Region. EventBridge sets both on an envelope, a record from a file or a look-up names them itself.
"""

import re
from collections.abc import Sequence
from datetime import timedelta

from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.index import Index, account_of, index_of, region_of
from watchdog.clouds.aws.record import Reading
from watchdog.coverage import Cover, Way
from watchdog.register import Register, RegisteredKey

SCHEDULE = "rate(5 minutes)"
BEATS = timedelta(minutes=5)
LATE = timedelta(minutes=1)
"""A schedule of EventBridge is exact to the minute, not to the second."""

REGION = re.compile(r"[a-z0-9-]{1,32}")


def ways(key: RegisteredKey, register: Register) -> Sequence[Way]:
    """Return the ways of a key's records: its owner's, then the vendor's own, where its principals use the key.

    A way beats when a scheduled rule of its account and Region is registered under `heartbeat_rules`.
    """
    index, region = index_of(register), region_of(key)
    owner = account_of(key)
    users = [arn.account for access in key.entry.access if (arn := parse(access.principal))]
    own = [account for account in (owner, *users) if account in index.vendor_accounts]
    found = [_way(Cover.SELF_OBSERVED, account, region, None, index) for account in dict.fromkeys(own)]
    if key.customer_owned:
        return [_way(Cover.FORWARDED, owner, region, key.customer.id, index), *found]
    return found


def route_of(entry: Reading, index: Index) -> str | None:
    """Return the route that a believed entry is a sign of life of; None where no registered account recorded it."""
    envelope, record = entry.envelope, entry.record
    account = envelope.account if envelope else record.recipient if record else None
    region = (envelope.region if envelope else None) or (record.region if record else None)
    if account is None or region is None or not index.is_registered(account) or not REGION.fullmatch(region):
        return None
    return _route(account, region)


def _route(account: str, region: str) -> str:
    return f"aws:{account}:{region}"


def _way(cover: Cover, account: str, region: str, customer: str | None, index: Index) -> Way:
    place = f"AWS account {account} in {region}"
    rules = index.heartbeats.get((account, region), [])
    sign = f"an event of the scheduled rule {' or '.join(rules)} ({SCHEDULE}) of {place}" if rules else ""
    return Way(
        cover=cover,
        route=_route(account, region),
        words=f"the audit records of {place}",
        customer=customer,
        beats=BEATS if rules else None,
        lag=LATE if rules else timedelta(),
        expects=sign,
    )
