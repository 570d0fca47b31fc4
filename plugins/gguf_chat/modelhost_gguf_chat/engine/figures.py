"""What the engine counts of itself, for whoever looks at the metrics."""


class Figures:
    """Counters since the model was loaded. One thread counts; others may read, a step behind."""

    __slots__ = (
        "decode_failures",
        "decode_seconds",
        "decodes",
        "draft_tokens",
        "draft_tokens_right",
        "output_tokens",
        "preemptions",
        "prompt_tokens",
        "rows",
        "step_milliseconds",
    )

    def __init__(self) -> None:
        self.decodes = 0
        self.decode_failures = 0
        self.decode_seconds = 0.0
        self.rows = 0
        """Sequences in all decodes: by the number of decodes, how full batches are."""
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.draft_tokens = 0
        self.draft_tokens_right = 0
        self.preemptions = 0
        self.step_milliseconds = 0.0
        """Of the last decode."""

    def decoded(self, rows: int, seconds: float) -> None:
        """Count a decode."""
        self.decodes += 1
        self.rows += rows
        self.decode_seconds += seconds
        self.step_milliseconds = seconds * 1000

    def all(self) -> dict[str, float]:
        """Return them by name."""
        return {name: float(getattr(self, name)) for name in self.__slots__}
