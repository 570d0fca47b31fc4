from base64 import b64encode

import pytest
from modelhost import (
    AudioPart,
    BackendFailedError,
    BadInputError,
    Blob,
    ChoiceDone,
    Delta,
    DocumentPart,
    Done,
    GenerateRequest,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolDelta,
    UnsupportedError,
    Usage,
)
from modelhost.testing import chat

HELLO = chat("hello big world")


@pytest.fixture
def model(load):
    return load("generate")


@pytest.fixture
def answer(model, stand_in):
    """Return the events of an answer that comes as these pieces."""

    def answer(*pieces, request=HELLO):
        stand_in.says(*pieces)
        return model.events("generate", request)

    return answer


@pytest.fixture
def sent(model, stand_in):
    """Return the body that a request becomes."""

    def sent(request, model=model):
        stand_in.says(stand_in.chunk({}, "stop", 0), *(stand_in.chunk({}, "stop", n) for n in range(1, request.n)), stand_in.END)
        model.events("generate", request)
        return stand_in.requests[-1].json

    return sent


# what is asked


def test_a_plain_question_becomes_a_plain_body(sent, stand_in):
    assert sent(HELLO) == {
        "model": "hosted-1",
        "messages": [{"role": "user", "content": "hello big world"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert stand_in.requests[-1].path == "/v1/chat/completions"


def test_every_setting_of_a_request_is_passed_on(sent):
    plain = sent(HELLO)
    settings = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "presence_penalty": -1.0,
        "frequency_penalty": 0.25,
        "seed": 0,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "reasoning_effort": "low",
        "ignore_eos": True,
        "enable_safety": True,
    }
    body = sent(chat("hello big world", max_tokens=7, stop=("a", "b"), logit_bias={5: -100.0}, **settings))
    others = {"max_completion_tokens": 7, "stop": ["a", "b"], "logit_bias": {"5": -100.0}}
    assert body == plain | settings | others


def test_zero_is_a_setting_too(sent):
    body = sent(chat("hi", temperature=0.0, top_p=0.0))
    assert (body["temperature"], body["top_p"]) == (0.0, 0.0)


def test_a_conversation_with_tools_is_passed_on(sent):
    call = ToolCall(id="call_7", name="add", arguments='{"a": 1}')
    messages = (
        Message(role="developer", content=(TextPart(text="Be brief."),)),
        Message(role="user", name="ada", content=(TextPart(text="one"), TextPart(text="two"))),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", tool_call_id="call_7", content=(TextPart(text="3"),)),
        Message(role="assistant"),
    )
    tool = Tool(name="add", description="adds", parameters={"type": "object"}, strict=True)
    request = GenerateRequest(messages=messages, tools=(tool, Tool(name="stop")), parallel_tool_calls=False)
    body = sent(request)
    function = {"name": "add", "arguments": '{"a": 1}'}
    assert body["messages"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ada", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_7", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "call_7", "content": "3"},
        {"role": "assistant", "content": ""},
    ]
    described = {"name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": True}
    assert body["tools"] == [{"type": "function", "function": described}, {"type": "function", "function": {"name": "stop"}}]
    assert body["parallel_tool_calls"] is False
    assert "tool_choice" not in body


NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("choice", "choice_sent"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="required", names=("add",)), NAMED),
        (
            ToolChoice(mode="auto", names=("add",)),
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
        ),
    ],
)
def test_the_choice_of_tools_is_said_in_openais_words(sent, choice, choice_sent):
    assert sent(chat("hi", tools=(Tool(name="add"),), tool_choice=choice))["tool_choice"] == choice_sent


def test_the_form_of_the_answer_is_said_in_openais_words(sent):
    assert sent(chat("hi", response_format=ResponseFormat(kind="json_object")))["response_format"] == {"type": "json_object"}
    form = ResponseFormat(kind="json_schema", name="point", schema={"type": "object"}, strict=True)
    schema = {"name": "point", "schema": {"type": "object"}, "strict": True}
    assert sent(chat("hi", response_format=form))["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_pictures_and_sound_go_along(sent):
    picture = ImagePart(image=Blob(b"png"), media_type="image/png", detail="low")
    sound = AudioPart(audio=Blob(b"ID3\x04mp3"), format="wav")
    content = (TextPart(text="what?"), picture, sound)
    (message,) = sent(GenerateRequest(messages=(Message(role="user", content=content),)))["messages"]
    url = f"data:image/png;base64,{b64encode(b'png').decode()}"
    assert message["content"] == [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": b64encode(b"ID3\x04mp3").decode(), "format": "mp3"}},
    ]


def test_older_servers_get_max_tokens_by_its_older_name(sent, load):
    body = sent(chat("hi", max_tokens=5), load("generate", max_tokens_field="max_tokens"))
    assert body["max_tokens"] == 5
    assert "max_completion_tokens" not in body


def test_past_reasoning_and_the_language_go_only_to_servers_that_know_them(sent, model, load):
    thought = Message(role="assistant", content=(TextPart(text="4"),), reasoning="2 and 2")
    request = GenerateRequest(messages=(thought,))
    assert sent(request)["messages"] == [{"role": "assistant", "content": "4"}]
    with pytest.raises(UnsupportedError, match="language") as refused:
        model.events("generate", chat("hi", language="it"))
    assert refused.value.param == "language"
    other = load("generate", extensions=True)
    assert sent(request, other)["messages"] == [{"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}]
    assert sent(chat("hi", language="it"), other)["language"] == "it"


def test_only_servers_that_go_on_with_the_assistants_words_are_asked_to(sent, load):
    last = Message(role="assistant", content=(TextPart(text="1, 2,"),))
    fields = ("continue_final_message", "add_generation_prompt")

    def flags(model, **wish):
        body = sent(GenerateRequest(messages=(*chat("Count.").messages, last), **wish), model)
        return [body.get(field) for field in fields]

    plain, other = load("generate"), load("generate", features=["prefill"])
    assert flags(plain) == flags(plain, add_generation_prompt=True) == [None, None]
    assert flags(other) == flags(other, continue_final_message=True) == [True, False]
    assert flags(other, add_generation_prompt=True) == [None, True]
    assert flags(other, add_generation_prompt=False) == [None, False]


def test_a_raw_prompt_is_a_completion(model, stand_in):
    request = GenerateRequest(
        prompt="two and two is", suffix="!", echo=False, max_tokens=4, logprobs=True, top_logprobs=2, temperature=0.0
    )
    delta, done = model.events("generate", request)
    assert stand_in.requests[-1].path == "/v1/completions"
    body = stand_in.requests[-1].json
    assert "messages" not in body
    sampled = {name: body[name] for name in ("prompt", "suffix", "max_tokens", "logprobs", "temperature")}
    assert sampled == {"prompt": "two and two is", "suffix": "!", "max_tokens": 4, "logprobs": 2, "temperature": 0.0}
    assert delta.text == "four"
    assert [(token.token, token.logprob, token.data) for token in delta.logprobs] == [("four", -0.5, b"four")]
    assert [token.token for token in delta.logprobs[0].top] == ["four", "five"]
    assert done.reason == "stop"
    model.events("generate", GenerateRequest(prompt=(1, 2, 3), echo=True))
    assert (stand_in.requests[-1].json["prompt"], stand_in.requests[-1].json["echo"]) == ([1, 2, 3], True)
    with pytest.raises(UnsupportedError, match="echo"):
        model.events("generate", GenerateRequest(prompt="x", echo=True, logprobs=True))


# what comes back


def test_the_answer_has_its_words_its_reason_and_its_cost(answer, stand_in):
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 4}}
    *deltas, done = answer(
        stand_in.chunk({"role": "assistant", "content": ""}),
        stand_in.chunk({"content": "good "}),
        stand_in.chunk({"content": "morning", "refusal": None, "tool_calls": None}),
        stand_in.chunk({}, "length"),
        stand_in.chunk(usage={"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, **details}),
        stand_in.END,
    )
    assert deltas == [Delta(text="good "), Delta(text="morning")]
    assert done == Done(reason="length", usage=Usage(input_tokens=3, output_tokens=5, cached_tokens=2, reasoning_tokens=4))


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_heard_by_either_name(answer, stand_in, field):
    first, second, _ = answer(
        stand_in.chunk({field: "hm"}), stand_in.chunk({field: "so", "content": "4"}), stand_in.chunk({}, "stop"), stand_in.END
    )
    assert [first, second] == [Delta(reasoning="hm"), Delta(reasoning="so", text="4")]


def test_a_refusal_is_said(answer, stand_in):
    first, done = answer(stand_in.chunk({"refusal": "I will not."}), stand_in.chunk({}, "content_filter"), stand_in.END)
    assert first == Delta(text="I will not.")
    assert done.reason == "content_filter"


@pytest.mark.parametrize(("said", "told"), [("END", "END"), (151645, None), (None, None)])
def test_the_stop_string_is_told_by_servers_that_name_it(answer, stand_in, said, told):
    end = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": said}
    _, done = answer(stand_in.chunk({"content": "hi"}), stand_in.chunk(choices=[end]), stand_in.END)
    assert (done.reason, done.stop) == ("stop", told)


def test_each_choice_has_the_stop_string_that_ended_it(answer, stand_in):
    ends = [{"index": at, "delta": {}, "finish_reason": "stop", "stop_reason": stop} for at, stop in enumerate(("A", None))]
    first, second, done = answer(stand_in.chunk(choices=ends), stand_in.END, request=chat("hi", n=2))
    assert [first, second] == [ChoiceDone(index=0, stop="A"), ChoiceDone(index=1)]
    assert done.stop is None


def test_documents_go_along_as_files_and_thoughts_as_words_or_not_at_all(sent, load):
    document = DocumentPart(document=Blob(b"%PDF"), name="a.pdf")
    request = GenerateRequest(
        messages=(
            Message(role="user", content=(document, TextPart(text="sum it up"))),
            Message(role="assistant", content=(ReasoningPart(text="hm", signature="s"), TextPart(text="4"))),
        )
    )
    asked, answered = sent(request, load("generate", inputs=["text", "document"], extensions=True))["messages"]
    data = f"data:application/pdf;base64,{b64encode(b'%PDF').decode()}"
    assert asked["content"][0] == {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
    assert answered == {"role": "assistant", "content": "4", "reasoning_content": "hm"}


def called(stand_in, index=None, id_=None, name=None, arguments=""):
    numbered = {} if index is None else {"index": index}
    return stand_in.chunk({"tool_calls": [{**numbered, "id": id_, "function": {"name": name, "arguments": arguments}}]})


def test_only_the_first_piece_of_a_call_names_it(answer, stand_in):
    """Some servers repeat the name in every piece; clients would put the repetitions together."""
    *calls, done = answer(
        called(stand_in, 0, "call_a", "add", ""),
        called(stand_in, 0, "call_a", "add", '{"a":'),
        called(stand_in, 0, arguments=""),
        called(stand_in, 0, arguments="1}"),
        called(stand_in, 7, "call_b", "stop", "{"),
        called(stand_in, 7, arguments="}"),
        stand_in.chunk({}, "tool_calls"),
        stand_in.END,
    )
    assert calls == [
        ToolDelta(id="call_a", name="add"),
        ToolDelta(arguments='{"a":'),
        ToolDelta(arguments="1}"),
        ToolDelta(call=1, id="call_b", name="stop", arguments="{"),
        ToolDelta(call=1, arguments="}"),
    ]
    assert done.reason == "tool_calls"


def test_calls_without_numbers_ids_or_the_right_reason_are_still_calls(answer, stand_in):
    first, more, second, done = answer(
        called(stand_in, None, "call_a", "add", "{"),
        called(stand_in, None, None, None, "}"),
        called(stand_in, None, "call_b", "stop", "{}"),
        stand_in.chunk({}, "stop"),
        stand_in.END,
    )
    assert [(one.call, one.id) for one in (first, more, second)] == [(0, "call_a"), (0, ""), (1, "call_b")]
    assert done.reason == "tool_calls"
    nameless, _ = answer(called(stand_in, 0, "", "add", "{}"), stand_in.chunk({}, "stop"), stand_in.END)
    assert nameless.id.startswith("call_")


def test_several_choices_end_one_by_one(answer, stand_in):
    events = answer(
        stand_in.chunk({"content": "a"}, index=0),
        stand_in.chunk({"content": "b"}, index=1),
        stand_in.chunk({}, "length", index=1),
        stand_in.chunk({}, "stop", index=0),
        stand_in.END,
        request=chat("hi", n=2),
    )
    assert events == [
        Delta(text="a"),
        Delta(text="b", index=1),
        ChoiceDone(index=1, reason="length"),
        ChoiceDone(index=0),
        Done(),
    ]


def test_logprobs_have_their_bytes_and_alternatives(answer, stand_in):
    other = {"token": "B", "logprob": -2.5, "bytes": None}
    content = [{"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": [other]}]
    choice = {"index": 0, "delta": {"content": "A"}, "logprobs": {"content": content}, "finish_reason": None}
    delta, _ = answer(stand_in.chunk(choices=[choice]), stand_in.chunk({}, "stop"), stand_in.END)
    (token,) = delta.logprobs
    assert (token.token, token.logprob, token.data) == ("A", -0.1, b"A")
    assert [(one.token, one.data) for one in token.top] == [("B", b"B")]


# how it ends


def test_an_answer_is_complete_with_its_reason_or_with_the_end_mark(answer, stand_in):
    assert answer(stand_in.chunk({"content": "a"}), stand_in.chunk({}, "stop"))[-1] == Done()
    assert answer(stand_in.chunk({"content": "a"}), stand_in.END)[-1] == Done()


def test_an_upstream_that_takes_no_heed_of_n_is_a_failure(answer, stand_in):
    with pytest.raises(BackendFailedError, match="fewer answers than the 2"):
        answer(stand_in.chunk({"content": "only one"}), stand_in.chunk({}, "stop"), stand_in.END, request=chat("hi", n=2))


@pytest.mark.parametrize("odd", [-1, 2**63, 10**30])
def test_what_can_be_no_count_costs_no_answer(answer, stand_in, odd):
    *_, done = answer(stand_in.chunk({"content": "x"}, "stop"), stand_in.usage(odd, 3), stand_in.END)
    assert done.usage == Usage(output_tokens=3)


def test_many_calls_in_one_answer_are_numbered_one_by_one(answer, stand_in):
    calls = [{"index": 7 * n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(3000)]
    *events, _ = answer(stand_in.chunk({"tool_calls": calls}, "tool_calls"), stand_in.END)
    assert [event.call for event in events] == list(range(3000))


def test_an_answer_that_stops_in_the_middle_is_no_answer(answer, stand_in):
    with pytest.raises(BackendFailedError, match="ended in the middle"):
        answer(stand_in.chunk({"content": "a"}))
    with pytest.raises(BackendFailedError, match="ended in the middle"):
        answer(stand_in.chunk({}, "stop", index=1), request=chat("hi", n=2))


def test_a_connection_that_breaks_in_the_middle_is_a_failure(answer, stand_in):
    with pytest.raises(BackendFailedError, match="broke in the middle"):
        answer(stand_in.chunk({"content": "a"}), stand_in.CUT)


def test_a_connection_that_breaks_after_the_end_mark_is_none(answer, stand_in):
    assert answer(stand_in.chunk({"content": "a"}), stand_in.END, stand_in.CUT)[-1] == Done()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}, BadInputError),
        ({"message": "too long", "code": 400}, BadInputError),
        ({"message": "secret words", "type": "server_error"}, BackendFailedError),
        ("secret words", BackendFailedError),
    ],
)
def test_an_error_in_the_middle_is_an_error(answer, stand_in, error, kind):
    with pytest.raises(kind) as failed:
        answer(stand_in.chunk({"content": "a"}), stand_in.chunk(error=error))
    assert "secret" not in failed.value.message


@pytest.mark.parametrize("piece", [b"data: <html>\n\n", b'data: {"choices": 7}\n\n', b"data: " + b"[" * 100_000 + b"\n\n"])
def test_a_stream_of_something_else_is_a_failure(answer, piece):
    with pytest.raises(BackendFailedError, match="not one of OpenAI's"):
        answer(piece)


def test_an_answer_that_is_no_stream_is_a_failure(model, stand_in):
    stand_in.json_answer = {"choices": [{"message": {"content": "hi"}}]}
    with pytest.raises(BackendFailedError, match="where a stream was asked for"):
        model.events("generate", HELLO)
