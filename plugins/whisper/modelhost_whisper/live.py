"""Live audio being written down: each utterance when it has ended, and before that what it sounds like so far."""

import time
from collections.abc import Iterator

from modelhost import Context, Done, Partial, TranscribeEvent, TranscribeRequest, Usage
from modelhost.audio import SAMPLE_RATE, Endpointer, Resampler, Utterance, Window, from_pcm, speech_spans

from modelhost_whisper.looks import WINDOW
from modelhost_whisper.recording import Recording
from modelhost_whisper.voice import SHORTEST, Voice

OFTEN = 1.0
"""Seconds of new sound after which a guess is worth its price."""


def listen(recording: Recording, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
    """Yield segments utterance by utterance, and guesses between them; ends with the input."""
    assert context.input is not None
    endpointer = Endpointer(longest=WINDOW, shortest=SHORTEST, detector=Voice())
    resampler = Resampler(request.sample_rate, SAMPLE_RATE)
    heard = guessed = 0.0
    pace = OFTEN
    for pcm in context.input:
        samples = from_pcm(resampler.resample(pcm))
        heard += len(samples) / SAMPLE_RATE
        for event in endpointer.feed(samples):
            if isinstance(event, Utterance):
                yield from _written(recording, event)
                guessed = heard
        if heard - guessed >= pace and len(endpointer.so_far):
            began = time.monotonic()
            if text := recording.guess(endpointer.so_far[-int(WINDOW) * SAMPLE_RATE :]):
                yield Partial(text=text)
            guessed = heard
            pace = max(OFTEN, 2 * (time.monotonic() - began))  # a slow machine must not fall behind by guessing
        if context.cancelled:
            return
    for event in endpointer.finish():
        yield from _written(recording, event)
    if not context.cancelled:
        yield Done(usage=Usage(audio_seconds=heard))


def _written(recording: Recording, said: Utterance) -> Iterator[TranscribeEvent]:
    speech = speech_spans(said.samples, padding=0, shortest=SHORTEST, detector=Voice())
    window = Window(samples=said.samples, start=said.start, end=said.end, speech=tuple(speech))
    return recording.write_down([window], said.end, ahead=1)
