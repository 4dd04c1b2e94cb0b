"""The form of a register file, checked piece by piece so that every fault is found, not only the first."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any

from msgspec import Meta, ValidationError, convert, inspect

from watchdog.parts import KEY_FORMS, AccountId, Arn, Email, Identifier, KeyArn
from watchdog.register import Document
from watchdog.register_azure import Guid, Host, ResourceId, Scope, Version
from watchdog.register_gcp import (
    Ancestor,
    BillingAccount,
    Duration,
    Folder,
    Level,
    Organization,
    Perimeter,
    ProjectId,
    ProjectNumber,
    Role,
    Subscription,
    Topic,
)


@dataclass(frozen=True, slots=True)
class Flaw:
    """One fault of form. `at` is the place of the value (of the missing field, where one is missing)."""

    place: str
    text: str
    fix: str
    at: str


@dataclass(frozen=True, slots=True)
class _Words:
    """How a kind of text is called, and an example of it."""

    name: str
    example: str


def _pattern(annotated: Any) -> str:  # noqa: ANN401  # an Annotated type has no type of its own
    found = inspect.type_info(annotated)
    while isinstance(found, inspect.Metadata):
        found = found.type
    if not isinstance(found, inspect.StrType) or found.pattern is None:
        raise TypeError(f"{annotated} has no pattern")
    return found.pattern


_PATTERNS = {
    _pattern(Identifier): _Words("a short id of letters, digits, dots, dashes and underscores", "acme-prod"),
    _pattern(AccountId): _Words("an AWS account id: twelve digits, in quotes", '"111122223333"'),
    _pattern(Arn): _Words("an ARN", "arn:aws:iam::111122223333:role/acme-prod"),
    _pattern(KeyArn): _Words(KEY_FORMS["aws"].name, KEY_FORMS["aws"].example),
    _pattern(Email): _Words("an e-mail address", "alice@acme.example"),
    _pattern(Guid): _Words("the GUID of something in Azure or Entra", "11111111-2222-3333-4444-555555555555"),
    _pattern(ResourceId): _Words(
        "the full id of an Azure resource",
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/acme/providers/...",
    ),
    _pattern(Host): _Words("the DNS name of a vault or managed HSM, in lower case", "acme-byok.vault.azure.net"),
    _pattern(Scope): _Words(
        "a scope, which begins with a slash", "/subscriptions/... or, on a managed HSM, /keys/NAME"
    ),
    _pattern(Version): _Words("the version of a key: 32 hex digits", "1111111111111111111111111111aaaa"),
    _pattern(ProjectId): _Words("the id of a project", "acme-keys"),
    _pattern(ProjectNumber): _Words("the number of a project, in quotes", '"920000000101"'),
    _pattern(Organization): _Words("an organisation by its number", "organizations/920000000001"),
    _pattern(Folder): _Words("a folder by its number", "folders/920000000011"),
    _pattern(Ancestor): _Words("a folder or an organisation by its number", "folders/920000000011"),
    _pattern(BillingAccount): _Words("a billing account", "billingAccounts/0A1B2C-3D4E5F-6A7B8C"),
    _pattern(Perimeter): _Words("a service perimeter", "accessPolicies/7001/servicePerimeters/acme"),
    _pattern(Topic): _Words("the full name of a topic", "projects/vendor-watch/topics/byok-acme"),
    _pattern(Subscription): _Words("the full name of a subscription", "projects/vendor-watch/subscriptions/byok-acme"),
    _pattern(Level): _Words("an organisation, folder, project, key ring or key by its full name", "projects/acme-keys"),
    _pattern(Role): _Words("a role by its full name", "roles/cloudkms.cryptoKeyEncrypterDecrypter"),
    _pattern(Duration): _Words("a number of seconds as the API writes it", "2592000s"),
}
_TEXT = _Words("a text", '"..."')
_ACCOUNT = _pattern(AccountId)


@dataclass(slots=True)
class Form:
    """The register's form, applied to one file. `raw` gives the text of each single value as written, by place."""

    raw: Mapping[str, str]
    flaws: list[Flaw] = field(default_factory=list)

    def read(self, plain: object) -> Document:
        """Note every flaw in `flaws` and return a document that holds what could be understood.

        That document serves to look for further faults only: its values are not checked.
        """
        document = self._build(inspect.type_info(Document), plain, "")
        if not isinstance(document, Document):
            raise TypeError("the form of a document is a struct")
        return document

    # ----------------------------------------------------------------------------------------------------------- types

    def _build(  # a branch for each kind
        self, kind: inspect.Type, value: object, place: str
    ) -> Any:  # noqa: ANN401  # of the kind asked for
        if isinstance(kind, inspect.Metadata):
            return self._build(kind.type, value, place)
        if isinstance(kind, inspect.UnionType):
            return self._union(kind, value, place)
        if value is None:
            self._note(place, "there is no value", "write one, or remove the line")
            return _blank(kind)
        match kind:
            case inspect.StructType():
                return self._struct(kind, value, place)
            case inspect.ListType():
                return self._list(kind, value, place)
            case inspect.DictType():
                return self._mapping(kind, value, place)
            case inspect.StrType():
                return self._text(kind, value, place)
            case inspect.LiteralType():
                return self._choice([*kind.values], value, place)
            case inspect.EnumType():
                return kind.cls(self._choice([one.value for one in kind.cls], value, place))
            case inspect.DateType():
                return self._date(value, place)
            case inspect.DateTimeType():
                return self._moment(kind, value, place)
            case inspect.IntType():
                return self._whole(kind, value, place)
            case inspect.BoolType():
                return self._bool(value, place)
            case _:
                raise TypeError(f"the form knows no {kind}")

    def _union(self, kind: inspect.UnionType, value: object, place: str) -> Any:  # noqa: ANN401  # of one of the kinds
        if value is None and any(isinstance(one, inspect.NoneType) for one in kind.types):
            return None
        kinds = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        if len(kinds) == 1:
            return self._build(kinds[0], value, place)
        for one in kinds:
            tried = Form(self.raw)
            found = tried._build(one, value, place)
            if not tried.flaws:
                return found
        expected = " or ".join(_name(one) for one in kinds)
        self._note(place, f"expected {expected}, found {self._shown(value, place)}", f"write {expected}")
        return _blank(kinds[-1])

    def _struct(self, kind: inspect.StructType, value: object, place: str) -> Any:  # noqa: ANN401  # of the kind's class
        if not isinstance(value, dict):
            names = ", ".join(f"{one.encode_name}: ..." for one in kind.fields[:3])
            text = f"expected fields with values, found {self._shown(value, place)}"
            self._note(place, text, f"write it as a mapping: {names}")
            return _blank(kind)
        known = {one.encode_name: one for one in kind.fields}
        for name in value:
            if name not in known:
                self._unknown(name, list(known), place)
        built = {}
        for name, one in known.items():
            at = f"{place}.{name}" if place else name
            if name in value:
                built[one.name] = self._build(one.type, value[name], at)
            elif one.required:
                fix = f"add {name}: {_example(one.type)}"
                self.flaws.append(Flaw(place, f"the field {name!r} is missing", fix, at))
                built[one.name] = _blank(one.type)
        return kind.cls(**built)

    def _unknown(self, name: object, known: Sequence[str], place: str) -> None:
        at = f"{place}.{name}" if place else str(name)
        if not isinstance(name, str):
            text = f"the name of a field must be text, found {self._shown(name, at)}"
            self.flaws.append(Flaw(place, text, f"put the name in quotes; fields here: {', '.join(known)}", at))
            return
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "remove it, or correct its name."
        self._note(at, f"unknown field {name!r}", f"{fix} Fields here: {', '.join(known)}")

    def _list(self, kind: inspect.ListType, value: object, place: str) -> list[Any]:
        if not isinstance(value, list):
            text = f"expected a list, found {self._shown(value, place)}"
            self._note(place, text, "write each item on a line of its own, after a dash")
            return []
        if kind.min_length is not None and len(value) < kind.min_length:
            self._note(place, "the list is empty", f"list at least one item, such as - {_example(kind.item_type)}")
        return [self._build(kind.item_type, one, f"{place}[{number}]") for number, one in enumerate(value)]

    def _mapping(self, kind: inspect.DictType, value: object, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            text = f"expected names with values, found {self._shown(value, place)}"
            self._note(place, text, "write it as a mapping: name: value")
            return {}
        built = {}
        for name, one in value.items():
            at = f"{place}.{name}"
            if isinstance(name, str):
                built[name] = self._build(kind.value_type, one, at)
            else:
                self.flaws.append(Flaw(place, f"a name must be text, found {name!r}", "put the name in quotes", at))
        return built

    def _text(self, kind: inspect.StrType, value: object, place: str) -> str:
        words = _words(kind)
        if not isinstance(value, str):
            return self._not_text(kind, words, value, place)
        if kind.pattern and not re.search(kind.pattern, value):
            self._note(place, f"{value[:100]!r} is not {words.name}", f"write it like {words.example}")
            return value
        if kind.min_length is not None and len(value) < kind.min_length:
            self._note(place, "the text is empty", "write something, or remove the line if the field may be left out")
        if kind.max_length is not None and len(value) > kind.max_length:
            text = f"the text has {len(value)} characters, {kind.max_length} are allowed"
            self._note(place, text, "shorten it")
        return value

    def _not_text(self, kind: inspect.StrType, words: _Words, value: object, place: str) -> str:
        written = self.raw.get(place, "")
        if isinstance(value, dict | list) or not written:
            self._note(
                place, f"expected {words.name}, found {self._shown(value, place)}", f"write it like {words.example}"
            )
            return written
        text = f"expected {words.name}, found {self._shown(value, place)}"
        if kind.pattern == _ACCOUNT:
            text = f"the account id {written} is not in quotes, so YAML reads it as the number {value}"
        self._note(place, text, f'put it in quotes: "{written}"')
        return written

    def _choice(self, choices: Sequence[object], value: object, place: str) -> object:
        # 1 == True in Python, but not in a file.
        if any(value == one and type(value) is type(one) for one in choices):
            return value
        written = ", ".join(str(one) for one in choices)
        near = difflib.get_close_matches(str(value), [str(one) for one in choices], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        self._note(place, f"{self._shown(value, place)} is not allowed here{hint}", f"write one of: {written}")
        return choices[0]

    def _date(self, value: object, place: str) -> date | None:
        try:
            return convert(value, date)
        except ValidationError:
            self._note(place, f"expected a date, found {self._shown(value, place)}", "write it like 2026-03-31")
            return None

    def _moment(self, kind: inspect.DateTimeType, value: object, place: str) -> datetime | None:
        try:
            found: datetime = convert(value, Annotated[datetime, Meta(tz=kind.tz)])
        except ValidationError:
            text = f"expected a date and time with its zone, found {self._shown(value, place)}"
            self._note(place, text, "write it like 2026-03-31T12:00:00Z")
            return None
        return found

    def _whole(self, kind: inspect.IntType, value: object, place: str) -> int:
        try:
            found: int = convert(value, Annotated[int, Meta(ge=kind.ge, le=kind.le)])
        except ValidationError:
            text = f"expected a whole number{_bounds(kind)}, found {self._shown(value, place)}"
            self._note(place, text, "write a number that fits")
            return kind.ge or 0
        return found

    def _bool(self, value: object, place: str) -> bool:
        if isinstance(value, bool):
            return value
        self._note(place, f"expected true or false, found {self._shown(value, place)}", "write true or false")
        return False

    # ----------------------------------------------------------------------------------------------------------- words

    def _note(self, place: str, text: str, fix: str) -> None:
        self.flaws.append(Flaw(place, text, fix, place))

    def _shown(self, value: object, place: str) -> str:  # a branch for each kind
        """Name a value as its writer knows it, and as YAML reads it where that differs."""
        written = self.raw.get(place, "")[:100]
        match value:
            case bool():
                odd = written and written not in {"true", "false"}
                return f"{written!r}, which YAML reads as {str(value).lower()}" if odd else str(value).lower()
            case int() | float():
                return f"the number {written or value}"
            case str():
                return f"the text {value[:100]!r}"
            case list():
                return "a list"
            case dict():
                return "a mapping"
            case None:
                return "no value"
            case _:
                return repr(value)[:100]


def _words(kind: inspect.StrType) -> _Words:
    if kind.pattern is None:
        return _TEXT
    return _PATTERNS.get(kind.pattern) or _Words(f"a text of the form {kind.pattern}", _TEXT.example)


def _bounds(kind: inspect.IntType) -> str:
    least = [f"at least {kind.ge}"] if kind.ge is not None else []
    most = [f"at most {kind.le}"] if kind.le is not None else []
    return "".join(f", {bound}" for bound in least + most)


def _name(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "a text"
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _example(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _example(kind.type)
        case inspect.StrType():
            return _words(kind).example
        case inspect.ListType():
            return f"[{_example(kind.item_type)}]"
        case inspect.LiteralType():
            return str(kind.values[0])
        case inspect.StructType():
            fields = ", ".join(f"{one.encode_name}: {_example(one.type)}" for one in kind.fields if one.required)
            return f"{{{fields}}}"
        case _:
            return "..."


def _blank(kind: inspect.Type) -> Any:  # noqa: ANN401  # of the kind asked for; a branch for each
    """Return something harmless of the kind, so that the rest can be looked at."""
    match kind:
        case inspect.Metadata():
            return _blank(kind.type)
        case inspect.StructType():
            return kind.cls(**{one.name: _blank(one.type) for one in kind.fields if one.required})
        case inspect.ListType():
            return []
        case inspect.DictType():
            return {}
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.EnumType():
            return next(iter(kind.cls))
        case inspect.BoolType():
            return False
        case inspect.StrType():
            return ""
        case _:
            return None
