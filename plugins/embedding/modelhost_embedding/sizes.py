"""Lengths of vector: which ones a model was trained for, and cutting to them."""

from collections.abc import Iterable

import numpy as np
from modelhost import BadInputError
from numpy.typing import NDArray

SMALLEST = 1e-12
"""A vector is divided by at least this: the `eps` of `torch.nn.functional.normalize`."""


class Sizes:
    """The lengths one model's vectors may have."""

    def __init__(self, full: int, trained: Iterable[int], default: int | None) -> None:
        """Take its full length and further ones; raises `BadInputError` for an option that does not fit them."""
        sizes = {full, *trained}
        if max(sizes) > full:
            raise BadInputError(f"options.dimensions: this model's vectors have {full} dimensions, and none can be added")
        usual = default or full
        if usual not in sizes:
            raise BadInputError(f"options.default_dimensions: this model's vectors have {_listed(sizes)} dimensions")
        self.trained: tuple[int, ...] = (usual, *sorted(sizes - {usual}, reverse=True))
        """The usual one first."""

    def choose(self, dimensions: int | None) -> int:
        """Return the length to use. Raises `BadInputError` for one the model was not trained for."""
        if dimensions is None:
            return self.trained[0]
        if dimensions not in self.trained:
            raise BadInputError(
                f"this model's vectors have {_listed(self.trained)} dimensions; ask for these", param="dimensions"
            )
        return dimensions


def unit(vectors: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut rows to their first `size` numbers and bring them to length 1, in this order."""
    cut = vectors[:, :size]
    ones: NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), SMALLEST)
    return ones


def _listed(sizes: Iterable[int]) -> str:
    return " or ".join(str(size) for size in sorted(sizes, reverse=True))
