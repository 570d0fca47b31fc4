"""Which language is spoken: what the model says of several windows, each counted by how much is said in it."""

from collections import defaultdict
from collections.abc import Mapping

SURE = 0.5
"""Probability from which a language is believed: faster-whisper's `language_detection_threshold`."""

PLAIN = 0.9
"""Probability from which `A_WHILE` of speech is enough."""
A_WHILE = 10.0
"""Seconds."""
ENOUGH = 30.0
"""Seconds of speech that are asked about where it is not so plain: a window of the model, as it was trained to tell languages."""
MOST = 120.0
"""Seconds of speech after which nobody is asked any more, however unsure it is."""

Languages = Mapping[str, float]
"""Probabilities, by code."""


class Votes:
    """Of the windows of one recording."""

    def __init__(self) -> None:
        self._heard = 0.0
        self._weights: defaultdict[str, float] = defaultdict(float)

    def add(self, languages: Languages, seconds: float) -> None:
        """Count a window in which there are so many `seconds` of speech."""
        self._heard += seconds
        for language, probability in languages.items():
            self._weights[language] += seconds * probability

    @property
    def best(self) -> tuple[str, float]:
        """The language that most of the speech is in, and its probability; only when something was counted."""
        language, weight = max(self._weights.items(), key=lambda item: item[1])
        return language, weight / self._heard

    @property
    def enough(self) -> bool:
        """Whether more windows need not be asked."""
        if self._heard < A_WHILE:
            return False
        probability = self.best[1]
        return probability >= PLAIN or (self._heard >= ENOUGH and probability >= SURE) or self._heard >= MOST
