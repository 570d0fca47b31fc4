"""Sound for backends: read recordings, find speech, cut it to what a model takes, and encode what a model says.

Needs the extra `audio` of modelhost. What recognisers hear is float32 from -1 to 1, one channel, at 16 kHz
(`Samples`, `SAMPLE_RATE`); what voices say is 16-bit little-endian mono PCM, as bytes. A backend that transcribes is a few lines:

    samples = decode(request.audio, format=request.format, sample_rate=request.sample_rate, context=context)
    for window in windows(samples, longest=30):
        for segment in self._recognise(window.samples):
            yield window.place(segment)

Names are looked up on first use, because PyAV takes a tenth of a second to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelhost.authors.extras import how_to_install

if TYPE_CHECKING:  # `as` marks what is exported, for strict type checkers
    from modelhost.audio.decoder import Limits as Limits, decode as decode, decoded as decoded
    from modelhost.audio.encoder import Encoder as Encoder
    from modelhost.audio.endpoint import Endpointer as Endpointer, SpeechStarted as SpeechStarted, Utterance as Utterance
    from modelhost.audio.memory import SoundMemory as SoundMemory
    from modelhost.audio.normalization import normalize as normalize, remove_offset as remove_offset
    from modelhost.audio.pcm import Resampler as Resampler, from_pcm as from_pcm, to_pcm as to_pcm
    from modelhost.audio.samples import SAMPLE_RATE as SAMPLE_RATE, Samples as Samples
    from modelhost.audio.spans import PADDING as PADDING, Span as Span, speech_spans as speech_spans
    from modelhost.audio.voice import FRAME as FRAME, Detector as Detector, VoiceDetector as VoiceDetector
    from modelhost.audio.window import Window as Window, windows as windows

_HOMES = {
    "modelhost.audio.normalization": ("normalize", "remove_offset"),
    "modelhost.audio.decoder": ("Limits", "decode", "decoded"),
    "modelhost.audio.encoder": ("Encoder",),
    "modelhost.audio.endpoint": ("Endpointer", "SpeechStarted", "Utterance"),
    "modelhost.audio.pcm": ("Resampler", "from_pcm", "to_pcm"),
    "modelhost.audio.memory": ("SoundMemory",),
    "modelhost.audio.samples": ("SAMPLE_RATE", "Samples"),
    "modelhost.audio.spans": ("PADDING", "Span", "speech_spans"),
    "modelhost.audio.voice": ("FRAME", "Detector", "VoiceDetector"),
    "modelhost.audio.window": ("Window", "windows"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'modelhost.audio' has no attribute {name!r}")
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name not in ("av", "numpy"):
            raise
        way = f"in the environment of this model: {how_to_install('modelhost', 'audio')}"
        raise ImportError(f"{error.name} is not installed, which modelhost.audio needs; {way}") from error
    value = globals()[name] = getattr(module, name)
    return value
