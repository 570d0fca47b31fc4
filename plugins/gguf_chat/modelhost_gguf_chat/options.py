"""What may stand under `[models.NAME.options]` of a GGUF model."""

from typing import Annotated, Literal

from modelhost import BadInputError, Options, Source
from msgspec import Meta

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""How numbers of the KV cache are kept; fewer bits make room for a longer context."""


class GgufChatOptions(Options):
    """A GGUF file, how llama.cpp runs it, and what holds for requests that leave a choice open."""

    source: Source
    """The weights: a `.gguf` file, the first file of several (`…-00001-of-00003.gguf`), or a folder with one model."""

    n_ctx: Annotated[int, Meta(ge=0)] = 0
    """Tokens that prompt and answer may take together. 0 means what the model was trained for, but 8192 at most (2048 for a text
    that becomes a vector), because the memory for them is taken at load."""
    parallel: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Answers computed at once; further requests wait. Without it 4, or as many as have room in a quarter of the memory."""
    kv: Literal["split", "unified"] = "split"
    """How answers share the KV cache: `split` gives each its own `n_ctx` tokens; `unified` gives all of them together `n_ctx`
    tokens, and computes a beginning that several have in common without copying it."""
    exact: bool | None = None
    """Compute each answer to the bit as it is computed alone, whatever is computed beside it; steps have 63 tokens at most then.
    Without it: where that can be, on a CPU with `kv = "split"`, flash attention and quantised weights, which is tried out."""
    max_gap_ms: Annotated[int, Meta(ge=0, le=600_000)] = 250
    """How long an answer that is being written may stand still for the prompts of others, in milliseconds; 0 for any time."""
    speculation: bool = True
    """Guess how an answer goes on from what was said before, while that pays; the text is the same without it."""
    prefix_memory_mb: Annotated[int, Meta(ge=0)] = 512
    """MiB for beginnings of conversations whose place in the KV cache others needed; 0 computes them anew."""
    prefix_disk_mb: Annotated[int, Meta(ge=0)] = 1024
    """MiB of files for beginnings of conversations, so that a model that was unloaded need not compute them again; 0 for none."""
    n_batch: Annotated[int, Meta(ge=1, le=16384)] = 512
    """Tokens computed in one step, where answers are not `exact`: more is faster on a GPU and takes more memory."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads; without it the share the host gives this model."""
    n_gpu_layers: Annotated[int, Meta(ge=-1)] = -1
    """Layers kept on the GPU, -1 for all; without effect where llama.cpp was built for the CPU alone."""
    main_gpu: Annotated[int, Meta(ge=0)] | None = None
    """Run on this GPU alone; without it the model is spread over all GPUs. Not together with `tensor_split`."""
    tensor_split: tuple[Annotated[float, Meta(ge=0)], ...] = ()
    """How much of the model each GPU takes, in proportion; empty divides it by free memory."""
    use_mmap: bool = True
    """Map the file instead of reading it: it loads quicker and is shared between processes."""
    use_mlock: bool = False
    """Forbid the system to swap the weights out."""
    cache_type_k: CacheType = "f16"
    """Keys of the KV cache."""
    cache_type_v: CacheType = "f16"
    """Values of the KV cache; quantised ones need flash attention."""
    flash_attn: Literal["auto", "on", "off"] = "auto"
    """Flash attention: `auto` lets llama.cpp use it where model and device can."""

    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.7
    """0 always takes the likeliest token."""
    top_p: Annotated[float, Meta(ge=0, le=1)] = 0.95
    """Keep the likeliest tokens that together reach this probability; 1 keeps all."""
    top_k: Annotated[int, Meta(ge=-1)] = 40
    """Keep this many of the likeliest tokens; 0 or -1 keeps all."""
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Drop tokens less likely than this part of the likeliest one's probability; 0 drops none."""
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    """Divides the logits of tokens seen among the last `repeat_last_n`; 1 changes nothing."""
    repeat_last_n: Annotated[int, Meta(ge=-1)] = 64
    """How many tokens back, prompt included, `repeat_penalty` looks; -1 for all."""
    max_tokens: Annotated[int, Meta(ge=-1)] | None = None
    """Length of an answer where the request says none; without it, or with 0 or -1, an answer ends when the context is full."""
    seed: int | None = None
    """Seed where the request says none; without it, or with -1, every answer has a random one."""

    chat_template: str | None = None
    """A Jinja chat template to use in place of the one in the file. TOML takes `${` in it for a variable: write `$${`, or
    use `chat_template_file`."""
    chat_template_file: Source | None = None
    """A file with a Jinja chat template to use in place of the one in the model's, relative to the configuration file."""

    embeddings: bool = False
    """Turn texts into vectors with a model that was made to continue them: the mean of what it computes for their tokens.
    Embedding models do so anyway, and nothing else."""
    dimensions: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    """Lengths an embedding model's vectors may be cut to, by its training (Matryoshka), beside the full one."""
    prompts: dict[str, str] = {}
    """What an embedding model wants before a text, by name: `query`, `document`, `clustering` or others. Files have none."""

    def most_tokens(self) -> int | None:
        """Return the length of an answer, None for no limit."""
        return self.max_tokens if self.max_tokens and self.max_tokens > 0 else None

    def chosen_template(self) -> str | None:
        """Read the chat template that the operator has chosen; raises `BadInputError` where it cannot be read."""
        if self.chat_template_file is None:
            return self.chat_template
        if self.chat_template is not None:
            raise BadInputError("chat_template and chat_template_file exclude each other; leave one out", param="chat_template")
        try:
            return self.chat_template_file.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = f"the chat template {self.chat_template_file.uri} cannot be read ({type(error).__name__})"
            raise BadInputError(why, param="chat_template_file") from None
