"""What a tool is: one typed Python function, from which every door into Safelight is derived.

The Python API is the function itself; the command line's options, the worker's methods and the editors' dialogs are
read from its signature. A parameter is annotated with what it means::

    @tool("cutout", title="Cut out the subject", summary="...")
    def cutout(
        photo: Photo,
        *,
        quality: Annotated[Literal["fast", "balanced", "best"], Parameter("How much time ...")] = "balanced",
        refine: Annotated[bool, Parameter("Refine the edge ...")] = True,
        progress: Progress | None = None,
    ) -> CutoutResult: ...

Only keyword parameters that carry a :class:`Parameter` are shown to people.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin

__all__ = ["TOOLS", "Parameter", "Progress", "Tool", "no_progress", "tool"]

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["choice", "switch", "number", "text", "file"]


class Progress(Protocol):
    """The one callback: how far the work is, and what it is doing; raises ``Cancelled`` to stop it."""

    def __call__(self, fraction: float, stage: str, /) -> None:
        """`fraction` runs from 0 to 1; `stage` is a few words in English."""


def no_progress(fraction: float, stage: str, /) -> None:
    """Report nothing and never cancel."""


@dataclass(frozen=True)
class Parameter:
    """What a person needs to know of one parameter; name, kind and default are read from the signature.

    Attributes
    ----------
    help
        One sentence.
    kind
        ``"choice"``, ``"switch"``, ``"number"``, ``"text"`` or ``"file"``.
    choices
        For ``"choice"``: every value. For ``"text"``: words with a meaning of their own.
    minimum, maximum
        For ``"number"``, inclusive.
    metavar
        What stands for the value in the help of a text or file parameter.
    """

    help: str
    name: str = ""
    kind: Kind = "text"
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    metavar: str = ""


def _never(_options: Mapping[str, Any]) -> bool:
    return False


@dataclass(frozen=True)
class Tool:
    """A user-visible tool: its function and what is shown of it.

    `leaves_transparency` tells from the options whether results will need a format with transparency.
    """

    name: str
    title: str
    summary: str
    function: Callable[..., Any]
    leaves_transparency: Callable[[Mapping[str, Any]], bool] = _never

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters a person sees, in order."""
        found = []
        for name, entry in inspect.signature(self.function).parameters.items():
            if not str(entry.annotation).startswith("Annotated["):
                continue  # evaluating the others would import what they name
            annotation, note = get_args(eval(entry.annotation, self.function.__globals__))  # noqa: S307 - our own source
            found.append(_completed(note, name, annotation, entry.default))
        return tuple(found)


_KINDS: dict[Any, Kind] = {bool: "switch", int: "number", float: "number", str: "text"}

TOOLS: dict[str, Tool] = {}


def tool(
    name: str, *, title: str, summary: str, leaves_transparency: Callable[[Mapping[str, Any]], bool] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function as a tool.

    Parameters
    ----------
    name
        What it is called on the command line and on the wire.
    title
        Its entry in a menu.
    summary
        One sentence.
    leaves_transparency
        Tells from the options whether results will need a format with transparency; None if they never do.
    """

    def declare(function: Callable[P, R]) -> Callable[P, R]:
        TOOLS[name] = Tool(name, title, summary, function, leaves_transparency or _never)
        return function

    return declare


def _completed(note: Parameter, name: str, annotation: Any, default: Any) -> Parameter:
    """Fill in what the signature says: kind, choices and default."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        return replace(note, name=name, kind="choice", choices=get_args(annotation), default=default)
    return replace(note, name=name, kind=_KINDS.get(annotation, "file"), default=default)
