"""The command line: ``safelight TOOL …``, derived from the tools' declarations, and a few commands around them.

Exit status: 0 when all is done, 2 on bad input (the other pictures of a batch are still done), 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__, cli_demo, cli_models, cli_sheet
from .cli_batch import add_batch_options, run_tool
from .errors import Cancelled, SafelightError
from .tools import TOOLS, Parameter, Tool

__all__ = ["main"]

_EPILOG = "Nothing leaves this machine: only `models get` and `demo` use the network, when you call them."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    _show_any_name()
    _keep_stderr()
    args = _parser().parse_args(arguments)
    try:
        status: int = args.run(args)
    except (KeyboardInterrupt, Cancelled):
        print("safelight: stopped", file=sys.stderr)
        return 130
    except SafelightError as error:
        print(f"safelight: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stderr.close()
        return 2
    return status


def _show_any_name() -> None:
    """Let a file's name that the terminal or log cannot hold be shown escaped, instead of ending the batch."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _keep_stderr() -> None:
    """Write to a copy of standard error: readers point descriptor 2 elsewhere while C libraries complain."""
    ours = sys.__stderr__
    if ours is None or sys.stderr is not ours:
        return
    try:
        copy = os.dup(ours.fileno())
    except (OSError, ValueError):
        return
    # It stays open till the end; closing it would be nobody's to do.
    sys.stderr = open(  # noqa: SIM115
        copy, "w", buffering=1, encoding=ours.encoding, errors="backslashreplace", closefd=False
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="safelight", description="Offline, private photo tools.", epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"safelight {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for tool in TOOLS.values():
        _add_tool(commands, tool)
    for module in (cli_sheet, cli_demo, cli_models):
        module.add_parser(commands)
    return parser


def _add_tool(commands: argparse._SubParsersAction[argparse.ArgumentParser], tool: Tool) -> None:
    parser = commands.add_parser(tool.name, help=tool.summary, description=tool.summary, allow_abbrev=False)
    add_batch_options(parser)
    for parameter in tool.parameters:
        _add_parameter(parser, parameter)
    parser.set_defaults(run=lambda args: run_tool(tool, args))


def _add_parameter(parser: argparse.ArgumentParser, parameter: Parameter) -> None:
    option = f"--{parameter.name.replace('_', '-')}"
    text = parameter.help.replace("%", "%%")
    if parameter.kind == "switch":
        text += f" (default: {'on' if parameter.default else 'off'})"
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=parameter.default, help=text)
        return
    shown = "" if parameter.default is None else f" (default: {parameter.default})"
    if parameter.kind == "choice":
        parser.add_argument(
            option,
            choices=parameter.choices,
            default=parameter.default,
            metavar="|".join(parameter.choices),
            help=text + shown,
        )
        return
    kinds: dict[str, Callable[[str], Any]] = {"number": partial(_number, parameter), "text": str, "file": Path}
    metavar = parameter.metavar or {"number": "N", "text": "TEXT", "file": "FILE"}[parameter.kind]
    parser.add_argument(
        option, type=kinds[parameter.kind], default=parameter.default, metavar=metavar, help=text + shown
    )


def _number(parameter: Parameter, text: str) -> int | float:
    least, most = parameter.minimum, parameter.maximum
    try:
        value: int | float = type(parameter.default)(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, but is {text!r}") from None
    if not (-math.inf if least is None else least) <= value <= (math.inf if most is None else most):
        bounds = " and ".join(
            f"at {word} {bound:g}" for word, bound in (("least", least), ("most", most)) if bound is not None
        )
        raise argparse.ArgumentTypeError(f"must be {bounds or 'a number'}, but is {text}")
    return value
