"""What a request carries for plugins alone: the same field in every body, form and message that asks a model."""

from typing import Any

from modelhost.contract.structs import Struct


class PluginFields(Struct):
    """Base of what asks a model."""

    plugin_options: dict[str, dict[str, Any]] | None = None
    """By the name of the model's plugin what it alone understands: `{"whisper": {"beam_size": 1}}`. In a form such JSON, or a
    field `plugin_options[whisper][beam_size]`. Models of other plugins refuse it."""

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """Return it as requests have it; a table with nothing in it asks for nothing."""
        return {plugin: values for plugin, values in (self.plugin_options or {}).items() if values}
