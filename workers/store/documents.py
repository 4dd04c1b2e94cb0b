"""How notices and evidence are written down as JSON, and how a notice is read again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_type_hints

import msgspec

from watchdog.evidence import Sealed, seal
from watchdog.notices import Facts, Notice, OperatorFacts

# msgspec cannot tell two dataclasses of one union apart, so the row says beside the document which one it is.
_FACTS: dict[str, msgspec.json.Decoder[Any]] = {
    "incident": msgspec.json.Decoder(Facts),
    "operator": msgspec.json.Decoder(OperatorFacts),
}
_FIELDS = {name: msgspec.json.Decoder(hint) for name, hint in get_type_hints(Notice).items() if name != "facts"}
_OUTER = msgspec.json.Decoder(dict[str, msgspec.Raw])


def facts_type(notice: Notice) -> str:
    """Return the word that `loaded` needs to read this notice's facts again."""
    return "operator" if isinstance(notice.facts, OperatorFacts) else "incident"


def dumped(notice: Notice) -> str:
    """Return the notice as JSON text. Never fails for odd text: a notice must not be lost for a broken letter."""
    try:
        return msgspec.json.encode(notice).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(encodable(msgspec.to_builtins(notice))).decode()


def loaded(text: str, facts: str) -> Notice:
    """Read a notice again. Fields that only newer code knows are left out, fields it did not know get their default."""
    raw = _OUTER.decode(text)
    fields = {name: decoder.decode(raw[name]) for name, decoder in _FIELDS.items() if name in raw}
    return Notice(facts=_FACTS[facts].decode(raw["facts"]), **fields)


def sealed(last: Sealed | None, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed:
    """Seal the entry after `last`. The time becomes UTC: a seal over another zone's spelling would not read back."""
    if at.tzinfo is not None:
        at = at.astimezone(UTC)
    try:
        return seal(last, kind, subject, body, at=at)
    except UnicodeEncodeError:
        return seal(last, kind, encodable(subject), encodable(msgspec.to_builtins(body)), at=at)


def encodable(value: Any) -> Any:  # noqa: ANN401 -- JSON of any shape, of which only the texts are touched
    r"""Spell what UTF-8 cannot hold (halves of surrogate pairs, as in odd file names) as `\udc80`, visibly."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {encodable(name): encodable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [encodable(inner) for inner in value]
        case _:
            return value
