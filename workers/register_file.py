"""The register file: YAML (or JSON) into a checked document and back, with every fault of a file reported at once."""

import inspect
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import yaml

from watchdog.register import Document
from watchdog.register_check import check

SCHEMA_ID = "urn:byok-watchdog:register:1"
DEEPEST = 100
_DEEP_BLOCKS = re.compile(rf"^ {{{4 * DEEPEST},}}|^ *(?:[-?] +){{{DEEPEST},}}", re.MULTILINE)
_BRACKET = re.compile(r"[\[\]{}]")
_MOST_MARKS = 2_000_000  # places that are noted; references can make a small file mean many more
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a register file: where (path and line, None: unknown), what, and how to mend it."""

    place: str
    line: int | None
    text: str
    fix: str

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line is not None else "line unknown"
        return f"{line}: {self.place or '(whole file)'}: {self.text}; {self.fix}"


class RegisterFaults(Exception):  # noqa: N818  # the plural says that all faults come at once
    """Everything that is wrong with a register file, together, in the order of the file.

    `document` is set when the form of the file and the ids of its keys are sound, and only what it says does not fit
    together: enough to read records against, not enough to watch with.
    """

    def __init__(self, name: str, faults: list[Fault], document: Document | None = None) -> None:
        super().__init__("\n".join([f"{name}: {len(faults)} fault(s)", *(f"  {fault}" for fault in faults)]))
        self.name = name
        self.faults = faults
        self.document = document


def load(path: Path, *, stores: Mapping[str, Collection[str]] | None = None) -> Document:
    """Read and check a register file. Raises RegisterFaults, also for a file that cannot be read.

    `stores` are the known stores with their topology facts (`ImpactTable.topologies()`); None leaves them unchecked.
    """
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RegisterFaults(name, [Fault("", line, f"not UTF-8: {error.reason}", "save the file as UTF-8")]) from error
    except OSError as error:
        fault = Fault("", None, f"cannot be read: {error.strerror}", "check the path and its permissions")
        raise RegisterFaults(name, [fault]) from error
    return parse(text, name=name, stores=stores)


def parse(text: str, *, name: str, stores: Mapping[str, Collection[str]] | None = None) -> Document:
    """Check the text of a register file; a `name` that ends in .json is read as JSON. Raises RegisterFaults."""
    is_json = name.endswith(".json")
    plain, has_doubles = _from_json(text, name) if is_json else _from_yaml(text, name)
    if has_doubles:
        raise RegisterFaults(name, _faults(text, plain, stores))
    try:
        document = msgspec.convert(plain, Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RegisterFaults(name, _faults(text, plain, stores, error)) from error
    findings = check(document, stores=stores, knows_timezone=knows_timezone)
    if findings:
        sound = not any(finding.misleads for finding in findings)
        raise RegisterFaults(name, _faults(text, plain, stores), document if sound else None)
    return document


def dump(document: Document) -> str:
    """Write a document as YAML that parses back to the same document."""
    plain = msgspec.to_builtins(document)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def schema_json() -> str:
    """Return the published JSON Schema (draft 2020-12) of the register file."""
    schema = msgspec.json.schema(Document)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "byok-watchdog register",
        "description": (
            "The exception register: whose key protects what, who must keep access to it, and whom to tell. What fits "
            "together beyond the form is checked by `byok-watchdog register check`."
        ),
    }
    return json.dumps({**head, **_tidied(schema)}, indent=2, ensure_ascii=False) + "\n"


def _tidied(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the schema with its descriptions as Python 3.13 keeps docstrings, whatever Python this is."""
    if isinstance(schema, dict):
        tidied = {name: _tidied(value) for name, value in schema.items()}
        if isinstance(tidied.get("description"), str):
            tidied["description"] = inspect.cleandoc(tidied["description"])
        return tidied
    return [_tidied(one) for one in schema] if isinstance(schema, list) else schema


@lru_cache(maxsize=1024)
def knows_timezone(name: str) -> bool:
    """Tell whether a time zone of this IANA name exists."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a plain name, a folder of names
        return False
    return True


# ----------------------------------------------------------------------------------------------------------- reading


class _Loader(yaml.CSafeLoader):
    """YAML as the register means it: dates stay text (the form reads them), and double names are noticed."""

    has_doubles = False

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.tag != _MERGE]
        if len(set(names)) != len(names):
            self.has_doubles = True
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _is_deep(text: str) -> bool:
    """Whether YAML is nested so deep that libyaml's recursion could end the process (a register has 12 levels)."""
    if _DEEP_BLOCKS.search(text):
        return True
    depth = 0
    for found in _BRACKET.finditer(text):
        depth = depth + 1 if found.group() in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            return True
    return False


def _from_yaml(text: str, name: str) -> tuple[object, bool]:
    if _is_deep(text):
        fault = Fault("", None, f"not YAML of a register: nested more than {DEEPEST} levels deep", "write it flatter")
        raise RegisterFaults(name, [fault])
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.has_doubles
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        line = mark.line + 1 if mark else None
        has_tab = line is not None and "\t" in "".join(text.split("\n")[line - 1 : line])
        fix = "indent with spaces, never with tabs" if has_tab else "correct the YAML at this place"
        raise RegisterFaults(name, [Fault("", line, f"not YAML: {said}", fix)]) from error
    except yaml.YAMLError as error:  # characters that no YAML file may hold
        raise RegisterFaults(name, [Fault("", None, f"not YAML: {error}", "remove the odd character")]) from error
    except (RecursionError, ValueError) as error:
        raise RegisterFaults(name, [Fault("", None, f"not YAML: {error}", "correct the YAML")]) from error


def _from_json(text: str, name: str) -> tuple[object, bool]:
    has_doubles = False

    def paired(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal has_doubles
        found = dict(pairs)
        has_doubles = has_doubles or len(found) != len(pairs)
        return found

    try:
        return json.loads(text, object_pairs_hook=paired), has_doubles
    except json.JSONDecodeError as error:
        fault = Fault("", error.lineno, f"not JSON: {error.msg}", f"correct it at column {error.colno}")
        raise RegisterFaults(name, [fault]) from error
    except RecursionError as error:
        raise RegisterFaults(name, [Fault("", None, "nested too deep", "correct the JSON")]) from error


# ------------------------------------------------------------------------------------------------------------ faults


def _faults(
    text: str, plain: object, stores: Mapping[str, Collection[str]] | None, error: Exception | None = None
) -> list[Fault]:
    """Find every fault: of writing, of form, and of sense (in as much as could be understood)."""
    # Only a faulty file pays for looking at each piece by itself.
    from workers.register_form import Form  # noqa: PLC0415

    marks = _Marks()
    marks.read(text)
    if plain is None:
        return [Fault("", 1, "the file is empty", "begin with version: 1 and vendor:")]
    form = Form(marks.raw)
    try:
        document = form.read(plain)
    except RecursionError:
        return [Fault("", None, "an anchor refers to itself", "write the part out instead")]
    faults = [*marks.doubles]
    faults += [Fault(flaw.place, marks.line(flaw.at), flaw.text, flaw.fix) for flaw in form.flaws]
    if error is not None and not form.flaws:  # the form above and msgspec's must not differ; should they, this tells
        faults.append(Fault("", None, f"does not have the form of a register: {error}", "see the JSON Schema"))
    known = {flaw.at for flaw in form.flaws}
    for finding in check(document, stores=stores, knows_timezone=knows_timezone):
        if finding.place not in known:
            faults.append(Fault(finding.place, marks.line(finding.place), finding.text, finding.fix))
    return sorted(faults, key=lambda fault: fault.line or 0)


@dataclass(slots=True)
class _Marks:
    """Where each place of the document stands in the file, and how its single values are written."""

    lines: dict[str, int] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    doubles: list[Fault] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Read the places of a text; JSON is read as the YAML that it nearly is."""
        if _is_deep(text):
            return
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        except yaml.YAMLError:  # JSON that is no YAML: the faults are found all the same, without their lines
            return
        finally:
            loader.dispose()
        if node is not None:
            self._note(node, "", frozenset())

    def line(self, place: str) -> int | None:
        """Return the line of a place, or of the nearest one above it that stands in the file."""
        while place and place not in self.lines:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return self.lines.get(place)

    def _note(self, node: yaml.Node, place: str, above: frozenset[int]) -> None:
        if id(node) in above or len(self.lines) >= _MOST_MARKS:
            return  # an anchor that refers to itself; the form tells
        self.lines.setdefault(place, node.start_mark.line + 1)
        match node:
            case yaml.ScalarNode():
                self.raw.setdefault(place, node.value)
            case yaml.SequenceNode():
                for number, item in enumerate(node.value):
                    self._note(item, f"{place}[{number}]", above | {id(node)})
            case yaml.MappingNode():
                self._fields(node, place, above | {id(node)})

    def _fields(self, node: yaml.MappingNode, place: str, above: frozenset[int]) -> None:
        seen: dict[str, int] = {}
        for name, value in _own_first(node):
            if name.tag == _MERGE:
                parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for part in parts:
                    if isinstance(part, yaml.MappingNode):
                        self._fields(part, place, above)
                continue
            at = f"{place}.{name.value}" if place else str(name.value)
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and seen.setdefault(name.value, line) != line:
                text = f"the field {name.value!r} stands here twice, first in line {seen[name.value]}"
                self.doubles.append(Fault(at, line, text, "keep one of the two"))
            self.lines.setdefault(at, line)
            self._note(value, at, above)


def _own_first(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the pairs of a mapping, what is merged into it last: what stands there itself counts."""
    yield from (pair for pair in node.value if pair[0].tag != _MERGE)
    yield from (pair for pair in node.value if pair[0].tag == _MERGE)


# ----------------------------------------------------------------------------------------------------------- writing


class _Dumper(yaml.CSafeDumper):
    """YAML that other readers understand alike: digits stay text, and nothing is written as a reference."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # as there
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if text.isdecimal() else None)


_Dumper.add_representer(str, _text)
