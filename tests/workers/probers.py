"""A prober that answers what it is told to, key by key; what it is asked is remembered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from workers.probes.interface import Canary

HEALTHY: Mapping[Question, Answer] = {}
"""What is not said of a question is a good answer to it."""
DISABLED = {Question.STATE: Answer.DISABLED, Question.USE: Answer.DISABLED}
DENIED = {Question.USE: Answer.DENIED}
BROKEN_CALLER = {**DENIED, Question.STATE: Answer.DENIED, Question.CONTROL: Answer.DENIED}
SILENT = dict.fromkeys(Question, Answer.UNREACHABLE)


@dataclass
class FakeProber:
    """The prober of one cloud. `says` holds the answers by key; `on_ask` may wait or raise."""

    cloud: str = "aws"
    says: dict[str, Mapping[Question, Answer]] = field(default_factory=dict)
    version: str = "m-1"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    on_ask: Callable[[RegisteredKey], None] = lambda _key: None
    asked: list[tuple[str, tuple[Question, ...]]] = field(default_factory=list)
    given: list[Canary] = field(default_factory=list)
    made: int = 0
    closed: bool = False

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        assert register.keys[key.id] == key
        self.asked.append((key.id, tuple(questions)))
        self.given += canaries
        self.on_ask(key)
        said = self.says.get(key.id, HEALTHY)
        return [self._finding(one, said.get(one, Answer.OK)) for one in questions]

    def _finding(self, question: Question, answer: Answer) -> Finding:
        detail = {"material": self.version} if question is Question.STATE else {}
        return Finding(question=question, answer=answer, at=self.now(), words=f"it says {answer}", detail=detail)

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        assert register.keys[key.id] == key
        self.made += 1
        canary = Canary(
            key=key.id, version=self.version, ciphertext=f"{self.made}".encode(), algorithm="SYMMETRIC_DEFAULT",
            made_at=self.now(),
        )  # fmt: skip
        return [canary], [self._finding(Question.CANARY, Answer.OK)]

    def close(self) -> None:
        self.closed = True
