"""What a dialogue remembers: what was said before, for whom, and how much of it."""

from collections.abc import Coroutine
from typing import Any

from dialogues import ALICE, BOB, host as host, say, stream
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from modelhost import Message, TextPart
from modelhost.dialogue import InProcessMemory
from modelhost.dialogue.memory import MOST_CHARACTERS, Exchange
from serving import Serve, Served


class TestMemoryOfAHost:
    @staticmethod
    def told(host: Served, session: str, text: str, headers: dict[str, str] = ALICE) -> str:
        """Say something; returns what the model was told, of its own replies the end."""
        asked = {"text": text, "session_id": session, "model": "witness", "speak": False, "instructions": "."}
        answer = host.client.post("/v1/dialogue", json=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["assistant_text"]).removeprefix("system:.|")

    def test_a_session_knows_what_was_said_and_another_does_not(self, host: Served) -> None:
        first = say(host, text="one", model="witness", speak=False, instructions=".")
        assert first["assistant_text"] == "system:.|user:one"
        assert self.told(host, first["session_id"], "two") == "user:one|assistant:user:one|user:two"
        assert self.told(host, "another", "two") == "user:two"
        assert say(host, text="one", speak=False)["session_id"] != first["session_id"]

    def test_another_keys_session_of_the_same_name_is_another(self, host: Served) -> None:
        self.told(host, "shared", "secret")
        assert self.told(host, "shared", "hi", BOB) == "user:hi"
        assert host.client.delete("/v1/dialogue/shared", headers=BOB).json()["forgotten"] is True
        assert self.told(host, "shared", "more").startswith("user:secret|")

    def test_what_is_forgotten_is_gone(self, host: Served) -> None:
        self.told(host, "gone", "one")
        assert host.client.delete("/v1/dialogue/gone").json() == {"session_id": "gone", "forgotten": True}
        assert host.client.delete("/v1/dialogue/gone").json() == {"session_id": "gone", "forgotten": False}
        assert self.told(host, "gone", "two") == "user:two"

    def test_a_turn_that_failed_is_not_remembered_and_one_without_sound_is(self, host: Served) -> None:
        stream(host, text="a b c", session_id="failed", generate_model="hoarse", stream_text=True)
        assert host.client.delete("/v1/dialogue/failed").json()["forgotten"] is False
        say(host, text="a b c", session_id="failed", synthesize_model="mute")
        assert self.told(host, "failed", "more").startswith("user:a b c|assistant:a b c |")

    def test_where_the_model_cannot_take_all_it_is_told_the_newer_half(self, host: Served) -> None:
        """The witness takes eight messages: the prompt, what is said, and three earlier turns of two each."""
        for number in range(4):
            self.told(host, "long", str(number))
        assert [part for part in self.told(host, "long", "4").split("|") if part.startswith("user:")] == [
            "user:2",
            "user:3",
            "user:4",
        ]

    def test_it_is_bounded_as_it_is_configured(self, serve: Serve) -> None:
        bounds = "[dialogue]\nmemory_sessions = 0\naudio_prompt = 'x'\nmax_tokens = 2\n"
        host = serve(bounds + '[models.echo]\nplugin = "echo"\nrun = "inline"\n')
        answer = say(host, text="a b c", session_id="none")
        assert (answer["assistant_text"], answer["finish_reason"]) == ("a b ", "length")
        assert host.client.delete("/v1/dialogue/none").json()["forgotten"] is False


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


def turn_of(text: str) -> Exchange:
    return (Message(role="user", content=(TextPart(text=text),)), Message(role="assistant", content=(TextPart(text=text),)))


CALLERS = st.sampled_from(["", "alice", "bob"])
SESSIONS = st.sampled_from("abcd")
TEXTS = st.builds(str.__mul__, st.sampled_from("xyz"), st.sampled_from([0, 1, 7, 5000, 9000, 16_000, 16_001]))


class Remembering(RuleBasedStateMachine):
    """A memory does what this plain list of (caller, session, turns, last use) does, the one that rested longest first."""

    @initialize(sessions=st.integers(0, 3), turns=st.integers(1, 4), seconds=st.integers(1, 20))
    def begin(self, sessions: int, turns: int, seconds: int) -> None:
        self.now = 0.0
        self.sessions, self.turns, self.seconds = sessions, turns, seconds
        self.memory = InProcessMemory(sessions=sessions, turns=turns, seconds=seconds, clock=lambda: self.now)
        self.model: list[tuple[str, str, list[Exchange], float]] = []

    def take(self, caller: str, session: str) -> list[Exchange]:
        """Take a session out of the model."""
        self.model = [one for one in self.model if self.now - one[3] <= self.seconds]
        found = [one for one in self.model if one[:2] == (caller, session)]
        self.model = [one for one in self.model if one not in found]
        return found[0][2] if found else []

    @rule(caller=CALLERS, session=SESSIONS, text=TEXTS)
    def remember(self, caller: str, session: str, text: str) -> None:
        now(self.memory.remember(caller, session, turn_of(text)))
        turns = [*self.take(caller, session), turn_of(text)][-self.turns :]
        while sum(2 * len(one.text) for one, _ in turns) > MOST_CHARACTERS:
            turns = turns[1:]
        self.model.append((caller, session, turns, self.now))
        if len(own := [one for one in self.model if one[0] == caller]) > self.sessions:
            self.model.remove(own[0])

    @rule(caller=CALLERS, session=SESSIONS)
    def recall(self, caller: str, session: str) -> None:
        before = len(self.model)
        turns = self.take(caller, session)
        assert now(self.memory.recall(caller, session)) == tuple(message for turn in turns for message in turn)
        if len(self.model) < before and turns:
            self.model.append((caller, session, turns, self.now))

    @rule(caller=CALLERS, session=SESSIONS)
    def forget(self, caller: str, session: str) -> None:
        now(self.memory.forget(caller, session))
        self.take(caller, session)
        assert now(self.memory.recall(caller, session)) == ()

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        self.now += seconds


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_the_session_that_rested_longest_makes_room() -> None:
    memory = InProcessMemory(sessions=2, turns=9, seconds=9)
    for session in ("a", "b"):
        now(memory.remember("me", session, turn_of(session)))
    now(memory.recall("me", "a"))
    now(memory.remember("you", "c", turn_of("c")))
    now(memory.remember("me", "c", turn_of("c")))
    assert [bool(now(memory.recall("me", session))) for session in "abc"] == [True, False, True]


def test_a_long_dialogue_keeps_its_newest_turns_whole() -> None:
    memory = InProcessMemory(sessions=1, turns=99, seconds=9)
    for letter in "abcde":
        now(memory.remember("", "s", turn_of(letter * 5000)))
    assert [message.text[0] for message in now(memory.recall("", "s"))] == ["c", "c", "d", "d", "e", "e"]
