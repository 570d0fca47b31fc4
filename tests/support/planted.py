"""A plugin that does everything right, and mistakes to plant in it: what the conformance kit is for."""

from typing import NamedTuple

GOOD = '''
"""Counts, measures and hums: a plugin of three abilities without a model."""

import hashlib
import math
import random
from array import array
from collections.abc import Iterator

from modelhost import (
    AudioChunk, BadInputError, Backend, Context, Delta, Done, EmbedRequest, GenerateRequest, ModelCard, NotReadyError,
    Options, Sentences, Source, StopStrings, SynthesizeRequest, Usage, Vectors, hookimpl,
)

RATE = 16_000
VOICES = {"low": 200, "high": 400}
CARD = dict(
    features=("streaming", "stop", "speed"), dimensions=(16, 8), voices=tuple(VOICES), sample_rate=RATE, concurrency=4
)


class CounterOptions(Options):
    source: Source


class Counter(Backend[CounterOptions]):
    def load(self) -> ModelCard:
        self.words = self.options.source.path.read_text().split()
        if not self.words:
            raise NotReadyError.missing("a text", "write one")
        return ModelCard(**CARD)

    def unload(self) -> None:
        self.words = []

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> Iterator:
        prompt = request.messages[-1].text.split()
        dice = random.Random(f"{request.seed} {prompt}")
        stops, count, reason = StopStrings(request.stop), 0, "length"
        for _ in range(request.max_tokens or 32):
            if context.cancelled:
                return
            count += 1
            if text := stops.feed(dice.choice(self.words) + " "):
                yield Delta(text=text)
            if stops.stopped:
                reason = "stop"
                break
        if rest := stops.flush():
            yield Delta(text=rest)
        yield Done(reason=reason, usage=Usage(input_tokens=len(prompt) + 1, output_tokens=count))

    @hookimpl
    def embed(self, request: EmbedRequest, context: Context) -> Iterator:
        size = request.dimensions or 16
        for number, text in enumerate(request.inputs):
            if context.cancelled:
                return
            digest = hashlib.blake2b(text.encode(), digest_size=size).digest()
            row = [value - 127.5 for value in digest]
            length = math.hypot(*row)
            yield Vectors(first=number, dimensions=size, data=array("f", [value / length for value in row]).tobytes())
        yield Done(usage=Usage(input_tokens=sum(len(text.split()) + 1 for text in request.inputs)))

    @hookimpl
    def synthesize(self, request: SynthesizeRequest, context: Context) -> Iterator:
        hertz = VOICES.get(request.voice or "low")
        if hertz is None:
            raise BadInputError("there is no such voice", param="voice", code="unknown_voice")
        made = 0
        for sentence in Sentences.of(request.text):
            if context.cancelled:
                return
            count = int(len(sentence) * RATE / 50 / request.speed)
            wave = array("h", (int(9000 * math.sin(math.tau * hertz * n / RATE)) for n in range(count)))
            made += count
            yield AudioChunk(data=wave.tobytes(), sample_rate=RATE)
        if not made:
            raise BadInputError("there is nothing to say", param="text", code="nothing_to_say")
        yield Done(usage=Usage(audio_seconds=made / RATE))
'''

KIT = """
from pathlib import Path

from modelhost.testing import EmbedsTexts, GeneratesText, SynthesizesSpeech
from {module} import Counter


class Quick:
    backend = Counter
    options = {{"source": {source!r}}}
    patience, load_patience, stops_within = 3.0, 10.0, 1.5


class TestGenerate(Quick, GeneratesText): ...


class TestEmbed(Quick, EmbedsTexts): ...


class TestSynthesize(Quick, SynthesizesSpeech): ...
"""


class Mistake(NamedTuple):
    """An edit of the good plugin, the test of the kit that catches it, and a word of what to do."""

    edits: tuple[tuple[str, str], ...]
    test: str
    says: str
    kinds: str = ""
    """Which of the classes are run; all where it is empty."""


def edit(before: str, after: str, test: str, says: str, kinds: str = "") -> Mistake:
    return Mistake(((before, after),), test, says, kinds)


LOOK = "            if context.cancelled:\n                return\n            count += 1"
DONE = "        yield Done(reason=reason, usage=Usage(input_tokens=len(prompt) + 1, output_tokens=count))\n"
CHUNK = "            yield AudioChunk(data=wave.tobytes(), sample_rate=RATE)"
TEXT = "                yield Delta(text=text)\n"
LEAVES = """                try:
                    yield Delta(text=text)
                except GeneratorExit:
                    GONE.add(1)
                    raise
"""

MISTAKES = {
    "never looks at cancelled": edit(
        LOOK, "            count += 1", "a_cancelled_call_ends_at_once", "context.cancelled", "Generate"
    ),
    "an embedder that never looks": edit(
        "            if context.cancelled:\n                return\n            digest",
        "            digest",
        "a_cancelled_call_ends_at_once",
        "context.cancelled",
        "Embed",
    ),
    "works though cancelled before": edit(
        "        prompt = ",
        "        import time; time.sleep(9 if context.cancelled else 0)\n        prompt = ",
        "a_call_cancelled_before_it_starts_does_no_work",
        "goes on for more than",
        "Generate",
    ),
    "swallows GeneratorExit": edit(
        TEXT,
        "                try:\n                    yield Delta(text=text)\n                except GeneratorExit:\n"
        "                    import time; time.sleep(9)\n                    return\n",
        "a_call_that_is_closed_ends_at_once_and_the_next_one_works",
        "GeneratorExit",
        "Generate",
    ),
    "raises when it is closed": edit(
        TEXT,
        "                try:\n                    yield Delta(text=text)\n                except GeneratorExit:\n"
        "                    raise KeyError('x')\n",
        "a_call_that_is_closed_ends_at_once_and_the_next_one_works",
        "clean up in `finally`",
        "Generate",
    ),
    "blocks the event loop": Mistake(
        (
            ("    def embed(", "    async def embed("),
            ("            digest =", "            import time; time.sleep(0.4)\n            digest ="),
        ),
        "an_async_hook_lets_the_others_run",
        "asyncio.to_thread",
        "Embed",
    ),
    "an empty piece where nothing was asked": edit(
        "        stops, count",
        "        if not prompt: yield Delta(text='')\n        stops, count",
        "odd_input_is_answered_or_refused",
        "empty Delta",
        "Generate",
    ),
    "remembers who asked before": edit(
        "        dice = random.Random(",
        "        before, self.before = getattr(self, 'before', ''), prompt\n        dice = random.Random(f'{before}' + ",
        "a_call_leaves_nothing_to_the_next",
        "before it",
        "Generate",
    ),
    "never sets what it reads": edit(
        "        size = request.dimensions or 16",
        "        self.loaded\n        size = request.dimensions or 16",
        "the_answer_ends_with_one_done",
        "has not set self.loaded",
        "Embed",
    ),
    "never ends": edit(
        "        prompt = ",
        "        import time\n        while request.seed == 7: time.sleep(0.05)\n        prompt = ",
        "characters_are_whole",
        "has not ended after",
        "Generate",
    ),
    "never says that it is done": edit(DONE, "", "the_answer_ends_with_one_done", "ended without Done", "Generate"),
    "a hook without a mark": edit(
        "    @hookimpl\n    def embed", "    def embed", "the_hook_is_implemented", "lacks @hookimpl", "Embed"
    ),
    "cannot be loaded": edit(
        "        return ModelCard(",
        "        self.words['x']\n        return ModelCard(",
        "the_card_can_cross_to_the_host",
        "load raised TypeError",
        "Embed",
    ),
    "unload raises": edit(
        "        self.words = []\n",
        "        raise KeyError('x')\n",
        "it_can_be_unloaded_and_loaded_again",
        "unload raised",
        "Embed",
    ),
    "unload blocks": edit(
        "        self.words = []\n",
        "        import time; time.sleep(99)\n",
        "it_can_be_unloaded_and_loaded_again",
        "unload has not returned",
        "Embed",
    ),
    "cannot be loaded twice": edit(
        "        return ModelCard(",
        "        assert not hasattr(Counter, 'was_here'); Counter.was_here = True\n        return ModelCard(",
        "it_can_be_unloaded_and_loaded_again",
        "not on the class",
        "Embed",
    ),
    "bad weights fail": edit(
        '        if not self.words:\n            raise NotReadyError.missing("a text", "write one")\n',
        "        self.words[0]\n",
        "weights_that_are_none_are_refused_by_load",
        "NotReadyError.missing",
        "Embed",
    ),
    "bad weights end the process": edit(
        "        if not self.words:\n",
        "        if not self.words: import os; os.abort()\n        if not self.words:\n",
        "weights_that_are_none_are_refused_by_load",
        "ends its process",
        "Embed",
    ),
    "a slow import": edit(
        "import hashlib\n",
        "import hashlib, time\ntime.sleep(1.2)\n",
        "importing_the_plugin_is_quick_and_imports_no_runtime",
        "move what takes long into `load`",
        "Embed",
    ),
    "prints at import": edit(
        "import hashlib\n", "import hashlib\nprint('hello')\n", "importing_the_plugin_prints_nothing", "use self.log", "Embed"
    ),
    "one that is not read keeps the others waiting": Mistake(
        (
            (
                "        prompt = request.messages[-1].text.split()",
                "        LINE.acquire()\n        prompt = request.messages[-1].text.split()",
            ),
            (DONE, f"        LINE.release()\n{DONE}"),
            ("RATE = 16_000", "import threading\n\nLINE = threading.Lock()\nRATE = 16_000"),
        ),
        "who_reads_nothing_holds_nobody_up",
        "pass over calls",
        "Generate",
    ),
    "a call that is cancelled cancels all": Mistake(
        (
            (TEXT, LEAVES),
            (LOOK, LOOK.replace("context.cancelled", "GONE")),
            ("RATE = 16_000", "GONE = set()\nRATE = 16_000"),
        ),
        "who_leaves_changes_nothing_for_others",
        "Done",
        "Generate",
    ),
    "answers mix": edit(
        LOOK,
        "            if context.cancelled:\n                return\n            import time; time.sleep(0.003)\n"
        "            self.dice = getattr(self, 'dice', dice) if count else dice\n"
        "            dice = self.dice\n            count += 1",
        "answers_at_once_do_not_mix",
        "local variables",
        "Generate",
    ),
    "ChoiceDone before the text": edit(
        "        for _ in range(request.max_tokens or 32)",
        "        from modelhost import ChoiceDone\n        yield ChoiceDone(index=0)\n"
        "        for _ in range(request.max_tokens or 32)",
        "nothing_comes_of_a_choice_that_is_done",
        "when the choice is complete",
        "Generate",
    ),
    "a control token in the text": edit(
        "        if rest := stops",
        "        yield Delta(text='<|im_end|>')\n        if rest := stops",
        "the_text_has_no_control_tokens",
        "keep control tokens to yourself",
        "Generate",
    ),
    "half characters": edit(
        TEXT,
        "                yield Delta(text='\\ufffd' + text)\n",
        "characters_are_whole",
        "incremental decoder",
        "Generate",
    ),
    "fails for an empty message": edit(
        "        dice = random",
        "        prompt[0]\n        dice = random",
        "odd_input_is_answered_or_refused",
        "raise BadInputError",
        "Generate",
    ),
    "stop declared and ignored": edit(
        "StopStrings(request.stop)",
        "StopStrings(())",
        "a_stop_string_ends_the_text",
        "leave stop out of the features",
        "Generate",
    ),
    "the end is held back": edit(
        "        if rest := stops.flush():\n            yield Delta(text=rest)\n",
        "",
        "a_stop_string_ends_the_text",
        "StopStrings.flush()",
        "Generate",
    ),
    "an option without a type": edit(
        "    source: Source\n",
        "    source: Source\n    size = 16\n",
        "every_option_has_a_type",
        "write `size: int = 16`",
        "Embed",
    ),
    "seed ignored": edit(
        'random.Random(f"{request.seed} {prompt}")',
        "random.Random()",
        "the_same_seed_gives_the_same_text",
        "request.seed",
        "Generate",
    ),
    "usage not counted": edit(
        DONE, "        yield Done(reason=reason)\n", "what_it_costs_is_counted", "count the prompt's", "Generate"
    ),
    "reason always stop": edit("reason=reason", "reason='stop'", "max_tokens_is_kept_and_told", "reason='length'", "Generate"),
    "n declared and ignored": edit(
        'features=("streaming", ', 'features=("n", "streaming", ', "as_many_choices_as_asked", "leave n out", "Generate"
    ),
    "logprobs declared and not given": edit(
        'features=("streaming", ',
        'features=("logprobs", "streaming", ',
        "token_probabilities_come_when_asked_for",
        "fill Delta.logprobs",
        "Generate",
    ),
    "vectors of another size": edit(
        "dimensions=(16, 8)", "dimensions=(32, 8)", "vectors_have_the_length_the_card_says", "the card says", "Embed"
    ),
    "dimensions declared and ignored": edit(
        "request.dimensions or 16", "16", "vectors_have_the_length_the_card_says", "honour request.dimensions", "Embed"
    ),
    "NaN for nothing": edit(
        "            length = math.hypot(*row)\n",
        "            length = math.hypot(*row) if text.strip() else math.nan\n",
        "odd_input_is_answered_or_refused",
        "NaN",
        "Embed",
    ),
    "vectors that depend on their neighbours": edit(
        "hashlib.blake2b(text.encode()",
        "hashlib.blake2b((text + str(len(request.inputs))).encode()",
        "equal_inputs_give_equal_vectors",
        "its own text alone",
        "Embed",
    ),
    "a WAV file as sound": edit(
        CHUNK, CHUNK.replace("wave.tobytes()", "b'RIFF' + wave.tobytes()"), "the_sound_is_16_bit_pcm", "header", "Synthesize"
    ),
    "8-bit sound": edit(
        CHUNK,
        CHUNK.replace("wave.tobytes()", "bytes(128 + s // 256 for s in wave[: len(wave) // 2 * 2])"),
        "the_sound_is_16_bit_pcm",
        "8-bit",
        "Synthesize",
    ),
    "float sound": edit(
        CHUNK,
        CHUNK.replace("wave.tobytes()", "array('f', [s / 32768 for s in wave]).tobytes()"),
        "the_sound_is_16_bit_pcm",
        "float32",
        "Synthesize",
    ),
    "big-endian sound": edit(
        CHUNK, "            wave.byteswap()\n" + CHUNK, "the_sound_is_16_bit_pcm", "little-endian", "Synthesize"
    ),
    "stereo sound": edit(
        CHUNK,
        CHUNK.replace("wave.tobytes()", "array('h', [s for s in wave for _ in range(2)]).tobytes()"),
        "the_sound_is_16_bit_pcm",
        "two equal channels",
        "Synthesize",
    ),
    "silence": edit(
        CHUNK, CHUNK.replace("wave.tobytes()", "bytes(2 * count)"), "the_sound_is_16_bit_pcm", "silent", "Synthesize"
    ),
    "another rate than the card's": edit(
        CHUNK, CHUNK.replace("=RATE", "=8000"), "the_sound_is_whole_samples_at_one_rate", "the card says", "Synthesize"
    ),
    "speed declared and ignored": edit(" / request.speed", "", "speed_is_honoured", "honour request.speed", "Synthesize"),
    "another voice than the one asked for": edit(
        'VOICES.get(request.voice or "low")',
        'VOICES.get(request.voice or "low", 200)',
        "a_voice_nobody_has_is_refused",
        "unknown_voice",
        "Synthesize",
    ),
    "a voice on the card that is none": edit(
        "voices=tuple(VOICES)", "voices=('none',)", "every_voice_on_the_card_speaks", "it is refused", "Synthesize"
    ),
    "a length that is not that of the sound": edit(
        "audio_seconds=made / RATE", "audio_seconds=made / RATE / 2", "the_length_is_told", "samples / sample_rate", "Synthesize"
    ),
    "half of the text": edit(
        "Sentences.of(request.text)",
        "Sentences.of(request.text)[:1]",
        "a_longer_text_takes_longer",
        "all of the text",
        "Synthesize",
    ),
    "one piece": edit(CHUNK, "        if made:\n" + CHUNK, "the_sound_comes_in_pieces", "sentence by sentence", "Synthesize"),
}
