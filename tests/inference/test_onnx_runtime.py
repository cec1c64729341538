from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import safelight

CORE = Path(safelight.__file__).parent


def test_one_module_imports_it() -> None:
    """Another import could be the first, and the library would start to report."""
    importers = set()
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(name.partition(".")[0] == "onnxruntime" for name in names):
                importers.add(path.relative_to(CORE).as_posix())
    assert importers == {"inference/onnx_runtime.py"}


def test_it_leaves_nothing_behind_and_opens_no_connection(models: Path, tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from safelight.inference.session import Session\n"
        "session = Session('text-ppocrv6-det-tiny', provider='cpu')\n"
        "for _ in range(3):\n"
        "    session.run({'x': np.zeros((1, 3, 64, 64), np.float32)})\n"
        "time.sleep(0.3)\n"
        "handles = Path('/proc/self/fd')\n"
        "for handle in handles.iterdir() if handles.exists() else ():\n"
        "    try:\n"
        "        print(os.readlink(handle))\n"
        "    except OSError:\n"
        "        pass\n"
    )
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "LOCALAPPDATA", "TEMP", "TMP")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {**places, "SAFELIGHT_MODELS": str(models)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert list(tmp_path.rglob("*")) == []
    assert not [line for line in done.stdout.splitlines() if "socket:" in line or str(tmp_path) in line]
