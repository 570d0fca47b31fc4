"""What is wrong with a configuration beyond its spelling: options, plugins, weights, devices."""

import shutil
import subprocess

from modelhost.config.reading import Loaded
from modelhost.config.sources import parse_hub
from modelhost.errors import ConfigError, ModelhostError
from modelhost.host import ModelHost
from modelhost.plugins import Plugin
from modelhost.pool import Model


def option_problems(loaded: Loaded, plugins: dict[tuple[str, str], Plugin]) -> list[str]:
    """Name every option a plugin does not take as it stands: these are the operator's to mend, so a host does not start."""
    found = []
    for plugin in plugins.values():
        if plugin.description is None:
            continue
        for model, report in plugin.description.models.items():
            where = f"{loaded.origins.get(model, loaded.name)}: models.{model}.options"
            if report.problem:
                found.append(f"{where}{report.key or ''}: {report.problem}")
            for source in report.sources:
                if source.uri.startswith("hf:"):
                    try:
                        parse_hub(source.uri)
                    except ConfigError as error:
                        found.append(f"{where}.{source.option}: {error.message}")
    return found


def other_problems(host: ModelHost) -> dict[str, list[str]]:
    """Name for each model what will keep it from serving, though others serve: what `--strict` turns into an error."""
    models = [model for model in host.pool if model.config.enabled]
    return {model.name: problems for model in models if (problems := _problems_of(model))}


def _problems_of(model: Model) -> list[str]:
    found = [] if model.problem is None else [model.problem]
    for weights in (one for sources in model.weights.values() for one in sources):
        if model.config.download == "auto" and weights.uri.startswith("hf:"):
            continue
        try:
            weights.resolve("never")
        except ModelhostError as error:
            found.append(error.message)
    present = gpus() if model.config.devices else set()
    return found + [f"devices: there is no GPU {gpu}" for gpu in model.config.devices if gpu not in present]


def gpus() -> set[str]:
    """Give the numbers and ids of NVIDIA's GPUs here; empty without their driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return set()
    asked = subprocess.run([tool, "--query-gpu=index,uuid", "--format=csv,noheader"], capture_output=True, check=False)
    return {word.strip() for line in asked.stdout.decode().splitlines() for word in line.split(",")}
