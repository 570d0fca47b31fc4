"""Live audio: each utterance is transcribed when it has ended, and before that a guess of what it says so far."""

import time
from collections.abc import Iterator

from modelhost import Context, Done, Partial, TranscribeEvent, TranscribeRequest, Usage
from modelhost.audio import SAMPLE_RATE, Endpointer, Resampler, Utterance, Window, from_pcm, speech_spans

from modelhost_whisper.excerpts import WINDOW
from modelhost_whisper.recording import Recording
from modelhost_whisper.silero import SHORTEST, SileroDetector

GUESS_SECONDS = 1.0
"""Seconds of new sound between two guesses; chosen, because each computes the whole utterance again."""


def transcribe_live(recording: Recording, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
    """Yield segments utterance by utterance, and guesses between them; ends with the input."""
    assert context.input is not None
    endpointer = Endpointer(longest=WINDOW, shortest=SHORTEST, detector=SileroDetector())
    resampler = Resampler(request.sample_rate, SAMPLE_RATE)
    seconds = guessed_at = 0.0
    pace = GUESS_SECONDS
    for pcm in context.input:
        samples = from_pcm(resampler.resample(pcm))
        seconds += len(samples) / SAMPLE_RATE
        for event in endpointer.feed(samples):
            if isinstance(event, Utterance):
                yield from _utterance_events(recording, event)
                guessed_at = seconds
        if seconds - guessed_at >= pace and len(endpointer.so_far):
            began = time.monotonic()
            if text := recording.guess(endpointer.so_far[-int(WINDOW) * SAMPLE_RATE :]):
                yield Partial(text=text)
            guessed_at = seconds
            pace = max(GUESS_SECONDS, 2 * (time.monotonic() - began))  # a slow machine must not fall behind by guessing
        if context.cancelled:
            return
    for event in endpointer.finish():
        yield from _utterance_events(recording, event)
    if not context.cancelled:
        yield Done(usage=Usage(audio_seconds=seconds))


def _utterance_events(recording: Recording, utterance: Utterance) -> Iterator[TranscribeEvent]:
    speech = speech_spans(utterance.samples, padding=0, shortest=SHORTEST, detector=SileroDetector())
    window = Window(samples=utterance.samples, start=utterance.start, end=utterance.end, speech=tuple(speech))
    return recording.write_down([window], utterance.end, ahead=1)
