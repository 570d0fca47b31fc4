"""What may stand under `[models.NAME.options]` of Piper voices."""

from typing import Annotated

from modelhost import Options, Source
from msgspec import Meta


class PiperOptions(Options):
    """One or more Piper voices, and how they speak."""

    source: Source
    """The voice's `.onnx` file."""
    config: Source | None = None
    """Its `.onnx.json`; without it the file of that name beside `source`."""
    voices: tuple[Source, ...] = ()
    """Further voices, each a `.onnx` file with its `.onnx.json` beside it."""
    aliases: dict[str, str] = {}
    """Other names of voices, such as those clients are used to: `{ alloy = "en_US-joe-medium" }`."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads for a sentence; without it the share the host gives this model."""
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    """Requests at once."""
    noise_scale: Annotated[float, Meta(ge=0, le=2)] | None = None
    """How much sounds vary; without it as the voice was made."""
    noise_w_scale: Annotated[float, Meta(ge=0, le=2)] | None = None
    """How much the rhythm varies; without it as the voice was made."""
    volume: Annotated[float, Meta(ge=0, le=4)] = 1.0
    """Louder or softer; what goes beyond full scale is cut off there."""
    sentence_silence: Annotated[float, Meta(ge=0, le=5)] = 0.2
    """Seconds between sentences."""
    max_text_chars: Annotated[int, Meta(ge=1)] = 100_000
    """A longer text is refused."""
