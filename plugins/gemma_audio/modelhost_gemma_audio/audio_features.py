"""The model's input for sound: features, and how many tokens they stand for."""

from dataclasses import dataclass
from typing import Any

import torch
from modelhost.audio import SAMPLE_RATE, Samples
from torch import Tensor
from torch.nn.functional import pad

from modelhost_gemma_audio.checkpoint import Checkpoint

WINDOW = 30.0
"""Seconds of sound the models take: the 480,000 samples of https://github.com/huggingface/transformers,
models/gemma3n/feature_extraction_gemma3n.py, which cuts off the rest silently."""

SHORTEST = 0.1
"""Seconds; shorter sound is padded with silence. Chosen, because the encoders' convolutions need some frames."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip of sound as the encoder takes it."""

    features: Tensor
    """Frames × size, float32."""
    mask: Tensor
    """Which frames are sound."""
    tokens: int
    """Of the prompt that stand for it."""


class AudioFeatures:
    """Computes the features of clips; from many threads at once, while the model computes."""

    def __init__(self, checkpoint: Checkpoint, extractor: Any) -> None:
        self._kind = checkpoint.kind
        self._extractor = extractor
        self._fixed = int(checkpoint.settings.get("audio_soft_tokens_per_image") or 188)

    def clip_of(self, samples: Samples) -> Clip:
        """Return the clip of at most `WINDOW` seconds."""
        if len(samples) > round(WINDOW * SAMPLE_RATE):
            raise ValueError(f"{len(samples) / SAMPLE_RATE:.1f} s of sound in a window of {WINDOW:.0f}")
        samples = _filled(samples)
        found = self._extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features, mask = found["input_features"][0], found["input_features_mask"][0].bool()
        return Clip(features, mask, self._tokens(mask))

    def _tokens(self, mask: Tensor) -> int:
        """Return how many tokens stand for it, as in the families' processors: always 188; after two halvings; or one a frame."""
        if self._kind == "gemma3n":
            return self._fixed
        for _ in range(2 if self._kind == "gemma4" else 0):
            mask = mask[::2]
        return int(mask.sum())


def encoder_arguments(clips: list[Clip], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the encoder's arguments for clips of any lengths; empty without clips."""
    if not clips:
        return {}
    frames = max(len(clip.mask) for clip in clips)
    features = torch.stack([pad(clip.features, (0, 0, 0, frames - len(clip.mask))) for clip in clips])
    mask = torch.stack([pad(clip.mask, (0, frames - len(clip.mask))) for clip in clips])
    return {"input_features": features.to(device, dtype), "input_features_mask": mask.to(device)}


def _filled(samples: Samples) -> Samples:
    missing = round(SHORTEST * SAMPLE_RATE) - len(samples)
    return samples if missing <= 0 else torch.nn.functional.pad(torch.from_numpy(samples.copy()), (0, missing)).numpy()
