"""What a turn took and cost, and who did it: for its last step and for the metrics."""

import time

from modelhost.contract.types import Ability, Usage
from modelhost.dialogue.events import Models, Timings, TurnDone, TurnUsage
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics


class Record:
    """Notes of one turn, from now on."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._usage: dict[Ability, Usage] = {}
        self._models: dict[Ability, str] = {}

    def called(self, call: CallRecord) -> None:
        """Note which model a stage went to, whatever becomes of it."""
        if call.model:
            self._models[call.ability] = call.model

    def finished(self, call: CallRecord, seconds: float) -> None:
        """Note that a stage is complete."""
        self._seconds[call.ability] = seconds
        if call.usage:
            self._usage[call.ability] = call.usage

    def model(self, ability: Ability) -> str:
        """Return the model that a stage went to; empty where it went to none."""
        return self._models.get(ability, "")

    def sounded(self) -> None:
        """Note that there is sound; the first counts."""
        self._seconds.setdefault("first_audio", time.monotonic() - self._start)

    def sum_up(self, metrics: Metrics) -> TurnDone:
        """Return the last step, and count the turn."""
        seconds = {**self._seconds, "total": time.monotonic() - self._start}
        for stage, amount in seconds.items():
            metrics.dialogue_seconds.labels(stage).observe(amount)
        return TurnDone(timings=_timings(seconds), usage=self._cost(), models=Models(**self._models))

    def _cost(self) -> TurnUsage:
        stages: tuple[Ability, ...] = ("transcribe", "generate", "synthesize")
        transcribed, generated, synthesized = (self._usage.get(stage, Usage()) for stage in stages)
        return TurnUsage(
            input_tokens=generated.input_tokens,
            output_tokens=generated.output_tokens,
            heard_seconds=round(transcribed.audio_seconds, 3),
            spoken_seconds=round(synthesized.audio_seconds, 3),
        )


def _timings(seconds: dict[str, float]) -> Timings:
    rounded = {stage: round(amount, 3) for stage, amount in seconds.items()}
    return Timings(
        transcribe=rounded.get("transcribe"),
        generate=rounded["generate"],
        first_audio=rounded.get("first_audio"),
        synthesize=rounded.get("synthesize"),
        total=rounded["total"],
    )
