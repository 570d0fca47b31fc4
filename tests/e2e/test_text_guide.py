"""docs/guides/text.md, typed as printed, with the models of the starter."""

import json
import re
from collections.abc import Iterator

import pytest
from guide_reader import BLOCK, GUIDES, Reader

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has followed text.md."""
    reader = Reader("text.md", tmp_path_factory.mktemp("text"), {})
    try:
        reader.follow()
        yield reader
    finally:
        assert reader.host.stop() == 0


def test_every_block_is_run_or_is_a_configuration() -> None:
    # That of LangChain is run by tests/test_openai_tokens.py.
    text = (GUIDES / "text.md").read_text()
    assert {what for _, what, _ in BLOCK.findall(text)} == {"file=modelhost.toml", "serve", "run", "langchain"}
    assert set(re.findall(r"^```(\w+)$", text, re.MULTILINE)) <= {"toml"}


def test_a_vector_is_made_of_each_text(reader: Reader) -> None:
    answer = json.loads(reader.said_by('"a kitten", "a car"]}'))
    assert [len(one["embedding"]) for one in answer["data"]] == [384, 384, 384]
    assert int(reader.said_by("vectors.jsonl")) == 3
    assert len(json.loads(reader.said_by("8000/embed"))["embedding_384d"]) == 384


def test_what_means_the_same_lies_near(reader: Reader) -> None:
    numbers, kitten, car = re.findall(r"[\d.]+", reader.said_by("nearness"))
    assert numbers == "384"
    assert float(kitten) > float(car) + 0.2


def test_what_is_asked_twice_is_computed_once(reader: Reader) -> None:
    assert re.findall("miss|hit", reader.said_by("x-modelhost-cache")) == ["miss", "hit"]


def test_every_model_takes_purposes_and_refuses_lengths_it_was_not_trained_for(reader: Reader) -> None:
    assert re.fullmatch(r"384\ndimensions .*ask for these\n", reader.said_by("dimensions=128"))


def test_documents_are_sorted_by_the_question(reader: Reader) -> None:
    first, second = json.loads(reader.said_by("/v1/rerank"))["results"]
    assert first["document"]["text"] == "Cats purr when they are content."
    assert first["relevance_score"] > second["relevance_score"]


def test_summaries_come_from_the_command_line_with_their_names(reader: Reader) -> None:
    assert re.fullmatch(r"# shop\.py\n\n.+\n# app\.log\n\n.+\n", reader.said_by("-o notes.md"), re.DOTALL)


def test_summaries_come_by_http_whole_and_streamed(reader: Reader) -> None:
    told = json.loads(reader.said_by("file=@shop.py -F max_tokens=30"))
    assert (told["language"], bool(told["summary"])) == ("Python", True)
    assert re.fullmatch(r"Python (stop|length) \d+\n", reader.said_by("told = answer.json()"))
    *words, reason = reader.said_by('"stream": True').splitlines()
    assert (bool(words), reason in ("stop", "length")) == (True, True)


def test_a_persona_of_ones_own_counts_at_once_and_is_never_a_path(reader: Reader) -> None:
    assert {"id": "code/sdet", "object": "persona"} in json.loads(reader.said_by("/v1/personas"))["data"]
    assert reader.said_by("--persona release_manager").strip()
    refused = json.loads(reader.said_by("/etc/passwd"))["error"]
    assert (refused["code"], refused["param"]) == ("unknown_persona", "persona")
    assert "release_manager" in refused["message"]


def test_code_is_outlined(reader: Reader) -> None:
    (total,) = json.loads(reader.said_by("/parse-ast"))["functions"]
    assert [param["name"] for param in total["params"]] == ["prices", "discount"]
