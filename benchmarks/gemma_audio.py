"""The gemma_audio plugin beside plain `generate` calls: tokens, windows of a recording, cancelling, memory.

    .venv/bin/python benchmarks/gemma_audio.py                                # a model of 32 million random weights, on a CPU
    .venv/bin/python benchmarks/gemma_audio.py --size real --device cuda      # Gemma 3n E4B's shape, random weights, on a GPU
    .venv/bin/python benchmarks/gemma_audio.py --model FOLDER --device cuda   # real weights

Random weights cost what real ones do; what they say is noise, so every answer is made as long as every other.
"""

import argparse
import base64
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
from measurement import Host, interleaved, ratio, serving, tell
from modelhost import AudioPart, Blob, Context, Delta, GenerateRequest, Message, Source, TextPart
from modelhost.audio import Window
from modelhost_gemma_audio import GemmaAudioBackend, GemmaAudioOptions
from modelhost_gemma_audio.audio_features import encoder_arguments
from transformers import Gemma3nAudioFeatureExtractor, Gemma3nConfig, Gemma3nForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "gemma_audio" / "tests"))
tiny: Any = import_module("tiny")
sounds: Any = import_module("sounds")

TOKENS = 96
ROUNDS = 7
WINDOWS = 8
SMALL = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "global_head_dim": 64,
    "layer_types": ["sliding_attention", "full_attention"] * 4,
}


def checkpoint(size: str, folder: Path) -> Path:
    """Make a checkpoint with random weights."""
    if size == "tiny":
        return Path(tiny.gemma4(folder))
    if size == "small":
        return Path(tiny.gemma4(folder, text=SMALL, audio_features={"hidden_size": 128, "num_hidden_layers": 4}))
    return gemma3n_e4b(folder)


def gemma3n_e4b(folder: Path) -> Path:
    """Gemma 3n E4B as Google shaped it, which is what Transformers' configuration describes, with random weights: 14 GB."""
    config: Any = Gemma3nConfig(vision_config={"model_type": "gemma3n_vision", "label_names": ["0", "1"], "num_classes": 2})
    names = {
        "<start_of_image>": config.boi_token_id,
        "<start_of_audio>": config.boa_token_id,
        "<end_of_image>": config.eoi_token_id,
    }
    names |= {"<image_soft_token>": config.image_token_id, "<end_of_audio>": config.eoa_token_id}
    names |= {"<audio_soft_token>": config.audio_token_id, **tiny.OLD_NAMES}
    extra = {"image_token": "<image_soft_token>", "audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>"}
    made = tiny.tokenizer(config.text_config.vocab_size, names, extra, tiny.OLD_TURNS)
    torch.set_default_dtype(torch.bfloat16)
    model = Gemma3nForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    return Path(tiny.save(model, made, folder, ends=[1, 306], extractor=Gemma3nAudioFeatureExtractor()))


class Loaded:
    """The plugin in this process, and its model for plain calls."""

    def __init__(self, folder: Path, device: str, **options: Any) -> None:
        settings = GemmaAudioOptions(source=Source(str(folder), path=folder), device=device, threads=1, **options)
        self.backend = GemmaAudioBackend(settings, threads=1)
        began = time.perf_counter()
        self.card = self.backend.load()
        self.load_seconds = time.perf_counter() - began
        self.model = self.backend.loaded
        self.torch: Any = self.model.parts.engine._model

    def plain(self, request: GenerateRequest) -> float:
        """Return the tokens a second of a plain `generate` call on what the plugin makes of a request, sound and all."""
        began = time.perf_counter()
        clips, _ = self.model.chat.sounds(request.messages)
        ids = torch.tensor([self.model.chat.prompt(request, clips)], device=self.torch.device)
        with torch.inference_mode():
            found = self.torch.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                do_sample=False,
                **encoder_arguments(clips, self.torch.device, self.torch.dtype),
            )
            found = found.cpu()
        assert found.shape[1] == ids.shape[1] + TOKENS
        return TOKENS / (time.perf_counter() - began)

    def windows(self, count: int, *, ahead: int) -> float:
        """Return the seconds that so many windows of a recording take, `ahead` of them together, each with as many tokens."""
        assert self.model.transcription
        recording = self.model.transcription.recording(self.wanted, Context())
        samples = sounds.voiced(30.0)
        cut = [Window(samples=samples, start=30.0 * number, end=30.0 * number + 30) for number in range(count)]
        began = time.perf_counter()
        list(recording.transcribe(cut, 30.0 * count, ahead=ahead))
        return time.perf_counter() - began

    @property
    def wanted(self) -> Any:
        """Return what is asked of a window: one attempt, in a language that is known."""
        from modelhost_gemma_audio.recording import Instructions

        return Instructions(language="en", temperatures=(0.0,))


CLIENT = httpx.Client(timeout=600)


def through_host(host: Host, body: dict[str, Any]) -> float:
    """Return the tokens a second of a streamed chat over HTTP."""
    began = time.perf_counter()
    with CLIENT.stream("POST", f"{host.url}/v1/chat/completions", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        for _ in answer.iter_raw():
            pass
    return TOKENS / (time.perf_counter() - began)


def compare_tokens(folder: Path, device: str, plain: Loaded) -> None:
    """Measure one stream over HTTP beside a plain call, for text and for 10 s of sound; then eight at once beside one by one."""
    sound = sounds.wav(sounds.voiced(10.0))
    settings = {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    text = "word " * 20
    config = f"""
        [models.gemma]
        plugin = "gemma_audio"
        preload = true
        [models.gemma.options]
        source = "{folder}"
        device = "{device}"
        threads = 1
        batch_size = 8
    """
    with serving(config) as host:
        asked: dict[str, tuple[GenerateRequest, dict[str, Any]]] = {
            "text": (_request(text), {"messages": [{"role": "user", "content": text}]}),
            "sound": (
                _request(text, sound),
                {"messages": [{"role": "user", "content": text}], "audio": base64.b64encode(sound).decode()},
            ),
        }
        for name, (request, parts) in asked.items():
            body = {"model": "gemma", **settings, **parts}
            values = interleaved(ROUNDS, plain=partial(plain.plain, request), host=partial(through_host, host, body))
            tell(
                f"a stream over HTTP / plain generate, {name}: tokens/s",
                ">= 0.95",
                ratio=ratio(values, "host", "plain"),
                plain=statistics.median(values["plain"]),
            )
        body = {"model": "gemma", **settings, **asked["text"][1]}

        def one_by_one() -> float:
            return 8 / sum(1 / through_host(host, body) for _ in range(8))

        def at_once() -> float:
            began = time.perf_counter()
            threads = [threading.Thread(target=through_host, args=(host, body)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return 8 * TOKENS / (time.perf_counter() - began)

        values = interleaved(3, one_by_one=one_by_one, at_once=at_once)
        tell("eight requests at once / one after another: tokens/s", "", ratio=ratio(values, "at_once", "one_by_one"))
        before = _tree_rss(host.process.pid)
        CLIENT.delete(f"{host.url}/v1/models/gemma").raise_for_status()
        tell(
            "memory of the host and all below it, MiB: loaded, unloaded",
            "the host's own",
            loaded=before / 2**20,
            unloaded=_tree_rss(host.process.pid) / 2**20,
        )


def compare_windows(loaded: Loaded) -> None:
    """Windows of a recording together beside one by one."""
    loaded.windows(2, ahead=2)
    values = interleaved(
        3, encoder_arguments=lambda: loaded.windows(WINDOWS, ahead=WINDOWS), one_by_one=lambda: loaded.windows(WINDOWS, ahead=1)
    )
    tell(
        f"{WINDOWS} windows one by one / together: seconds",
        ">= 3 on a GPU",
        ratio=ratio(values, "one_by_one", "together"),
        audio_seconds_per_second=30 * WINDOWS / statistics.median(values["together"]),
    )


def cancel(loaded: Loaded) -> None:
    """Return seconds from a cancellation to the end of the events."""
    waits = []
    for _ in range(20):
        context = Context()
        events = loaded.backend.generate(_request("word " * 20, ignore_eos=True), context)
        for _ in range(5):
            assert isinstance(next(events), Delta)
        began = time.perf_counter()
        context.cancel()
        list(events)
        waits.append(1000 * (time.perf_counter() - began))
    tell("cancelling a chat (ms)", "<= 100", median=statistics.median(waits), worst=max(waits))


def _request(text: str, sound: bytes | None = None, *, ignore_eos: bool = False) -> GenerateRequest:
    parts = (TextPart(text=text), *((AudioPart(audio=Blob(sound)),) if sound else ()))
    return GenerateRequest(messages=(Message(role="user", content=parts),), ignore_eos=ignore_eos)


def _tree_rss(pid: int) -> int:
    """Return the resident bytes of a process and all below it."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=["tiny", "small", "real"], default="small")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.model or checkpoint(arguments.size, Path(name))
        loaded = Loaded(folder, arguments.device, batch_size=WINDOWS)
        weights = sum(parameter.numel() for parameter in loaded.torch.parameters())
        tell(
            "loading (s)",
            "",
            seconds=loaded.load_seconds,
            device=loaded.card.device,
            dtype=str(loaded.torch.dtype),
            weights=weights,
        )
        compare_windows(loaded)
        cancel(loaded)
        compare_tokens(folder, arguments.device, loaded)
        loaded.backend.unload()


if __name__ == "__main__":
    main()
