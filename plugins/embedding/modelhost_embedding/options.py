"""What may stand under `[models.NAME.options]` of an embedding model."""

from typing import Annotated, Literal

from modelhost import Device, Options, Source
from msgspec import Meta

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Numbers a model computes with; its vectors are always float32."""

Dimensions = Annotated[int, Meta(ge=1)]


class EmbeddingOptions(Options):
    """An embedding model, how it runs, and what holds for requests that leave a choice open."""

    source: Source
    """A folder as sentence-transformers saves it, such as `hf:google/embeddinggemma-300m`."""
    device: Device = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` takes a GPU where torch sees one."""
    force_cpu: bool = False
    """Stay on the CPU whatever `device` says: for a GPU that makes trouble."""
    dtype: Dtype = "auto"
    """`auto` is float32, and bfloat16 on a CUDA GPU for weights that are stored in 16 bits."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads; without it the share the host gives this model."""

    dimensions: tuple[Dimensions, ...] = ()
    """Lengths of vector the model was trained to be cut to (Matryoshka), beside its full one; EmbeddingGemma's are known."""
    default_dimensions: Dimensions | None = None
    """Length of vector where the request says none; without it what the model's files say, or else its full one."""
    prompts: dict[str, str] = {}
    """Put before a text, by name: in place of the model's own prompts, or further ones."""
    max_length: Annotated[int, Meta(ge=1)] | None = None
    """Tokens of a text with its prompt, where fewer are wanted than the model takes."""

    batch_tokens: Annotated[int, Meta(ge=1)] | None = None
    """Tokens computed in one step, with padding where there is any; without it 2048 on a CPU and 32768 on a GPU."""
    window: Annotated[int, Meta(ge=1, le=4096)] = 256
    """How many waiting texts are looked through for those of about the same length."""
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 64
    """Requests at once."""
