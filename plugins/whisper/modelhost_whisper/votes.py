"""Which language is spoken: what the model detects in several windows, each weighted by its seconds of speech."""

from collections import defaultdict
from collections.abc import Mapping

SURE = 0.5
"""Probability from which a language is believed: the `language_detection_threshold` of https://github.com/SYSTRAN/faster-
whisper."""

PLAIN = 0.9
"""Probability from which `A_WHILE` of speech is enough; chosen, because all that follows is written in it."""
A_WHILE = 10.0
"""Seconds of speech; chosen, because a name or a greeting alone may be of any language."""
ENOUGH = 30.0
"""Seconds of speech that decide where no language is so probable. Chosen, because on a window of that length the model was
trained to detect them."""
MOST = 120.0
"""Seconds of speech after which no more is computed, however unsure it is; chosen, because that is four windows."""

Languages = Mapping[str, float]
"""Probabilities, by code."""


class Votes:
    """Probabilities of languages over the windows of one recording."""

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
        """Return the language of most of the speech, and its probability; only after `add`."""
        language, weight = max(self._weights.items(), key=lambda item: item[1])
        return language, weight / self._heard

    @property
    def enough(self) -> bool:
        """Return whether more windows would not change the choice."""
        if self._heard < A_WHILE:
            return False
        probability = self.best[1]
        return probability >= PLAIN or (self._heard >= ENOUGH and probability >= SURE) or self._heard >= MOST
