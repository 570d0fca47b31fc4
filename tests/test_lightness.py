"""What must stay light: the host imports no runtime, `--help` next to nothing, a worker nothing of the server's."""

import subprocess
import sys
from pathlib import Path

import pytest
from modelhost.testing.imports import RUNTIMES

SERVER_ONLY = ("litestar", "uvicorn", "structlog", "httpx", "click", "rich", "platformdirs", "dotenv", "huggingface_hub")


def modules_after(code: str) -> set[str]:
    """Which modules an interpreter has imported after some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_host_imports_no_runtime_and_no_plugin() -> None:
    code = (
        "from modelhost.http.server.run import HostServer\n"
        "from modelhost.config import load_config\n"
        "from modelhost.host import ModelHost\n"
        "from modelhost.contract.log import Log, silent\n"
        "import os; os.chdir('/'); ModelHost.of(load_config(environ={}), Log(silent))\n"
    )
    loaded = modules_after(code)
    assert not loaded & {*RUNTIMES, "modelhost_echo", "modelhost_gguf_chat"}


def test_help_imports_neither_the_contract_nor_the_server() -> None:
    loaded = modules_after("from modelhost.cli import cli\ncli.main(['--help'], standalone_mode=False)")
    assert not loaded & {"msgspec", "pluggy", "litestar", "httpx", "modelhost.contract.types"}


def test_a_worker_imports_nothing_of_the_servers() -> None:
    loaded = modules_after("import modelhost.worker.serve, modelhost.worker.describe, modelhost.testing")
    assert not loaded & set(SERVER_ONLY)


PLUGINS = [
    folder.name for folder in sorted((Path(__file__).parents[1] / "plugins").iterdir()) if (folder / "pyproject.toml").is_file()
]


@pytest.mark.parametrize("name", PLUGINS)
def test_importing_a_first_party_plugin_imports_no_runtime(name: str) -> None:
    assert not modules_after(f"import modelhost_{name}") & {*RUNTIMES, *SERVER_ONLY}


def test_every_exported_name_is_there_and_type_checkers_see_the_same() -> None:
    """The lazy table and the imports for type checkers must not drift apart."""
    import ast
    from pathlib import Path

    import modelhost

    tree = ast.parse(Path(modelhost.__file__).read_text())
    names = [alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname]
    assert len(names) > 50
    for name in names:
        assert getattr(modelhost, name).__name__ if name.endswith("Error") else hasattr(modelhost, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        modelhost.no_such_name  # noqa: B018
