"""What is known of families of models beyond their files."""

from typing import Any, NamedTuple


class Family(NamedTuple):
    """Facts about an architecture."""

    dimensions: tuple[int, ...] = ()
    """Lengths its vectors may be cut to, by training."""
    float16: bool = True
    """Whether float16 is wide enough for it."""


EMBEDDING_GEMMA = Family(dimensions=(768, 512, 256, 128), float16=False)
"""From the model card of google/embeddinggemma-300m."""


def family_of(config: Any) -> Family:
    """Recognise a model by its transformers configuration, not by a name somebody gave it."""
    kind = str(config.model_type)
    if kind.startswith("embedding_gemma") or (kind == "gemma3_text" and getattr(config, "use_bidirectional_attention", False)):
        return EMBEDDING_GEMMA
    return Family(float16=not kind.startswith("gemma3"))
