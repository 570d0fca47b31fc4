"""The weights of one model: whether they are on this machine, how large they are, and how they get here."""

from pathlib import Path
from typing import Any, Literal

from modelhost.config.sources import Weights, size_of
from modelhost.contract.errors import ModelhostError


class ModelWeights:
    """The sources that a model's options name. All of it looks at the disk, so not for the event loop."""

    def __init__(self, by_option: dict[str, tuple[Weights, ...]]) -> None:
        self._by_option = by_option
        self.progress: tuple[int, int] | None = None
        """Bytes fetched and bytes in all, while they are fetched."""

    @property
    def sources(self) -> list[Weights]:
        """All of them, in the order of the options."""
        return [weights for found in self._by_option.values() for weights in found]

    def available(self) -> bool:
        """Whether all of them are on this machine."""
        return all(_found(weights) for weights in self.sources)

    def size_bytes(self) -> int | None:
        """Return their bytes; None where they are not on this machine, or there are none."""
        paths = [_found(weights) for weights in self.sources]
        return sum(size_of(path) for path in paths if path) if paths and all(paths) else None

    def resolve(self, options: dict[str, Any], download: Literal["auto", "pull", "never"]) -> dict[str, Any]:
        """Return the options with every source's path in them, fetched where allowed, and verified. Raises `NotReadyError`."""
        resolved = dict(options)
        try:
            for option, found in self._by_option.items():
                located = [self._located(weights, download) for weights in found]
                resolved[option] = located if isinstance(resolved.get(option), list) else located[0]
        finally:
            self.progress = None
        return resolved

    def _located(self, weights: Weights, download: Literal["auto", "pull", "never"]) -> dict[str, Any]:
        def report(done: int, whole: int) -> None:
            self.progress = (done, whole)

        path = weights.resolve(download, report)
        return {"uri": weights.uri, "path": str(path), **({"sha256": weights.sha256} if weights.sha256 else {})}


def _found(weights: Weights) -> Path | None:
    """Look for weights without minding why they cannot be looked for: that is for the load to tell."""
    try:
        return weights.find()
    except ModelhostError:
        return None
