"""A loaded Whisper model: recordings are cut into windows, and their transcripts become segments of the recording."""

from collections.abc import Iterator

import ctranslate2
from faster_whisper import WhisperModel
from modelhost import (
    BadInputError,
    BatchEngine,
    ComputeThread,
    Context,
    Done,
    ModelCard,
    NotReadyError,
    TranscribeEvent,
    TranscribeRequest,
    Usage,
)
from modelhost.audio import SAMPLE_RATE, Limits, Samples, SoundMemory, Window, decode, speech_spans, windows
from modelhost.authors.languages import code_of, spoken

from modelhost_whisper.decoder import Decoder, Outcome, Piece, Settings, Spectrum
from modelhost_whisper.excerpts import WINDOW
from modelhost_whisper.live import transcribe_live
from modelhost_whisper.options import WhisperOptions, WhisperRequestOptions
from modelhost_whisper.recording import Recording
from modelhost_whisper.silero import SHORTEST, SileroDetector

FILES = ("model.bin", "config.json", "tokenizer.json")


class SpeechModel:
    """The model, its engine and the options of every request. Used from many threads at once."""

    def __init__(self, options: WhisperOptions, *, threads: int, compute: ComputeThread) -> None:
        """Load it on this thread, which is `compute`'s; raises what `Backend.load` may raise."""
        self._options = options
        self._memory = SoundMemory(int(options.audio_memory_mb * 2**20), longest=options.max_audio_seconds)
        folder = options.source.path
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise NotReadyError(
                f"{folder.name} has no {' and no '.join(missing)}: a Whisper model in CTranslate2's form has {', '.join(FILES)}; "
                "convert one with ct2-transformers-converter, or use one such as hf:Systran/faster-whisper-small"
            )
        self._size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        device, index = _device(options.device)
        self._device = device
        try:
            self._model = WhisperModel(
                str(folder),
                device=device,
                device_index=index,
                compute_type=_compute_type(options.compute_type, device, index),
                cpu_threads=threads,
                num_workers=options.replicas,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise NotReadyError(f"CTranslate2 cannot load {folder.name}: {error}") from None
        self._languages: dict[str, str] = {
            code_of(own) or own: own for own in self._model.supported_languages
        }  # Whisper calls `jv` `jw`
        self._decoder = Decoder(self._model)
        self._language_code(options.language)
        few, many = (1, 2) if device == "cpu" else (8, 16)
        self._share = options.share or few
        batch = options.batch_size or many
        self._ahead = 2 * self._share * options.replicas
        self._engine: BatchEngine[Piece, Outcome] = BatchEngine(
            self._decoder.compute,
            compute,
            kind=lambda piece: piece.kind,
            batch=batch,
            share=self._share,
            loops=options.replicas,
        )

    def close(self) -> None:
        """Stop computing."""
        self._engine.close()

    def card(self) -> ModelCard:
        """Return what this model can do."""
        return ModelCard(
            inputs=("audio",),
            features=(
                *("streaming", "live", "word_timestamps", "hotwords"),
                *(("translate",) if self._model.model.is_multilingual else ()),
            ),
            languages=tuple(sorted(self._languages)),
            concurrency=self._options.concurrency,
            size_bytes=self._size,
            device=self._device,
        )

    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Transcribe a recording; raises `BadInputError` for one that cannot be read, or a language the model does not know."""
        language = self._language_code(request.language or self._options.language)
        own = WhisperRequestOptions.of(request)
        temperatures = (request.temperature,) if request.temperature else own.temperatures or self._options.temperatures
        settings = self._settings(request, language, own.beam_size or self._options.beam_size)
        recording = Recording(self._engine, self._features, settings, temperatures, context)
        if request.audio is None:
            yield from transcribe_live(recording, request, context)
            return
        limits = Limits(seconds=self._options.max_audio_seconds)
        with self._memory.recording(context) as held:
            samples = decode(
                request.audio,
                format=request.format,
                sample_rate=request.sample_rate,
                limits=limits,
                context=context,
                held=held,
            )
            seconds = len(samples) / SAMPLE_RATE
            speech_alone = self._options.vad if own.vad is None else own.vad
            yield from recording.write_down(self._windows(samples, speech_alone), seconds, ahead=self._ahead)
            del samples  # before others may have its memory
        if not context.cancelled:
            yield Done(usage=Usage(audio_seconds=seconds))

    def _windows(self, samples: Samples, speech_alone: bool) -> list[Window]:
        if speech_alone:
            return windows(samples, WINDOW, shortest=SHORTEST, detector=SileroDetector())
        speech = speech_spans(samples, padding=0, shortest=SHORTEST, detector=SileroDetector())
        return [Window(samples=samples, start=0.0, end=len(samples) / SAMPLE_RATE, speech=tuple(speech))]

    def _settings(self, request: TranscribeRequest, language: str | None, beam_size: int) -> Settings:
        hotwords = tuple(dict.fromkeys((*self._options.hotwords, *request.hotwords)))
        return Settings(
            task=request.task,
            language=language,
            context=self._decoder.context(request.prompt or self._options.prompt, hotwords),
            words=request.word_timestamps,
            beam_size=beam_size,
        )

    def _features(self, samples: Samples) -> Spectrum:
        spectrum: Spectrum = self._model.feature_extractor(samples)[..., :-1]
        return spectrum

    def _language_code(self, language: str | None) -> str | None:
        """Return the model's own code of a language. Raises `BadInputError` for one it does not know."""
        code = spoken(language)
        if code is None:
            return None
        if code not in self._languages:
            known = ", ".join(sorted(self._languages))
            raise BadInputError(f"this model does not know the language {code[:20]!r}; it knows {known}", param="language")
        return self._languages[code]


def _device(requested: str) -> tuple[str, int]:
    """Return CTranslate2's name and number of a device. Raises `BadInputError` for one that is not here."""
    gpus = ctranslate2.get_cuda_device_count()
    if requested == "auto":
        return ("cuda", 0) if gpus else ("cpu", 0)
    kind, _, number = requested.partition(":")
    if kind == "cpu" and not number:
        return "cpu", 0
    if kind == "cuda" and (not number or number.isdecimal()):
        if int(number or 0) < gpus:
            return "cuda", int(number or 0)
        raise BadInputError(f"options.device: there is no {requested!r} here, but {gpus} CUDA GPUs; use `auto` or `cpu`")
    raise BadInputError(f"options.device: CTranslate2 runs on `cpu`, `cuda` and `cuda:N`, not on {requested!r}")


def _compute_type(requested: str, device: str, index: int) -> str:
    if requested != "auto":
        return requested
    can = ctranslate2.get_supported_compute_types(device, index)
    return next((kind for kind in (["float16", "int8"] if device == "cuda" else ["int8"]) if kind in can), "default")
