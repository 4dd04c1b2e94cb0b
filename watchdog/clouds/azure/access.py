"""Reading access: does the vendor's principal still hold what it needs: kept, reduced, lost, or not to be told.

The needed operations are written as in access policies and permitted key operations (get, wrapKey, unwrapKey); role
definitions call them data actions (azure.md 2, 3.6).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from watchdog.clouds.azure.fields import embedded, items, mapping, pick, text, texts
from watchdog.words import Effect

GET, WRAP, UNWRAP = "get", "wrapkey", "unwrapkey"
SPELLED = {GET: "get", WRAP: "wrapKey", UNWRAP: "unwrapKey"}
DATA_ACTIONS = {
    GET: "microsoft.keyvault/vaults/keys/read",
    WRAP: "microsoft.keyvault/vaults/keys/wrap/action",
    UNWRAP: "microsoft.keyvault/vaults/keys/unwrap/action",
}


class Standing(StrEnum):
    """What became of the vendor's access."""

    KEPT = "kept"
    REDUCED = "reduced"
    LOST = "lost"
    UNKNOWN = "cannot tell"


class Access(Struct, frozen=True):
    """The standing of the vendor's access, and why."""

    standing: Standing
    why: str

    @property
    def effect(self) -> Effect:
        """The effect of a change that leads to this standing."""
        return {
            Standing.KEPT: Effect.ACCESS_GRANTED,
            Standing.REDUCED: Effect.ACCESS_REDUCED,
            Standing.LOST: Effect.ACCESS_REVOKED,
            Standing.UNKNOWN: Effect.ACCESS_CHANGED,
        }[self.standing]


def without(missing: Collection[str], needed: Collection[str], what: str) -> Access:
    """Judge what it means that some operations are missing: without unwrapping nothing stored can be read."""
    lost = [SPELLED[name] for name in (GET, WRAP, UNWRAP) if name in missing and name in needed]
    if not lost:
        return Access(Standing.KEPT, f"{what} contains all that the vendor needs")
    standing = Standing.LOST if SPELLED[UNWRAP] in lost else Standing.REDUCED
    return Access(standing, f"{what} lacks {' and '.join(lost)}")


def permissions(names: Iterable[str]) -> frozenset[str]:
    """Return access policy permissions on keys in lower case; `all` stands for each (azure.md 2)."""
    found = {name.strip().lower() for name in names}
    return frozenset(found | DATA_ACTIONS.keys() if "all" in found else found)


class Entry(Struct, frozen=True):
    """One entry of an access policy: whose it is, and what it permits on keys; None when that cannot be read."""

    principal: str
    keys: frozenset[str] | None


def entries(value: object) -> list[Entry]:
    """Read access policy entries, one or a list, field names in either case."""
    found = []
    for one in items(embedded(value)):
        fields = mapping(one)
        given = mapping(embedded(pick(fields, "permissions")))
        principal = text(pick(fields, "objectId"))
        if principal:
            named = pick(given, "keys")
            found.append(Entry(principal.lower(), permissions(_names(named)) if given else None))
    return found


def flat_entries(fields: Mapping[str, object], prefix: str) -> list[Entry]:
    """Read an entry flattened into columns: `prefix`_ObjectId and `prefix`_Permissions_keys (azure.md 6.1)."""
    principal = text(pick(fields, f"{prefix}_ObjectId"))
    named = pick(fields, f"{prefix}_Permissions_keys")
    if principal is None:
        return []
    return [Entry(principal.lower(), None if named is None else permissions(_names(named)))]


def policy(listed: Iterable[Entry], principal: str, needed: Collection[str]) -> Access:
    """Judge a full access policy list: the entry of the principal, or that it is missing."""
    mine = [entry for entry in listed if entry.principal == principal]
    if not mine:
        return Access(Standing.LOST, "the access policies have no entry of the vendor's principal")
    if any(entry.keys is None for entry in mine):
        return Access(Standing.UNKNOWN, "the entry of the vendor's principal cannot be read")
    held = frozenset[str]().union(*(entry.keys or frozenset() for entry in mine))
    return without(DATA_ACTIONS.keys() - held, needed, "the access policy of the vendor's principal")


def operations(permitted: Iterable[str], needed: Collection[str]) -> Access:
    """Judge the permitted operations of a key version; metadata (get) is not among them."""
    held = {name.strip().lower() for name in permitted} | {GET}
    return without(DATA_ACTIONS.keys() - held, needed, "the list of permitted operations")


def role(definition: Mapping[str, object] | None, needed: Collection[str]) -> Access:
    """Judge the body of a role definition by its data actions; wildcards count, case does not (azure.md 3.6)."""
    properties = mapping(pick(definition or {}, "properties")) or (definition or {})
    listed = pick(properties, "permissions")
    if not isinstance(listed, list):
        return Access(Standing.UNKNOWN, "what the role now permits is not in the record")
    missing = {
        name for name, action in DATA_ACTIONS.items() if not any(_permits(mapping(one), action) for one in listed)
    }
    return without(missing, needed, "the role")


def _permits(permission: Mapping[str, object], action: str) -> bool:
    given = texts(pick(permission, "dataActions"))
    taken = texts(pick(permission, "notDataActions"))
    return any(_matches(one, action) for one in given) and not any(_matches(one, action) for one in taken)


def _matches(pattern: str, action: str) -> bool:
    """Match a pattern with wildcards in one pass: a customer's role can hold any text."""
    parts = pattern.strip().lower().split("*")
    if len(parts) == 1:
        return parts[0] == action
    at, end = len(parts[0]), len(action) - len(parts[-1])
    if at > end or not (action.startswith(parts[0]) and action.endswith(parts[-1])):
        return False
    for part in parts[1:-1]:
        found = action.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _names(value: object) -> list[str]:
    """Return names from a list, JSON in text, or text with commas."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [part for part in re.split(r"[,;\s]+", value) if part]
    return texts(embedded(value))
