"""Where transcripts are written."""

from collections import Counter
from pathlib import Path

import click


def targets_of(names: tuple[str, ...], suffix: str, output: str | None) -> list[Path | None]:
    """Return the file for the transcript of each recording, or None where there is one recording and no `output`: it is printed.

    Makes the folder of `output`. Raises `UsageError` where a transcript would be written over another, or over a recording.
    """
    if output is None and len(names) == 1:
        return [None]
    if output is None:
        targets = [Path(name).with_name(_name(name, suffix)) for name in names]
    elif len(names) == 1 and not output.endswith("/") and not Path(output).is_dir():
        targets = [Path(output)]
    else:
        _make_folder(Path(output))
        targets = [Path(output) / _name(name, suffix) for name in names]
    _refuse_clashes(names, targets)
    return [*targets]


def _name(name: str, suffix: str) -> str:
    return f"{'stdin' if name == '-' else Path(name).stem}{suffix}"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise click.UsageError(f"{path} is a file; several transcripts need a folder") from None
    except OSError as error:
        raise click.ClickException(f"cannot make the folder {path}: {error.strerror}") from None


def _refuse_clashes(names: tuple[str, ...], targets: list[Path]) -> None:
    target, times = Counter(targets).most_common(1)[0]
    if times > 1:
        clashing = " and ".join(name for name, its in zip(names, targets, strict=True) if its == target)
        raise click.UsageError(f"{clashing} would each be written to {target}; transcribe them one after the other")
    for target in {path.resolve() for path in targets} & {Path(name).resolve() for name in names if name != "-"}:
        raise click.UsageError(f"{target} is a recording; it would be written over")
