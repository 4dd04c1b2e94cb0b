"""One each: what talks to the clouds, one for each that is asked, made when it is first needed, closed at the end."""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, Self, TypeVar


class Closes(Protocol):
    """Whatever holds connections."""

    def close(self) -> None:
        """Let go of connections."""
        ...


T = TypeVar("T", bound=Closes)


class OneEach(Generic[T]):
    """Those of one process. Safe between threads; to be made after a fork, for their clients do not live on.

    `make` makes the one of a cloud; its SDK is imported there and not before.
    """

    def __init__(self, clouds: Collection[str], make: Callable[[str], T] | None = None) -> None:
        self.clouds = frozenset(clouds)
        self._make = make or self.made_for
        self._lock = threading.Lock()
        self._made: dict[str, T] = {}

    @staticmethod
    def made_for(cloud: str) -> T:
        """Make the one of a cloud."""
        raise NotImplementedError(cloud)

    @classmethod
    def given(cls, made: Mapping[str, T]) -> Self:
        """Return these, made already."""
        return cls(made, make=made.__getitem__)

    def of(self, cloud: str) -> T:
        """Return the one of a cloud. Raises KeyError for a cloud that is not asked."""
        if cloud not in self.clouds:
            raise KeyError(cloud)
        with self._lock:
            if cloud not in self._made:
                self._made[cloud] = self._make(cloud)
            return self._made[cloud]

    def close(self) -> None:
        """Close those that were made."""
        with self._lock:
            made, self._made = self._made, {}
        for one in made.values():
            one.close()
