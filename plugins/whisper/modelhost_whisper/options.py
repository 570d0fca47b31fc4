"""What may stand under `[models.NAME.options]` of a Whisper model."""

from typing import Annotated, Literal

from modelhost import Device, Options, RequestOptions, Source
from msgspec import Meta

ComputeType = Literal["auto", "int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"]
"""Numbers a model computes with; which of them a device has, CTranslate2 says when it loads."""


class WhisperOptions(Options):
    """A Whisper model in CTranslate2's form, how it runs, and what holds for requests that leave a choice open."""

    source: Source
    """A folder with `model.bin`, `config.json` and `tokenizer.json`, such as `hf:Systran/faster-whisper-large-v3`."""
    device: Device = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    compute_type: ComputeType = "auto"
    """`auto` is float16 on a GPU that has it and int8 elsewhere."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads of each replica; without it the share the host gives this model."""
    replicas: Annotated[int, Meta(ge=1, le=64)] = 1
    """Windows computed at the same time, each with `threads` threads: more for several requests, nothing for one short one."""
    beam_size: Annotated[int, Meta(ge=1, le=32)] = 5
    """Hypotheses followed at once: more is slower and a little better."""
    temperatures: Annotated[tuple[Annotated[float, Meta(ge=0, le=2)], ...], Meta(min_length=1)] = (0.0, 0.4, 0.8)
    """Tried one after the other while the text looks like a loop or a guess."""
    batch_size: Annotated[int, Meta(ge=1, le=256)] | None = None
    """Windows of all requests computed in one go; without it 2 on a CPU, which gains little from more, and 16 on a GPU."""
    share: Annotated[int, Meta(ge=1, le=256)] | None = None
    """How many of them may be of one request; without it 1 on a CPU and 8 on a GPU.

    A newcomer waits for that many windows of a long recording, and shares the next step with it.
    """
    concurrency: Annotated[int, Meta(ge=1, le=256)] = 16
    """Requests at once; each holds its decoded recording, 3.8 MB a minute."""
    vad: bool = True
    """Leave out what is not speech; a model may hear words in silence."""
    language: str | None = None
    """Of recordings whose request names none; without it, it is detected."""
    prompt: str | None = None
    """How words are spelt, or what recordings are about, where the request does not say."""
    hotwords: tuple[str, ...] = ()
    """Words to expect, beside those a request names."""
    max_audio_seconds: Annotated[float, Meta(gt=0)] = 4 * 3600
    """A longer recording is refused."""
    audio_memory_mb: Annotated[float, Meta(gt=0)] = 1024
    """MiB of decoded sound that all requests hold together, 3.7 a minute; others wait. At least what `max_audio_seconds` take."""


class WhisperRequestOptions(RequestOptions):
    """What a request may carry under `plugin_options.whisper`, for itself alone."""

    beam_size: Annotated[int, Meta(ge=1, le=32)] | None = None
    """Hypotheses followed at once: 1 is several times as fast, and nearly as good where the speech is clear."""
    temperatures: Annotated[tuple[Annotated[float, Meta(ge=0, le=2)], ...], Meta(min_length=1, max_length=8)] | None = None
    """Tried one after the other while the text looks like a loop or a guess; `temperature` of the request goes before."""
    vad: bool | None = None
    """Leave out what is not speech, of a recording that comes whole."""
