"""What templates cannot show as it comes, and in which shape they can."""

import pytest
from modelhost import BadInputError, Message, TextPart, ToolCall
from modelhost_gguf_chat.shape import Calls, Shape
from modelhost_gguf_chat.template import ChatTemplate


def say(role, text, **more):
    return Message(role=role, content=(TextPart(text=text),), **more)


def shown(source, *messages, **how):
    return "".join(piece.text for piece in ChatTemplate(source).render(messages, **how))


TURNS = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}"
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) or m.role not in ('user', 'assistant') %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" + TURNS
)
SYSTEM_FIRST = (
    "{% set turns = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% for m in turns if m.role == 'system' %}{{ raise_exception('System message must be first') }}{% endfor %}" + TURNS
)
LAST_SYSTEM = "{% set n = namespace(s='') %}{% for m in messages if m.role == 'system' %}{% set n.s = m.content %}{% endfor %}"
ONE_SYSTEM = LAST_SYSTEM + "[{{ n.s }}]{% for m in messages if m.role != 'system' %}[{{ m.role }}:{{ m.content }}]{% endfor %}"


@pytest.mark.parametrize(
    ("source", "roles", "expected"),
    [
        (TURNS, "system user", "[system:0][user:1]"),
        (TURNS, "system user system system user", "[system:0][user:1][system:2][system:3][user:4]"),
        (TURNS, "user user assistant assistant", "[user:0][user:1][assistant:2][assistant:3]"),
        (STRICT, "system user", "[user:0\n\n1]"),
        (STRICT, "developer user", "[user:0\n\n1]"),
        (STRICT, "system", "[user:0]"),
        (STRICT, "system system user", "[user:0\n\n1\n\n2]"),
        (STRICT, "user assistant system user", "[user:0][assistant:1][user:2\n\n3]"),
        (STRICT, "user assistant user system", "[user:0][assistant:1][user:2\n\n3]"),
        (STRICT, "user user assistant assistant user", "[user:0\n\n1][assistant:2\n\n3][user:4]"),
        (SYSTEM_FIRST, "system user assistant system user", "[system:0][user:1][assistant:2][user:3\n\n4]"),
        (SYSTEM_FIRST, "system system user", "[system:0\n\n1][user:2]"),
        (SYSTEM_FIRST, "user system user user", "[user:0][user:1\n\n2][user:3]"),
        (ONE_SYSTEM, "system user system user", "[0][user:1][user:2\n\n3]"),
    ],
)
def test_turns_a_template_refuses_or_drops_are_put_where_it_shows_them(source, roles, expected):
    messages = [say(role, str(n)) for n, role in enumerate(roles.split())]
    assert shown(source, *messages, generation_prompt=False) == expected


def test_what_a_template_refuses_in_any_shape_is_refused_with_its_words():
    with pytest.raises(BadInputError, match="Roles must alternate"):
        shown(STRICT, say("assistant", "I begin."), say("user", "Hi"))


CALL = ToolCall(id="call_0123456789", name="look", arguments='{"at": "it"}')
OTHER = ToolCall(id="call_9876543210", name="hear", arguments='{"at": "me"}')
CALLED = (
    say("user", "Hi"),
    Message(role="assistant", tool_calls=(CALL,)),
    say("tool", "seen", tool_call_id=CALL.id),
)
CALLS = "{% for c in m.tool_calls or [] %}<{{ c.function.name }}{{ c.function.arguments HOW }}>{% endfor %}"
AS_OBJECT, AS_TEXT = CALLS.replace("HOW", "| tojson"), CALLS.replace("HOW", "+ ''")
NULL_MEANS_CALLS = (
    "{% for m in messages %}{% if m.content is none %}" + AS_TEXT + "{% else %}[{{ m.content }}]{% endif %}{% endfor %}"
)
SHORT_IDS = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}{{ raise_exception('nine letters') }}"
    "{% endif %}{{ c.id }}{% endfor %}" + AS_OBJECT + "{{ m.tool_call_id or '' }}[{{ m.content or '' }}]{% endfor %}"
)
SINGLE = (
    "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}"
    + AS_OBJECT
    + "[{{ m.content or '' }}]{% endfor %}"
)
WORDS_OR_CALLS = "{% for m in messages %}{% if m.tool_calls %}" + AS_OBJECT + "{% else %}[{{ m.content }}]{% endif %}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}[{{ m.content or '' }}]" + AS_OBJECT + "{% endfor %}", '[Hi][]<look{"at": "it"}>[seen]'),
        ("{% for m in messages %}[{{ m.content }}]" + AS_OBJECT + "{% endfor %}", '[Hi][]<look{"at": "it"}>[seen]'),
        (
            "{% for m in messages %}[{{ m.content | tojson }}]" + AS_OBJECT + "{% endfor %}",
            '["Hi"][""]<look{"at": "it"}>["seen"]',
        ),
        ("{% for m in messages %}[{{ m.content + '' }}]" + AS_TEXT + "{% endfor %}", '[Hi][]<look{"at": "it"}>[seen]'),
        (NULL_MEANS_CALLS, '[Hi]<look{"at": "it"}>[seen]'),
        (WORDS_OR_CALLS, '[Hi]<look{"at": "it"}>[seen]'),
        (
            "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
            "[{{ m.content }}]{% endfor %}",
            '[Hi][{"tool_calls": [{"name": "look", "arguments": {"at": "it"}}]}]'
            '[{"tool_response": {"tool_call_id": "call_0123456789", "content": "seen"}}]',
        ),
        (
            "{% for m in messages %}[{{ m.content }}]{% endfor %}",
            '[Hi][{"tool_calls": [{"name": "look", "arguments": {"at": "it"}}]}][seen]',
        ),
    ],
)
def test_a_past_call_and_its_result_reach_the_model(source, expected):
    assert shown(source, *CALLED) == expected
    empty = (CALLED[0], say("assistant", "", tool_calls=(CALL,)), CALLED[2])  # some clients send "" for null
    assert shown(source, *empty) == expected


def test_ids_are_shortened_for_a_template_that_wants_nine_letters_and_stay_the_same_for_call_and_result():
    text = shown(SHORT_IDS, *CALLED)
    of_call, of_result = text.split("<")[0].removeprefix("[Hi]"), text.split(">")[1].removeprefix("[]").split("[")[0]
    assert of_call == of_result
    assert (len(of_call), of_call.isalnum()) == (9, True)


def test_calls_a_template_takes_one_at_a_time_have_a_turn_each_with_the_result_behind():
    both = Message(role="assistant", content=(TextPart(text="Well."),), tool_calls=(CALL, OTHER))
    results = (say("tool", "heard", tool_call_id=OTHER.id), say("tool", "seen", tool_call_id=CALL.id))
    text = shown(SINGLE, CALLED[0], both, *results, say("user", "So?"))
    assert text == '[Hi]<hear{"at": "me"}>[][heard]<look{"at": "it"}>[Well.][seen][So?]'


def test_words_beside_a_call_have_a_turn_of_their_own_where_a_template_drops_them():
    assert shown(WORDS_OR_CALLS, CALLED[0], say("assistant", "Well.", tool_calls=(CALL,)), CALLED[2]) == (
        '[Hi][Well.]<look{"at": "it"}>[seen]'
    )


def test_arguments_that_are_no_object_are_told_with_what_failed():
    wrong = ToolCall(id="1", name="f", arguments="[1")
    source = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
    source += (
        "{% for k, v in c.function.arguments.items() %}{{ k }}{{ v }}{% endfor %}{% endfor %}{{ m.content or '' }}{% endfor %}"
    )
    with pytest.raises(BadInputError, match="arguments of a past call"):
        shown(source, CALLED[0], Message(role="assistant", tool_calls=(wrong,)))


def test_thoughts_of_past_turns_are_left_to_the_template():
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}[{{ m.reasoning_content }}|{{ m.content.split('</think>')[-1] }}]"
        "{% endif %}{% endfor %}"
    )
    assert shown(source, say("user", "Q"), say("assistant", "<think>a</think>b", reasoning="c"), say("user", "R")) == "[c|b]"


def test_a_template_that_fails_at_everything_has_the_usual_shape():
    assert ChatTemplate("{{ nothing.at.all }}").shape == Shape(system="never", repeats=False, calls=None, results=False)
    assert ChatTemplate(TURNS + AS_OBJECT.replace("m.tool_calls", "(messages | last).tool_calls")).shape.calls is None


def test_a_template_that_shows_all_is_given_all_as_it_is():
    source = "{% for m in messages %}[{{ m.content or '' }}]" + AS_OBJECT + "{% endfor %}"
    assert ChatTemplate(source).shape == Shape(calls=Calls())


# the last message, continued


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (TURNS, "1, 2,", "[user:Q][assistant:1, 2,"),
        (TURNS, " 1, 2, ", "[user:Q][assistant: 1, 2, "),
        (TURNS.replace("m.content", "m.content | trim"), " 1, 2, \n", "[user:Q][assistant:1, 2, \n"),
        (TURNS, "", "[user:Q][assistant:"),
        (TURNS.replace("m.content", "m.content | upper"), "one", "[user:Q][assistant:one"),
        (TURNS.replace("[{{ m.role", "{{ '<t>' if m.role == 'assistant' }}[{{ m.role"), "Q", "[user:Q]<t>[assistant:Q"),
        ("{% for m in messages %}{{ m.content }};{% endfor %}{{ messages[0].content }}", "x", "Q;Qx"),
        (TURNS + "<|im_end|>", "end", "[user:Q][assistant:end"),
    ],
)
def test_an_answer_goes_on_in_the_last_message_as_the_template_writes_it(source, text, expected):
    assert shown(source, say("user", "Q"), say("assistant", text), continues=True) == expected


def test_a_continued_text_is_somebodys_words_still():
    pieces = ChatTemplate(TURNS).render((say("user", "Q"), say("assistant", "<|end|> so")), continues=True)
    assert [(piece.text, piece.trusted) for piece in pieces[-2:]] == [("][assistant:", True), ("<|end|> so", False)]
