"""The JSON Schema of the whole file, installed plugins' options included: for editors that complete and check TOML."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelhost.config.schema import KINDS, Config
from modelhost.plugins.discovery import Plugin
from modelhost.worker.describe import field_docs


def schema_of(plugins: list[Plugin], extensions: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the schema; a model's options follow from its plugin, and `extensions` has the schemas of theirs by name."""
    schema = msgspec.json.schema(Config)
    definitions = schema["$defs"]
    for kind in KINDS:
        for field, text in field_docs(kind).items():
            definitions[kind.__name__]["properties"][field].setdefault("description", text)
    described = [plugin.description for plugin in plugins if plugin.description]
    for about in described:
        definitions |= about.options_schema.get("$defs", {})
        definitions[f"options of {about.name}"] = {k: v for k, v in about.options_schema.items() if k != "$defs"}
    definitions["ModelConfig"]["allOf"] = [
        {
            "if": {"properties": {"plugin": {"const": about.name}}, "required": ["plugin"]},
            "then": {"properties": {"options": {"$ref": f"#/$defs/options of {about.name}"}}},
        }
        for about in described
    ]
    for name, options in extensions.items():
        definitions |= options.get("$defs", {})
        definitions[f"options of extension {name}"] = {k: v for k, v in options.items() if k != "$defs"}
    definitions["Config"]["properties"]["extensions"]["properties"] = {
        name: {"$ref": f"#/$defs/options of extension {name}"} for name in extensions
    }
    # Keys that [defaults.models] brings need not stand in a model's own table.
    definitions["ModelConfig"]["properties"]["plugin"]["examples"] = [about.name for about in described]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "modelhost.toml", **schema}
