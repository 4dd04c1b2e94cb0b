"""A reader that finds what it is told to, key by key; every other check of its cloud passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from watchdog.preflight import Checked, Outcome, listed
from watchdog.register import Register, RegisteredKey

WINDOW = "aws.deletion_window"
RIGHTS = "aws.vendor_rights"
"""A check that must not fail."""


@dataclass
class FakeReader:
    """The reader of one cloud. `says` holds outcomes by key and check; `on_check` may wait or raise."""

    cloud: str = "aws"
    says: dict[str, Mapping[str, Outcome]] = field(default_factory=dict)
    fix: str = "aws kms put-key-policy --key-id KEY"
    on_check: Callable[[RegisteredKey], None] = lambda _key: None
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def check(self, key: RegisteredKey, register: Register) -> Sequence[Checked]:
        assert register.keys[key.id] == key
        self.asked.append(key.id)
        self.on_check(key)
        said = self.says.get(key.id, {})
        found = []
        for one in listed(self.cloud):
            outcome = said.get(one.id, Outcome.PASS)
            found.append(
                Checked(
                    id=one.id, title=one.title, outcome=outcome, words=f"It says {outcome}.", fix=self.fix,
                    owner=one.owner, hard=one.hard, source=one.source,
                )
            )  # fmt: skip
        return found

    def close(self) -> None:
        self.closed = True
