"""Who is shown why a plugin failed: its author on the terminal, an administrator, and never the log."""

import subprocess
import sys
from pathlib import Path

import pytest
from fake_plugins import fake_plugin
from serving import Serve, Served, clean_environment, eventually

SECRET = "my password is swordfish"

FAILS = """
from modelhost import Backend, ModelCard, Options, hookimpl


class Fake(Backend[Options]):
    run = {run!r}

    def load(self):
        return ModelCard()

    @hookimpl
    def generate(self, request, context):
        raise ValueError(request.messages[0].text)
        yield
"""

CONFIG = """
[models.bad]
plugin = "bad"

[models.inline]
plugin = "inline_bad"

[models.broken]
plugin = "broken"

[models.unloadable]
plugin = "unloadable"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    fake_plugin(site, "bad", FAILS.format(run="process"))
    fake_plugin(site, "inline_bad", FAILS.format(run="inline"))
    fake_plugin(site, "broken", "import no_such_module_anywhere\n")
    unloadable = FAILS.format(run="process").replace("return ModelCard()", "print('about to fail', flush=True); 1 / 0")
    fake_plugin(site, "unloadable", unloadable)
    return site


@pytest.fixture(scope="module")
def host(serve: Serve, site: Path) -> Served:
    return serve(CONFIG, "--debug-plugin", "inline_bad", env={"PYTHONPATH": str(site)})


@pytest.mark.parametrize("model", ["bad", "inline"])
def test_an_administrator_sees_the_last_exception_of_a_hook_whole(host: Served, model: str) -> None:
    answer = host.chat(model, SECRET)
    assert (answer.status_code, SECRET in answer.text) == (500, False)
    eventually(lambda: host.worker(model)["last_failure"] is not None)
    failure = host.worker(model)["last_failure"]
    assert failure["what"] == "generate"
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert f"ValueError: {SECRET}" in failure["traceback"]
    assert "in generate" in failure["traceback"]


def test_a_load_that_fails_is_seen_whole_and_what_was_printed_too(host: Served) -> None:
    assert host.chat("unloadable").status_code == 503
    failure = host.worker("unloadable")["last_failure"]
    assert failure["what"] == "load"
    assert "ZeroDivisionError" in failure["traceback"]
    eventually(lambda: "about to fail" in host.worker("unloadable")["output"])


def test_the_terminal_shows_the_plugin_that_is_debugged_and_no_other(host: Served) -> None:
    host.chat("bad", f"not this: {SECRET}")
    host.chat("inline", f"but this: {SECRET}")
    eventually(lambda: any(f"ValueError: but this: {SECRET}" in line for line in host.log))
    assert not any(f"not this: {SECRET}" in line for line in host.log)


def test_an_import_that_fails_is_seen_whole(host: Served) -> None:
    plugins = {plugin["name"]: plugin for plugin in host.client.get("/v1/plugins").json()["data"]}
    assert "import no_such_module_anywhere" in plugins["broken"]["traceback"]
    assert plugins["bad"]["traceback"] is None


def test_a_plugin_to_debug_that_no_model_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text('[models.echo]\nplugin = "echo"\n')
    command = [sys.executable, "-m", "modelhost", "serve", "--port", "0", "--debug-plugin", "ecko"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "no model has this plugin; there are: echo" in done.stderr
