from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safelight.errors import InputError, ModelError, ModelNotFound, SafelightError
from safelight.inference import catalogue as catalogue_module
from safelight.inference import models
from safelight.inference.archives import is_archive, open_member
from safelight.inference.importing import check_tensors, import_models
from safelight.inference.protobuf import encode_message as message

FIRST, SECOND = b"first network" * 100, b"second network" * 100


def row(content: bytes | None, *sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} if content else {}
    return (
        known
        | {
            "task": "test",
            "title": "A test",
            "runtime": "onnx",
            "inputs": {"x": [1, 3, "free", "free"]},
            "outputs": ["y"],
            "preprocess": {"channels": "RGB", "scale": "255", "mean": [0, 0, 0], "std": [1, 1, 1]},
            "licence": "MIT",
            "licence_source": "nowhere",
            "commercial": True,
            "default": True,
            "sources": list(sources),
        }
        | changes
    )


def pip_source(member: str) -> dict[str, Any]:
    return {"kind": "pip", "package": "tiny", "version": "1.0", "member": member, "archive_size": 1}


CHUNKED = {
    "kind": "npm",
    "package": "tiny",
    "version": "1.0",
    "member": "/models/a",
    "options": {"resources": "package/dist/resources.json"},
    "archive_size": 1,
}
ROWS = {
    "test-first": row(FIRST, pip_source("tiny/first.onnx")),
    "test-second": row(SECOND, pip_source("tiny/second.onnx")),
    "test-chunked": row(FIRST + SECOND, CHUNKED),
    "test-brought": row(None),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty models' folder, and a catalogue of a few small models."""
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": ROWS, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    yield tmp_path / "models"
    catalogue_module.catalogue.cache_clear()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return path


def make_chunks(path: Path, chunks: list[bytes], offsets: list[Any] | None = None, *, lost: int = -1) -> Path:
    ends = np.cumsum([len(chunk) for chunk in chunks]).tolist()
    places = offsets or [[end - len(chunk), end] for chunk, end in zip(chunks, ends, strict=True)]
    index = {"/models/a": {"chunks": [{"hash": f"c{n}", "offsets": place} for n, place in enumerate(places)]}}
    members = {f"package/dist/c{n}": chunk for n, chunk in reversed(list(enumerate(chunks))) if n != lost}
    return make_tar(path, members | {"package/dist/resources.json": json.dumps(index).encode()})


def network(inputs: str = "x", outputs: str = "y", shape: tuple[int | str, ...] = (1, 3, "h", "w")) -> bytes:
    """A network of one Relu."""

    def value(name: str) -> bytes:
        dims = [message((1, size) if isinstance(size, int) else (2, size.encode())) for size in shape]
        tensor = message((1, 1), (2, message(*((1, dim) for dim in dims))))
        return message((1, name.encode()), (2, message((1, tensor))))

    relu = message((1, inputs.encode()), (2, outputs.encode()), (4, b"Relu"))
    graph = message((1, relu), (2, b"g"), (11, value(inputs)), (12, value(outputs)))
    return message((1, 8), (7, graph), (8, message((1, b""), (2, 15))))


def ids(path: Path, **options: Any) -> list[str]:
    return [imported.info.id for imported in import_models(path, **options)]


def test_a_file_is_known_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "whatever.bin").write_bytes(SECOND)
    taken = import_models(tmp_path / "whatever.bin")
    assert [(imported.info.id, imported.hash_known) for imported in taken] == [("test-second", True)]
    assert models.find_model("second").read_bytes() == SECOND
    assert ids(tmp_path / "whatever.bin", as_id="second") == ["test-second"]
    with pytest.raises(InputError, match="must be test-first, but is test-second by its SHA-256"):
        import_models(tmp_path / "whatever.bin", as_id="first")


def test_a_model_that_ends_with_a_zip_file_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"TFL3 " + make_zip(tmp_path / "a.zip", {"labels.txt": b"cat"}).read_bytes()
    rows = {"test-tail": row(content, runtime="tflite")}
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": rows, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    (tmp_path / "a.tflite").write_bytes(content)
    assert zipfile.is_zipfile(tmp_path / "a.tflite")
    assert ids(tmp_path / "a.tflite") == ["test-tail"]


def test_all_models_of_a_package_are_taken(tmp_path: Path, folder: Path) -> None:
    members = {"tiny/first.onnx": FIRST, "tiny/second.onnx": SECOND, "../../evil": b"x", "/evil": b"x"}
    assert ids(make_zip(tmp_path / "tiny-1.0-py3-none-any.whl", members)) == ["test-first", "test-second"]
    assert models.find_model("first").read_bytes() == FIRST
    assert not list(tmp_path.glob("**/evil"))
    assert ids(make_tar(tmp_path / "tiny.tgz", members), as_id="second") == ["test-second"]


def test_chunks_are_joined_in_any_order(tmp_path: Path) -> None:
    whole = FIRST + SECOND
    assert ids(make_chunks(tmp_path / "tiny.tgz", [whole[:100], whole[100:1500], whole[1500:]])) == [
        "test-chunked"
    ]
    assert models.find_model("chunked").read_bytes() == whole


@pytest.mark.parametrize(
    ("offsets", "lost"),
    [
        (None, 1),
        ([[0, 100], [100, 100_000_000]], -1),
        ([[0, 100], [-5, len(FIRST + SECOND) - 105]], -1),
        ([[0, 100], ["x", 5]], -1),
        ([[0, 100], [100]], -1),
        ([[0, 100], None], -1),
        ([[1 << 40, (1 << 40) + 100], [100, 200]], -1),
    ],
)
def test_chunks_that_do_not_fit_are_refused(tmp_path: Path, folder: Path, offsets: Any, lost: int) -> None:
    whole = FIRST + SECOND
    path = make_chunks(tmp_path / "tiny.tgz", [whole[:100], whole[100:]], offsets, lost=lost)
    with pytest.raises(ModelError, match="must be a package that can be read, but is not"):
        import_models(path)
    assert not list(folder.glob("*.onnx")) if folder.exists() else True


def test_a_link_is_no_member(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "tiny.tgz", {"tiny/second.onnx": SECOND}, {"tiny/first.onnx": "/etc/passwd"})
    assert ids(path) == ["test-second"]


def test_a_member_with_another_hash_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"test-first.onnx must have the SHA-256 .*, but has"):
        import_models(make_zip(tmp_path / "tiny.whl", {"tiny/first.onnx": FIRST[::-1]}))
    assert list(folder.iterdir()) == []


def test_a_package_without_models_is_told(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "tiny.whl", {"tiny/readme": b""})
    with pytest.raises(InputError, match="must hold a model of the catalogue"):
        import_models(path)
    with pytest.raises(InputError, match="must hold test-first"):
        import_models(path, as_id="first")


def test_damaged_packages_raise_nothing_else(tmp_path: Path) -> None:
    originals = [
        make_zip(tmp_path / "a.whl", {"tiny/first.onnx": os.urandom(5000), "tiny/second.onnx": SECOND}),
        make_chunks(tmp_path / "b.tgz", [FIRST, SECOND]),
    ]
    dice = np.random.default_rng(1)
    for original in originals:
        whole = original.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for place in dice.integers(0, len(whole), 3):
                damaged[place] = dice.integers(256)
            path = tmp_path / f"damaged{original.suffix}"
            path.write_bytes(
                bytes(damaged[: len(whole) if dice.random() < 0.5 else dice.integers(len(whole))])
            )
            refuse_or_take(lambda path=path: import_models(path))


def refuse_or_take(action: Callable[[], object]) -> None:
    try:
        action()
    except SafelightError as error:
        assert " must " in str(error)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="must be a file that can be read"):
            import_models(path)
    with pytest.raises(
        InputError, match="a model must be one of first, second, chunked, brought, but is 'x'"
    ):
        import_models(tmp_path, as_id="x")


def test_an_error_of_the_reader_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "tiny.whl", {"tiny/first.onnx": FIRST})
    source = models.model_info("first").sources[0]
    with pytest.raises(InputError, match="mine"), open_member(path, source, limit=1):
        raise InputError("mine")
    assert is_archive(path)


# --- files with an unknown hash ---


def test_an_unknown_file_needs_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(network())
    with pytest.raises(InputError, match=r"must have a SHA-256 that the catalogue knows.*--as ID"):
        import_models(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["brought", "first"])
def test_an_unknown_file_with_fitting_tensors_is_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.onnx").write_bytes(network())
    taken = import_models(tmp_path / "a.onnx", as_id=name)
    assert [(imported.info.id, imported.hash_known) for imported in taken] == [(f"test-{name}", False)]
    assert models.find_model(name).read_bytes() == network()


@pytest.mark.parametrize(
    ("content", "message_part"),
    [
        (
            network(inputs="z"),
            r"test-brought must take x \(1, 3, free, free\), but a.onnx takes z \(1, 3, free, free\)",
        ),
        (network(shape=(1, 3, 64, 64)), r"but a.onnx takes x \(1, 3, 64, 64\)"),
        (network(shape=(1, 4, "h", "w")), r"but a.onnx takes x \(1, 4, free, free\)"),
        (network(shape=(1, 3, "h")), r"but a.onnx takes x \(1, 3, free\)"),
        (network(outputs="z"), "must give y, but a.onnx lacks y: it gives z"),
        (b"no network", "must be an ONNX model that can be opened, but is not"),
        (b"", "must be an ONNX model that can be opened, but is not"),
    ],
)
def test_an_unknown_file_with_other_tensors_is_refused(
    tmp_path: Path, folder: Path, content: bytes, message_part: str
) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=message_part):
        import_models(tmp_path / "a.onnx", as_id="brought")
    assert not folder.exists()


def test_tensors_are_checked_as_they_are_after_the_edits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ROWS | {
        "test-brought": row(None, edits=["free_input_shape"], inputs={"x": ["free", 3, "free", "free"]})
    }
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": rows, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    (tmp_path / "a.onnx").write_bytes(network(shape=(10, 3, 32, 32)))
    assert ids(tmp_path / "a.onnx", as_id="brought") == ["test-brought"]
    (tmp_path / "b.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="must be an ONNX file fit for free_input_shape"):
        import_models(tmp_path / "b.onnx", as_id="brought")


def test_a_tflite_file_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ROWS | {"test-brought": row(None, runtime="tflite")}
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": rows, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    (tmp_path / "a.tflite").write_bytes(b"no network")
    with pytest.raises(ModelError, match="must be a TensorFlow Lite model fit for test-brought"):
        import_models(tmp_path / "a.tflite", as_id="brought")


# --- the real models ---


@pytest.fixture(params=["selfie", "mediapipe", "u2netp", "centerface", "clp-det", "ppocrv6-det-tiny"])
def real(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[models.ModelInfo, Path]:
    monkeypatch.undo()
    catalogue_module.catalogue.cache_clear()
    try:
        return models.model_info(request.param), models.find_model(request.param)
    except ModelNotFound as error:
        if "models" in os.environ.get("SAFELIGHT_REQUIRE", ""):
            raise
        pytest.skip(str(error))


def test_real_models_fit_their_rows(real: tuple[models.ModelInfo, Path]) -> None:
    info, path = real
    check_tensors(info, path)
    for other in models.catalogue().values():
        if other.runtime == info.runtime and set(other.outputs).isdisjoint(info.outputs):
            with pytest.raises(ModelError):
                check_tensors(other, path)
