"""Personas: what comes along, what a user adds, and that names are looked up and never followed."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from modelhost import BadInputError, NotReadyError
from modelhost_summarizer.personas import Personas, included

PLUGIN = Path(__file__).parents[1]
NAMES = [
    "code/developer",
    "code/log_analyst",
    "code/sdet",
    "code/structural_analyst",
    "docs/assistant",
    "docs/security_validator",
]


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestThoseThatComeAlong:
    def test_they_are_listed_with_title_and_kind(self) -> None:
        found = Personas().all()
        assert [persona.name for persona in found] == NAMES
        assert (found[1].title, found[1].kind) == ("Log analyst", "code")

    @pytest.mark.parametrize("name", NAMES)
    def test_each_resolves_by_its_whole_name_and_its_last_part_and_keeps_to_a_length(self, name: str) -> None:
        personas = Personas()
        persona = personas.find(name)
        assert personas.find(name.rpartition("/")[2]) == persona
        assert "123 tokens" in persona.filled(123)
        assert "{" not in persona.filled(123)
        assert not persona.prompt.startswith("#")
        assert len(persona.prompt.split()) < 300  # small models have small contexts

    def test_the_security_validator_has_five_vectors_and_one_form(self) -> None:
        prompt = Personas().find("security_validator").prompt
        for vector in ("Security Weakening", "Trust Erosion", "Permission Creep", "Ambiguity Injection", "Velocity Over Safety"):
            assert vector in prompt
        form = ("THREAT ASSESSMENT:", "DETECTED PATTERNS:", "SPECIFIC CONCERNS:", "RECOMMENDATION:", "REASONING:")
        places = [prompt.index(line) for line in form]
        assert places == sorted(places)

    def test_a_wheel_brings_them_and_finds_them_alone(self, tmp_path: Path) -> None:
        pytest.importorskip("hatchling")
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        subprocess.run(build, cwd=PLUGIN, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "alone")
        code = "from modelhost_summarizer.personas import *; print(included(), *(p.name for p in Personas().all()), sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(tmp_path / "alone")},
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        assert done.stdout.decode().split() == [str(tmp_path / "alone/modelhost_summarizer/personas"), *NAMES]


class TestAUsersOwn:
    def test_they_go_before_those_that_come_along(self, tmp_path: Path) -> None:
        write(tmp_path, "code/developer.md", "# Mine\n\nBe {max_tokens} times brief.")
        persona = Personas([tmp_path]).find("developer")
        assert (persona.name, persona.title, persona.filled(3)) == ("code/developer", "Mine", "Be 3 times brief.")
        assert [one.name for one in Personas([tmp_path]).all()] == NAMES

    def test_earlier_folders_go_before_later_ones(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            write(tmp_path / folder, "x.md", f"of {folder}")
        assert Personas([tmp_path / "a", tmp_path / "b"]).find("x").prompt == "of a"

    def test_an_edit_holds_at_once(self, tmp_path: Path) -> None:
        personas = Personas([tmp_path])
        with pytest.raises(BadInputError):
            personas.find("new")
        path = write(tmp_path, "new.md", "one")
        assert personas.find("new").prompt == "one"
        path.write_text("two")
        assert personas.find("new").prompt == "two"

    def test_the_card_names_the_folders_so_that_no_summary_outlives_an_edit(self, load: Any, tmp_path: Path) -> None:
        assert load(personas=[str(tmp_path)]).card.reads == (str(tmp_path), str(included()))

    def test_without_a_heading_the_name_is_the_title(self, tmp_path: Path) -> None:
        write(tmp_path, "deep/er/plain.md", "\ufeffFirst line.\nSecond.")
        persona = Personas([tmp_path]).find("plain")
        assert (persona.title, persona.kind, persona.prompt) == ("deep/er/plain", "deep/er", "First line.\nSecond.")

    def test_of_two_with_one_last_part_the_caller_must_choose(self, tmp_path: Path) -> None:
        write(tmp_path, "a/x.md", "one")
        write(tmp_path, "b/x.md", "two")
        with pytest.raises(BadInputError, match="a/x, b/x"):
            Personas([tmp_path]).find("x")
        assert Personas([tmp_path]).find("b/x").prompt == "two"

    def test_readmes_and_hidden_files_are_none(self, tmp_path: Path) -> None:
        write(tmp_path, "README.md", "x")
        write(tmp_path, ".git/x.md", "x")
        assert [persona.name for persona in Personas([tmp_path]).all()] == NAMES

    @pytest.mark.parametrize("content", [b"", b"# Only a title\n", b"\xff\xfe\x00", b"x" * 70_000])
    def test_a_file_that_is_no_prompt_is_the_operators_to_mend_and_hides_no_other(self, tmp_path: Path, content: bytes) -> None:
        write(tmp_path, "bad.md", content)
        with pytest.raises(NotReadyError, match="'bad'"):
            Personas([tmp_path]).find("bad")
        assert [persona.name for persona in Personas([tmp_path]).all()] == NAMES


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["../docs/assistant", "code/../docs/assistant", "/etc/passwd", "code/developer.md", "", "code", "README", "..", "code/"],
    )
    def test_what_is_no_name_is_refused_with_those_there_are(self, name: str) -> None:
        with pytest.raises(BadInputError, match="docs/security_validator") as caught:
            Personas().find(name)
        assert (caught.value.param, caught.value.code) == ("persona", "unknown_persona")

    def test_a_file_outside_the_folders_is_never_read(self, tmp_path: Path) -> None:
        write(tmp_path, "secret.md", "secret")
        inside = tmp_path / "inside"
        inside.mkdir()
        for name in ("../secret", str(tmp_path / "secret"), "..\\secret"):
            with pytest.raises(BadInputError):
                Personas([inside]).find(name)

    @given(st.text())
    def test_any_name_finds_a_persona_of_that_name_or_is_refused(self, name: str) -> None:
        try:
            assert Personas().find(name).name.endswith(name)
        except BadInputError as error:
            assert error.param == "persona"  # noqa: PT017  # either is right

    def test_in_a_checkout_they_stand_at_its_root(self) -> None:
        assert included().parts[-1] == "personas"
        assert (included() / "README.md").is_file()
