"""What a text is: by its name, by its beginning, and what is made of neither."""

import logging
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from modelhost_summarizer import language
from modelhost_summarizer.condenser import Condenser
from modelhost_summarizer.language import detect
from modelhost_summarizer.parts import split

HERE = Path(__file__)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.py", "Python"),
        ("README.md", "Markdown"),
        ("C:\\work\\main.rs", "Rust"),
        ("src/app.ts", "TypeScript"),
        ("Dockerfile", "Docker"),
        ("schema.sql", "SQL"),
        ("tool.pl", "Perl"),
        ("a.yaml", "YAML"),
        ("app.log", "Log"),
        ("app.log.1", "Log"),
        ("app.log-20260101", "Log"),
        ("/var/log/syslog", "Log"),
        ("notes.txt", "Text"),
        ("COPYING", "Text"),
        ("what.ever", "Text"),
        ("../../etc/passwd", "Text"),
        ("", "Text"),
    ],
)
def test_a_name_says_what_a_file_is(name: str, found: str) -> None:
    assert detect(name, "Nothing of note.") == found


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("#!/usr/bin/env python3\nprint(1)\n", "Python"),
        ("#!/bin/bash\nls\n", "Bash"),
        ("#! /usr/bin/env -S node --flag\n1\n", "JavaScript"),
        ("#!/opt/nobody/knows\n", "Text"),
        ('<?xml version="1.0"?>\n<a/>', "XML"),
        ("<!doctype HTML>\n<p>", "Text"),
        ("<!DOCTYPE html>\n<p>", "HTML"),
        ('{"a": [1, 2, 3]}', "JSON"),
        ('[{"a": "' + "long " * 20, "JSON"),
        ("{this is a remark}", "Text"),
        ("diff --git a/x b/x\n", "Diff"),
        ("# Title\n\nText with a [link](https://example.org).\n\n## Part\n", "Markdown"),
        ("package main\n\nimport (\n", "Go"),
        ("2026-01-01 10:00:00 INFO a\n2026-01-01 10:00:01 INFO b\n2026-01-01 10:00:02 INFO c\n", "Log"),
        ("Dear reader,\n\nat 10:00:00 we meet.\n", "Text"),
    ],
)
def test_without_a_name_the_beginning_says_it(beginning: str, found: str) -> None:
    assert detect("", beginning) == found
    assert detect("upload.txt", beginning) == found


def test_real_files_are_known_without_their_names() -> None:
    assert detect("", HERE.read_text()) == "Python"
    assert detect("", (HERE.parents[1] / "README.md").read_text()) == "Markdown"
    assert detect("", (HERE.parents[1] / "pyproject.toml").read_text()) == "TOML"
    assert detect("", Path(logging.__file__).read_text()) == "Python"


@pytest.mark.parametrize(
    ("word", "name", "code"),
    [
        ("py", "Python", True),
        ("LOG", "Log", False),
        ("markdown", "Markdown", False),
        ("C++", "C++", True),
        ("German", "German", False),
        ("pt_BR", "Portuguese", False),
        ("Elvish", "Elvish", False),
    ],
)
def test_a_callers_word_for_a_language_is_understood(word: str, name: str, code: bool) -> None:
    assert language.named(word) == name
    assert language.is_code(name) is code


@pytest.mark.parametrize("word", ["", "auto", "und"])
def test_who_leaves_a_language_open_has_it_detected(word: str) -> None:
    assert language.named(word) is None


@pytest.mark.parametrize(
    "hostile",
    [
        "[",
        "\n",
        " ",
        "\n ",
        "a",
        "#!a",
        "--- a",
        "# ",
        "'",
        '"',
        "1-",
        "{",
        "[1,",
        "class a",
        "a1.",
        "import ",
        "<",
        "const a",
        "\t#",
        "'a'a",
    ],
)
def test_no_beginning_takes_long_to_judge(hostile: str) -> None:
    for text in (hostile * 65536, hostile[:2] + hostile * 65536 + "!", "x\n" + hostile * 65536 + "\x01"):
        began = time.process_time()
        for name in ("", "a.m", "a.h", "a.t", "a.html", "x" * 65536):
            detect(name, text[:65536])
        condenser = Condenser(10)
        condenser.take(text[:65536])
        condenser.text()
        split(text[:65536], 1000)
        assert time.process_time() - began < 2


@given(st.text(max_size=40), st.text(max_size=300))
def test_any_text_is_something(name: str, beginning: str) -> None:
    assert detect(name, beginning)
