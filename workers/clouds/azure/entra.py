"""The Entra identity of this process, for Azure feeds whose settings give no key."""

from collections.abc import Callable

from azure.core.credentials import TokenCredential

from workers.feeds.interface import FeedFault, Reason


def signed_in(credential: Callable[[], TokenCredential], place: str) -> TokenCredential:
    """Return the identity for `place`. Raises FeedFault when its settings, in the environment, cannot be read."""
    try:
        return credential()
    except ValueError as error:
        raise FeedFault(Reason.SETTINGS, f"no Entra identity for {place}: {error}") from error


def signed_out(identity: TokenCredential | None) -> None:
    """Let go of an identity; azure-identity's have something to close, their protocol has not."""
    close = getattr(identity, "close", None)
    if close is not None:
        close()
