"""The exceptions Safelight raises.

::

    SafelightError
    ├── InputError            an argument or a file that cannot be used (also a ValueError)
    │   └── ImageError        a picture that cannot be read, or is not one
    ├── OutputError           a result that cannot be written
    ├── ModelError            a model file that is not what it must be
    │   └── ModelNotFound     a model that is not on this machine yet
    ├── FetchError            a download that failed
    ├── ProviderError         an execution provider that cannot be had, or failed
    └── Cancelled             the person asked to stop

Messages say what must hold, then what is. ``code`` names the class to programs and translators.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "FetchError",
    "ImageError",
    "InputError",
    "ModelError",
    "ModelNotFound",
    "OutputError",
    "ProviderError",
    "SafelightError",
]


class SafelightError(Exception):
    """Base of everything Safelight raises on purpose."""

    code = "error"


class InputError(SafelightError, ValueError):
    """An argument or a file that cannot be used."""

    code = "bad-input"


class ImageError(InputError):
    """A picture that cannot be read, or is not one."""

    code = "bad-image"


class OutputError(SafelightError):
    """A result that cannot be written."""

    code = "cannot-write"


class ModelError(SafelightError):
    """A model file that is not what it must be."""

    code = "bad-model"


class ModelNotFound(ModelError):  # noqa: N818 - the field's word, as in FileNotFoundError without the suffix
    """A model that is not on this machine yet; the message names the command that fetches it."""

    code = "model-not-found"


class FetchError(SafelightError):
    """A download that failed; what was fetched before is kept, so the next run goes on."""

    code = "fetch-failed"


class ProviderError(SafelightError):
    """An execution provider that cannot be had on this machine, or that failed."""

    code = "provider"


class Cancelled(SafelightError):  # noqa: N818 - not an error: the person asked for it
    """The person asked to stop; nothing was written."""

    code = "cancelled"
