"""What of a request goes over the wire, and where it stands there."""

import base64
from typing import Any, get_args

import pytest
from modelhost import (
    AudioPart,
    BadInputError,
    Blob,
    DocumentPart,
    GenerateRequest,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from modelhost.testing import chat
from modelhost_gemini.options import Effort, GeminiOptions
from modelhost_gemini.settings import _BUDGETS, _LEVELS, config_of

ADD = Tool(name="add", description="Adds.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
SUB = Tool(name="sub")


def turn(role: Any, text: str = "", **more: Any) -> Message:
    return Message(role=role, content=(TextPart(text=text),), **more)


def sent(load: Any, stand_in: Any, request: GenerateRequest, **options: Any) -> Any:
    """Ask, and give what the stand-in was asked."""
    stand_in.says(stand_in.candidate({"text": "ok"}, reason="STOP"))
    load(**options).events("generate", request)
    return stand_in.requests[-1]


def test_the_model_its_key_and_the_version_stand_where_google_looks(load: Any, stand_in: Any) -> None:
    request = sent(load, stand_in, chat("hi"), api_key=" a-key\n", api_version="v1beta")
    assert request.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    assert request.headers["x-goog-api-key"] == "a-key"
    assert "authorization" not in request.headers


def test_no_variable_of_the_environment_changes_where_requests_go(load: Any, stand_in: Any, monkeypatch: Any) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert sent(load, stand_in, chat("hi")).headers["x-goog-api-key"] == "a-key"


def test_turns_have_two_sides_and_the_systems_words_stand_apart(load: Any, stand_in: Any) -> None:
    messages = (turn("system", "Be brief."), turn("user", "one"), turn("assistant", "two"), turn("user", "three"))
    body = sent(load, stand_in, GenerateRequest(messages=(*messages, turn("developer", "Be kind."), turn("user", "four")))).json
    assert [part["text"] for part in body["systemInstruction"]["parts"]] == ["Be brief.", "Be kind."]
    turns = [(turn["role"], [part["text"] for part in turn["parts"]]) for turn in body["contents"]]
    assert turns == [("user", ["one"]), ("model", ["two"]), ("user", ["three", "four"])]


def test_settings_of_the_request_go_before_those_of_the_options(load: Any, stand_in: Any) -> None:
    request = chat("hi", max_tokens=5, temperature=0.0, top_p=0.5, top_k=7, seed=3, stop=("x", "y"), presence_penalty=0.5)
    config = sent(load, stand_in, request, max_tokens=9, temperature=1.5).json["generationConfig"]
    assert (config["maxOutputTokens"], config["temperature"], config["topP"], config["topK"]) == (5, 0.0, 0.5, 7)
    assert (config["seed"], config["stopSequences"], config["presencePenalty"]) == (3, ["x", "y"], 0.5)
    config = sent(load, stand_in, chat("hi"), max_tokens=9, temperature=1.5).json["generationConfig"]
    assert config == {"maxOutputTokens": 9, "temperature": 1.5}


def test_nothing_is_sent_that_nobody_asked_for(load: Any, stand_in: Any) -> None:
    request = sent(load, stand_in, chat("hi"))
    assert request.json.get("generationConfig", {}) == {}
    assert request.json.keys() <= {"contents", "generationConfig"}


def test_safety_is_asked_for_only_where_the_request_does(load: Any, stand_in: Any) -> None:
    assert "safetySettings" not in sent(load, stand_in, chat("hi")).json
    body = sent(load, stand_in, chat("hi", enable_safety=True), safety={"hate_speech": "BLOCK_LOW_AND_ABOVE"}).json
    thresholds = {one["category"]: one["threshold"] for one in body["safetySettings"]}
    assert thresholds["HARM_CATEGORY_HATE_SPEECH"] == "BLOCK_LOW_AND_ABOVE"
    assert list(thresholds.values()).count("BLOCK_MEDIUM_AND_ABOVE") == 3


@pytest.mark.parametrize(
    ("model", "effort", "sent_as"),
    [
        ("gemini-2.5-flash", "low", {"thinking_budget": 1024, "include_thoughts": True}),
        ("gemini-2.5-flash", "none", {"thinking_budget": 0, "include_thoughts": False}),
        ("gemini-3-pro", "high", {"thinking_level": "HIGH", "include_thoughts": True}),
    ],
)
def test_effort_is_tokens_to_older_models_and_words_to_newer_ones(
    load: Any, stand_in: Any, model: str, effort: str, sent_as: dict[str, Any]
) -> None:
    found = sent(load, stand_in, chat("hi", reasoning_effort=effort), model=model).json["generationConfig"]["thinkingConfig"]
    names = {"thinkingBudget": "thinking_budget", "thinkingLevel": "thinking_level", "includeThoughts": "include_thoughts"}
    assert {names.get(name, name): value for name, value in found.items()} == sent_as


def test_every_effort_has_its_budget_and_its_level() -> None:
    assert set(_BUDGETS) == set(_LEVELS) == set(get_args(Effort))


def test_pictures_and_sound_travel_inline_with_their_kind(load: Any, stand_in: Any) -> None:
    content = (
        TextPart(text="what is this?"),
        ImagePart(image=Blob(b"\x89PNG"), media_type="image/png", detail="low"),
        AudioPart(audio=Blob(b"OggS..."), format="mp3"),
        AudioPart(audio=Blob(b"????"), format="flac"),
    )
    request = sent(load, stand_in, GenerateRequest(messages=(Message(role="user", content=content),)))
    found = [part.get("inlineData") for part in request.json["contents"][0]["parts"]][1:]
    kinds = [blob.get("mimeType", blob.get("mime_type")) for blob in found]
    assert kinds == ["image/png", "audio/ogg", "audio/flac"]  # bytes are believed more than names
    assert base64.b64decode(found[0]["data"]) == b"\x89PNG"
    assert request.json["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_LOW"


def test_documents_travel_inline_and_thoughts_stay_here(load: Any, stand_in: Any) -> None:
    content = (DocumentPart(document=Blob(b"%PDF-1.7"), name="a.pdf"), TextPart(text="sum it up"))
    thought = Message(role="assistant", content=(ReasoningPart(text="hm", signature="s"), TextPart(text="two")))
    messages = (Message(role="user", content=content), thought, turn("user", "again"))
    first, second, _ = sent(load, stand_in, GenerateRequest(messages=messages)).json["contents"]
    blob = first["parts"][0]["inlineData"]
    assert (blob.get("mimeType", blob.get("mime_type")), base64.b64decode(blob["data"])) == ("application/pdf", b"%PDF-1.7")
    assert [part["text"] for part in second["parts"]] == ["two"]


def test_a_json_schema_is_passed_on_as_it_is(load: Any, stand_in: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    form = ResponseFormat(kind="json_schema", name="x", schema=schema)
    config = sent(load, stand_in, chat("hi", response_format=form)).json["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", schema)
    config = sent(load, stand_in, chat("hi", response_format=ResponseFormat(kind="json_object"))).json["generationConfig"]
    assert config == {"responseMimeType": "application/json"}


class TestTools:
    def test_they_are_declared_with_their_schema(self, load: Any, stand_in: Any) -> None:
        body = sent(load, stand_in, chat("hi", tools=(ADD, SUB))).json
        (tools,) = body["tools"]
        declared = tools["functionDeclarations"]
        assert [one["name"] for one in declared] == ["add", "sub"]
        # Google's JSON takes either spelling; the SDK uses this one here and the other elsewhere.
        assert declared[0]["parameters_json_schema"] == ADD.parameters
        assert body["toolConfig"]["functionCallingConfig"]["mode"] == "AUTO"

    @pytest.mark.parametrize(
        ("choice", "mode", "names"),
        [
            (ToolChoice(mode="none"), "NONE", ["add", "sub"]),
            (ToolChoice(mode="required"), "ANY", ["add", "sub"]),
            (ToolChoice(mode="required", names=("sub",)), "ANY", ["sub"]),
            (ToolChoice(mode="auto", names=("add",)), "AUTO", ["add"]),
        ],
    )
    def test_a_choice_narrows_what_is_offered(
        self, load: Any, stand_in: Any, choice: ToolChoice, mode: str, names: list[str]
    ) -> None:
        body = sent(load, stand_in, chat("hi", tools=(ADD, SUB), tool_choice=choice)).json
        assert [one["name"] for one in body["tools"][0]["functionDeclarations"]] == names
        assert body["toolConfig"]["functionCallingConfig"]["mode"] == mode

    def test_strict_ones_are_validated(self) -> None:
        strict = Tool(name="add", strict=True)
        config = config_of(chat("hi", tools=(strict,)), GeminiOptions(model="m", api_key="k"), None)
        assert config.tool_config
        assert config.tool_config.function_calling_config
        assert config.tool_config.function_calling_config.mode == "VALIDATED"

    def test_results_name_their_function_and_stand_in_one_turn(self, load: Any, stand_in: Any) -> None:
        calls = (ToolCall(id="c1", name="add", arguments='{"a": 1}'), ToolCall(id="c2", name="sub", arguments=""))
        messages = (
            turn("user", "go"),
            turn("assistant", tool_calls=calls),
            turn("tool", "3", tool_call_id="c1"),
            turn("tool", "4", tool_call_id="c2"),
        )
        turns = sent(load, stand_in, GenerateRequest(messages=messages, tools=(ADD, SUB))).json["contents"]
        assert [turn["role"] for turn in turns] == ["user", "model", "user"]
        made = [part["functionCall"] for part in turns[1]["parts"]]
        assert [(call["name"], call.get("args") or {}) for call in made] == [("add", {"a": 1}), ("sub", {})]
        results = [part["functionResponse"] for part in turns[2]["parts"]]
        assert [(one["id"], one["name"], one["response"]) for one in results] == [
            ("c1", "add", {"output": "3"}),
            ("c2", "sub", {"output": "4"}),
        ]

    def test_a_calls_signature_goes_back_with_the_call(self, load: Any, stand_in: Any) -> None:
        signed = {"functionCall": {"name": "add", "args": {"a": 1}}, "thoughtSignature": base64.b64encode(b"signed").decode()}
        stand_in.says(stand_in.candidate(signed, reason="STOP"))
        loaded = load()
        call = loaded.events("generate", chat("go", tools=(ADD,)))[0]
        history = (
            turn("user", "go"),
            turn("assistant", tool_calls=(ToolCall(id=call.id, name=call.name, arguments=call.arguments),)),
            turn("tool", "3", tool_call_id=call.id),
        )
        loaded.events("generate", GenerateRequest(messages=history, tools=(ADD,)))
        (part,) = stand_in.requests[-1].json["contents"][1]["parts"]
        assert base64.urlsafe_b64decode(part["thoughtSignature"]) == b"signed"

    def test_a_client_that_sends_the_signature_back_need_not_be_remembered(self, load: Any, stand_in: Any) -> None:
        signed = {"functionCall": {"name": "add"}, "thoughtSignature": base64.b64encode(b"signed").decode()}
        stand_in.says(stand_in.candidate(signed, reason="STOP"))
        call = load().events("generate", chat("go", tools=(ADD,)))[0]
        again = ToolCall(id=call.id, name=call.name, arguments=call.arguments, signature=call.signature)
        history = (turn("user", "go"), turn("assistant", tool_calls=(again,)), turn("tool", "3", tool_call_id=call.id))
        turns = sent(load, stand_in, GenerateRequest(messages=history, tools=(ADD,))).json["contents"]
        assert base64.urlsafe_b64decode(turns[1]["parts"][0]["thoughtSignature"]) == b"signed"

    def test_a_tool_that_failed_is_told_so(self, load: Any, stand_in: Any) -> None:
        calls = (ToolCall(id="c1", name="add", arguments="{}"),)
        failed = turn("tool", "no such file", tool_call_id="c1", is_error=True)
        history = (turn("user", "go"), turn("assistant", tool_calls=calls), failed)
        turns = sent(load, stand_in, GenerateRequest(messages=history, tools=(ADD,))).json["contents"]
        assert turns[2]["parts"][0]["functionResponse"]["response"] == {"error": "no such file"}


@pytest.mark.parametrize(
    ("messages", "hint"),
    [
        ((turn("system", "be brief"),), "add a message of the user"),
        ((turn("user", "go"), turn("tool", "3", tool_call_id="nowhere")), "nowhere in the conversation"),
        (
            (turn("user", "go"), turn("assistant", tool_calls=(ToolCall(id="c", name="add", arguments="[1]"),))),
            "not a JSON object",
        ),
        ((Message(role="user", content=(AudioPart(audio=Blob(b"????"), format="amr"),)),), "convert it"),
        ((Message(role="system", content=(ImagePart(image=Blob(b"x")),)), turn("user", "go")), "text only"),
    ],
)
def test_what_gemini_has_no_words_for_is_the_callers_to_mend(
    load: Any, stand_in: Any, messages: tuple[Message, ...], hint: str
) -> None:
    with pytest.raises(BadInputError, match=hint):
        load().events("generate", GenerateRequest(messages=messages))
    assert not stand_in.requests
