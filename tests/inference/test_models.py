from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safelight.errors import InputError, ModelError, ModelNotFound, OutputError
from safelight.inference import catalogue as catalogue_module
from safelight.inference import models, onnx_edit

CONTENT = b"weights " * 1000
ROW = {
    "task": "test",
    "title": "A test",
    "size": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "runtime": "onnx",
    "inputs": {"x": [1, 3, "free", "free"]},
    "outputs": ["y"],
    "preprocess": {"channels": "RGB", "scale": "255", "mean": [0, 0, 0], "std": [1, 1, 1]},
    "licence": "MIT",
    "licence_source": "nowhere",
    "commercial": True,
    "default": True,
    "sources": [
        {"kind": "pip", "package": "tiny", "version": "1.0", "member": "tiny/net.onnx", "archive_size": 9}
    ],
}
UNKNOWN_ROW = {key: value for key, value in ROW.items() if key not in ("size", "sha256", "sources")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty models' folder, and a catalogue of a few small models."""
    rows = {
        "test-net": ROW,
        "test-twin": ROW,
        "other-twin": ROW | {"task": "other"},
        "test-unknown": UNKNOWN_ROW,
    }
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": rows, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    yield tmp_path / "models"
    catalogue_module.catalogue.cache_clear()


def test_every_row_is_complete() -> None:
    for name, info in models.catalogue().items():
        assert name == info.id == f"{info.task}-{name.removeprefix(info.task + '-')}"
        assert re.fullmatch(r"[0-9a-f]{64}", info.sha256 or "")
        assert info.size > 0 and info.title and info.licence and info.licence_source
        assert info.file_name.endswith((".onnx", ".tflite"))
        assert info.inputs and info.outputs
        assert all(edit in onnx_edit.__all__ for edit in info.edits)
        assert info.preprocess.multiple >= 1 and all(info.preprocess.std)
        assert len(info.preprocess.mean) == len(info.preprocess.std) == 3
        assert (info.preprocess.size is not None) or all(shape[3] is None for shape in info.inputs.values())
        assert info.needs == ("npm" if info.sources and all(s.kind == "npm" for s in info.sources) else None)
        for source in info.sources:
            assert source.archive_size > 0
            assert (
                source.url.startswith("https://")
                if source.kind == "url"
                else source.package and source.member
            )
            assert source.kind != "pip" or "python_version" in source.options


def test_the_default_set() -> None:
    default = {info.short_name for info in models.catalogue().values() if info.default}
    assert default == {
        "u2netp", "isnet", "u2net", "centerface", "ppocrv6-det-tiny", "clp-det", "mediapipe", "selfie"
    }  # fmt: skip
    assert not models.model_info("rmbg-1.4").commercial
    assert all(info.commercial for info in models.catalogue().values() if info.default)


def test_samples_are_complete() -> None:
    assert set(models.samples()) == {"astronaut", "chelsea"}
    for sample in models.samples().values():
        assert re.fullmatch(r"[0-9a-f]{64}", sample.sha256)
        assert sample.sources[0].package == "scikit-image" and sample.sources[0].version == "0.26.0"


def test_a_model_is_known_by_id_and_short_name() -> None:
    assert (
        models.model_info("isnet") is models.model_info("cutout-isnet") is models.catalogue()["cutout-isnet"]
    )
    with pytest.raises(InputError, match=r"must be one of u2netp, isnet.*, but is 'net'"):
        models.model_info("net")


def test_a_short_name_that_two_models_share_is_none(folder: Path) -> None:
    assert models.model_info("net").id == "test-net"
    assert models.model_info("other-twin").short_name == "other-twin"
    with pytest.raises(InputError, match="test-twin, other-twin"):
        models.model_info("twin")


def test_rows_can_be_hashed_and_compared() -> None:
    assert len(set(models.catalogue().values())) == len(models.catalogue())


def test_the_folder_is_the_users_unless_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAFELIGHT_MODELS", raising=False)
    assert models.models_directory().parts[-2:] == ("safelight", "models")
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path))
    assert models.models_directory() == tmp_path


def test_a_missing_model_names_the_command(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="run `safelight models get net`"):
        models.find_model("test-net")
    with pytest.raises(ModelNotFound, match="run `safelight models import FILE --as test-unknown`"):
        models.find_model("unknown")
    assert models.model_state(models.model_info("net")) == "not here"
    assert not folder.exists()


def test_install_find_remove(folder: Path) -> None:
    info = models.model_info("net")
    path = models.install_model(info, io.BytesIO(CONTENT))
    assert path == folder / "test-net.onnx" == models.find_model("net") == models.load_model("net")
    assert path.read_bytes() == CONTENT
    assert sorted(file.name for file in folder.iterdir()) == ["test-net.onnx", "test-net.onnx.json"]
    assert models.model_state(info) == "here"
    assert models.remove_model(info)
    assert not models.remove_model(info)
    assert list(folder.iterdir()) == []


def test_install_from_a_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert models.install_model(models.model_info("net"), tmp_path / "file").read_bytes() == CONTENT


def test_another_file_is_not_installed_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ModelError, match=rf"must have the SHA-256 {ROW['sha256']}, but has"):
        models.install_model(models.model_info("net"), io.BytesIO(CONTENT[::-1]))
    with pytest.raises(ModelError, match="must have the SHA-256"):
        models.install_model(models.model_info("unknown"), io.BytesIO(CONTENT))
    assert list(folder.iterdir()) == []


def test_a_file_that_is_too_long_is_refused_while_it_is_read(folder: Path) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 10 << 20, "read on and on"
            return b"\0" * size

    with pytest.raises(ModelError, match=f"must have {len(CONTENT)} bytes, but has more"):
        models.install_model(models.model_info("net"), Endless())  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


def test_a_failing_source_leaves_the_old_file(folder: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(100) or self._fail()

        def _fail(self) -> bytes:
            raise KeyboardInterrupt

    models.install_model(models.model_info("net"), io.BytesIO(CONTENT))
    with pytest.raises(KeyboardInterrupt):
        models.install_model(models.model_info("net"), Broken(CONTENT[:500]))
    assert models.find_model("net").read_bytes() == CONTENT
    assert len(list(folder.iterdir())) == 2


def test_an_unchanged_file_is_not_hashed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.install_model(models.model_info("net"), io.BytesIO(CONTENT))
    monkeypatch.setattr(models, "_hash_file", lambda path: pytest.fail("hashed again"))
    models.find_model("net")


def test_a_touched_file_is_hashed_again_and_found_right(folder: Path) -> None:
    path = models.install_model(models.model_info("net"), io.BytesIO(CONTENT))
    stamp = path.with_name("test-net.onnx.json")
    os.utime(path, ns=(1, 1))
    assert models.find_model("net") == path
    assert json.loads(stamp.read_text())["mtime_ns"] == 1
    for damage in ("", "[]", "{", '{"size": "x"}'):
        stamp.write_text(damage)
        assert models.find_model("net") == path
    stamp.unlink()
    assert models.find_model("net") == path
    assert stamp.exists()


def test_a_changed_file_is_an_error(folder: Path) -> None:
    info = models.model_info("net")
    path = models.install_model(info, io.BytesIO(CONTENT))
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match="it was changed or is another file; run `safelight models get net`"):
        models.find_model("net")
    assert models.model_state(info) == "changed"
    models.install_model(info, io.BytesIO(CONTENT))
    assert models.model_state(info) == "here"


def test_verify_does_not_believe_the_stamp(folder: Path) -> None:
    info = models.model_info("net")
    path = models.install_model(info, io.BytesIO(CONTENT))
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ModelError, match="must have the SHA-256"):
        models.verify_model(info)


def test_a_file_for_a_newer_catalogue_is_not_the_old_one(folder: Path) -> None:
    info = models.model_info("net")
    models.install_model(info, io.BytesIO(CONTENT))
    newer = replace(info, sha256="0" * 64)
    with pytest.raises(ModelError, match="must have the SHA-256 0000"):
        models.verify_model(newer)


def test_a_brought_file_is_kept_by_the_hash_it_came_with(folder: Path) -> None:
    for name in ("net", "unknown"):
        info = models.model_info(name)
        path = models.install_model(info, io.BytesIO(b"another export"), unknown_hash_ok=True)
        os.utime(path, ns=(1, 1))
        assert models.find_model(name) == path
        path.write_bytes(b"changed since")
        with pytest.raises(ModelError, match="must have the SHA-256"):
            models.find_model(name)
    (folder / "test-unknown.onnx.json").unlink()
    with pytest.raises(ModelError, match="none is known"):
        models.find_model("unknown")


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(OutputError, match="must be a folder that can be made"):
        models.install_model(models.model_info("net"), io.BytesIO(CONTENT))
    with pytest.raises(OutputError), models.lock_models():
        pass


def test_the_lock_is_held_by_one_process_and_given_back_when_it_dies(folder: Path) -> None:
    script = (
        "import sys, time; from safelight.inference.models import lock_models\n"
        "with lock_models(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"held"
        waits = []

        def waiting() -> None:
            waits.append(1)
            if len(waits) == 3:
                other.kill()

        with models.lock_models(waiting):
            assert len(waits) >= 3


def test_look_up_imports_nothing_heavy_and_nothing_that_reaches_the_network() -> None:
    script = (
        "import sys, safelight.inference.models as models\n"
        "models.model_state(models.model_info('isnet'))\n"
        "heavy = {'numpy', 'onnxruntime', 'cv2', 'tqdm', 'urllib.request', 'http.client', 'socket',\n"
        "         'subprocess', 'safelight.inference.fetch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
