"""Nothing we do can harm a key: whatever code of ours talks to AWS only reads and acknowledges (promise 6)."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tests.house.tree import ROOT, modules

SERVICES = {"sqs", "s3", "kms", "sts", "rds"}
"""The services that may be talked to. A further one needs its harmless operations below."""

HARMLESS = {
    # reading a queue, and giving up what is committed
    "receive_message", "delete_message", "delete_message_batch", "change_message_visibility",
    "change_message_visibility_batch", "get_queue_url", "get_queue_attributes",
    # reading objects
    "get_object", "head_object",
    # looking at a key, and trying it as the vendor's stores do
    "describe_key", "get_key_policy", "list_grants", "generate_data_key", "encrypt", "decrypt",
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
