"""The channels by name, and how one is built from the options of the settings."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from importlib import import_module
from typing import Any, get_type_hints

from alerts.interface import Channel

# One line per channel: "module:Class". Loaded when used, so that a channel costs nothing where it is not configured.
CHANNELS = {
    "pagerduty": "alerts.channels.pagerduty:PagerDuty",
    "smtp": "alerts.channels.smtp:Smtp",
    "webhook": "alerts.channels.webhook:Webhook",
    "console": "alerts.channels.console:Console",
}

_WORDS = {str: "a text", bool: "true or false", int: "a whole number", tuple[str, ...]: "a list of texts"}


class OptionError(ValueError):
    """What is wrong with the options of one channel: all of it, with the options that there are. Holds no value."""


def build(kind: str, name: str, options: Mapping[str, object]) -> Channel:
    """Build the channel `name` of a kind. Raises OptionError with every fault and the valid options."""
    if kind not in CHANNELS:
        raise OptionError(f'channel "{name}": unknown kind "{kind}"; the kinds are {", ".join(CHANNELS)}')
    module, _, attribute = CHANNELS[kind].partition(":")
    made = getattr(import_module(module), attribute)
    known = options_of(made)
    given = {option: _listed(value) for option, value in options.items()}
    faults = _faults(known, get_type_hints(made), given)
    if not faults:
        try:
            channel: Channel = made(name=name, **given)
        except ValueError as error:
            faults = [str(error)]
        else:
            return channel
    valid = ", ".join(_described(field) for field in known.values())
    raise OptionError(f'channel "{name}" ({kind}): {"; ".join(faults)}. Options: {valid}')


def options_of(made: Any) -> dict[str, Field[Any]]:  # noqa: ANN401 - dataclasses have no common type
    """Return the options of a channel class: its fields, but for its name and what only tests and composition set."""
    return {field.name: field for field in fields(made) if field.name != "name" and not field.metadata.get("wired")}


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _faults(known: Mapping[str, Field[Any]], hints: Mapping[str, Any], given: Mapping[str, object]) -> list[str]:
    faults = [f'unknown option "{option}"' for option in given if option not in known]
    for option, field in known.items():
        if option in given:
            if not _fits(given[option], hints[option]):
                faults.append(f'option "{option}" must be {_WORDS[hints[option]]}')
        elif _is_needed(field):
            faults.append(f'option "{option}" is missing')
    return faults


def _fits(value: object, wanted: object) -> bool:
    if wanted == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return type(value) is wanted


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _described(field: Field[Any]) -> str:
    return f"{field.name} (required)" if _is_needed(field) else field.name
