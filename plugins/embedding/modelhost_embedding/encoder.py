"""The model itself: tokens in, vectors out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modelhost import NotReadyError
from modelhost.authors.devices import torch_device
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from modelhost_embedding.batches import Piece, Row
from modelhost_embedding.dtype import find_dtype
from modelhost_embedding.families import family_of
from modelhost_embedding.options import EmbeddingOptions
from modelhost_embedding.packing import Features, find_packing
from modelhost_embedding.sizes import unit
from modelhost_embedding.tokens import Tokens

UNLIMITED = 1_000_000
"""Tokens. Chosen, because tokenizers say more than that when they know no limit (`VERY_LARGE_INTEGER` of Transformers)."""
UNSTATED = 8192
"""Tokens of a text, where neither the model's files nor the options name a limit. Chosen, because it is that of today's models
with long contexts."""
PROBES = ("sea", "The quick brown fox jumps over the lazy dog, and the dog sleeps on.")
ALIKE = 0.999
"""Cosine of vectors that are the same but for rounding. Chosen, because bfloat16 stays above it, and another way of preparing
texts does not."""
TRIED = (9, 1, 40, 2, 17)
"""Tokens of the texts that packing is tried with, beside one that has the token for padding in it. Chosen, because they are of
all kinds, and cost a large model a second."""


class Encoder:
    """A model of sentence-transformers, used below its own preparation of texts.

    That preparation cuts what is too long without a word, and opens strings that look like files or URLs where a model knows
    pictures or sound. Here tokens are given in their place, and `tokens` sees that the vectors are the same.
    """

    def __init__(self, folder: Path, options: EmbeddingOptions) -> None:
        """Load it. Raises `NotReadyError` with the library's reason, `BadInputError` for an option that cannot work here."""
        requested = "cpu" if options.force_cpu else options.device
        self.device = torch_device(requested, gpus=torch.cuda.device_count(), mps=torch.backends.mps.is_available())
        self._model = _load(folder, self.device)
        first = self._model[0]
        if not isinstance(first, Transformer) or first.tokenizer is None:
            raise NotReadyError(
                f"{folder.name} does not begin with a transformer that reads text; use another model", retry=False
            )
        self.family = family_of(first.config)
        stored = self._model.dtype or torch.float32
        self._model.to(find_dtype(options.dtype, device=self.device, stored=stored, float16=self.family.float16))
        self._model.eval()
        self._padding: int = first.tokenizer.pad_token_id or 0
        self._left = first.tokenizer.padding_side == "left"
        self._transformer, self._tokenizer = first, first.tokenizer
        self.vocabulary: int = first.model.get_input_embeddings().num_embeddings
        """How many tokens there are, from 0 on."""
        self.skips_prompt = any(isinstance(module, Pooling) and not module.include_prompt for module in self._model)
        """Whether vectors are made of what follows the prompt alone."""
        self._features = self._padded
        self.dimensions = len(self.compute([Piece([0])])[0])
        """Length of the vectors that `compute` gives."""

    @property
    def usual_dimensions(self) -> int | None:
        """Return the length to which the model's files ask to cut vectors."""
        return self._model.truncate_dim

    @property
    def prompts(self) -> tuple[dict[str, str], str | None]:
        """Return the model's prompts, and the name of the one it uses unless told otherwise."""
        return {name: text or "" for name, text in self._model.prompts.items()}, self._model.default_prompt_name

    @property
    def max_tokens(self) -> int:
        """Return tokens a text may have, by the model's files."""
        config: Any = self._model[0].config
        known = (self._model.max_seq_length, getattr(config, "max_position_embeddings", None))
        return min((number for number in known if number and 0 < number < UNLIMITED), default=UNSTATED)

    def tokens(self) -> Tokens:
        """Return the way to tokens, after making sure that they become the vectors that sentence-transformers gives.

        Raises `NotReadyError` where they do not: the model prepares its texts in a way that is not known here.
        """
        theirs = self._model.encode([{"text": text} for text in PROBES], prompt="", normalize_embeddings=True, truncate_dim=None)
        tokens = Tokens(self._tokenizer)
        pieces = [Piece([*tokens.before, *plain, *tokens.after]) for plain in tokens.plain(PROBES)]
        size = theirs.shape[1]
        if float(np.sum(unit(np.stack(self.compute(pieces)), size) * unit(theirs, size), axis=1).min()) < ALIKE:
            raise NotReadyError("this model prepares texts in a way that is not known here; use another one", retry=False)
        return tokens

    def pack(self, tokens: Tokens) -> bool:
        """Compute without padding from here on, where that changes no vector; returns whether it does not.

        Only on a CPU: each text is a step of its own to the attention, and a GPU waits for steps as small as these.
        """
        if self.device != "cpu":
            return False
        body = tokens.plain([PROBES[-1] * 3])[0]
        bodies = [*(body[:length] for length in TRIED), [*body[:5], self._padding, *body[5:9]]]
        pieces = [Piece([*tokens.before, *some, *tokens.after][: self.max_tokens]) for some in bodies]
        alone = {piece: self.compute([piece])[0] for piece in pieces}
        packing = find_packing(self._transformer, self._vectors, alone, self._padding)
        if packing:
            self._features = packing.features
        return packing is not None

    def compute(self, pieces: Sequence[Piece]) -> list[Row]:
        """Return the vectors of pieces with the same `skipped`, in order and as long as they come out of the model."""
        features = self._features(pieces)
        if pieces[0].skipped:
            features["prompt_length"] = pieces[0].skipped
        return self._vectors(features)

    def _padded(self, pieces: Sequence[Piece]) -> Features:
        """Return what the model reads of pieces, each filled up to the longest."""
        longest = max(len(piece.tokens) for piece in pieces)
        ids = np.full((len(pieces), longest), self._padding, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, piece in enumerate(pieces):
            count = len(piece.tokens)
            where = slice(longest - count, longest) if self._left else slice(count)
            ids[row, where], mask[row, where] = piece.tokens, 1
        return {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }

    def _vectors(self, features: Features) -> list[Row]:
        with torch.inference_mode():
            vectors: Row = self._model(features)["sentence_embedding"].float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise NotReadyError(
                "this model gives no numbers for a text; its operator can set the option `dtype` to float32", retry=False
            )
        return list(vectors)


def _load(folder: Path, device: str) -> SentenceTransformer:
    try:
        return SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # damaged files, unknown architectures: each part of the library has errors of its own
        reason = str(error).strip().partition("\n")[0][:300]
        raise NotReadyError(
            f"sentence-transformers cannot load {folder.name}: {type(error).__name__}: {reason}", retry=False
        ) from None
