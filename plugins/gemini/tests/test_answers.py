"""What becomes of an answer, and of what is none."""

import asyncio
import gzip
import time
from contextlib import aclosing
from typing import Any

import pytest
from modelhost import (
    BackendFailedError,
    BadInputError,
    ChoiceDone,
    Context,
    DeadlineError,
    Delta,
    Done,
    ModelhostError,
    NotReadyError,
    OverloadedError,
    ServiceError,
    Tool,
    ToolDelta,
    Usage,
)
from modelhost.authors import upstream
from modelhost.contract.backend import read_options
from modelhost.testing import chat
from modelhost.testing.upstream import Answer
from modelhost_gemini import GeminiBackend, GeminiOptions

TOOLS = (Tool(name="add"), Tool(name="sub"))
ADD = {"functionCall": {"name": "add", "args": {"a": 1}}}
SUB = {"functionCall": {"id": "given", "name": "sub"}}


def refused(load: Any, **options: Any) -> ModelhostError:
    with pytest.raises(ModelhostError) as caught:
        load(**options).events("generate", chat("a secret of the caller"))
    assert "a secret" not in caught.value.message
    return caught.value


class TestLargeAnswers:
    @pytest.mark.parametrize("status", [200, 500])
    def test_one_that_is_packed_is_refused_unread(self, load: Any, stand_in: Any, status: int) -> None:
        stand_in.fail(status, gzip.compress(bytes(4 << 20)), content_encoding="gzip")
        error = refused(load)
        assert isinstance(error, BackendFailedError)
        assert "packs its answer" in error.message
        assert stand_in.requests[-1].headers["accept-encoding"] == "identity"

    def test_a_refusal_is_utf8_whatever_codec_it_names(self, load: Any, stand_in: Any) -> None:
        slow = b"-" + b"abcdefghij" * 200_000  # minutes, as punycode
        stand_in.fail(422, slow, content_type="text/plain; charset=punycode")
        began = time.monotonic()
        refused(load)
        assert time.monotonic() - began < 10

    def test_one_without_end_is_broken_off(self, load: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upstream, "MOST", 1000)
        stand_in.says(b"data: " + b"x" * 5000)
        assert "larger than" in refused(load).message


class TestAnswers:
    @pytest.mark.parametrize(
        "part",
        [
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"executableCode": {"code": "1", "language": "PYTHON"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        ],
    )
    def test_a_part_that_cannot_be_passed_on_is_no_answer_without_it(self, load: Any, stand_in: Any, part: Any) -> None:
        stand_in.says(stand_in.candidate({"text": "see"}), stand_in.candidate(part, reason="STOP"))
        assert "cannot pass on" in refused(load).message

    @pytest.mark.parametrize("odd", [-1, 2**63, 10**25])
    def test_what_can_be_no_count_costs_no_answer(self, load: Any, stand_in: Any, odd: int) -> None:
        stand_in.says(stand_in.candidate({"text": "hi"}, reason="STOP") | stand_in.usage(odd, 3))
        *_, done = load().events("generate", chat("hi"))
        assert done.usage == Usage(output_tokens=3)

    def test_text_comes_as_it_is_streamed_and_every_token_is_counted(self, load: Any, stand_in: Any) -> None:
        end = stand_in.candidate({"text": "lo"}, reason="STOP") | stand_in.usage(
            5, 2, thoughtsTokenCount=3, cachedContentTokenCount=4, toolUsePromptTokenCount=1
        )
        stand_in.says(stand_in.candidate({"text": "Hel"}), end)
        *deltas, done = load().events("generate", chat("hi"))
        assert [delta.text for delta in deltas] == ["Hel", "lo"]
        assert done.reason == "stop"
        counted = (done.usage.input_tokens, done.usage.output_tokens, done.usage.reasoning_tokens, done.usage.cached_tokens)
        assert counted == (6, 5, 3, 4)

    def test_thoughts_are_reasoning(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate({"text": "hm", "thought": True}), stand_in.candidate({"text": "yes"}, reason="STOP"))
        events = load().events("generate", chat("hi", reasoning_effort="low"))
        assert events[:2] == [Delta(reasoning="hm"), Delta(text="yes")]

    def test_calls_of_tools_come_whole_each_with_an_id(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate(ADD, SUB, reason="STOP"))
        first, second, done = load().events("generate", chat("hi", tools=TOOLS))
        assert (first.call, first.name, first.arguments) == (0, "add", '{"a":1}')
        assert first.id.startswith("call_")
        assert second == ToolDelta(call=1, id="given", name="sub", arguments="{}")
        assert done.reason == "tool_calls"

    def test_only_the_first_call_is_given_where_one_at_a_time_is_wanted(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate(ADD, SUB, reason="STOP"))
        events = load().events("generate", chat("hi", tools=TOOLS, parallel_tool_calls=False))
        assert [type(event) for event in events] == [ToolDelta, Done]

    def test_choices_stay_apart_and_each_has_its_end(self, load: Any, stand_in: Any) -> None:
        stand_in.says(
            stand_in.candidate({"text": "a"}),
            stand_in.candidate({"text": "b"}, index=1, reason="MAX_TOKENS"),
            stand_in.candidate(reason="STOP"),
        )
        events = load().events("generate", chat("hi", n=2))
        ends = [ChoiceDone(index=1, reason="length"), ChoiceDone(index=0, reason="stop"), Done()]
        assert events == [Delta(text="a"), Delta(text="b", index=1), *ends]
        assert stand_in.requests[-1].json["generationConfig"]["candidateCount"] == 2

    def test_logprobs_are_given_where_the_model_has_them(self, load: Any, stand_in: Any) -> None:
        one, other = {"token": "yes", "logProbability": -0.1}, {"token": "no", "logProbability": -2.0}
        result = {"chosenCandidates": [one], "topCandidates": [{"candidates": [one, other]}]}
        stand_in.says(stand_in.candidate({"text": "yes"}, reason="STOP", logprobsResult=result))
        loaded = load(features=["logprobs"])
        assert loaded.card.features == ("streaming", "stop", "logprobs")
        (token,) = loaded.events("generate", chat("hi", logprobs=True, top_logprobs=2))[0].logprobs
        assert (token.token, token.logprob, token.data) == ("yes", -0.1, b"yes")
        assert [top.token for top in token.top] == ["yes", "no"]

    @pytest.mark.parametrize(
        ("finish_reason", "reason"),
        [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("SPII", "content_filter")],
    )
    def test_the_end_says_why(self, load: Any, stand_in: Any, finish_reason: str, reason: str) -> None:
        stand_in.says(stand_in.candidate({"text": "a"}, reason=finish_reason))
        assert load().events("generate", chat("hi"))[-1].reason == reason


class TestRefusals:
    def test_a_blocked_prompt_says_why(self, load: Any, stand_in: Any) -> None:
        stand_in.says({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **stand_in.usage(3, 0)})
        error = refused(load)
        assert isinstance(error, BadInputError)
        assert (error.code, "PROHIBITED_CONTENT" in error.message) == ("content_filter", True)

    def test_an_exhausted_quota_says_when_and_lets_a_route_fall_back(self, load: Any, stand_in: Any) -> None:
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
        stand_in.fail(429, stand_in.refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded", info), retry_after="99")
        error = refused(load)
        assert isinstance(error, OverloadedError)
        assert isinstance(error, ServiceError)
        assert (error.code, error.retry_after, error.retry) == ("rate_limit_exceeded", 7.5, True)
        assert len(stand_in.requests) == 1

    def test_without_details_the_header_says_when(self, load: Any, stand_in: Any) -> None:
        stand_in.fail(429, stand_in.refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), retry_after="9")
        assert refused(load).retry_after == 9
        stand_in.fail(429, b"[]", retry_after="Sat, 21 Nov 2026 10:00:00 GMT")
        assert refused(load).retry_after is None

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_wrong_key_is_the_operators_to_mend(self, load: Any, stand_in: Any, status: int) -> None:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        stand_in.fail(status, stand_in.refusal(status, "INVALID_ARGUMENT", "API key not valid.", info))
        error = refused(load, api_key="wrong-key")
        assert isinstance(error, NotReadyError)
        assert (error.retry, "set api_key" in error.message, "wrong-key" in error.message) == (False, True, False)

    @pytest.mark.parametrize(
        ("status", "name", "message", "kind", "hint"),
        [
            (400, "INVALID_ARGUMENT", "Invalid value at 'x'", BadInputError, "Invalid value at 'x'"),
            (400, "FAILED_PRECONDITION", "User location is not supported", NotReadyError, "location"),
            (404, "NOT_FOUND", "models/x is not found", NotReadyError, "check model"),
            (500, "INTERNAL", "oops", BackendFailedError, "status 500"),
            (503, "UNAVAILABLE", "The model is overloaded.", OverloadedError, "no capacity"),
            (504, "DEADLINE_EXCEEDED", "late", DeadlineError, "time was up"),
        ],
    )
    def test_each_refusal_is_told_to_whoever_can_mend_it(
        self, load: Any, stand_in: Any, status: int, name: str, message: str, kind: type[ModelhostError], hint: str
    ) -> None:
        stand_in.fail(status, stand_in.refusal(status, name, message))
        error = refused(load)
        assert type(error) is kind
        assert hint in error.message

    def test_a_prompt_that_does_not_fit_has_the_code_for_that(self, load: Any, stand_in: Any) -> None:
        message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        stand_in.fail(400, stand_in.refusal(400, "INVALID_ARGUMENT", message))
        error = refused(load)
        assert isinstance(error, BadInputError)
        assert error.code == "context_length_exceeded"

    @pytest.mark.parametrize("body", [b"<html>oops</html>", b"", b'"words"', b"[1]", b'{"error": "words"}', b"{"])
    def test_a_refusal_that_is_not_googles_is_still_told(self, load: Any, stand_in: Any, body: bytes) -> None:
        stand_in.fail(500, body)
        assert isinstance(refused(load), BackendFailedError)

    @pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "A_REASON_OF_TOMORROW"])
    @pytest.mark.filterwarnings("ignore:.*A_REASON_OF_TOMORROW is not a valid")
    def test_an_answer_gone_wrong_is_no_answer(self, load: Any, stand_in: Any, reason: str) -> None:
        stand_in.says(stand_in.candidate({"text": "a"}, reason=reason))
        assert reason in refused(load).message


class TestTheLine:
    def test_an_answer_that_is_cut_off_is_an_error(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate({"text": "a"}), stand_in.CUT)
        assert isinstance(refused(load), BackendFailedError)
        stand_in.says(stand_in.candidate({"text": "a"}))
        assert "ended in the middle" in refused(load).message

    def test_an_error_in_the_middle_is_told(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate({"text": "a"}), stand_in.refusal(503, "UNAVAILABLE", "overloaded"))
        assert isinstance(refused(load), OverloadedError)

    def test_what_is_no_json_is_told(self, load: Any, stand_in: Any) -> None:
        stand_in.says(b"data: {oops\r\n\r\n")
        assert "check base_url" in refused(load).message

    def test_an_answer_that_is_no_stream_is_not_read(self, load: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stand_in, "answer", lambda request: Answer("application/json", [b"[", stand_in.HOLD]))
        assert "check base_url" in refused(load).message
        assert stand_in.left.wait(10)

    @pytest.mark.parametrize("begin", [b"data: ", b"", b"{"])
    def test_an_event_without_end_is_broken_off(self, load: Any, stand_in: Any, begin: bytes) -> None:
        stand_in.says(begin, *[b"x" * 2**20] * 9, stand_in.HOLD)
        assert "more than 8 MiB" in refused(load).message

    def test_of_an_error_without_end_the_beginning_is_told(self, load: Any, stand_in: Any) -> None:
        stand_in.fail(400, b"no such thing " * 2**20)
        error = refused(load)
        assert "no such thing" in error.message
        assert len(error.message) < 3000

    def test_a_silent_server_is_given_up(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.HOLD)
        assert isinstance(refused(load, timeout=0.3), DeadlineError)

    def test_a_server_that_is_not_there_says_what_to_check(self, load: Any) -> None:
        error = refused(load, base_url="http://127.0.0.1:9")
        assert isinstance(error, NotReadyError)
        assert "base_url" in error.message

    def test_whoever_leaves_ends_the_connection(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.candidate({"text": "a"}), stand_in.HOLD)
        loaded = load()

        async def leave() -> None:
            async with aclosing(loaded.instance.call("generate", chat("hi"), Context())) as events:
                await anext(events)

        loaded.run(leave())
        assert stand_in.left.wait(10)

    def test_whoever_is_cancelled_while_waiting_ends_the_connection(self, load: Any, stand_in: Any) -> None:
        stand_in.says(stand_in.HOLD)
        loaded = load()

        async def cancel() -> None:
            task = asyncio.create_task(loaded.collect("generate", chat("hi")))
            await asyncio.to_thread(stand_in.reached.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        loaded.run(cancel())
        assert stand_in.left.wait(10)


class TestOptions:
    def test_without_a_key_loading_says_where_to_put_one(self, load: Any) -> None:
        with pytest.raises(NotReadyError, match="GEMINI_API_KEY"):
            load(api_key="")

    @pytest.mark.parametrize("url", ["ftp://x", "http://user:word@host", "https://host?key=1", "host"])
    def test_a_base_url_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="base_url"):
            GeminiOptions(model="m", api_key="k", base_url=url)

    @pytest.mark.parametrize("model", ["../../x", "m?alt=sse", "", "a/b", "models/.."])
    def test_a_name_that_would_change_the_url_is_refused(self, model: str) -> None:
        with pytest.raises(ValueError, match="model"):
            read_options(GeminiOptions, {"model": model, "api_key": "k"})

    @pytest.mark.parametrize(
        ("url", "leaves"),
        [
            (None, True),
            ("https://gemini.example.org", True),
            ("http://127.0.0.1:8000", False),
            ("http://localhost", False),
            ("http://[::1]:80/x", False),
            ("http://localhost.example.org", True),
        ],
    )
    def test_requests_leave_the_machine_unless_the_server_is_here(self, url: str | None, leaves: bool) -> None:
        options = GeminiOptions(model="m", api_key="k", **({"base_url": url} if url else {}))
        assert GeminiBackend.leaves_machine(options) is leaves
