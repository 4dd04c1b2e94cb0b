"""What a walk has come to for one party: who was told, health, incident, evidence; so that two parties compare."""

import base64
import json
import re
from collections import Counter
from typing import Any

import msgspec

from tests.system.parties import Party
from tests.system.stage import Stage
from watchdog.evidence import Sealed

_TIMES = {"received_at", "opened_at", "resolved_at", "check_at"}
_OF_ONE_ATTEMPT = {"attempt", "provider_id", "rendered_sha256", "held"}


def told(stage: Stage, party: Party) -> dict[str, int]:
    """How often everybody who must hear of the disabled key has heard of it.

    A page about the watch itself (a consumer that was away for minutes on a slow machine) names keys, too.
    """
    incident = stage.incident_of(party)
    pages = stage.pager.taken(party.key, "trigger")
    return {
        "page": len([one for one in pages if incident is None or f":{incident.id}:" in one.dedup]),
        "customer": len(stage.relay.to(party.contact)),
        "staff": len(stage.relay.to(party.staff)),
    }


def outcome(stage: Stage, party: Party) -> dict[str, Any]:
    """Health, incident and evidence of a party, without its own names, times and whatever belongs to one attempt."""
    incident = stage.incident_of(party)
    assert incident is not None
    # A pre-flight comes at a time of its own, and says nothing of the walk.
    about = {party.key, incident.id}
    entries = [entry for entry in stage.evidence() if entry.subject in about and entry.kind != "preflight"]
    entries += _records(stage, party)
    proofs = [(entry.kind, entry.subject, _proof(stage, json.loads(entry.body))) for entry in entries]
    names = _names(stage, party, incident.id)
    return state(stage, party) | {
        "incident": _plain(msgspec.to_builtins(incident), names),
        # An attempt may be made twice, and then stands twice in the evidence; everything else happens once.
        "attempts": {_plain(proof, names) for proof in proofs if proof[0] == "attempt"},
        "evidence": Counter(_plain(proof, names) for proof in proofs if proof[0] != "attempt"),
    }


def state(stage: Stage, party: Party) -> dict[str, Any]:
    """Health of a party, and where its incident stands, whatever it has been through."""
    incident = stage.incident_of(party)
    assert incident is not None
    names = _names(stage, party, incident.id)
    with stage.store.read() as unit:
        health = unit.healths([party.key])[party.key]
    return {
        "health": _plain(json.loads(health.doc), names),
        "verdict": health.verdict,
        "stands": (incident.stage, incident.severity, incident.fault, _plain(incident.subjects, names)),
    }


def _records(stage: Stage, party: Party) -> list[Sealed]:
    """The evidence of what was received about the party's key."""
    return [entry for entry in stage.evidence() if entry.kind == "record" and f'"{party.key}"' in entry.body]


def _proof(stage: Stage, body: dict[str, Any]) -> dict[str, Any]:
    """An entry's body with the record itself in place of its hash."""
    with stage.store.read() as unit:
        raw = unit.raw(body["raw_sha256"]) if "raw_sha256" in body else None
        assert not body.get("rendered_sha256") or unit.raw(body["rendered_sha256"])
    if raw is None:
        return body
    # A Pub/Sub subscription is a party's own, and so is the feed that reads it; its name ends in the party's number.
    return {**body, "raw_sha256": unwrapped(raw), "feed": body["feed"].rstrip("-0123456789")}


def unwrapped(raw: bytes) -> str:
    """Return JSON as it was before Pub/Sub put it into a message of its own."""
    content = json.loads(raw)
    return base64.b64decode(content["message"]["data"]).decode() if "message" in content else raw.decode()


def _names(stage: Stage, party: Party, incident: str) -> dict[str, str]:
    names = {**party.names, party.event_id(1): "EVENT", incident: "INCIDENT"}
    # A decoder may have made its own id of the provider's id and of what names the party.
    names |= {entry.subject: "EVENT" for entry in _records(stage, party)}
    # The ids of mails end in a hash of the address.
    for one in stage.notices_of(party):
        if one.notice.recipient is not None:
            names[one.notice.id] = f"INCIDENT-{one.notice.kind}-{one.notice.reader}"
    return names


def _plain(value: Any, names: dict[str, str]) -> str:
    text = json.dumps(_without_times(value), sort_keys=True, default=str)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"{re.escape(name)}(?![0-9])", names[name], text)
    return text


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        turns = "stage" in value and "number" in value
        left_out = _TIMES | _OF_ONE_ATTEMPT | ({"at"} if turns else set())
        return {name: _without_times(part) for name, part in value.items() if name not in left_out}
    if isinstance(value, list | tuple):
        return [_without_times(part) for part in value]
    return value
