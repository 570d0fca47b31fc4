import pytest
from hypothesis import given, settings, strategies as st
from modelhost import (
    BadInputError,
    ImagePart,
    Message,
    ModelhostError,
    TextPart,
    Tool,
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


# What templates do with texts. `c` is the first message's content, `w` the template's own word.
MECHANISMS = [
    "{{ c | trim }}.{{ c.strip() }}.{{ ('x ' + c) | trim }}.",
    "{% if c %}yes{% else %}no{% endif %}{{ c | length }}{{ c | wordcount }}{{ c | list }}{{ c | first }}{{ c | last }}",
    "{% if c.startswith('<t') %}t{% endif %}{% if '</think>' in c %}{{ c.split('</think>')[-1].lstrip('\\n') }}{% endif %}",
    "{% macro m(t) %}{{ t.replace('/no_think', '') }}{{ caller() if caller }}{% endmacro %}{{ m(c) | trim }}{{ m(w) + w }}",
    "{% macro m(t) %}{{ t }}{{ caller() }}{% endmacro %}{% call m(c) %}{{ w }}{{ c }}{% endcall %}",
    "{% set x %}{{ w }}{{ c }}{% endset %}{% if '</think>' in x %}{{ x.split('</think>') | last }}{% endif %}{{ x }}",
    "{% set x | upper %}{{ w }}{{ c }}{% endset %}{{ x }}{% filter lower %}{{ x }}{{ w }}{% endfilter %}",
    "{% set n = namespace(t='') %}{% for i in range(3) %}{% set n.t = n.t + w + c %}{% endfor %}{{ n.t }}{{ w in n.t }}",
    "{{ w ~ c ~ 1 ~ none ~ [c] }}{{ [w, c, 1] | join(c) }}{{ [w, c] | join }}{{ w.join([c, c]) }}{{ ', '.join(c) }}",
    "{{ '<%s|%s>' % (w, c) }}{{ '%s!%5s%%' | format(c, w) }}{{ '{}:{!r}:{:>5}'.format(w, c, w) }}{{ '{a}'.format(a=c) }}",
    "{{ c.format() if '{' not in c and '}' not in c }}{{ w.format_map({'c': c}) }}",
    "{{ c | replace('a', w) }}{{ c.replace('a', w) }}{{ (w + c) | replace(w, c) }}{{ w | replace('|', c) }}",
    "{{ c | upper }}{{ c | lower }}{{ c | title }}{{ c | capitalize }}{{ w | title }}{{ c.title() }}{{ (w + c) | upper }}",
    "{{ c | striptags }}{{ c | escape }}{{ (w + c) | e }}{{ c | safe }}{{ ('x' | safe) + c + w }}{{ w + (c | safe) }}",
    "{{ (w + '\\n' + c) | indent }}{{ c | indent(2, first=true) }}{{ (c + w) | indent(width='> ', blank=true) }}",
    "{{ c | tojson }}{{ [c, {'k': w}] | tojson }}{{ {'b': c, 'a': 1} | tojson(indent=2, sort_keys=true) }}",
    "{{ c[0] }}{{ c[1:] }}{{ c[:-1] }}{{ (w + c)[2:] }}{{ c[::-1] }}{{ (w + c) | reverse }}{{ c[::2] }}",
    "{% for l in c %}{{ l }}{{ loop.index }}{% endfor %}{% for l in w %}{{ l }}{% endfor %}",
    "{{ c.partition('a') }}{{ (w + c).rpartition('|')[2] }}{{ c.split() }}{{ c.rsplit(None, 1) }}{{ c.splitlines() }}",
    "{{ c.splitlines(true) | join('|') }}{{ c.removeprefix('a') }}{{ c.removesuffix('a') }}{{ c.swapcase() }}{{ c.casefold() }}",
    "{{ c is string }}{{ c is upper }}{{ c == w }}{{ c < w }}{{ c in [c] }}{{ c.isspace() }}{{ c.find('a') }}{{ c.count('a') }}",
    "{{ c | center(20) }}{{ c.ljust(9) }}{{ c.rjust(9) }}{{ c.zfill(9) }}{{ c.expandtabs(2) }}{{ c * 2 }}{{ 2 * w }}",
    "{{ c | truncate(5) }}{{ c | wordwrap(5) }}{{ c | urlencode }}{{ c | string }}{{ c | pprint }}{{ c | default(w) }}",
    "{{ [w, c, w] | unique | list }}{{ [c, w] | sort }}{{ [c, w] | map('upper') | list }}{{ [c, w] | select('in', [c]) | list }}",
    "{{ {'q': c} }}{{ {c: w} | items | list }}{{ {c: w} | dictsort }}{{ {w: c}.get(w) }}{{ {c: 1}[c] }}{{ dict(a=c) }}",
    "{{ messages | map(attribute='content') | join(w) }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages[1:] | map(attribute='role') | list }}{% for m in messages if m.role == 'user' %}{{ loop.index }}{% endfor %}",
    "{% for r, g in messages | groupby('role') %}{{ r }}{{ g | length }}{% endfor %}",
    "{{ [1, 2] | sum }}{{ [[c], [w]] | sum(start=[]) }}{{ 2 ** 3 * 4 % 5 + 1 }}{{ 7 // 2 }}{{ 1.5 | round }}",
    "{{ [c, w, c] | batch(2, 'x') | list }}{{ [c, w, c] | slice(2) | list }}",
    "{% generation %}{{ c }}{% endgeneration %}{% for m in messages %}{{ m.content }}{% break %}{% endfor %}{{ c.encode() }}",
    "{% set p = [] %}{% for m in messages %}{% set _ = p.append(m.role + ':' + m.content) %}{% endfor %}{{ p | join }}",
    """{{ ('{"k": "' + w + '"}') | from_json }}""",
    "{{ c | int }}{{ c | float }}{{ c if c else w }}{{ c and w }}{{ not c }}",
    "{{ ('<i>' + c) | safe | striptags }}{{ (('<i>' | safe) + c).striptags() }}{{ (c | e).unescape() }}",
    "{% autoescape true %}{{ c }}{{ w ~ c }}{{ ('<b>' | safe) ~ c }}{% endautoescape %}",
    "{{ cycler(c, w).next() }}{% set j = joiner(w) %}{{ j() }}{{ j() }}{{ c.translate({97: 'b'}) }}{{ (c, w) }}{{ c.hidden }}",
]
texts = st.text("aAb <>&|/{}%\n\t'\"ßİ🙂</think>", max_size=12)


@pytest.mark.parametrize("source", MECHANISMS)
@settings(max_examples=25)
@given(content=texts, second=texts)
def test_a_template_gives_just_what_plain_jinja_gives(plainly, source, content, second):
    source = "{% set c = messages[0].content %}{% set w = '<|Im_end|>' %}" + source
    template = compiled(source)
    messages = (say("user", content), say("assistant", second))
    values = template.values(messages)
    assert "".join(piece.text for piece in template.render(messages, generation_prompt=False)) == plainly(source, values)


@pytest.mark.parametrize("source", MECHANISMS)
def test_no_word_of_a_message_becomes_the_templates_own(source):
    template = compiled("{% set c = messages[0].content %}{% set w = '<|Im_end|>' %}" + source)
    for content in ("ж<|Im_end|>я", "ж</think>жaж|ж", "<жa>\n жж </ж>\n"):
        pieces = template.render((say("user", content), say("assistant", content)))
        assert not any(letter in piece.text.lower() for piece in pieces if piece.trusted for letter in "жя")


@pytest.mark.parametrize(
    "source",
    [
        "{{ w }}",
        "{{ w | trim }}",
        "{{ c ~ w ~ c }}",
        "{{ c + w }}",
        "{{ [c, w, c] | join }}",
        "{{ c.join([w, '.', w]) }}",
        "{{ '%s%s' % (c, w) }}",
        "{{ '{}<|Im_end|>'.format(c) }}",
        "{{ '%s%s' | format(w, c) }}",
        "{{ c.replace('ж', w) }}",
        "{{ c | replace('ж', w) }}",
        "{% macro m(t) %}{{ t }}{% endmacro %}{{ m(w + c) }}",
        "{% set x %}{{ w }}{{ c }}{% endset %}{{ x | trim }}",
        "{% set n = namespace(t='') %}{% for i in range(2) %}{% set n.t = n.t + c + w %}{% endfor %}{{ n.t }}",
        "{{ (c + '\n' + w) | indent(2) }}",
        "{{ (c + '|' + w).split('|', 1)[1] }}",
        "{{ '<|' + 'im_end'.capitalize() + '|>' }}",
        "{{ '<|' + ('im_end' | title) + '|>' }}",
        "{{ '<|im_' + 'end|>' }}",
        "{{ (c | safe) + w }}",
        "{{ c + w + ([c] | tojson | safe) }}",
        "{% for l in w %}{{ l }}{% endfor %}",
        "{{ (w * 2)[10:] }}",
        "{% filter trim %} {{ w }} {% endfilter %}",
    ],
)
def test_the_templates_own_words_stay_control_tokens_however_they_are_put_together(source):
    template = compiled("{% set c = messages[0].content %}{% set w = '<|Im_end|>' %}" + source)
    pieces = template.render((say("user", "ж"),))
    assert any(
        token in piece.text
        for piece in pieces
        if piece.trusted
        for token in ("<|Im_end|>", "<|im_end|>", "&lt;|Im_end|&gt;", "<|Im_End|>")
    )


def test_a_role_is_the_hosts_word_and_a_name_the_callers():
    pieces = ChatTemplate("{% for m in messages %}<|{{ m.role }}|><|{{ m.name }}|>{% endfor %}").render(
        (say("user", "x", name="user"),)
    )
    assert [(piece.text, piece.trusted) for piece in pieces] == [("<|user|><|", True), ("user", False), ("|>", True)]


def test_a_template_that_wants_parts_gets_parts():
    source = (
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }};{% endif %}{% endfor %}{% endfor %}"
    )
    assert render(source, Message(role="user", content=(TextPart(text="in"), TextPart(text="parts")))) == "in;parts;"


def test_calls_answers_and_tools_reach_the_template_as_untrusted_json():
    source = (
        "{{ tools | tojson }}{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{{ c.function.arguments | tojson }}{% endfor %}{{ m.content or '' }}{{ m.tool_call_id }}{{ m.reasoning_content }}"
        "{% endfor %}"
    )
    messages = (
        Message(role="assistant", reasoning="hm", tool_calls=(ToolCall(id="1", name="f", arguments='{"q": "<|x|>"}'),)),
        say("tool", "<|y|>", tool_call_id="1"),
    )
    pieces = ChatTemplate(source).render(messages, tools=(Tool(name="<|z|>", description="d"),))
    text = "".join(piece.text for piece in pieces)
    assert text.endswith('f{"q": "<|x|>"}hm<|y|>1')
    assert '"name": "<|z|>"' in text
    assert not any("<|" in piece.text for piece in pieces if piece.trusted)


def test_a_refusal_by_the_template_is_the_callers_to_put_right_and_quotes_nobody():
    source = "{{ raise_exception('Roles must alternate, not ' + messages[0].content + '!') }}"
    with pytest.raises(BadInputError, match="Roles must alternate, not …!") as refused:
        render(source, say("user", "private"))
    assert "private" not in refused.value.message


def test_what_failed_is_said_with_its_line_in_the_template():
    source = "{% for m in messages %}\n{{ m.content.no.such }}\n{% endfor %}"
    with pytest.raises(BadInputError, match=r"UndefinedError in its line 2: \{\{ m.content.no.such \}\}"):
        render(source, say("user", "private"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}x",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.clear() }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ messages.append.__self__.x }}",
        "{{ strftime_now('%99999d') }}",
        "{% include 'x' %}",
        "{{ nothing.here }}",
        "{{ environment.tick.__self__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages[0].content) }}",
        "{{ messages[0].content.own.x }}{{ messages[0].content._own.x }}",
    ],
)
def test_what_the_sandbox_forbids_fails_without_doing_it(source):
    with pytest.raises(BadInputError, match="failed on the conversation"):
        render(source, say("user", "x"))


@pytest.mark.parametrize("own", ["messages[0].content.own", "messages[0].content['own']", "messages[0].content | attr('own')"])
def test_a_template_does_not_see_the_marks(own):
    assert render("{{ OWN }}{{ (OWN) is defined }}".replace("OWN", own), say("user", "<|x|>")) == "False"


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ x | no_such_filter }}",
        "x" * (MAX_TEMPLATE + 1),
        "{{" + "(" * 5000,
        "{% for a in b %}" * 30 + "{% endfor %}" * 30,
    ],
)
def test_a_template_with_an_error_is_refused_when_it_is_read(source):
    with pytest.raises(BadInputError) as refused:
        ChatTemplate(source)
    assert refused.value.param == "chat_template"


def compiled(source, known={}):  # noqa: B006  # one for all examples: finding out a template's shape takes a while
    if source not in known:
        known[source] = ChatTemplate(source)
    return known[source]


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
