"""Lookups from what an AWS record names to what is registered, built once per register: hash lookups only."""

from collections.abc import Iterable

from msgspec import Struct, field

from watchdog.clouds.aws.arns import alias_arn, parse, role_name
from watchdog.register import AwsAccount, AwsPrincipal, Register, RegisteredKey


class Feed(Struct, frozen=True):
    """A resource that carries the watch; `customer` is None for the vendor's own, `forwards` False for heartbeats."""

    arn: str
    kind: str
    customer: str | None
    forwards: bool = True


class Index(Struct):
    """Everything of the register that an AWS record can name, by that name."""

    keys: dict[str, RegisteredKey] = field(default_factory=dict)
    aliases: dict[str, RegisteredKey] = field(default_factory=dict)
    tokens: set[bytes] = field(default_factory=set)
    by_account: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_store: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_grant: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_principal: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_consumer: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    by_organized: dict[str, list[RegisteredKey]] = field(default_factory=dict)
    needs_organization: list[RegisteredKey] = field(default_factory=list)

    principals: set[str] = field(default_factory=set)
    principal_ids: dict[str, str] = field(default_factory=dict)
    unique_ids: dict[str, str] = field(default_factory=dict)
    roles: dict[tuple[str, str, str], str] = field(default_factory=dict)
    managed_policies: dict[str, list[str]] = field(default_factory=dict)

    vendor_accounts: dict[str, AwsAccount] = field(default_factory=dict)
    customers_of: dict[str, set[str]] = field(default_factory=dict)
    managers: dict[str, set[str]] = field(default_factory=dict)
    targets: dict[str, list[RegisteredKey]] = field(default_factory=dict)

    feeds: dict[str, Feed] = field(default_factory=dict)
    heartbeats: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    topics: dict[str, str | None] = field(default_factory=dict)
    buckets: set[str] = field(default_factory=set)

    def heartbeat(self, arn: str) -> Feed | None:
        """Return the registered heartbeat rule of this ARN."""
        feed = self.feeds.get(arn)
        return None if feed is None or feed.forwards else feed

    def is_registered(self, account: str | None) -> bool:
        """Whether an account is the vendor's, a customer's, or manages a customer's organisation."""
        return account in self.vendor_accounts or account in self.customers_of

    def is_customers(self, account: str | None, customer: str) -> bool:
        """Whether an account belongs to this customer or manages its organisation."""
        return account is not None and customer in self.customers_of.get(account, ())

    def keys_in(self, account: str, region: str | None = None) -> list[RegisteredKey]:
        """Return the watched keys of an account, of one Region or of all."""
        keys = self.by_account.get(account, [])
        return keys if region is None else [key for key in keys if region_of(key) == region]


def index_of(register: Register) -> Index:
    """Return the lookups of a register, building them on first use."""
    return register.view("aws", _build)


def account_of(key: RegisteredKey) -> str:
    """Return the account that owns a key."""
    return key.id.split(":", 5)[4]


def region_of(key: RegisteredKey) -> str:
    """Return the Region of a key."""
    return key.id.split(":", 5)[3]


def _build(register: Register) -> Index:
    index = Index()
    _add_vendor(index, register)
    for customer in register.customers.values():
        organization = customer.aws.organization
        for account in customer.aws.accounts:
            index.customers_of.setdefault(account, set()).add(customer.id)
        if organization:
            index.customers_of.setdefault(organization.management_account, set()).add(customer.id)
            index.managers.setdefault(organization.management_account, set()).add(customer.id)
        feeds = customer.aws.feeds
        _add_feeds(index, "trail", feeds.trails, customer.id)
        _add_feeds(index, "rule", feeds.rules, customer.id)
        _add_heartbeats(index, feeds.heartbeat_rules, customer.id)
        index.topics |= dict.fromkeys(feeds.topics, customer.id)
    for key in register.keys.values():
        if key.cloud == "aws":
            _add_key(index, key)
    for customer in register.customers.values():
        keys = [key for account in customer.aws.accounts for key in index.by_account.get(account, [])]
        for account in customer.aws.accounts:
            index.targets[account] = index.by_account.get(account, [])
        if customer.aws.organization:
            index.by_organized[customer.id] = keys
            for place in (customer.aws.organization.root, *customer.aws.organization.units):
                index.targets.setdefault(place, []).extend(keys)
    return index


def _add_vendor(index: Index, register: Register) -> None:
    vendor = register.vendor.aws
    if vendor is None:
        return
    index.vendor_accounts = {account.id: account for account in vendor.accounts}
    for principal in vendor.principals:
        _add_principal(index, principal)
    _add_feeds(index, "event bus", vendor.feeds.event_buses, None)
    _add_feeds(index, "queue", vendor.feeds.queues, None)
    _add_feeds(index, "rule", vendor.feeds.rules, None)
    _add_heartbeats(index, vendor.feeds.heartbeat_rules, None)
    index.topics |= dict.fromkeys(vendor.feeds.topics, None)
    index.buckets |= set(vendor.feeds.trail_buckets)


def _add_principal(index: Index, principal: AwsPrincipal) -> None:
    index.principals.add(principal.arn)
    arn, name = parse(principal.arn), role_name(principal.arn)
    if arn and name:
        index.roles[arn.partition, arn.account, name] = principal.arn
    if principal.unique_id:
        index.principal_ids[principal.unique_id] = principal.arn
        index.unique_ids[principal.arn] = principal.unique_id
    for policy in principal.managed_policies:
        index.managed_policies.setdefault(policy, []).append(principal.arn)


def _add_feeds(index: Index, kind: str, arns: Iterable[str], customer: str | None, *, forwards: bool = True) -> None:
    index.feeds |= {arn: Feed(arn, kind, customer, forwards) for arn in arns}


def _add_heartbeats(index: Index, arns: Iterable[str], customer: str | None) -> None:
    """Note scheduled rules as feeds, and by the account and Region of which they show that the way is open."""
    _add_feeds(index, "rule", arns, customer, forwards=False)
    for rule in filter(None, map(parse, arns)):
        index.heartbeats.setdefault((rule.account, rule.region), []).append(rule.resource.rpartition("/")[2])


def _add_key(index: Index, key: RegisteredKey) -> None:
    aws = key.entry.aws
    index.keys[key.id] = key
    index.tokens.add(key.id.rpartition("/")[2].encode())
    index.by_account.setdefault(account_of(key), []).append(key)
    for alias in aws.aliases:
        if alias_arn(alias):
            index.aliases[alias] = key
            index.tokens.add(alias.partition("/")[2].lower().encode())
    if aws.custom_key_store_id:
        index.by_store.setdefault(aws.custom_key_store_id, []).append(key)
    if aws.needs_vendor_organization:
        index.needs_organization.append(key)
    for grant in key.entry.grants:
        index.by_grant.setdefault(grant.id, []).append(key)
    for consumer in key.entry.consumers:
        index.by_consumer.setdefault(consumer.id, []).append(key)
    for access in key.entry.access:
        if access.principal not in index.principals:
            _add_principal(index, AwsPrincipal(arn=access.principal))
        users = index.by_principal.setdefault(access.principal, [])
        if not users or users[-1] is not key:
            users.append(key)
