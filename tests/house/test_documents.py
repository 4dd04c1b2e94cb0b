"""A document that lies fails the build: its links lead somewhere, its commands exist with the options that it names."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.house.tree import ROOT, files
from workers.cli.commands import cli

# Mails and the like under tests/ are data, not documents.
DOCUMENTS = [path for path in files() if path.suffix == ".md" and path.parts[0] != "tests"]
UNITS = [path for path in files() if path.suffix == ".service"]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)")
FENCE = re.compile(r"^ *```.*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# What may stand before a command: a prompt, variables, `exec`, the folder that it is in.
BEFORE = r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:ExecStart=)?(?:sudo |exec )?"
OURS = re.compile(BEFORE + r"(?:\S*/)?(?:byok-watchdog|python3? -m workers\.cli\.entry)(?= |$)(.*)")
MAKE = re.compile(BEFORE + r"make ([a-z][a-z-]*)")


def text(document: Path) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def code(document: Path) -> Iterator[str]:
    """Yield every line of code in a document: of its fenced and indented blocks, and each span in backticks."""
    whole = text(document).replace("\\\n", " ")
    rest = FENCE.sub("", whole)
    for block in FENCE.findall(whole):
        yield from block.splitlines()
    yield from (line for line in rest.splitlines() if line.startswith("    "))
    yield from SPAN.findall(rest)


def anchors(document: Path) -> set[str]:
    """Return the anchors that headings make, by the rule of the forges."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", text(document))):
        place, _, anchor = link.partition("#")
        if ":" in place:
            continue
        target = (ROOT / document).parent / place if place else ROOT / document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_make_target_in_a_document_exists(document: Path) -> None:
    named = {found[1] for line in code(document) if (found := MAKE.match(line))}

    assert named - targets() == set()


def test_every_make_target_is_in_its_own_help() -> None:
    helped = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert targets() == helped


@pytest.mark.parametrize("document", [*DOCUMENTS, *UNITS], ids=str)
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    lines = text(document).splitlines() if document in UNITS else code(document)

    wrong = [f"{line.strip()}: {fault}" for line in lines if (call := OURS.match(line)) for fault in faults(call[1])]

    assert wrong == []


def faults(call: str) -> Iterator[str]:
    """Walk one documented call down the commands; yield what does not exist. Words in capitals are placeholders."""
    command: click.Command = cli
    words = iter(shlex.split(re.split(r" [|>&;#]", call)[0]))
    for word in words:
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            option = next((one for one in command.params if name in (*one.opts, *one.secondary_opts)), None)
            if option is None and name != "--help":
                yield f"{command.name} has no option {name}"
            elif isinstance(option, click.Option) and not (option.is_flag or option.count or equals):
                next(words, None)
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z|-]*", word):
            # "export|verify" names two commands.
            found = {name: command.get_command(click.Context(command), name) for name in word.split("|")}
            yield from (f"{command.name} has no command {name}" for name, one in found.items() if one is None)
            last = list(found.values())[-1]
            if last is None:
                return
            command = last


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (" --version", []),
        (" status --json", []),
        (" explain --register FILE --json PATH... | jq .effect", []),
        (" evidence verify", []),
        (" evidence verify|burn", ["evidence has no command burn"]),
        (" vanish KEY", ["cli has no command vanish"]),
        (" status --loud", ["status has no option --loud"]),
        ("", []),
    ],
)
def test_a_documented_call_is_compared_with_the_commands(call: str, wrong: list[str]) -> None:
    assert list(faults(call)) == wrong


def test_commands_are_found_in_blocks_spans_and_units() -> None:
    lines = [
        "$ byok-watchdog status",
        "A=b /opt/x/bin/byok-watchdog status",
        "ExecStart=/opt/x/bin/byok-watchdog status",
    ]

    assert [call[1] for line in lines if (call := OURS.match(line))] == [" status"] * 3
    assert OURS.match("byok-watchdog.toml") is None
    assert MAKE.match("to make sure") is None


def test_the_changelog_has_a_place_for_what_is_not_released_yet() -> None:
    assert re.search(r"^## \[?Unreleased\]?$", text(Path("CHANGELOG.md")), re.MULTILINE)


def test_the_licence_is_whole_and_is_the_one_that_the_package_names() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["license"] == "Apache-2.0"
    assert "Apache License\n" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
