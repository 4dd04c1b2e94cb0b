"""Changes of the watch's own trails, rules, buses and queues: what blinds it and what does not (aws.md 3.5)."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from watchdog.clouds.aws.arns import parse, partition_of
from watchdog.clouds.aws.case import Case
from watchdog.clouds.aws.fields import items, mapping, text, texts, truth
from watchdog.clouds.aws.index import Feed
from watchdog.clouds.aws.patterns import glob
from watchdog.clouds.aws.record import ANYTHING, UnreadableError, decoded
from watchdog.signals import Signal

KMS_SOURCE = "kms.amazonaws.com"
KMS_EVENTS = "aws.kms"


# ------------------------------------------------------------------------------------------------- which resource it is


def feeds_named(case: Case) -> list[Feed]:
    """Return the registered feed resources that a record wants to change, by name, ARN, or in its error message."""
    found: dict[str, Feed] = {}
    for arn in (*_arns(case), *_quoted(case.record.message)):
        feed = case.index.feeds.get(arn)
        if feed:
            found[feed.arn] = feed
    return list(found.values())


def _arns(case: Case) -> Iterator[str]:
    request = case.record.request
    for field, service, prefix in (
        ("name", "cloudtrail", "trail/"),
        ("trailName", "cloudtrail", "trail/"),
        ("trailARN", "cloudtrail", "trail/"),
        ("queueUrl", "sqs", ""),
    ):
        value = text(request.get(field))
        if value and case.record.source == f"{service}.amazonaws.com":
            yield _arn(case, service, prefix, value.rstrip("/").rpartition("/")[2] if service == "sqs" else value)
    if case.record.source == "events.amazonaws.com":
        yield from _event_arns(case)


def _event_arns(case: Case) -> Iterator[str]:
    request, name = case.record.request, case.record.name
    bus = (text(request.get("eventBusName")) or "default").rpartition("event-bus/")[2]
    if name == "DeleteEventBus":
        yield _arn(case, "events", "event-bus/", text(request.get("name")) or "")
    elif name == "RemovePermission":
        yield _arn(case, "events", "event-bus/", bus)
    else:
        rule = text(request.get("rule")) or text(request.get("name")) or ""
        yield _arn(case, "events", "rule/" if bus == "default" else f"rule/{bus}/", rule)


def _arn(case: Case, service: str, prefix: str, name: str) -> str:
    """Return the ARN that a name stands for: a name belongs to the account and the Region of the record."""
    if name.startswith("arn:"):
        return name
    region, account = case.region or "", case.recorder or ""
    return f"arn:{partition_of(region)}:{service}:{region}:{account}:{prefix}{name}"


def _quoted(message: str) -> Iterator[str]:
    for word in message.split():
        bare = word.strip("\"',.:;()")
        if bare.startswith("arn:"):
            yield bare


# ------------------------------------------------------------------------------------------------------------- meanings


def stopped(reason: str) -> Callable[[Case], list[Signal]]:
    """Make the meaning of an operation that ends a feed whatever its arguments are."""

    def meaning(case: Case) -> list[Signal]:
        return [case.tampered(feed, f"{reason} ({_name(feed)}).") for feed in feeds_named(case)]

    return meaning


def trail_updated(case: Case) -> list[Signal]:
    """UpdateTrail: narrower, or delivering elsewhere."""
    request = case.record.request
    bucket, topic = request.get("s3BucketName"), request.get("snsTopicName")
    reasons = [
        (truth(request.get("isMultiRegionTrail")) is False, "covers one Region only now"),
        (truth(request.get("includeGlobalServiceEvents")) is False, "leaves global services out now"),
        (bucket is not None and text(bucket) not in case.index.buckets, "delivers to another bucket now"),
        (topic is not None and not _is_our_topic(case, topic), "notifies another topic now"),
    ]
    why = [reason for applies, reason in reasons if applies]
    return [case.tampered(feed, f"The trail {_name(feed)} {why[0]}.") for feed in feeds_named(case) if why]


def _is_our_topic(case: Case, topic: object) -> bool:
    return isinstance(topic, str) and _arn(case, "sns", "", topic) in case.index.topics


def selectors_put(case: Case) -> list[Signal]:
    """PutEventSelectors: tampering when no selector keeps the management writes of KMS any more."""
    if keeps_kms_writes(case.record.request) or keeps_kms_writes(case.record.response):
        return []
    return [
        case.tampered(feed, f"The event selectors of the trail {_name(feed)} no longer keep what KMS writes.")
        for feed in feeds_named(case)
    ]


def rule_put(case: Case) -> list[Signal]:
    """PutRule: a forward rule that is off, or whose pattern no longer lets KMS events through."""
    signals = []
    for feed in feeds_named(case):
        if case.record.request.get("state") == "DISABLED":
            signals.append(case.tampered(feed, f"The rule {_name(feed)} was rewritten and is disabled."))
        elif feed.forwards and not lets_kms_through(case.record.request.get("eventPattern")):
            signals.append(case.tampered(feed, f"The rule {_name(feed)} was rewritten: KMS events no longer match."))
    return signals


def _name(feed: Feed) -> str:
    arn = parse(feed.arn)
    return arn.resource if arn else feed.arn


# ------------------------------------------------------------------------------------------------------------ selectors


def keeps_kms_writes(selectors: Mapping[str, object]) -> bool:
    """Whether a trail with these selectors still records every management write of KMS."""
    basic = any(_basic_keeps(mapping(item)) for item in items(selectors.get("eventSelectors")))
    advanced = any(_advanced_keeps(mapping(item)) for item in items(selectors.get("advancedEventSelectors")))
    return basic or advanced


def _basic_keeps(selector: Mapping[str, object]) -> bool:
    return (
        bool(selector)
        and truth(selector.get("includeManagementEvents")) is not False
        and selector.get("readWriteType") != "ReadOnly"
        and KMS_SOURCE not in texts(selector.get("excludeManagementEventSources"))
    )


def _advanced_keeps(selector: Mapping[str, object]) -> bool:
    fields = [mapping(item) for item in items(selector.get("fieldSelectors"))]
    categories = [item for item in fields if item.get("field") == "eventCategory"]
    return bool(categories) and all(_lets(item, *_expected(text(item.get("field")) or "")) for item in fields)


def _expected(field: str) -> tuple[str, ...]:
    """Return the values that a field must let through; none for a field that can only narrow."""
    return {
        "eventCategory": ("Management",),
        "eventSource": (KMS_SOURCE,),
        "readOnly": ("false",),
        "eventType": ("AwsApiCall", "AwsServiceEvent"),
        "eventName": ("DisableKey", "ScheduleKeyDeletion", "DeleteKey", "PutKeyPolicy", "RevokeGrant", "RetireGrant",
                      "DeleteImportedKeyMaterial", "DeleteExpiredKeyMaterial", "DisconnectCustomKeyStore"),
    }.get(field, ())  # fmt: skip


def _lets(selector: Mapping[str, object], *values: str) -> bool:
    """Whether one field selector lets every value through; a condition on an unforeseen field narrows."""
    return bool(values) and all(_lets_one(selector, value) for value in values)


def _lets_one(selector: Mapping[str, object], value: str) -> bool:
    def given(name: str) -> list[str]:
        return [str(item).lower() if isinstance(item, bool) else text(item) or "" for item in items(selector.get(name))]

    wanted = [
        *(value == item for item in given("equals")),
        *(value.startswith(item) for item in given("startsWith")),
        *(value.endswith(item) for item in given("endsWith")),
    ]
    refused = [
        *(value == item for item in given("notEquals")),
        *(value.startswith(item) for item in given("notStartsWith")),
        *(value.endswith(item) for item in given("notEndsWith")),
    ]
    return (any(wanted) or not wanted) and not any(refused)


# ------------------------------------------------------------------------------------------------------------- patterns


def lets_kms_through(pattern: object) -> bool:
    """Whether an event pattern can match events of KMS by their source. A rule without a pattern matches none."""
    if isinstance(pattern, str):
        try:
            pattern = decoded(ANYTHING, pattern.encode("utf-8", "surrogatepass"))
        except UnreadableError:
            return False
    if not isinstance(pattern, dict) or not pattern:
        return False
    return "source" not in pattern or matches(items(pattern["source"]), KMS_EVENTS)


def matches(filters: Iterable[object], value: str) -> bool:
    """Whether one of the filters of a field lets a value through."""
    return any(_matches_one(item, value) for item in filters)


def _matches_one(item: object, value: str) -> bool:
    content = mapping(item)
    if "anything-but" in content:
        return not any(_plainly(inner, value) for inner in items(content["anything-but"]))
    return _plainly(item, value)


def _plainly(item: object, value: str) -> bool:
    """Match a text or a filter that says what a value looks like; `exists` alone lets everything through."""
    if isinstance(item, str):
        return item == value
    content = mapping(item)
    looks: dict[str, Callable[[str], bool]] = {
        "prefix": value.startswith,
        "suffix": value.endswith,
        "equals-ignore-case": lambda wanted: wanted.lower() == value.lower(),
        "wildcard": lambda wanted: glob(wanted, value),
    }
    given = [looks[name](wanted) for name, wanted in content.items() if name in looks and isinstance(wanted, str)]
    return all(given) if given else content.get("exists") is True
