"""Pre-flight: what makes a key hard to lose, checked before an exception is granted and every day after (drift).

The reader of a cloud (`workers.clouds.*.preflight`) asks; the pure half (`watchdog.clouds.*.preflight`) judges what was
answered, line by line of responsibility.md 5. What could not be read is `cannot verify`, never a pass.
"""

from dataclasses import dataclass
from enum import StrEnum

from watchdog.words import Owner


class Outcome(StrEnum):
    """What one check came to."""

    PASS = "pass"  # noqa: S105 - a word of the product
    FAIL = "fail"
    CANNOT_VERIFY = "cannot verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What stands in a reading where an answer is missing: why, and the right that would make it readable."""

    why: str
    right: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check of one key.

    `id` is stable (`aws.deletion_window`, `all.usable`): drift, agreed deviations and customers' statements name it.
    `title` says what should be so, `words` what was found or why it could not be told. `fix` is the exact command, or
    the sentence, that repairs a failure or makes it readable; `owner` who has to do it. A `hard` one must pass before
    an exception may become active. `source` names the line of the document.
    """

    id: str
    title: str
    outcome: Outcome
    words: str
    fix: str | None = None
    owner: Owner = Owner.CUSTOMER
    hard: bool = False
    source: str = ""
