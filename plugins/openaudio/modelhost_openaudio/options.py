"""What may stand under `[models.NAME.options]` of a fish-speech server."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from modelhost import Options
from modelhost.authors.upstream import is_local_url
from msgspec import Meta

DEFAULT_VOICE = "default"
"""What a request calls the configured voice; no voice on the server can be reached by this name."""

_VOICE_NAME = re.compile(r"[a-zA-Z0-9\-_ ]{1,255}")
_VISIBLE = re.compile("[!-~]+")

Seconds = Annotated[float, Meta(gt=0)]


class Reference(Options):
    """A recording to make a voice of, if the server has none of that name."""

    audio: str
    """Path of the recording, absolute or from `~`, in any format the server reads."""
    text: Annotated[str, Meta(min_length=1)]
    """The words it says."""

    def __post_init__(self) -> None:
        """Raise ValueError for a relative path: a worker runs in a folder of its own."""
        if not self.path.is_absolute():
            raise ValueError(f"the path of a recording must be absolute or begin with ~/, and {self.audio!r} does not")

    @property
    def path(self) -> Path:
        """Return the path of the recording."""
        return Path(self.audio).expanduser()


class OpenAudioOptions(Options):
    """Where the server is, how it is asked, and what holds for requests that leave a choice open."""

    base_url: str = "http://127.0.0.1:8080"
    """Where the server listens, with the prefix of a proxy if there is one."""
    path: str = "/v1/tts"
    """Path of the speech route under `base_url`."""
    api_key: str | None = None
    """The key the server was started with (`--api-key`); write it as `${NAME}` to take it from the environment."""
    timeout: Seconds = 120.0
    """Seconds without a byte from the server before a call is given up; with `stream = false` it is the time for a whole text."""
    connect_timeout: Seconds = 5.0
    """Seconds until a connection must stand."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How often a call is tried again while no sound has come, where the server cannot be reached or says that it is busy."""
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 1
    """Calls made at once; a server with one worker speaks one text after the other, whatever stands here."""

    voice: str | None = None
    """Voice where a request names none or `default`; without it the server's own, which may differ from call to call."""
    references: dict[str, Reference] = {}
    """Voices to be there once the model is loaded, by name: `references.anna = { audio = "/srv/anna.wav", text = "…" }`."""
    use_memory_cache: bool = False
    """Have the server keep what it computed from a voice's recordings, so that the next call with it starts sooner."""

    stream: bool = True
    """Ask for sound while it is being made; false waits for a whole file, for servers and proxies that cannot stream."""
    normalize: bool = True
    """Have numbers and the like written out before they are spoken (English and Chinese)."""
    latency: Literal["normal", "balanced"] | None = None
    """`balanced` begins sooner, `normal` sounds better; only newer servers know it, and it is sent only when set."""
    temperature: Annotated[float, Meta(ge=0.1, le=1)] | None = None
    """More is livelier; without it the server's 0.8."""
    top_p: Annotated[float, Meta(ge=0.1, le=1)] | None = None
    """Keep the likeliest tokens that together reach this probability; without it the server's 0.8."""
    repetition_penalty: Annotated[float, Meta(ge=0.9, le=2)] | None = None
    """Makes tokens that were used less likely; without it the server's 1.1."""
    chunk_length: Annotated[int, Meta(ge=100, le=1000)] | None = None
    """Bytes of text spoken in one step; without it the server's 200. A server of OpenAudio S1's time takes 300 at most."""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    """Audio tokens a step may make (the server's `max_new_tokens`); without it the server's 1024."""
    seed: int | None = None
    """Seed where the request says none; without it every answer has a random one."""

    max_text_chars: Annotated[int, Meta(ge=1)] = 5000
    """Longest text, in characters; a longer one is refused."""
    max_audio_seconds: Seconds = 600.0
    """Longest sound; a text that makes more is broken off with an error, never quietly."""

    command: tuple[str, ...] = ()
    """Program and arguments that start the server; with it the model starts, watches and ends a server of its own."""
    command_folder: str | None = None
    """Absolute path of the folder `command` runs in: for fish-speech its checkout, where it keeps voices in `references/`.
    Without it that is the worker's own, which goes when the worker ends."""
    start_timeout: Seconds = 300.0
    """Seconds from the start of `command` until the server must answer."""

    def __post_init__(self) -> None:
        """Raise ValueError, with what is allowed, for what types cannot say."""
        for option in ("base_url", "path", "api_key"):
            if not _VISIBLE.fullmatch(getattr(self, option) or "-"):
                raise ValueError(f"{option} must consist of visible ASCII characters, without spaces and line ends")
        _check_url(self.base_url)
        if not self.path.startswith("/"):
            raise ValueError("path must begin with /")
        for name in self.references:
            check_new_name(name)
        if self.voice is not None:
            check_name(self.voice)
        if self.command_folder is not None and not Path(self.command_folder).is_absolute():
            raise ValueError("command_folder must be an absolute path")

    @property
    def leaves_machine(self) -> bool:
        """Return whether `base_url` is anywhere but on this machine."""
        return not is_local_url(self.base_url)


def check_name(name: str) -> None:
    """Raise ValueError for what cannot be a voice's name; older servers take any such name for a path."""
    if not _VOICE_NAME.fullmatch(name):
        raise ValueError("the name of a voice has 1 to 255 letters (a-z), digits, spaces, - and _")


def check_new_name(name: str) -> None:
    """Raise ValueError for a name no new voice may have."""
    check_name(name)
    if name == DEFAULT_VOICE:
        raise ValueError(f"{DEFAULT_VOICE!r} stands for the configured voice; choose another name")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("base_url must be an http or https URL such as http://127.0.0.1:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("base_url must have no user, query or fragment; a key belongs in api_key")
