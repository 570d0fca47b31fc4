"""What a stranger's template may cost."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from modelhost import BadInputError, Message, NotReadyError, TextPart
from modelhost_gguf_chat import bounds, template
from modelhost_gguf_chat.template import ChatTemplate

pytestmark = pytest.mark.hostile

DOUBLED = "{%% set ns = namespace(x=%s) %%}{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x | length }}"

HUGE = [
    DOUBLED % ("'aaaaaaaaaaaaaaaa'", "ns.x + ns.x"),
    DOUBLED % ("'aaaaaaaaaaaaaaaa'", "ns.x ~ ns.x"),
    DOUBLED % ("[1]", "ns.x + ns.x"),
    DOUBLED % ("'a'", "[ns.x, ns.x] | join"),
    DOUBLED % ("'a'", "'%s%s' % (ns.x, ns.x)"),
    DOUBLED % ("'a'", "'%s%s' | format(ns.x, ns.x)"),
    DOUBLED % ("'a'", "'{}{}'.format(ns.x, ns.x)"),
    DOUBLED % ("'a'", "ns.x.replace('a', 'aa')"),
    DOUBLED % ("'a'", "ns.x | replace('a', 'aa')"),
    DOUBLED % ("'aaaaaaaa'", "ns.x.join(ns.x)"),
    "{% set ns = namespace(x='a' * 100) %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
    "{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "{% set ns = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}"
    "{% endfor %}{{ ns.x == ns.y }}",
    "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
    "{% set x = [1] %}{% for i in range(60) %}{% set _ = x.extend(x) %}{% endfor %}",
    "{% set x, y = [1] * 100000, [] %}{% for i in range(9999) %}{% set _ = y.append(x[:]) %}{% endfor %}",
    "{% set x = [] %}{% for i in range(9999) %}{% set _ = x.append('a' * 900000) %}{% endfor %}",
    "{{ lipsum(n=3000000) }}",
    "{{ [1] | slice(10 ** 12) | list }}",
    "{{ [1] | slice(1000000) | list }}",
    "{{ [1] | batch(10 ** 10, 'x') | list }}",
    "{{ 'a' | center(10 ** 10) }}",
    "{{ 'a\n' | indent(10 ** 10) }}",
    "{{ ('a\n' * 100000) | indent(100000) }}",
    "{{ '%010000000000d' | format(1) }}",
    "{{ '%0*d' % (10 ** 9, 1) }}",
    "{{ ('%(a)s' * 100000) % {'a': 'x' * 100000} }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ ('{0}' * 100000).format('x' * 100000) }}",
    "{{ 'a'.ljust(10 ** 10) }}",
    "{{ 'a'.zfill(10 ** 10) }}",
    "{{ ('\t' * 100000).expandtabs(100000) }}",
    "{{ ('a' * 1000000).replace('a', 'b' * 100000) }}",
    "{{ ('b' * 1000000).join('a' * 100000) }}",
    "{{ ('a' * 100000).translate({97: 'b' * 100000}) }}",
    "{{ (5).to_bytes(10 ** 10, 'big') }}",
    "{{ [1] | tojson(indent=10 ** 10) }}",
    "{{ ([[1] * 100000] * 10000) | sum(start=[]) }}",
    "{{ range(10000) | map('string') | map('center', 1000000) | list }}",
    "{{ 1 | round(10 ** 10, 'ceil') }}",
    "{{ 1 | round(-(10 ** 10)) }}",
    "{{ ('<!---->' * 100000) | striptags }}",
    "{% set ns = namespace(x=10) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
]


def say(role, text):
    return Message(role=role, content=(TextPart(text=text),))


@pytest.fixture
def brief(monkeypatch):
    """Try templates out for a moment only."""
    monkeypatch.setattr(template, "MAX_PROBING_SECONDS", 0.01)


CHILD = """
import pathlib, re, sys, time
from modelhost_gguf_chat import bounds, template
template.MAX_PROBING_SECONDS = 0.01
bounds.MAX_MADE = int(sys.argv[1])
from modelhost import BadInputError, Message, NotReadyError, TextPart
from modelhost_gguf_chat.template import ChatTemplate
for source in sys.stdin.read().split(chr(0)):
    began = time.thread_time()
    try:
        template = ChatTemplate(source)
        template.render((Message(role="user", content=(TextPart(text="hello"),)),))
        result = "rendered"
    except NotReadyError as error:
        result = "stopped"
    peak = re.search("VmHWM:.* ([0-9]+) kB", pathlib.Path("/proc/self/status").read_text())[1]
    print(result, round(time.thread_time() - began, 1), int(peak) >> 10, flush=True)
"""


@pytest.mark.parametrize(
    ("sources", "made", "most"), [(HUGE, 2 * 1024 * 1024, 150), (HUGE[:3], bounds.MAX_MADE, 350)], ids=["small", "real"]
)
def test_no_template_makes_anything_huge_or_takes_long(sources, made, most):
    """`most` is in MiB, of which a process has 50 before it begins."""
    command = [sys.executable, "-c", CHILD, str(made)]
    run = subprocess.run(command, input=chr(0).join(sources), capture_output=True, text=True, check=False, timeout=170)
    results = [line.split() for line in run.stdout.splitlines()]
    assert len(results) == len(sources), run.stderr[-2000:]
    for source, (how, seconds, peak) in zip(sources, results, strict=True):
        assert how == "stopped", source
        assert float(seconds) < 2 * template.MAX_SECONDS, source
        assert int(peak) < most, source


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% set x %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{% endset %}",
        "{% for a in range(9999) recursive %}{{ loop(range(9999)) if loop.depth < 3 }}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) if b > 9999 %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ range(9999) | map('string') | select('eq', 'x') | list }}{% endfor %}",
        "{% for a in range(9999) %}{{ range(9999) | sum }}{% endfor %}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_a_template_that_would_never_end_is_stopped(brief, source):
    with pytest.raises(NotReadyError, match="chat_template"):
        ChatTemplate(source, max_seconds=0.05).render((say("user", "x"),))


def test_loading_takes_no_longer_than_the_trials_may():
    began = time.thread_time()
    ChatTemplate("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{{ messages[0].content }}")
    assert time.thread_time() - began < template.MAX_PROBING_SECONDS + 1


def test_only_a_templates_own_work_counts(monkeypatch):
    """Whatever else runs on the machine, or in other threads: the clock that is looked at does not go on with it."""
    made = ChatTemplate("{% for m in messages %}{% for n in messages %}{% endfor %}{{ m.content }}{% endfor %}")
    worked = iter([0.0] * 10_000)
    monkeypatch.setattr(bounds, "time", SimpleNamespace(thread_time=lambda: next(worked)))  # and it has no other clock
    messages = tuple(say("user", "x") for _ in range(300))
    assert "".join(piece.text for piece in made.render(messages)) == "x" * 300
    assert next(worked, None) is not None
    worked = iter([0.0, template.MAX_SECONDS + 1])
    with pytest.raises(BadInputError, match="takes too long"):
        made.render(messages)


QUADRATIC = (
    "{% for m in messages %}{% for n in messages %}{% if n.role == 'x' %}{% endif %}{% endfor %}{{ m.content }}{% endfor %}"
)


def test_a_thousand_turns_fit_a_template_that_looks_at_all_of_them_at_each():
    made = ChatTemplate(QUADRATIC)
    began = time.thread_time()
    assert len(made.render(tuple(say(("user", "assistant")[n % 2], "x") for n in range(1001)))[0].text) == 1001
    assert time.thread_time() - began < template.MAX_SECONDS


def test_a_conversation_too_long_for_a_template_is_its_writers_to_shorten_and_a_bad_template_its_operators(brief):
    made = ChatTemplate(QUADRATIC, max_seconds=0.01)
    with pytest.raises(BadInputError, match=r"400 messages.*leave older ones out") as refused:
        made.render(tuple(say("user", "x") for _ in range(400)))
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(NotReadyError, match="chat_template_file"):
        ChatTemplate("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", max_seconds=0.01).render(
            (say("user", "x"),)
        )


def test_what_lists_templates_make_and_change_works():
    source = (
        "{% set queue = [] %}{% for m in messages %}{% set _ = queue.append(m.content) %}{% endfor %}"
        "{% set _ = queue.insert(0, 'first') %}{{ queue.pop(0) }} {{ queue.pop() }} {{ queue | length }}"
    )
    pieces = ChatTemplate(source).render((say("user", "a"), say("assistant", "b")))
    assert "".join(piece.text for piece in pieces) == "first b 1"
