"""The house rules, as tests: which way imports point, what modules offer, what may use the network."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import safelight
from safelight.inference.catalogue import ModelInfo, Sample, catalogue, samples

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "safelight"
PLUGINS = ROOT / "plugins"

# Layer -> the layers it may import, besides itself. A module's layer is the first part of its name.
LAYERS = {
    "_native": "",
    "errors": "",
    "files": "errors",
    "threads": "",
    "_image": "errors files threads",
    "image": "errors files _image",
    "kernels": "errors _native",
    "matting": "errors kernels threads",
    "inference": "errors files image kernels",
    "metadata": "errors files image",
    "detection": "errors image kernels matting inference",
    "obfuscation": "errors image kernels",
    "idphoto": "errors image kernels matting inference",
    "tools": "errors files image kernels matting inference metadata detection obfuscation idphoto",
    "batch": "errors files image kernels matting inference metadata detection obfuscation idphoto tools",
    "video": "errors files image kernels matting inference metadata detection obfuscation idphoto tools",
    "studio": "errors files image kernels matting inference metadata detection obfuscation idphoto tools",
    "plugins": "errors files",
    "worker": "errors image kernels inference tools",
    "cli": "errors files image kernels matting inference metadata detection obfuscation idphoto tools"
    " batch video studio plugins worker",
    "__main__": "cli",
}
ROOT_IMPORTERS = {"cli", "plugins", "worker"}  # may ask the package for its version

# Libraries that cost time or memory: only functions import them.
LAZY = {"cv2", "numba", "onnxruntime", "pillow_heif", "tqdm"}
EAGER = {("safelight.kernels._numba_tools", "numba")}  # is itself imported when the first kernel runs

NETWORK = {"aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib"}
NETWORK |= {"socket", "socketserver", "ssl", "telnetlib", "urllib.error", "urllib.request", "urllib3"}
NETWORK |= {"webbrowser", "xmlrpc"}
NETWORK_USERS = {"safelight.inference.fetch"}
PROCESS_STARTERS = {"safelight.inference.registries"}  # runs pip and npm for fetch
# Module -> who may import it, and then only inside functions, unless it is of the same package.
DOORS = {
    "safelight.inference.fetch": {"safelight.cli_demo", "safelight.cli_models"},
    "safelight.inference.registries": {"safelight.inference.fetch"},
}
# Module -> all it may import: this one runs on every host's Python.
WHOLE_IMPORTS = {"safelight.worker.wire": {"__future__", "json", "struct"}}

PLUGIN_HOSTS = {
    "gimp": {"gi", "gimp", "gimpcolor", "gimpfu", "gimpui", "gobject", "gtk", "pango"},
    "krita": {"PyQt5", "PyQt6", "krita"},
}
PLUGIN_COPIES = {"client", "wire"}  # of safelight.worker's modules

LONGEST_FUNCTION = 60  # lines without the docstring
LONGEST_FILE = 400
LONG_FUNCTIONS: dict[str, str] = {}  # name -> why: only tables


# --- reading the sources ---

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module; for another's module with the name that was taken from it."""

    importer: str
    imported: str
    line: int
    inside: bool  # a function
    typing: bool  # only for type checkers

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@functools.cache
def modules() -> dict[str, Path]:
    found = sorted(path for path in CORE.rglob("*.py*") if path.suffix in (".py", ".pyi"))
    return {_module_name(path): path for path in found}


def sources() -> dict[str, Path]:
    return {name: path for name, path in modules().items() if path.suffix == ".py"}


def _module_name(path: Path) -> str:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _layer(module: str) -> str:
    name = module.removeprefix("safelight").removeprefix(".").partition(".")[0]
    return "cli" if name.startswith("cli_") else name


@functools.cache
def imports() -> list[Import]:
    return [found for name, path in sources().items() for found in _imports_of(name, path)]


def _imports_of(importer: str, path: Path) -> Iterator[Import]:
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node, inside, typing in _nodes(tree):
        for imported in _imported(node, package):
            yield Import(importer, imported, getattr(node, "lineno", 0), inside, typing)


def _nodes(node: ast.AST, inside: bool = False, typing: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Walk a tree, saying of every node whether it is in a function, and if only type checkers see it."""
    for child in ast.iter_child_nodes(node):
        yield child, inside, typing
        function = isinstance(child, Function | ast.Lambda)
        checked = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        yield from _nodes(child, inside or function, typing or checked)


def _imported(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        names = [f"{base}.{alias.name}" for alias in node.names]
        ours = base.partition(".")[0] == "safelight"
        return [base if ours and name not in modules() else name for name in names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return [importlib.util.resolve_name(name.value, package)]
    return []


def _within(module: str, names: set[str]) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:count]) in names for count in range(1, len(parts) + 1))


def _names(found: Iterator[Import]) -> list[str]:
    return [str(one) for one in found]


# --- imports ---


def test_imports_point_one_way() -> None:
    list(graphlib.TopologicalSorter({layer: below.split() for layer, below in LAYERS.items()}).static_order())
    ours = [found for found in imports() if _within(found.imported, {"safelight"})]
    wrong = []
    for found in ours:
        source, target = _layer(found.importer), _layer(found.imported)
        if not source:
            allowed = found.typing or found.inside
        elif not target:
            allowed = source in ROOT_IMPORTERS
        else:
            allowed = target == source or target in LAYERS[source].split()
        if not allowed:
            wrong.append(str(found))
    assert len(ours) > 50, "the sources are read"
    assert not wrong


def test_every_module_is_in_a_layer() -> None:
    assert not {_layer(name) for name in modules()} - {"", *LAYERS}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    assert not _names(
        found
        for found in imports()
        if _within(found.imported, LAZY)
        and not (found.inside or found.typing)
        and (found.importer, found.imported.partition(".")[0]) not in EAGER
    )


def test_only_fetching_uses_the_network() -> None:
    assert not _names(
        found
        for found in imports()
        if _within(found.imported, NETWORK) and found.importer not in NETWORK_USERS
    )
    assert not _names(
        found
        for found in imports()
        if _within(found.imported, {"subprocess"}) and found.importer not in PROCESS_STARTERS
    )


def test_only_those_asked_to_fetch_import_fetching() -> None:
    users = [found for found in imports() if found.imported in DOORS]
    assert users
    assert not _names(found for found in users if found.importer not in DOORS[found.imported])
    assert not _names(found for found in users if _layer(found.importer) == "cli" and not found.inside)


def test_what_runs_everywhere_imports_little() -> None:
    for name, allowed in WHOLE_IMPORTS.items():
        assert not _names(
            found for found in imports() if found.importer == name and not _within(found.imported, allowed)
        )


def test_plug_ins_import_the_standard_library_and_their_host() -> None:
    wrong = []
    for path in sorted(PLUGINS.rglob("*.py")):
        where = path.relative_to(PLUGINS)
        folder = PLUGINS / where.parts[0]
        files = [other.relative_to(folder).with_suffix("") for other in folder.rglob("*.py")]
        own = {part for file in files for part in file.parts}
        known = PLUGIN_HOSTS.get(where.parts[0], set()) | own | PLUGIN_COPIES | sys.stdlib_module_names
        for node, _, _ in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                continue  # of the plug-in itself
            for name in _imported(node, ""):
                if not _within(name, known - {"safelight"}) or _within(name, NETWORK):
                    wrong.append(f"{where}:{getattr(node, 'lineno', 0)} imports {name}")
    assert not wrong


# --- what modules offer ---


def _has_code(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return len(tree.body) > bool(ast.get_docstring(tree))


@pytest.mark.parametrize("name", [name for name, path in sources().items() if _has_code(path)])
def test_all_lists_what_is_public(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in LAZY:
            raise
        pytest.skip(f"{error.name} is not installed")
    offered = module.__all__
    assert len(set(offered)) == len(offered)
    assert not [entry for entry in offered if not hasattr(module, entry)]
    assert not [entry for entry in offered if entry.startswith("_") and entry != "__version__"]
    body = ast.parse(sources()[name].read_text(encoding="utf-8")).body
    defined = [node.name for node in body if isinstance(node, Function | ast.ClassDef)]
    assert not [entry for entry in defined if not entry.startswith("_") and entry not in offered]


def test_the_package_offers_what_it_lists() -> None:
    for name in safelight.__all__:
        if name != "__version__":
            assert safelight.__getattr__(name) is not None
    assert dir(safelight) == sorted(safelight.__all__)
    assert not set(safelight._HOME) - set(safelight.__all__)
    for_checkers = [
        alias.asname or alias.name
        for node, _, typing in _nodes(ast.parse((CORE / "__init__.py").read_text(encoding="utf-8")))
        if typing and isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted([*for_checkers, "__version__"]) == sorted(safelight.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        safelight.__getattr__("nonsense")


HELP = "import contextlib, safelight.cli as cli\nwith contextlib.suppress(SystemExit): cli.main(['--help'])"


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import safelight", LAZY | {"PIL", "argparse", "numpy", "platformdirs"}),
        (HELP, LAZY - {"tqdm"} | {"numpy"}),
    ],
    ids=["import", "help"],
)
def test_what_is_not_needed_is_not_loaded(code: str, unwanted: set[str]) -> None:
    report = "import sys; sys.stderr.write(' '.join(sys.modules))"
    before, after = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        for text in (report, f"{code}\n{report}")
    )
    loaded = set(after.stderr.split()) - set(before.stderr.split())
    assert "safelight" in loaded
    assert not sorted(loaded & unwanted)


# --- sizes, versions, the catalogue ---


def test_files_and_functions_are_short() -> None:
    long_files = {
        name: count
        for name, path in sources().items()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    long_functions = {
        f"{name}.{node.name}": count
        for name, path in sources().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Function) and (count := _length(node)) > LONGEST_FUNCTION
    }
    assert not long_files
    assert long_functions.keys() == LONG_FUNCTIONS.keys(), long_functions


def _length(function: Function) -> int:
    """Return how many lines a function's body has, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_the_version_is_one() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["dynamic"] == ["version"]
    source = ROOT / settings["tool"]["scikit-build"]["metadata"]["version"]["input"]
    found = re.findall(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
    assert found == [safelight.__version__]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[?(\d[^\]\s]*)", changes, re.MULTILINE)[:1] == found
    native = pytest.importorskip("safelight._native", reason="the compiled module was not built")
    assert native.__version__ == safelight.__version__


def test_the_catalogue_says_where_models_come_from_and_on_what_terms() -> None:
    rows: list[ModelInfo | Sample] = [*catalogue().values(), *samples().values()]
    for row in rows:
        assert row.licence and row.licence_source and row.size > 0, row.id
        assert re.fullmatch("[0-9a-f]{64}", row.sha256 or ""), row.id
        assert row.sources or (isinstance(row, ModelInfo) and "brought by hand" in row.notes), row.id
        for source in row.sources:
            assert source.url.startswith("https://") if source.kind == "url" else source.package, row.id
            assert source.kind == "url" or re.fullmatch(r"\d+(\.\d+)+", source.version), row.id
