"""A watchdog that swallows an error misses an alert: every broad `except` stands here by name, with its reason."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import ROOT, modules

BROAD = {"Exception", "BaseException"}

# "file: function" (a second one in the same function: "file: function, 2") -> why catching everything is right there.
# Each is a loop that must go on or a boundary that tells.
REASONS: dict[str, str] = {
    "alerts/letters.py: either": "a fault in a text must not stop the notice: a short form goes out, and says so",
    "workers/backfilling.py: Backfilling._work": "the other backfills go on; it is tried again, then told and left",
    "workers/cli/services.py: _keep_beating": "the worker lives on; without the beat the status shows it as gone",
    "workers/consumer.py: Consumer._guarded": "a consumer that is gone watches nothing; told, then retried",
    "workers/consumer.py: Consumer._take": "the batch is taken apart: one message must not hold up its neighbours",
    "workers/consumer.py: Consumer._take_apart": "the message is told, and quarantined when it fails again",
    "workers/consumer.py: Consumer._store_away": "the last resort failed too: logged, and tried again at the next turn",
    "workers/delivering.py: _send": "a sender's own fault must not lose the notice: it is retried, and told",
    "workers/heartbeat.py: _send": "a sender's own fault must not keep the operators from being told; it is shown",
    "workers/intake.py: Intake._unpack": "a fault of our decoding: the delivery goes to quarantine, and is told",
    "workers/intake.py: Intake._weigh": "a fault of our reading: the record goes to quarantine, and is told",
    "workers/observing.py: observe_row": "the row stays in the inbox, put aside with its error, which is told",
    "workers/processes.py: bare_alarm": "the last resort: after a fault of one sender the next one is asked",
    "workers/preflighting.py: Preflighting._read": "what a key's answers do to our code must not lose its batch; told",
    "workers/preflighting.py: Preflighting.settle": "the other keys are settled; the one that fails is told",
    "workers/probing.py: Probing._ask_one": "what a key's answers do to our code must not lose its batch; it is told",
    "workers/probing.py: Probing.settle": "the other keys of the batch are settled; the one that fails is told",
    "workers/scheduler.py: Scheduler.advance": "the other incidents go on; then the failure flies, and is logged",
    "workers/scheduler.py: Scheduler._repeat": "one failed job must not end the schedule; it is logged",
}


def broad_excepts(path: Path) -> Iterator[str]:
    """Yield "file: function" for each bare or broad `except`, and each `suppress(Exception)`."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    times = Counter[str]()
    for name in _found(tree, ""):
        times[name] += 1
        yield f"{path}: {name}" + (f", {times[name]}" if times[name] > 1 else "")


def _found(node: ast.AST, inside: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
        if (isinstance(child, ast.ExceptHandler) and _is_broad(child.type)) or _suppresses(child):
            yield name or "the module"
        yield from _found(child, name)


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(part) for part in caught.elts)
    return ast.unparse(caught).rpartition(".")[2] in BROAD


def _suppresses(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "suppress"
        and any(_is_broad(argument) for argument in node.args)
    )


def test_every_broad_except_is_known_and_reasoned() -> None:
    found = {place for path in modules() for place in broad_excepts(path)}

    assert sorted(found - REASONS.keys()) == [], "name the errors that are meant, or add the place with its reason"


def test_no_reason_is_left_over() -> None:
    found = {place for path in modules() for place in broad_excepts(path)}

    assert sorted(REASONS.keys() - found) == []


def test_every_form_of_a_broad_except_is_seen() -> None:
    tree = ast.parse(
        "def a():\n try: ...\n except: ...\n"
        "def b():\n try: ...\n except (OSError, Exception) as e: ...\n"
        "class C:\n def d(self):\n  try: ...\n  except builtins.BaseException: raise\n"
        "def f():\n with contextlib.suppress(Exception): ...\n"
        "def g():\n try: ...\n except OSError: ...\n"
    )

    assert list(_found(tree, "")) == ["a", "b", "C.d", "f"]
