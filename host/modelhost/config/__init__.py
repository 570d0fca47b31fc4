"""What the operator writes: TOML into frozen structs, with errors that name the file, the key and what is allowed."""

from modelhost.config.loader import Loaded, load_config
from modelhost.config.schema import CacheConfig, Config, DialogueConfig, KeyConfig, ModelConfig, ServerConfig, SpeechConfig

__all__ = [
    "CacheConfig",
    "Config",
    "DialogueConfig",
    "KeyConfig",
    "Loaded",
    "ModelConfig",
    "ServerConfig",
    "SpeechConfig",
    "load_config",
]
