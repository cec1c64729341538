"""Sessions that stay open between pictures."""

from __future__ import annotations

import threading

from .session import Session

__all__ = ["close_sessions", "open_session"]

_open: dict[tuple[str, str, tuple[int, int] | None], Session] = {}
_lock = threading.Lock()


def open_session(name: str, *, provider: str = "auto", size: tuple[int, int] | None = None) -> Session:
    """Return a session for a model, opened on first use; arguments and errors are those of :class:`Session`.

    A provider that compiles for one shape needs a session for each size; on the CPU all sizes share one.
    """
    with _lock:
        shared = _open.get((name, provider, None))
        if shared is not None and not shared.provider.fixed_shapes:
            return shared
        if (name, provider, size) not in _open:
            session = Session(name, provider=provider, size=size)
            _open[name, provider, size if session.provider.fixed_shapes else None] = session
            return session
        return _open[name, provider, size]


def close_sessions() -> None:
    """Forget all open sessions; their memory goes when their last run ends."""
    with _lock:
        _open.clear()
