"""What an extra of a distribution needs, for those who have to install it: that stands on an index, the distribution may not."""

from importlib.metadata import PackageNotFoundError, requires


def how_to_install(distribution: str, extra: str) -> str:
    """Return the command that installs what an extra needs, as `pip install "av>=18,<19"`, into the environment it is run in."""
    try:
        needed = [one.partition(";") for one in requires(distribution) or ()]
    except PackageNotFoundError:  # run from a checkout that was never installed
        needed = []
    requirements = [name.strip() for name, _, marker in needed if f"extra == '{extra}'" in marker.replace('"', "'")]
    return " ".join(["pip install", *(f'"{name}"' for name in requirements or [f"{distribution}[{extra}]"])])
