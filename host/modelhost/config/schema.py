"""Every key the host knows; a plugin's own keys stand under `[models.NAME.options]`."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from msgspec import Meta, field
from msgspec.structs import fields

from modelhost.contract.backend import Run
from modelhost.contract.log import Level
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability, AudioFormat

Seconds = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
"""What models, aliases and keys may be called."""

Scope = Literal["inference", "metrics", "admin"]
"""What a key is good for."""

LogPart = Literal["host", "http", "models", "backends"]
"""What has a level of its own: `http` are requests, `models` loading and dying, `backends` what plugins say, `host` the rest."""

HealthView = Literal["modelhost", "model", "services"]


class KeyConfig(Struct, forbid_unknown_fields=True):
    """`[keys.NAME]`: who may use this host; one of `key`, `file` and `sha256` says how the key is known."""

    key: str | None = None
    """The key itself, best as `"${A_VARIABLE}"`."""
    file: str | None = None
    """A file that holds the key, such as a container's secret."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The key's digest, from `modelhost keys new`: the file then holds no secret."""
    scopes: tuple[Scope, ...] = ("inference",)
    """What it is good for: `inference` uses models, `metrics` reads /metrics, `admin` loads, unloads, sees and cancels."""


class ServerConfig(Struct, forbid_unknown_fields=True):
    """`[server]`: the host itself."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond this machine only with `[keys]`, or with `allow_unauthenticated`."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    allow_unauthenticated: bool = False
    """Let anybody who can reach `host` use the models, when that is not this machine alone and there are no keys."""
    api_key_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "x-api-key"
    """Header that may carry a key, beside `Authorization: Bearer`."""
    public_docs: bool = False
    """Show /docs and /openapi.json without a key, where there are keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Names this host is asked by, beside localhost, addresses and the machine's own: `models.example.com`, `*.lan`, or `*`."""
    cors_origins: tuple[str, ...] = ()
    """Web pages that may use this host: `https://chat.example.com`, or `*`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose X-Forwarded-For and -Proto are believed."""
    root_path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    """Path under which a reverse proxy shows this host, such as `/models`."""
    tls_cert: str | None = None
    """File with the certificate and its chain, in PEM; with it and `tls_key` the host speaks HTTPS."""
    tls_key: str | None = None
    """File with the certificate's private key, in PEM."""
    local_only: bool = False
    """Refuse every model whose requests would leave this machine."""
    log_level: Level = "info"
    """What is logged: this and what matters more."""
    log_levels: dict[LogPart, Level] = {}
    """Parts that log less or more: `http` requests, `models` their lives, `backends` what plugins say, `host` the rest."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """For people or for machines; `auto` is console on a terminal and JSON elsewhere."""
    threads: Annotated[int, Meta(ge=1)] | None = None
    """CPU threads to divide among the running models; by default one less than there are cores, and at least one."""
    max_body_mb: Annotated[float, Meta(gt=0)] = 4.0
    """Largest JSON request, in MiB, without the recordings and pictures in it; so much may a form's fields have together."""
    max_audio_mb: Annotated[float, Meta(gt=0)] = 100.0
    """Largest recording, picture or text to summarise, in MiB; in base64 it may be a third larger."""
    body_memory_mb: Annotated[float, Meta(gt=0)] = 128.0
    """Memory for all requests' bodies together, in MiB, and for one key half of that; what is over 64 KiB waits on disk for it,
    5 seconds at most. Recordings and pictures stay on disk and take none."""
    max_connections: Annotated[int, Meta(ge=1)] = 1000
    """Connections at once; one more closes one that waits for its client, of whoever has the most."""
    max_connections_per_address: Annotated[int, Meta(ge=1)] = 250
    """Connections at once from one address, or one /64 network of IPv6."""
    max_connections_per_key: Annotated[int, Meta(ge=1)] | None = None
    """Requests at work at once for one key, where there are several keys; by default half of `max_connections`."""
    header_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds a client gets to send a request's headers, and as many again before its body must come at 1 KiB/s."""
    idle_timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds a connection without a request is kept; keep it above what clients keep theirs."""
    write_timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds a client may leave an answer unread before it is taken for gone."""
    strict: bool = False
    """Refuse unknown fields of a request, in place of naming them in `x-modelhost-ignored`."""
    tracing: Annotated[str, Meta(pattern=r"^https?://[^\s]+$")] | None = None
    """Send OpenTelemetry traces to this collector (OTLP over HTTP), as in `http://127.0.0.1:4318`; takes `modelhost[tracing]`."""
    request_id_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "x-request-id"
    """Header that carries the request's id, in and out."""
    health_as: HealthView = "modelhost"
    """In whose words /health answers who asks without `?as=`: `model` and `services` are those of older services."""
    request_timeout: Annotated[float, Meta(gt=0)] = 600.0
    """Seconds a request may take once its body has arrived, with waiting and loading."""
    hold_status: Seconds = 5.0
    """Seconds a stream waits for its first event before the status goes out; until then a failure has its true status."""
    drain_seconds: Seconds = 30.0
    """Seconds running requests get to finish when the host is told to stop."""
    worker_timeout: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds without a sign of life after which a worker is ended."""
    cancel_grace: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds a backend gets to stop working on what was cancelled before its worker is ended."""


class ModelConfig(Struct, forbid_unknown_fields=True):
    """`[models.NAME]`: one model; all but `plugin`, `options` and its names may also stand in `[defaults.models]`."""

    plugin: str
    """Which plugin runs it; `modelhost plugins` lists them."""
    options: dict[str, Any] = {}
    """The plugin's own options."""
    aliases: tuple[Name, ...] = ()
    """Other names it answers to."""
    listed_as: Name | None = None
    """The `id` under which /v1/models lists it, such as its id on the hub, for clients that compare; a name of it, too."""
    enabled: bool = True
    """Whether it is served at all."""
    preload: bool = False
    """Load it when the host starts, not on first use."""
    run: Run | None = None
    """Where it runs: in a `process` of its own, or `inline` in the host's; by default what the plugin says."""
    python: str | None = None
    """Another interpreter to run it with, relative to this file: that of a virtual environment which has the plugin."""
    env: dict[str, str] = {}
    """Environment variables of its worker, beside the host's own without its secrets."""
    devices: tuple[str, ...] = ()
    """GPUs it may see, as in CUDA_VISIBLE_DEVICES; empty means all."""
    download: Literal["auto", "pull", "never"] = "auto"
    """`auto` fetches missing weights from the hub when the model loads; `pull` and `never` say what to type instead."""
    abilities: tuple[Ability, ...] | None = None
    """Serve only these of its abilities."""
    load_timeout: Annotated[float, Meta(gt=0)] = 600.0
    """Seconds it may take to load, once its weights are on this machine."""
    max_memory_mb: Annotated[float, Meta(gt=0)] | None = None
    """MiB its worker may take for itself, on Linux; by default what the machine has. Mapped weights and a GPU's do not count."""
    concurrency: Annotated[int, Meta(ge=1)] | None = None
    """Run at most this many requests at once; never more than the backend takes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the other names it answers to, each once."""
        listed = (self.listed_as,) if self.listed_as else ()
        return tuple(dict.fromkeys((*self.aliases, *listed)))


class DefaultsConfig(Struct, forbid_unknown_fields=True):
    """`[defaults]`: what models have unless they say otherwise."""

    models: dict[str, Any] = {}
    """Keys of `[models.NAME]`; one that stands in a model's own table replaces the whole value given here."""


class SpeechConfig(Struct, forbid_unknown_fields=True):
    """`[speech]`: what holds for speech where a request does not say."""

    format: AudioFormat = "wav"
    """Of `/v1/text-to-speech` and `/v1/dialogue`; `/v1/audio/speech` gives mp3 as OpenAI does."""
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] | None = None
    """Hz that speech is resampled to; by default each voice's own."""


class DialogueConfig(Struct, forbid_unknown_fields=True):
    """`[dialogue]`: what holds for `/v1/dialogue` where a request does not say."""

    audio_prompt: str = (
        "You are talking with somebody. Their words come from a speech recogniser, which may have misheard some of them. "
        "Your reply is read aloud: answer in the language they speak, in one to three short sentences of plain words, "
        "without lists, markup, emoji or links."
    )
    """What the model is told before a turn that was spoken; empty for nothing."""
    text_prompt: str = (
        "You are talking with somebody who writes to you. Your reply is read aloud: answer in the language they write, "
        "in one to three short sentences of plain words, without lists, markup, emoji or links."
    )
    """What it is told before a turn that was written."""
    max_tokens: Annotated[int, Meta(ge=1)] = 512
    """Tokens a reply may have."""
    memory_sessions: Annotated[int, Meta(ge=0)] = 1000
    """Dialogues that are remembered for each key; one more makes the host forget that which has rested for longest."""
    memory_turns: Annotated[int, Meta(ge=1)] = 20
    """Last turns of a dialogue that are remembered, of 32,000 characters at most."""
    memory_minutes: Annotated[float, Meta(gt=0)] = 60.0
    """Minutes a dialogue is remembered after its last turn, in the host's memory only."""


class CacheConfig(Struct, forbid_unknown_fields=True):
    """`[cache]`: results that are kept to be given again."""

    max_mb: Annotated[float, Meta(ge=0, le=1_048_576)] = 64.0
    """Memory for them, in MiB; 0 keeps nothing."""


class Config(Struct, forbid_unknown_fields=True):
    """The whole file."""

    include: tuple[str, ...] = ()
    """Other files to read first, relative to this one; may be patterns. What stands in this file wins."""
    server: ServerConfig = ServerConfig()
    """The host itself."""
    defaults: DefaultsConfig = DefaultsConfig()
    """What models have unless they say otherwise."""
    speech: SpeechConfig = SpeechConfig()
    """Speech."""
    dialogue: DialogueConfig = DialogueConfig()
    """Dialogues."""
    cache: CacheConfig = CacheConfig()
    """Results that are kept to be given again."""
    models: dict[Name, ModelConfig] = {}
    """The models by name; the name is what clients ask for."""
    keys: dict[Name, KeyConfig] = {}
    """Who may use the host; without any, everybody on this machine."""
    extensions: dict[Name, dict[str, Any]] = {}
    """For an installed extension its own options."""
    routes: dict[Ability, tuple[str, ...]] = field(default_factory=dict)
    """For an ability the models that serve requests without a `model`: the first, then its fallbacks."""


class Table(NamedTuple):
    """One of the tables that the file may have."""

    name: str
    kind: type[Struct] | None
    """What its keys are, or those of each entry where it has entries; None where an entry is no table of known keys."""
    entries: bool
    """Whether it has entries with names of the operator's own, as `[models.NAME]`."""
    names: Any
    """The type of those names."""

    @property
    def heading(self) -> str:
        """How it is written in the file: `[server]`, `[models.NAME]`."""
        return f"[{self.name}.NAME]" if self.entries else f"[{self.name}]"


def _tables() -> Iterator[Table]:
    for key in fields(Config):
        kind: Any = key.type
        entries = get_origin(kind) is dict
        names, inner = get_args(kind) if entries else (None, kind)
        known = inner if isinstance(inner, type) and issubclass(inner, Struct) else None
        if entries or known:
            yield Table(key.name, known, entries, names)


TABLES: dict[str, Table] = {table.name: table for table in _tables()}
"""The tables by name, in the order of `Config`."""

KINDS: tuple[type[Struct], ...] = (Config, *(table.kind for table in TABLES.values() if table.kind))
"""What has keys that are known: the file, and its tables."""
