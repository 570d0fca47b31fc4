"""Loaded Piper voices, and what they say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
from modelhost import (
    AudioChunk,
    BadInputError,
    Context,
    Done,
    ModelCard,
    NotReadyError,
    Progress,
    Sentences,
    SynthesizeEvent,
    SynthesizeRequest,
    Usage,
)
from piper import PiperVoice, SynthesisConfig
from piper.config import PiperConfig

from modelhost_piper.options import PiperOptions

DEFAULT = "default"
"""A name the configured voice has whatever it is called."""


class Synthesizer:
    """Voices by name; used from several threads at once."""

    def __init__(self, options: PiperOptions, *, threads: int) -> None:
        self._options = options
        configs = [options.config.path if options.config else None, *(None for _ in options.voices)]
        files = [options.source.path, *(source.path for source in options.voices)]
        self._voices: dict[str, tuple[PiperVoice, int | None]] = {}
        for file, config in zip(files, configs, strict=True):
            self._add(file, config or file.with_name(f"{file.name}.json"), threads)
        self.sample_rate = self._one_rate()
        self._size = sum(file.stat().st_size for file in files)
        self._default = next(iter(self._voices))
        for alias, name in options.aliases.items():
            if name not in self._voices:
                raise BadInputError(f"options.aliases: there is no voice {name!r}; there are: {', '.join(self._voices)}")
            self._voices.setdefault(alias, self._voices[name])

    def _add(self, file: Path, config: Path, threads: int) -> None:
        voice = _load(file, config, threads)
        self._voices.setdefault(file.stem, (voice, None))
        for speaker, number in voice.config.speaker_id_map.items():
            self._voices.setdefault(f"{file.stem}/{speaker}", (voice, number))

    def _one_rate(self) -> int:
        rates = {int(voice.config.sample_rate) for voice, _ in self._voices.values()}
        if len(rates) > 1:
            listed = ", ".join(map(str, sorted(rates)))
            raise BadInputError(f"options.voices: voices of {listed} Hz cannot be one model; give each rate a model of its own")
        return rates.pop()

    def card(self) -> ModelCard:
        """Return which voices there are."""
        languages = {voice.config.espeak_voice.partition("-")[0] for voice, _ in self._voices.values()}
        return ModelCard(
            features=("streaming", "speed"),
            voices=tuple(self._voices),
            languages=tuple(sorted(languages)),
            sample_rate=self.sample_rate,
            concurrency=self._options.concurrency,
            size_bytes=self._size,
        )

    def synthesize(self, request: SynthesizeRequest, context: Context) -> Iterator[SynthesizeEvent]:
        """Yield sound sentence by sentence; raises `BadInputError` before the first for a text nobody can speak."""
        voice, number = self._voice(request.voice)
        settings = self._settings(voice, number, request)
        silence = bytes(2 * int(self._options.sentence_silence * self.sample_rate))
        text = self._checked(request.text)
        spoken = done = 0
        for sentence in Sentences.of(text):
            for chunk in voice.synthesize(sentence.strip(), settings) if sentence.strip() else ():
                if context.cancelled:
                    return
                pcm = (silence if spoken else b"") + chunk.audio_int16_bytes
                spoken += len(pcm)
                yield AudioChunk(data=pcm, sample_rate=self.sample_rate)
            done += len(sentence)
            if spoken and done < len(text):
                yield Progress(fraction=done / len(text), step="speaking")
        if not spoken:
            raise BadInputError("there is nothing in the text that can be spoken", param="text", code="nothing_to_say")
        yield Done(usage=Usage(audio_seconds=spoken / 2 / self.sample_rate))

    def _voice(self, name: str | None) -> tuple[PiperVoice, int | None]:
        found = self._voices.get(self._default if name in (None, DEFAULT) else name)
        if found is None:
            known = ", ".join(self._voices)
            raise BadInputError(f"there is no voice {name!r:.60}; there are: {known}", param="voice", code="unknown_voice")
        return found

    def _settings(self, voice: PiperVoice, number: int | None, request: SynthesizeRequest) -> SynthesisConfig:
        options = self._options
        return SynthesisConfig(
            speaker_id=number,
            length_scale=voice.config.length_scale / request.speed,
            noise_scale=options.noise_scale,
            noise_w_scale=options.noise_w_scale,
            normalize_audio=request.normalize is not False,
            volume=options.volume,
        )

    def _checked(self, text: str) -> str:
        most = self._options.max_text_chars
        if len(text) > most:
            raise BadInputError(f"the text has {len(text)} characters, {most} are allowed; send it in parts", param="text")
        if "\0" in text:
            raise BadInputError("the text has a NUL character in it, which cannot be spoken", param="text")
        return text.replace("[[", "[ [")  # Piper would read what follows as phonemes


def _load(file: Path, config: Path, threads: int) -> PiperVoice:
    if not config.is_file():
        raise NotReadyError(f"{file.name} has no {config.name} beside it; get that too, or name it as `config`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from every other engine on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        described: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return PiperVoice(session, PiperConfig.from_dict(described))
    except Exception as error:  # onnxruntime has a dozen kinds, and a file may hold anything
        raise NotReadyError(f"{file.name} cannot be loaded as a Piper voice ({type(error).__name__}); get it again") from None
