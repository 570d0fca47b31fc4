"""Texts to vectors with sentence-transformers: EmbeddingGemma, MiniLM and others.

This module is what the host reads to know the plugin; torch is imported when a model is loaded.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from modelhost import Backend, Context, EmbedEvent, EmbedRequest, ModelCard, hookimpl
from modelhost.authors.devices import device_problem

from modelhost_embedding.options import EmbeddingOptions

if TYPE_CHECKING:  # brings torch
    from modelhost_embedding.model import EmbeddingModel

__all__ = ["EmbeddingBackend", "EmbeddingOptions"]


class EmbeddingBackend(Backend[EmbeddingOptions]):
    """One embedding model, whose texts of all requests are computed together."""

    loaded: "EmbeddingModel"

    @classmethod
    def problems(cls, options: EmbeddingOptions) -> Iterable[str]:
        """Return what is wrong with `device`, if this machine has no such device."""
        problem = None if options.force_cpu else device_problem(options.device)
        return (problem,) if problem else ()

    def load(self) -> ModelCard:
        """Check the folder and load the model.

        Raises `NotReadyError` where files are missing or cannot be loaded, `BadInputError` where an option cannot work here.
        """
        from modelhost_embedding.model import EmbeddingModel

        self.loaded = EmbeddingModel(
            self.options, threads=self.options.threads or self.threads, log=self.log, compute=self.compute
        )
        return self.loaded.card()

    @hookimpl
    def embed(self, request: EmbedRequest, context: Context) -> Iterator[EmbedEvent]:
        """Turn texts or token ids into unit vectors."""
        return self.loaded.embed(request, context)
