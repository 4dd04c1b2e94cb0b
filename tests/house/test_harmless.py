"""Nothing we do can harm a key: whatever code of ours talks to a cloud only reads and acknowledges (promise 6)."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tests.house.tree import ROOT, modules

SERVICES = {"sqs", "s3", "kms", "sts", "rds", "cloudtrail", "events"}
"""The services that may be talked to. A further one needs its harmless operations below."""

HARMLESS = {
    # reading a queue, and giving up what is committed
    "receive_message", "delete_message", "delete_message_batch", "change_message_visibility",
    "change_message_visibility_batch", "get_queue_url", "get_queue_attributes",
    # reading objects, and what was recorded
    "get_object", "head_object", "list_objects_v2", "lookup_events",
    # looking at a key, and trying it as the vendor's stores do
    "describe_key", "get_key_policy", "list_grants", "generate_data_key", "encrypt", "decrypt",
    # looking at what makes a key hard to lose: labels, names, its key store, the trail and the rules around it
    "list_resource_tags", "list_aliases", "describe_custom_key_stores", "get_trail", "get_trail_status",
    "get_event_selectors", "describe_rule", "list_targets_by_rule",
    # looking at a database under a key
    "describe_db_instances", "describe_db_clusters",
    # who am I, and becoming the vendor's role that a key is asked as
    "get_caller_identity", "assume_role",
}  # fmt: skip

# What a client has beside its operations, and what leads past them.
PLAIN = {"close", "exceptions", "meta", "can_paginate"}
AROUND = {
    "_make_api_call", "generate_presigned_url", "generate_presigned_post", "get_waiter", "upload_file",
    "upload_fileobj", "download_file", "download_fileobj", "copy", "resource", "register_function",
}  # fmt: skip
HTTP = ("urllib3", "urllib.request", "requests", "httpx", "http.client", "aiohttp", "awscrt", "aiobotocore")
"""Packages by which AWS could be called without a client."""


@cache
def operations(service: str) -> frozenset[str]:
    """The methods that a client of this service has for its operations, by the SDK's own model."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return frozenset(xform_name(name) for name in names)


@cache
def every_operation() -> frozenset[str]:
    """The operations of every service: a client for another one must not slip through under its names."""
    return frozenset(name for service in SERVICES for name in operations(service))


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that are imported, the packages that names are taken from among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def talks_to_aws(tree: ast.AST) -> bool:
    return any(name.split(".")[0] in {"boto3", "botocore"} for name in imports(tree))


def faults(tree: ast.Module, place: str = "") -> list[str]:
    """Say for a module that talks to AWS what in it could do harm, or hides from this look what it does."""
    return sorted({f"{place}:{node.lineno}: {text}" for node, text in _faults(tree)})


def _faults(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield from _attribute(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A method can also be called by its name: getattr, a paginator, a table of names.
            if node.value in every_operation() - HARMLESS:
                yield node, f"names the operation {node.value!r}"
        elif isinstance(node, ast.Call):
            yield from _call(node, tree)


def _attribute(node: ast.Attribute) -> Iterator[tuple[ast.expr, str]]:
    if node.attr in every_operation() - HARMLESS:
        yield node, f"calls {node.attr}"
    elif node.attr in AROUND and not _is_sessions(node):
        yield node, f"goes around the operations: {node.attr}"


def _is_sessions(node: ast.Attribute) -> bool:
    """Whether `copy` and the like belong to something plain, such as a dictionary written down here."""
    return node.attr == "copy" and isinstance(node.value, ast.Dict | ast.List)


def _call(node: ast.Call, tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Attribute) and name in {"client", "create_client"}:
        service = node.args[0] if node.args else None
        if not isinstance(service, ast.Constant):
            yield node, "makes a client whose service cannot be seen here"
        elif service.value not in SERVICES:
            yield node, f"makes a client of {service.value!r}"
    if name == "getattr" and len(node.args) >= 2 and not isinstance(node.args[1], ast.Constant):
        yield from _by_name(node, node.args[1], tree)


def _by_name(node: ast.Call, name: ast.expr, tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """A method called by a name that comes in: every name that can come in must stand in this module."""
    function = next(
        (
            one
            for one in ast.walk(tree)
            if isinstance(one, ast.FunctionDef) and any(inner is node for inner in ast.walk(one))
        ),
        None,
    )
    place = _parameter(function, name) if function is not None and isinstance(name, ast.Name) else None
    if function is None or place is None:
        yield node, "calls a method by a name that cannot be seen here"
        return
    calls = [
        one
        for one in ast.walk(tree)
        if isinstance(one, ast.Call) and getattr(one.func, "attr", getattr(one.func, "id", None)) == function.name
    ]
    for call in calls:
        given = call.args[place] if len(call.args) > place else None
        if not isinstance(given, ast.Constant) or given.value not in HARMLESS:
            yield call, f"{function.name} may be given another operation than a harmless one"


def _parameter(function: ast.FunctionDef, name: ast.Name) -> int | None:
    """The position of a parameter, as a caller counts it."""
    names = [one.arg for one in function.args.args]
    if name.id not in names:
        return None
    return names.index(name.id) - (1 if names[0] in {"self", "cls"} else 0)


TALKERS = [path for path in modules("workers") if talks_to_aws(parsed(path))]


def test_the_modules_that_talk_to_aws_are_found() -> None:
    found = {str(path) for path in TALKERS}
    assert {"workers/feeds/sqs.py", "workers/clouds/aws/objects.py"} <= found


@pytest.mark.parametrize("path", TALKERS, ids=str)
def test_what_talks_to_aws_only_reads_and_acknowledges(path: Path) -> None:
    assert [] == faults(parsed(path), str(path))


def test_nothing_else_has_a_client_at_hand() -> None:
    """A client that is handed out of these modules could be told anything elsewhere."""
    makers = {
        f"{'.'.join(path.with_suffix('').parts)}.{node.name}"
        for path in TALKERS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and _makes_client(node)
    }
    assert {"workers.feeds.sqs.client", "workers.clouds.aws.objects.client"} <= makers
    found = [
        f"{path}:{node.lineno}"
        for path in modules()
        if path not in TALKERS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and {f"{node.module}.{alias.name}" for alias in node.names} & makers
    ]
    assert [] == found


def _makes_client(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"client", "create_client"}
        for node in ast.walk(function)
    )


def test_no_code_but_the_channels_makes_requests_of_its_own() -> None:
    found = [
        f"{path}: {name}"
        for path in modules("workers", "watchdog")
        for name in imports(parsed(path))
        if f"{name}.".startswith(tuple(f"{package}." for package in HTTP))
    ]
    assert [] == found, "AWS could be called without a client"


def test_no_code_of_ours_runs_a_command_of_a_cloud() -> None:
    """Repair commands are texts for people. What starts processes is named here, and starts our own."""
    found = {str(path) for path in modules() if {"subprocess", "pty"} & set(imports(parsed(path)))}
    assert found <= {"workers/supervisor.py"} | {str(path) for path in modules() if "bench" in path.parts}


def test_every_harmless_operation_exists() -> None:
    assert HARMLESS <= every_operation(), "a name that no service has guards nothing"


def test_the_list_has_no_operation_that_changes_a_key() -> None:
    changing = {name for name in operations("kms") if not name.startswith(("describe", "get", "list"))}
    assert {"generate_data_key", "encrypt", "decrypt"} == changing & HARMLESS
    assert {"schedule_key_deletion", "disable_key", "put_key_policy", "create_grant", "enable_key"} <= changing


HARMFUL = [
    ("calls schedule_key_deletion", "client.schedule_key_deletion(KeyId=key)"),
    ("calls enable_key", "self._clients[region].enable_key(KeyId=key)"),
    ("calls put_object", "Session().client('s3').put_object(Bucket='b')"),
    ("calls purge_queue", "call = client.purge_queue"),
    ("names the operation 'disable_key'", "getattr(client, 'disable_key')(KeyId=key)"),
    ("names the operation 'delete_object'", "client.get_paginator('delete_object')"),
    ("names the operation 'put_key_policy'", "TABLE = {'policy': 'put_key_policy'}"),
    ("calls a method by a name that cannot be seen here", "getattr(client, name)(KeyId=key)"),
    ("calls a method by a name that cannot be seen here", "def f(client):\n  getattr(client, 'disable' + '_key')()"),
    ("_ask may be given another operation", "def _ask(c, name):\n  getattr(c, name)()\n_ask(client, chosen)"),
    ("_ask may be given another operation",
     "class A:\n  def _ask(self, n):\n    getattr(self.c, n)()\n  def b(self):\n    self._ask(f'disable_{x}')"),
    ("makes a client of 'iam'", "Session().client('iam')"),
    ("makes a client of 'ec2'", "boto3.client('ec2')"),
    ("makes a client whose service cannot be seen", "Session().client(service)"),
    ("goes around the operations: _make_api_call", "client._make_api_call('DisableKey', {})"),
    ("goes around the operations: resource", "boto3.resource('s3')"),
    ("goes around the operations: upload_file", "client.upload_file('a', 'b', 'c')"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code"), HARMFUL, ids=[row[1][:50] for row in HARMFUL])
def test_what_could_do_harm_is_seen(words: str, code: str) -> None:
    found = faults(ast.parse(code))
    assert any(words in one for one in found), found


def test_what_is_harmless_is_let_through() -> None:
    code = (
        "class A:\n"
        "  def _ask(self, operation, **arguments):\n"
        "    return getattr(self._connected, operation)(QueueUrl=self._url, **arguments)\n"
        "  def receive(self):\n"
        "    return self._ask('receive_message', MaxNumberOfMessages=10)\n"
        "Session().client('s3', region_name=region).get_object(Bucket='b', Key='k')\n"
        "Session().client('kms').decrypt(CiphertextBlob=b'')\n"
    )
    assert [] == faults(ast.parse(code))


# -------------------------------------------------------------------------------------------------------- Google Cloud

GOOGLE = Path("workers/clouds/gcp")
CALLS = GOOGLE / "calls.py"
VERBS = {":encrypt", ":decrypt", ":getIamPolicy", ":generateAccessToken"}
"""The custom methods of Google's APIs that may be named: uses of a key, readings, becoming the account that asks."""
ENDS_IN_VERB = re.compile(r".*(:[a-z][A-Za-z]+)", re.DOTALL)
SENDING = {"request", "post", "put", "patch", "delete", "send"}


def google_faults(tree: ast.Module, place: str = "") -> list[str]:
    """Say for a module that asks Google Cloud what in it could do harm: what is sent stands in three functions alone.

    `_answered` sends, `_asked` is told the method by its callers, `_using` posts and adds a verb.
    """
    found: list[str] = []
    for function in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]:
        name = function.name if isinstance(function, ast.FunctionDef) else ""
        for node in _own(function):
            found += [f"{place}:{node.lineno}: {text}" for text in _google_faults(node, name)]
    return sorted(set(found))


def _own(function: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a function, or of a module, but those of the functions in it."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef):
            continue
        if isinstance(child, ast.expr):
            yield child
        yield from _own(child)


def _google_faults(node: ast.expr, function: str) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in SENDING and function != "_answered":
        yield f"sends by {node.attr}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        verb = ENDS_IN_VERB.fullmatch(node.value)
        if verb and verb[1] not in VERBS:
            yield f"names the method {verb[1]!r}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        given = node.args[0] if node.args else None
        method = given.value if isinstance(given, ast.Constant) else None
        if node.func.attr == "_asked" and method != "GET" and (method, function) != ("POST", "_using"):
            yield f"asks by {method!r}" if method else "asks by a method that cannot be seen here"
        if node.func.attr == "_using" and not _is_use(node):
            yield "posts something else than a use"


def _is_use(call: ast.Call) -> bool:
    """Whether what is posted ends in one of the two uses, written down right here."""
    name = call.args[1] if len(call.args) > 1 else None
    last = name.values[-1] if isinstance(name, ast.JoinedStr) else None
    return isinstance(last, ast.Constant) and last.value in {":encrypt", ":decrypt"}


def test_what_asks_google_cloud_about_keys_only_reads_and_tries() -> None:
    places = list(modules(str(GOOGLE)))
    assert CALLS in places
    assert [] == [fault for path in places for fault in google_faults(parsed(path), str(path))]


def test_the_requests_to_google_cloud_are_made_in_one_place() -> None:
    found = [path for path in modules(str(GOOGLE)) if ".request(" in (ROOT / path).read_text(encoding="utf-8")]
    assert found == [CALLS]


HARMFUL_TO_GOOGLE = [
    ("asks by 'POST'", "class D:\n  def kill(self):\n    self._asked('POST', url, 'x', None)"),
    ("asks by 'PATCH'", "class D:\n  def _using(self):\n    self._asked('PATCH', url, 'x', None)"),
    ("asks by a method that cannot be seen", "class D:\n  def ask(self, how):\n    self._asked(how, url, 'x', None)"),
    ("names the method ':destroy'", "place = f'{name}:destroy'"),
    ("names the method ':setIamPolicy'", "VERB = ':setIamPolicy'"),
    ("posts something else than a use", "class D:\n  def ask(self):\n    self._using('x', name, {}, 'y')"),
    ("posts something else than a use", "class D:\n  def ask(self):\n    self._using('x', f'{n}{verb}', {}, 'y')"),
    ("sends by patch", "session.patch(url)"),
    ("sends by request", "class D:\n  def other(self):\n    self.session.request('GET', url)"),
    ("sends by request", "def f():\n  def g():\n    session.request('GET', url)"),
]


@pytest.mark.parametrize(("words", "code"), HARMFUL_TO_GOOGLE, ids=[row[1][-50:] for row in HARMFUL_TO_GOOGLE])
def test_what_could_do_harm_on_google_cloud_is_seen(words: str, code: str) -> None:
    found = google_faults(ast.parse(code))
    assert any(words in one for one in found), found
