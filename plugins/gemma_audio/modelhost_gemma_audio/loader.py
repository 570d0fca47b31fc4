"""Loads a checkpoint: without its vision encoder, without remote code, and never half of it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modelhost import NotReadyError
from modelhost.authors.extras import how_to_install
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoTokenizer,
    Gemma3nVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from modelhost_gemma_audio.checkpoint import Checkpoint
from modelhost_gemma_audio.options import GemmaAudioOptions
from modelhost_gemma_audio.placement import Placement, load_arguments


class NoVision(PreTrainedModel):
    """Gemma 3n's vision tower left out: the real one wants timm and torchvision, and nothing here looks at pictures."""

    config_class = Gemma3nVisionConfig
    base_model_prefix = "vision"
    main_input_name = "pixel_values"

    def __init__(self, config: Gemma3nVisionConfig) -> None:
        super().__init__(config)
        self.post_init()  # type: ignore[no-untyped-call]  # a method, which the exclusion of calls misses


AutoModel.register(Gemma3nVisionConfig, NoVision, exist_ok=True)


def load_model(checkpoint: Checkpoint, placement: Placement, options: GemmaAudioOptions) -> PreTrainedModel:
    """Load the weights; raises `NotReadyError` where they are not whole, or an adapter does not fit."""
    kind: Any = AutoModelForMultimodalLM if checkpoint.hears or checkpoint.kind == "gemma3" else AutoModelForCausalLM
    try:
        with _quiet():
            model, info = kind.from_pretrained(
                checkpoint.folder,
                config=config_of(checkpoint),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **load_arguments(placement, options),
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise NotReadyError(f"Transformers cannot load {checkpoint.folder.name}: {error}", retry=False) from None
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise NotReadyError(
            f"{checkpoint.folder.name} lacks {len(missing)} of its weights, {missing[0]} first; fetch the model again",
            retry=False,
        )
    if options.adapter:
        _adapt(model, options)
    model.eval()
    if options.torch_compile:
        for layer in model.get_decoder().layers:  # not attention: its cache grows with every step, and it would be compiled anew
            layer.mlp.compile(dynamic=True)
    return model  # type: ignore[no-any-return]


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Load tokens and chat template; raises `NotReadyError` where they are missing."""
    tokenizer: PreTrainedTokenizerBase = _part(checkpoint, AutoTokenizer, "tokenizer")
    return tokenizer


def load_extractor(checkpoint: Checkpoint) -> Any:
    """Load the audio feature extractor; raises `NotReadyError` where its settings are missing."""
    return _part(checkpoint, AutoFeatureExtractor, "audio feature extractor")


def config_of(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Return the configuration without a vision tower. The weights of one are then passed over."""
    settings = copy.deepcopy(checkpoint.settings)
    if checkpoint.kind == "gemma3n":
        vision = settings.get("vision_config") or {}
        kept = {name: vision[name] for name in ("vocab_size", "vocab_offset", "hidden_size", "rms_norm_eps") if name in vision}
        settings["vision_config"] = {"model_type": "gemma3n_vision", "label_names": ["0", "1"], "num_classes": 2, **kept}
    elif checkpoint.kind in ("gemma4", "gemma4_unified"):
        settings["vision_config"] = None
    return CONFIG_MAPPING[checkpoint.kind].from_dict(settings)


def _part(checkpoint: Checkpoint, kind: Any, name: str) -> Any:
    try:
        with _quiet():
            return kind.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise NotReadyError(f"{checkpoint.folder.name} has no usable {name}: {error}", retry=False) from None


def _adapt(model: Any, options: GemmaAudioOptions) -> None:
    assert options.adapter is not None
    folder = options.adapter.path
    if not any(folder.glob("*.safetensors")):
        raise NotReadyError(f"{folder.name} has no *.safetensors: it is no adapter as PEFT saves it", retry=False)
    try:
        with _quiet():
            model.load_adapter(str(folder), adapter_kwargs={"local_files_only": True})
    except ImportError:
        message = f"an adapter needs PEFT: {how_to_install('modelhost-gemma-audio', 'adapter')}"
        raise NotReadyError(message, retry=False) from None
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise NotReadyError(f"the adapter {folder.name} does not fit this model: {error}", retry=False) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers from warning of unused weights and from drawing progress bars into the log."""
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
