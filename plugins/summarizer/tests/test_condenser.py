"""Logs made short: real ones, the shapes of well-known programs, and what no program wrote."""

import io
import logging
import subprocess
import sys
import traceback
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as st
from modelhost_summarizer.condenser import Condenser
from modelhost_summarizer.log_lines import looks_like_a_log


def condensed(text: str, most: int = 500, piece: int = 1 << 20) -> list[str]:
    condenser = Condenser(most)
    for at in range(0, len(text), piece):
        condenser.take(text[at : at + piece])
    return condenser.text().split("\n")


def counted(lines: list[str]) -> int:
    """How many lines of the log these stand for."""
    total = 0
    for line in lines[1:]:
        if line.startswith("×"):
            total += int(line[1:].split(" ")[0].rstrip(":"))
        elif line.endswith("are left out]"):
            total += int(line[1:].split()[0])
        else:
            total += 1
    return total


def access_log(random: Random, lines: int) -> str:
    """As nginx and Apache write it."""
    rows = []
    for number in range(lines):
        status = "500" if number % 100 == 99 else "200"
        client = ".".join(str(random.randrange(256)) for _ in range(4))
        when = f"[21/Nov/2026:10:{number // 60 % 60:02}:{number % 60:02} +0000]"
        rows.append(f'{client} - - {when} "GET /item/{number} HTTP/1.1" {status} {random.randrange(9999)} "-" "agent/{number}"')
    return "\n".join(rows) + "\n"


def journal(lines: int) -> str:
    """As journalctl prints it."""
    rows = [
        f"Nov 21 10:{n // 60 % 60:02}:{n % 60:02} box sshd[{1000 + n}]: Accepted key for ann from 10.0.0.{n % 256}"
        for n in range(lines)
    ]
    rows.insert(lines // 2, "Nov 21 10:30:00 box kernel: Out of memory: Killed process 4242 (python)")
    return "\n".join(rows)


class TestFamiliarLogs:
    def test_web_servers_requests_are_told_apart_by_their_status_only(self) -> None:
        text = access_log(Random(1), 1000)
        assert looks_like_a_log(text)
        heading, *lines = condensed(text)
        assert heading.startswith("[1000 lines of 2 kinds;")
        assert [line.partition(":")[0] for line in lines] == ["×990 21/Nov/2026", "×10 21/Nov/2026"]
        assert "21/Nov/2026:10:00:00 … 21/Nov/2026:10:16:38: " in lines[0]
        assert " 200 " in lines[0]
        assert " 500 " in lines[1]

    def test_a_journal_keeps_the_one_line_that_matters_word_for_word(self) -> None:
        text = journal(600)
        assert looks_like_a_log(text)
        assert condensed(text)[1:] == [
            "×600 Nov 21 10:00:00 … Nov 21 10:09:59: <*> box sshd[<*>]: Accepted key for ann from <*>",
            "Nov 21 10:30:00 box kernel: Out of memory: Killed process 4242 (python)",
        ]

    def test_pythons_logging_keeps_levels_apart_and_tracebacks_whole(self) -> None:
        text = real_log_of_python()
        assert looks_like_a_log(text)
        lines = condensed(text)
        assert any(line.startswith("×200 ") and "INFO worker: job <*> done in <*>" in line for line in lines)
        assert any(line.startswith("×20 ") and "ERROR worker: job <*> failed" in line for line in lines)
        assert any(line.startswith("×20: ") and line.endswith(", in fails") and 'File "' in line for line in lines)
        assert any("ZeroDivisionError: division by zero" in line for line in lines)
        assert counted(lines) == len([line for line in text.splitlines() if line.strip()])

    @pytest.mark.parametrize(
        "form",
        [
            '{{"time": "2026-01-01T10:00:{second:02}Z", "level": "{level}", "event": "{event}", "id": {second}}}',
            '{{"time":"2026-01-01T10:00:{second:02}Z","level":"{level}","event":"{event}","id":{second}}}',
            'time=2026-01-01T10:00:{second:02}Z level={level} msg="{event}" id={second}',
        ],
    )
    def test_of_json_and_logfmt_what_is_said_is_kept(self, form: str) -> None:
        events = [("info", "request done"), ("info", "cache filled"), ("error", "disk full")]
        text = "\n".join(form.format(second=second, level=level, event=event) for second in range(20) for level, event in events)
        assert looks_like_a_log(text)
        lines = condensed(text)[1:]
        assert len(lines) == 3
        for line, (level, event) in zip(lines, events, strict=True):
            assert line.startswith("×20 2026-01-01T10:00:00 … 2026-01-01T10:00:19: ")
            assert level in line
            assert event in line

    @pytest.mark.parametrize(("path", "times"), [("/var/log/dpkg.log", 5), ("/var/log/alternatives.log", 1)])
    def test_the_logs_of_this_machine_become_shorter(self, path: str, times: int) -> None:
        if not Path(path).is_file() or Path(path).stat().st_size < 10_000:
            pytest.skip(f"needs {path}")
        text = Path(path).read_text()
        assert looks_like_a_log(text)
        lines = condensed(text)
        assert len("\n".join(lines)) < len(text) / times
        assert counted(lines) == len(text.splitlines())

    def test_what_pip_says_is_kept(self) -> None:
        text = subprocess.run([sys.executable, "-m", "pip", "--version", "-v"], check=True, capture_output=True, text=True).stdout
        assert condensed(text)[1:] == [line for line in text.splitlines() if line.strip()]


def real_log_of_python() -> str:
    """What 200 jobs log, a tenth of which fails."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log = logging.Logger("worker")
    log.addHandler(handler)

    def fails() -> Any:
        return 1 / 0

    for job in range(200):
        log.info("job %s done in %s ms", job, job * 7 % 31)
        if job % 10 == 0:
            try:
                fails()
            except ZeroDivisionError:
                log.error("job %s failed", job, exc_info=True)
    return out.getvalue()


class TestWhatIsFolded:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("took 12 ms", "took 3.5 ms"),
            ("id 3f2b8c1e-9f6d-4c62-8a57-1f2e3d4c5b6a", "id a0000000-0000-4000-8000-000000000000"),
            ("from 10.0.0.1:80", "from fe80::1"),
            ("at 0x7f00", "at 0xdeadbeef1"),
            ('user "ann smith" left', 'user "bob" left'),
            ("user 'ann' left", "user 'bob' left"),
            ("task_12 ran", "task_9 ran"),
            ("2026-01-01 10:00:00,123 up", "2027-12-31T23:59:59+01:00 up"),
            ("\x1b[31m2 red\x1b[0m", "3 red"),
        ],
    )
    def test_lines_that_differ_in_what_varies_are_one_kind(self, one: str, other: str) -> None:
        assert len(condensed(f"{one}\n{other}\r\n")) == 2

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("INFO disk", "ERROR disk"),
            ("status=200 ok", "status=500 ok"),
            ("exit code 0", "exit code 137"),
            ('"GET /" 200 12', '"GET /" 404 12'),
            ('  File "a.py", line 1, in f', '  File "a.py", line 2, in f'),
            ("    at com.example.A.f(A.java:1)", "    at com.example.A.f(A.java:2)"),
            ("don't do it, it's bad", "don't do this, it's bad"),
        ],
    )
    def test_lines_that_differ_in_what_matters_stay_apart(self, one: str, other: str) -> None:
        assert condensed(f"{one}\n{other}") == [condensed(one)[0].replace("[1 lines of 1", "[2 lines of 2"), one, other]

    def test_four_lines_that_differ_in_the_same_one_word_are_one_kind(self) -> None:
        names = ["ann", "bob", "cid", "dan"]
        assert condensed("\n".join(f"user {name} came in" for name in names))[1:] == ["×4: user <*> came in"]
        assert len(condensed("\n".join(f"user {name} came in" for name in names[:3]))) == 4

    def test_kinds_stand_in_the_order_they_first_appear(self) -> None:
        assert condensed("beta one\nalpha 1\nbeta one\nalpha 2")[1:] == ["×2: beta one", "×2: alpha <*>"]


class TestBounds:
    def test_beyond_the_most_lines_grave_and_frequent_ones_are_kept_and_the_rest_is_counted(self) -> None:
        random = Random(2)
        words = ["".join(random.choices("abcdefgh", k=8)) for _ in range(400)]
        rare = "\n".join(" ".join(random.choices(words, k=6)) for _ in range(100))
        lines = condensed(f"{rare}\nthe disk failed for good\n" + "tick 1 of many\n" * 50, most=10)
        assert len(lines) == 12
        assert "the disk failed for good" in lines
        assert "×50: tick <*> of many" in lines
        assert lines[-1] == "[92 lines of rarer kinds are left out]"
        assert counted(lines) == 151

    def test_memory_does_not_grow_with_the_log(self) -> None:
        def peak(megabytes: int) -> int:
            random = Random(3)
            condenser = Condenser(100)
            tracemalloc.start()
            for _ in range(megabytes):
                condenser.take("\n".join(f"{random.random()} {random.choice('abc')} did it" for _ in range(20_000)))
            condenser.text()
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        assert peak(6) < peak(2) * 1.2

    def test_nothing_alike_stays_within_bounds(self) -> None:
        random = Random(4)
        words = ["".join(random.choices("abcdefgh", k=6)) for _ in range(5000)]
        text = "\n".join(" ".join(random.choices(words, k=8)) for _ in range(45_000))
        lines = condensed(text, most=50)
        assert len(lines) == 52
        assert counted(lines) == 45_000

    def test_long_lines_are_kept_no_longer_than_they_are_shown(self) -> None:
        lines = condensed("\n".join(f"{'word ' * 2000}{name}" for name in ("one", "two")))
        assert lines[1].startswith("×2")
        assert lines[1].endswith("…")
        assert len(lines[1]) < 520

    def test_a_file_without_lines_is_cut(self) -> None:
        lines = condensed("x" * 3_000_000, piece=1 << 18)
        assert max(map(len, lines)) < 600


@given(st.text(alphabet=st.sampled_from("ab1 \"'\n\r.:-é\x1b["), max_size=200), st.integers(1, 50))
def test_every_line_is_counted_wherever_the_pieces_end(text: str, piece: int) -> None:
    lines = condensed(text, piece=piece)
    assert lines == condensed(text)


@given(st.lists(st.sampled_from(["a 1 b", "a 2 b", "c d e", "error x y", "  at z"]), max_size=60), st.integers(10, 20))
def test_no_line_is_lost_or_counted_twice(rows: list[str], most: int) -> None:
    lines = condensed("\n".join(rows), most=most)
    assert counted(lines) == len(rows)


def test_prose_and_code_are_no_logs() -> None:
    assert not looks_like_a_log(Path(traceback.__file__).read_text())
    assert not looks_like_a_log("At 10:00:00 it began.\n\nThen it went on.\nAnd it ended.\n")
    assert not looks_like_a_log("")
