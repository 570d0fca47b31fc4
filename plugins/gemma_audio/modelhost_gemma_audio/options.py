"""What may stand under `[models.NAME.options]` of a Gemma."""

from typing import Annotated, Literal

from modelhost import Device, Options, Source
from msgspec import Meta
from msgspec.structs import force_setattr

Variant = Literal["E2B", "E4B", "gemma-4-E2B", "gemma-4-E4B", "gemma-4-12B"]
"""Google's models by their short names; those without a generation are Gemma 3n's."""

REPOSITORIES: dict[str, str] = {
    "E2B": "google/gemma-3n-E2B-it",
    "E4B": "google/gemma-3n-E4B-it",
    "gemma-4-E2B": "google/gemma-4-E2B-it",
    "gemma-4-E4B": "google/gemma-4-E4B-it",
    "gemma-4-12B": "google/gemma-4-12B-it",
}
"""Where a variant is on the hub."""

Dtype = Literal["auto", "float32", "bfloat16"]
"""Numbers a model computes with. float16 is not among them: activations of Gemmas leave its range."""

Quantization = Literal["auto", "none", "int8", "int4"]

Temperature = Annotated[float, Meta(ge=0, le=2)]


class GemmaAudioOptions(Options):
    """A Gemma, how it runs, and what holds for requests that leave a choice open."""

    source: Source | None = None
    """A checkpoint as Transformers saves it, such as `hf:google/gemma-3n-E4B-it`; or else `variant`."""
    variant: Variant | None = None
    """`E2B` or `E4B` of Gemma 3n, `gemma-4-E2B`, `gemma-4-E4B` or `gemma-4-12B`: short for Google's own `source`."""
    adapter: Source | None = None
    """A LoRA adapter as PEFT saves it, put upon the model; needs the extra `adapter`."""

    device: Device = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` takes a GPU where torch sees one."""
    dtype: Dtype = "auto"
    """`auto` is bfloat16 on a GPU that computes with it, and float32 elsewhere."""
    quantization: Quantization = "auto"
    """`int8` stores weights in 8 bits, through bitsandbytes on CUDA and torchao on a CPU; `int4`, on CUDA alone, in 4.

    `auto` takes int8 on a CUDA GPU whose free memory would not hold the model otherwise, and none elsewhere.
    """
    low_memory: bool = False
    """Compute one request or window at a time, keep weights of 16 bits in 16 bits on a CPU too, and give unused memory of a GPU
    back whenever nothing is left to do."""
    max_memory_gb: Annotated[float, Meta(gt=0)] | None = None
    """What the weights may take of the device, in 10^9 bytes: on CUDA the rest stays in main memory and is slow; a CPU refuses to
    load a larger model. Not beside quantization on CUDA, nor on `mps`."""
    torch_compile: bool = False
    """Compile the feed-forward part of every layer at the first steps, which takes a minute or more and needs a C++ compiler."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads; without it the share the host gives this model."""
    batch_size: Annotated[int, Meta(ge=1, le=256)] | None = None
    """Requests and windows computed in one step; without it 4 on a CPU, 8 on a GPU and 1 with `low_memory`."""
    concurrency: Annotated[int, Meta(ge=1, le=256)] = 16
    """Requests at once; those over `batch_size` wait their turn."""
    warm_up: bool = True
    """Hear a second of silence at load, so that the first request finds everything ready."""

    context_length: Annotated[int, Meta(ge=64)] | None = None
    """Tokens of prompt and answer together, where fewer are wanted than the model takes: they cost memory."""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    """Of an answer whose request names none; without it what the context holds."""
    temperature: Temperature | None = None
    """Of a chat whose request names none; this and the next three without a value are what the checkpoint says."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    """Above 1, tokens of the prompt and the answer become less likely to come again."""
    seed: int | None = None
    """Of requests that name none; without it every answer differs."""

    language: str | None = None
    """Of recordings whose request names none; without it the model tells."""
    prompt: str | None = None
    """What recordings are about, or how words in them are spelt, where the request does not say."""
    temperatures: Annotated[tuple[Temperature, ...], Meta(min_length=1)] = (0.0, 0.4, 0.8)
    """Of transcripts: tried one after the other while a window's text is a loop."""
    max_audio_seconds: Annotated[float, Meta(gt=0)] = 4 * 3600
    """A longer recording is refused, never cut."""
    audio_memory_mb: Annotated[float, Meta(gt=0)] = 1024
    """MiB of decoded sound that all requests hold together, 3.7 a minute; others wait. At least what `max_audio_seconds` take."""

    def __post_init__(self) -> None:
        """Turn `variant` into its source. Raises ValueError where both or none are named."""
        variant_source = self.variant and Source(f"hf:{REPOSITORIES[self.variant]}")
        if self.source is None:
            if not variant_source:
                raise ValueError('name a model: variant = "E2B", or source = "hf:…" or a folder')
            force_setattr(self, "source", variant_source)
        elif variant_source and self.source.uri != variant_source.uri:
            raise ValueError("name the model once, by `variant` or by `source`")
