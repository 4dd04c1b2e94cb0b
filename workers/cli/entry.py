"""The command `byok-watchdog`: makes sure that our packages can be seen, then hands over to the commands."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; exit with 2 and one sentence when another package `watchdog` hides ours."""
    fault = hidden()
    if fault is not None:
        sys.stderr.write(f"{fault}\n")
        sys.exit(2)
    from workers.cli.commands import cli  # noqa: PLC0415  # only after the look above: it may lead to `watchdog`

    cli(prog_name="byok-watchdog")


def hidden() -> str | None:
    """Say in one sentence why our package `watchdog` cannot be seen (None: it can)."""
    try:
        seen = find_spec("watchdog.words") is not None
    except ModuleNotFoundError:  # there is no package of that name at all
        seen = False
    if seen:
        return None
    package = find_spec("watchdog")
    if package is None:
        return (
            "byok-watchdog cannot start: its package `watchdog` is not installed here; install the wheel again with "
            "pip install --force-reinstall byok-watchdog."
        )
    place = next(iter(package.submodule_search_locations or []), package.origin)
    return (
        f"byok-watchdog cannot start: its package `watchdog` is hidden by {_owner()} in {place}; install byok-watchdog "
        "as a wheel, never editable, or give it an environment of its own."
    )


def _owner() -> str:
    """Name the other distribution that brings a package `watchdog`, as far as the metadata tells."""
    # Reading metadata costs more than the whole rest of the start, so only a fault pays for it.
    from importlib.metadata import packages_distributions, version  # noqa: PLC0415

    names = set(packages_distributions().get("watchdog", [])) - {"byok-watchdog"}
    return " and ".join(f"{name} {version(name)}" for name in sorted(names)) or "another package of that name"


if __name__ == "__main__":
    main()
