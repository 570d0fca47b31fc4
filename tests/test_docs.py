"""What the documents say is true, and complete."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from modelhost.access.keys import SHORTEST, Keys
from modelhost.config import Config, ServerConfig, load_config
from modelhost.config.environment import NOT_KEYS
from modelhost.config.schema import KINDS
from modelhost.contract.types import media
from modelhost.contract.types.abilities import UNCOUNTED
from modelhost.dialogue.memory import MOST_CHARACTERS
from modelhost.http.routing import streaming
from modelhost.http.server import limits
from modelhost.planning import Plan, wanted_plugins
from modelhost.plugins.discovery import DESCRIBE_SECONDS, describe_all, installed
from modelhost.pool import admission, poison_requests as suspects, status
from modelhost.runner import output, process
from modelhost.wire import frames
from openai import APIError, APIStatusError, InternalServerError, OpenAI
from serving import Serve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "modelhost.example.toml"


def pages() -> Iterator[Path]:
    """Every document of the repository: not those of installed packages and caches."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in ("benchmarks", "docs", "host", "plugins", "tests"):
        yield from sorted(page for page in (ROOT / folder).rglob("*.md") if not re.search(r"/\.", str(page.relative_to(ROOT))))


PAGES = pytest.mark.parametrize("page", list(pages()), ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What may stand after `#` in a link to a page, as GitHub makes it of the headings."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", without_code(page.read_text()), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        found[words] = found.get(words, -1) + 1
    return {f"{words}-{number}" if number else words for words, most in found.items() for number in range(most + 1)}


class TestLinks:
    @PAGES
    def test_every_link_leads_to_a_file_and_a_heading_in_it(self, page: Path) -> None:
        text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text()))
        for target in re.findall(r"\]\(((?![a-z]+:)[^)\s]+)", text):
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target

    def test_headings_become_anchors_as_on_github(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("# One, `two`: [three](x)\n\n## [server]\n\n## [server]\n\n```sh\n# no heading\n```\n")
        assert anchors(page) == {"one-two-three", "server", "server-1"}

    def test_the_index_names_every_document(self) -> None:
        index = (DOCS / "README.md").read_text()
        for page in DOCS.rglob("*.md"):
            assert page.name == "README.md" or f"]({page.relative_to(DOCS)})" in index, page


class TestConfigurations:
    def test_the_example_loads_and_its_plugins_take_their_options(self) -> None:
        loaded = load_config(EXAMPLE, environ={})
        assert Plan.of(loaded).mistakes == ()

    def test_the_example_locks_nobody_out_of_the_host_that_it_is_copied_for(self) -> None:
        assert load_config(EXAMPLE, {}).config.keys == {}

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_example_names_every_key(self, kind: type[msgspec.Struct]) -> None:
        text = EXAMPLE.read_text()
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"^(# )?{field.name} = |^(# )?\[(.*\.)?{field.name}[.\]]", text, re.MULTILINE), field.name

    def test_the_example_shows_the_defaults(self) -> None:
        server = tomllib.loads(EXAMPLE.read_text())["server"]
        assert msgspec.convert(server, ServerConfig) == ServerConfig()

    @PAGES
    def test_every_block_of_toml_is_right(self, page: Path, tmp_path: Path) -> None:
        """Those that are whole configurations pass the reader, and the plugins that are installed take their options."""
        for text in re.findall(r"^```toml.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            if not is_configuration(tomllib.loads(text)):
                continue
            (tmp_path / "modelhost.toml").write_text(text)
            variables = dict.fromkeys(re.findall(r"(?<!\$)\$\{(\w+)\}", text), "a-value-of-sixteen-characters")
            loaded = load_config(tmp_path / "modelhost.toml", environ=variables)
            here = {key: options for key, options in wanted_plugins(loaded).items() if key[0] in installed()}
            assert Plan.with_plugins(loaded, Keys(()), describe_all(here)).mistakes == ()

    def test_blocks_that_are_whole_configurations_are_told_from_others(self) -> None:
        assert is_configuration(tomllib.loads("[server]\nport = 1"))
        assert is_configuration(tomllib.loads('[models.m]\nplugin = "x"'))
        assert is_configuration(tomllib.loads('[models.m]\nplugin = "x"\nno_such_key = 1'))
        assert not is_configuration(tomllib.loads("[models.m.options]\nn = 1"))
        assert not is_configuration(tomllib.loads('[project]\nname = "x"'))


def is_configuration(block: dict[str, dict[str, dict[str, object]]]) -> bool:
    """Whether a block of TOML could be a modelhost.toml of its own; `[models.NAME.options]` alone is a part of one."""
    return block.keys() <= set(Config.__struct_fields__) and all("plugin" in one for one in block.get("models", {}).values())


class TestReference:
    def test_the_tables_are_those_of_the_code(self) -> None:
        """Configuration, command line, endpoints, errors and hooks."""
        done = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_configuration_page_has_every_key(self, kind: type[msgspec.Struct]) -> None:
        text = (DOCS / "reference/configuration.md").read_text()
        for field in msgspec.structs.fields(kind):
            assert f"| `{field.name}` | " in text

    def test_a_table_that_is_behind_the_code_is_named_with_what_to_type(self, tmp_path: Path) -> None:
        (tmp_path / "docs").mkdir()
        script = tmp_path / "docs" / "generate.py"
        script.write_text((DOCS / "generate.py").read_text())
        page = tmp_path / "docs" / "page.md"
        page.write_text("By hand.\n\n<!-- table: [defaults] -->\n\nold\n\n<!-- end -->\n")
        checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stdout) == (1, "docs/page.md is behind the code; run: python docs/generate.py\n")
        subprocess.run([sys.executable, script], check=True)
        assert page.read_text().startswith("By hand.\n\n<!-- table: [defaults] -->\n\n| key | type | default | meaning |\n")
        subprocess.run([sys.executable, script, "--check"], check=True)

    def test_every_variable_of_ours_is_explained(self) -> None:
        text = (DOCS / "reference/configuration.md").read_text()
        assert [name for name in NOT_KEYS if f"`{name}`" not in text] == []

    def test_every_code_of_the_host_is_explained(self) -> None:
        text = (DOCS / "concepts/errors.md").read_text()
        sources = [file.read_text() for file in (ROOT / "host" / "modelhost").rglob("*.py")]
        codes = {code for source in sources for code in re.findall(r'\bcode ?= ?"(\w+)"', source)}
        assert [code for code in codes if f"`{code}`" not in text] == [], "explain them in docs/concepts/errors.md"

    def test_it_names_every_metric_and_no_other(self, serve: Serve) -> None:
        text = serve('[models.echo]\nplugin = "echo"\n').client.get("/metrics").text
        there = {name for name in re.findall(r"^# HELP (modelhost_\S+)", text, re.MULTILINE) if not name.endswith("_created")}
        assert there == set(re.findall(r"^\| `(\w+)` \|", (DOCS / "reference/metrics.md").read_text(), re.MULTILINE))


def test_the_sdk_does_what_the_page_on_errors_says(serve: Serve) -> None:
    host = serve(
        '[models.fails]\nplugin = "echo"\noptions = { fault = "raise" }\n'
        '[models.breaks]\nplugin = "echo"\noptions = { fault = "raise", fault_after = 1 }\n'
    )
    asked = [{"role": "user", "content": "one two three"}]
    with OpenAI(base_url=f"{host.url}/v1", api_key="none") as client:
        with pytest.raises(InternalServerError) as failed:
            client.chat.completions.create(model="fails", messages=asked)  # type: ignore[arg-type]
        with pytest.raises(APIError) as broken:
            list(client.chat.completions.create(model="breaks", messages=asked, stream=True))  # type: ignore[arg-type]
    assert (failed.value.code, failed.value.type) == (broken.value.code, broken.value.type) == ("backend_failed", "server_error")
    assert failed.value.request_id
    assert not isinstance(broken.value, APIStatusError)
    counted = re.findall(r'^modelhost_requests_total{.*model="fails".*} (\S+)$', host.client.get("/metrics").text, re.MULTILINE)
    assert counted == ["1.0"], "it was sent again, though x-should-retry says that this cannot help"


KIB = 1024
FIRST_LOAD, LAST_LOAD = status.LOAD_BACKOFF
LOADS = f"{FIRST_LOAD:g} seconds, then {FIRST_LOAD * 2:g}, and so on up to {LAST_LOAD / 60:g} minutes"
FIRST_START, LAST_START = status.CRASH_BACKOFF
STARTS = f"{FIRST_START:g} second, then {FIRST_START * 2:g}, and so on up to {LAST_START:g}."
FIGURES = {
    "concepts/life-of-a-request.md": [
        f"may have {limits.MAX_HEAD // KIB} KiB and be {limits.MAX_HEADERS} at most; a URL may have {limits.MAX_URL // KIB} KiB",
        f"at {limits.MIN_RATE // KIB} KiB/s",
        f"over {media.SPOOL_OVER // KIB**2} MiB goes as a file",
        f"A call may be {frames.WINDOW // KIB} KiB of events",
        f"{streaming.AHEAD // KIB} KiB wait for the client",
        f"After {streaming.HEARTBEAT:g} seconds of silence",
        f"up to {admission.BESIDE} run beside",
        " and ".join(f"`{ability}`" for ability in sorted(UNCOUNTED)),
        f"for {LOADS}",
    ],
    "concepts/isolation.md": [
        f"after {LOADS}",
        f"after {STARTS}",
        f"last {output.OUTPUT_BYTES // KIB} KiB are kept",
        f"`unload` run for {process.STOP_SECONDS:g} seconds",
    ],
    "reference/configuration.md": [f"at least {SHORTEST}\nprintable", f"of {MOST_CHARACTERS:,} characters at most"],
}
"""What the pages say in figures, made of the code's own."""


@pytest.mark.parametrize(("page", "words"), [(page, words) for page, said in FIGURES.items() for words in said])
def test_figures_are_those_of_the_code(page: str, words: str) -> None:
    assert " ".join(words.split()) in " ".join((DOCS / page).read_text().split())


def test_figures_that_are_written_as_words_are_those_of_the_code() -> None:
    text = " ".join((DOCS / "concepts/isolation.md").read_text().split())
    assert DESCRIBE_SECONDS == 10
    assert "which gets ten seconds" in text
    assert (suspects.DEATHS, suspects.MEMORY_SECONDS) == (2, 600)
    assert "two workers that died, it is refused for ten minutes" in text
