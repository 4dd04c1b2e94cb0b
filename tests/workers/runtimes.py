"""A runtime on the in-memory store with scripted channels, for tests of single processes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from alerts.interface import Outcome, Receipt, Rendered
from tests.worlds import document, table
from watchdog.notices import Notice
from watchdog.register import Document
from workers.registering import import_document
from workers.runtime import Runtime, utc_now
from workers.settings import ChannelSettings, FeedSettings, Settings
from workers.store.memory import MemoryStore

ACCEPTED = Receipt(outcome=Outcome.ACCEPTED, provider_id="id-1")


@dataclass
class ScriptedChannel:
    """Answers what it is told to, remembers what it sent."""

    name: str
    answers: list[Receipt | Exception] = field(default_factory=list)
    sent: list[Notice] = field(default_factory=list)
    on_send: Callable[[], None] = lambda: None

    def render(self, notice: Notice) -> Rendered:
        return Rendered(body=f"{notice.id} {notice.kind}".encode(), content_type="text/plain")

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        assert rendered.body.startswith(notice.id.encode())
        assert now.tzinfo is not None
        self.on_send()
        self.sent.append(notice)
        answer = self.answers.pop(0) if self.answers else ACCEPTED
        if isinstance(answer, Exception):
            raise answer
        return answer


NAMES = ("pager", "hook", "mail", "operators", "second")


def make_runtime(tmp: Path, *, register: Document | None = None) -> Runtime:
    """A runtime with an imported register; its channels are ScriptedChannel by name."""
    settings = Settings(
        home=tmp,
        source="test",
        store_url="memory:",
        broker_url="embedded",
        feeds=(FeedSettings(name="drop", kind="folder", cloud="aws", options={"path": str(tmp / "drop")}),),
        channels=tuple(
            ChannelSettings(name=name, kind="pagerduty" if name == "pager" else "console", options={}) for name in NAMES
        ),
        routes={"platform": ("pager", "hook"), "default": ("hook",)},
        operators=("operators", "second"),
        customer_mail="mail",
    )
    runtime = Runtime(settings)
    runtime.__dict__["store"] = MemoryStore()
    runtime.__dict__["table"] = table()  # the same one, read once for all tests
    runtime.__dict__["channels"] = {name: ScriptedChannel(name) for name in NAMES}
    import_document(runtime, register or document(), by="test", source="test", now=utc_now())
    return runtime


def channel(runtime: Runtime, name: str) -> ScriptedChannel:
    """The scripted channel of this name."""
    found = runtime.channels[name]
    assert isinstance(found, ScriptedChannel)
    return found
