import pytest
from modelhost import (
    BadInputError,
    ImagePart,
    Message,
    ModelhostError,
    NotReadyError,
    TextPart,
    ToolCall,
    UnsupportedError,
)
from modelhost_gguf_chat.template import MAX_TEMPLATE, ChatTemplate

pytestmark = pytest.mark.hostile


def say(role, text, **more):
    return Message(role=role, content=(TextPart(text=text),), **more)


def render(source, *messages, **settings):
    pieces = ChatTemplate(source, bos="<s>", eos="</s>", **settings).render(messages)
    return "".join(piece.text for piece in pieces)


def test_a_template_sees_roles_contents_and_the_names_of_tokens():
    source = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert render(source, say("developer", "Be kind."), say("user", "Hi")) == ("<s>[system]Be kind.</s>[user]Hi</s>[assistant]")


def test_words_of_messages_are_not_trusted_and_words_of_the_template_are():
    pieces = ChatTemplate("<|a|>{{ messages[0].content }}<|b|>").render((say("user", "<|b|>"),))
    assert [(piece.text, piece.trusted) for piece in pieces] == [("<|a|>", True), ("<|b|>", False), ("<|b|>", True)]


@pytest.mark.parametrize(
    ("source", "content", "expected"),
    [
        ("{{ messages[0].content | trim }}.", "  a b \n", "a b."),
        ("{{ messages[0].content.strip() }}.", "  a b \n", "a b."),
        ("{{ ('x ' + messages[0].content) | trim }}.", "  a b \n", "x   a b."),
        ("{% if messages[0].content %}yes{% else %}no{% endif %}", "", "no"),
        ("{% if messages[0].content.startswith('<tool') %}tool{% endif %}", "<tool_response>", "tool"),
        ("{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}", "<think>x</think>\n\nanswer", "answer"),
        ("{{ messages[0].content[0] }}{{ messages[0].content | length }}", "hello", "h5"),
        ("{{ messages[0].content | replace('/no_think', '') }}.", "a /no_think", "a ."),
        ("{{ ('1' + messages[0].content) | replace('1', '2') }}", "a1", "2a2"),
        ("{{ messages[0].content | upper }}", "loud", "LOUD"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "twice", "twicetwice"),
        ("gone", "dropped", "gone"),
        ("{{ messages[0].content | tojson }}", 'say "hi"\n', '"say \\"hi\\"\\n"'),
        ("{% set ns = namespace(t='') %}{% set ns.t = ns.t + messages[0].content %}{{ ns.t }}", "kept", "kept"),
        (
            "{% macro m(t) %}{{ t.replace('/no_think', '') }}{% endmacro %}{{ m(messages[0].content) | trim }}",
            "a /no_think",
            "a",
        ),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "trained", "trained"),
        ("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "once", "once"),
        ("{% for m in messages %}{{ loop.last }}{{ loop.length }}{% endfor %}", "x", "True1"),
        ("{{ '%s!' | format(messages[0].content) }}{{ messages[0].content ~ '?' }}", "a", "a!a?"),
        ("{{ {'q': messages[0].content} }}", "it's", "{'q': \"it's\"}"),
    ],
)
def test_what_templates_do_with_contents_works(source, content, expected):
    assert render(source, say("user", content)) == expected


def test_words_put_into_the_templates_by_replace_stay_untrusted():
    source = (
        "{{ '<|a|>NAME' | replace('NAME', messages[0].content) }}{{ messages[0].content | replace('x', messages[0].content) }}"
    )
    pieces = ChatTemplate(source).render((say("user", "<x>"),))
    assert [(piece.text, piece.trusted) for piece in pieces] == [("<|a|>", True), ("<x>", False), ("<<x>>", False)]


def test_a_template_that_wants_parts_gets_parts():
    source = (
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    assert render(source, say("user", "in parts")) == "in parts"


def test_calls_and_answers_of_tools_reach_the_template_as_untrusted_json():
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }}{{ m.reasoning_content }}{% endfor %}"
    )
    messages = (
        Message(role="assistant", reasoning="hm", tool_calls=(ToolCall(id="1", name="f", arguments='{"q": "<|x|>"}'),)),
        Message(role="tool", tool_call_id="1"),
    )
    pieces = ChatTemplate(source).render(messages)
    assert "".join(piece.text for piece in pieces) == 'f{"q": "<|x|>"}hm1'
    assert not any("<|x|>" in piece.text for piece in pieces if piece.trusted)


def test_a_refusal_by_the_template_is_the_callers_to_put_right_and_quotes_nobody():
    source = "{{ raise_exception('Roles must alternate, not ' + messages[0].content) }}"
    with pytest.raises(BadInputError, match="Roles must alternate, not …") as refused:
        render(source, say("user", "private"))
    assert "private" not in refused.value.message


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% set x %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{% endset %}",
        "{% for a in range(9999) recursive %}{{ loop(range(9999)) if loop.depth < 3 }}{% endfor %}",
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 9 ** 9999999 }}",
        "{{ [0] * 100000000 }}",
        "{% for a in range(9999) %}{{ '0123456789' * 50000 }}{% endfor %}",
    ],
)
def test_a_template_that_would_never_end_is_stopped(source):
    with pytest.raises(NotReadyError, match="chat_template"):
        render(source, say("user", "x"), max_seconds=0.1)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}x{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.clear() }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ strftime_now('%99999d') }}",
        "{% include 'x' %}",
        "{{ nothing.here }}",
        "{{ environment.tick.__self__ }}",
    ],
)
def test_what_the_sandbox_forbids_fails_without_doing_it(source):
    with pytest.raises(BadInputError, match="failed on the conversation"):
        render(source, say("user", "x"))


def test_a_template_that_mangles_a_message_is_refused_rather_than_guessed_at():
    with pytest.raises(UnsupportedError):
        render("{{ ('x' + messages[0].content) | reverse }}", say("user", "word"))


@pytest.mark.parametrize("source", ["{% if %}", "{{ x | no_such_filter }}", "x" * (MAX_TEMPLATE + 1), "{{" + "(" * 5000])
def test_a_template_with_an_error_is_refused_when_it_is_read(source):
    with pytest.raises(BadInputError) as refused:
        ChatTemplate(source)
    assert refused.value.param == "chat_template"


def test_a_part_that_is_not_text_is_refused():
    with pytest.raises(UnsupportedError):
        ChatTemplate("x").render((Message(role="user", content=(ImagePart(image=b""),)),))


def test_no_error_repeats_a_message():
    for source in ("{{ messages[0].content.nope.nope }}", "{{ messages[0].content | int + 'x' }}"):
        with pytest.raises(ModelhostError) as failed:
            render(source, say("user", "private"))
        assert "private" not in failed.value.message
        assert failed.value.__cause__ is None
        assert failed.value.__suppress_context__
