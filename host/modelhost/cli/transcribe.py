"""`modelhost transcribe`."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import click
import httpx
from rich.console import Console

from modelhost.cli.client import HostClient, connected_or_started
from modelhost.cli.options import config_option, url_option
from modelhost.cli.own_host import no_start_option
from modelhost.cli.progress import ProgressLines
from modelhost.cli.recordings import Recording, recordings_of
from modelhost.cli.targets import targets_of
from modelhost.cli.text_diff import compare, side_by_side
from modelhost.cli.transcripts import SUFFIXES, TranscriptOptions, transcript


@dataclass(frozen=True)
class _Job:
    """One transcript to be made, and the `name` that is shown; without a `target` its text is for standard output."""

    name: str
    recording: Recording
    options: TranscriptOptions
    target: Path | None = None
    replaces: bool = False
    """Whether a file that is there already may be written over."""


@click.command("transcribe")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@config_option
@url_option
@no_start_option
@click.option("-m", "--model", help="Which model; by default the only one that can, or the route's.")
@click.option("--language", help="What is spoken, as in `en` or `English`; by default the model finds out.")
@click.option("--prompt", help="What the recording is about, or how words in it are spelt.")
@click.option("--translate", is_flag=True, help="Write it down in English, whatever is spoken.")
@click.option("--format", "form", type=click.Choice([*SUFFIXES]), help="By default text; with --words verbose_json.")
@click.option("--words", is_flag=True, help="Also say when each word was said.")
@click.option("-o", "--output", metavar="FOLDER or FILE", help="Where to write; what is there is written over.")
@click.option("--compare", "pair", metavar="A,B", help="Let two models write it down, and show where they differ.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, help="Transcripts made at once; by default 4.")
def transcribe_command(
    files: tuple[str, ...],
    config_path: str | None,
    url: str | None,
    no_start: bool,
    model: str | None,
    language: str | None,
    prompt: str | None,
    translate: bool,
    form: str | None,
    words: bool,
    output: str | None,
    pair: str | None,
    jobs: int,
) -> None:
    """Write down recordings of any length and any usual format; the FILE `-` is standard input.

    One transcript is printed. Several are written beside their recordings, as NAME.txt, NAME.srt and so on, where nothing is
    written over, or into the folder of --output. A recording that fails stops no other; the exit status is 1 then.

    Uses the running host, or one that lives as long as the command.
    """
    options = TranscriptOptions(form or ("verbose_json" if words else "text"), model, language, prompt, translate, words)
    _check(options)
    models = _two_of(pair, options, output) if pair else None
    targets = [None] * len(files) if models else targets_of(files, SUFFIXES[options.format], output)
    with connected_or_started(url, config_path, no_start=no_start, announce=True) as client, recordings_of(files) as recordings:
        if models:
            done = _compare(client, recordings, options, models, jobs)
        else:
            replaces = output is not None
            pairs = zip(recordings, targets, strict=True)
            done = _transcribe(
                client, [_Job(recording.name, recording, options, target, replaces) for recording, target in pairs], jobs
            )
    _sum_up(recordings, done)


def _check(options: TranscriptOptions) -> None:
    if options.words and options.format != "verbose_json":
        raise click.UsageError(f"--words is for --format verbose_json; {options.format} has no place for them")
    if options.words and options.translate:
        raise click.UsageError("a translation has no times of words; leave --words or --translate out")
    if options.language and options.translate:
        raise click.UsageError("with --translate the model finds out what is spoken; leave --language out")


def _two_of(pair: str, options: TranscriptOptions, output: str | None) -> tuple[str, str]:
    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2 or not all(names):
        raise click.UsageError("--compare takes two models with a comma between them")
    if options.model or options.format != "text" or output:
        raise click.UsageError("--compare prints texts side by side; leave --model, --format, --words and --output out")
    return names[0], names[1]


def _transcribe(client: HostClient, jobs: list[_Job], most: int) -> list[bool]:
    """Make transcripts, and print those without a target; says of each whether it was made."""
    texts = _texts_of(client, jobs, most)
    for job, text in zip(jobs, texts, strict=True):
        if text is not None and job.target is None:
            click.echo(text, nl=False)
    return [text is not None for text in texts]


def _compare(
    client: HostClient, recordings: list[Recording], options: TranscriptOptions, models: tuple[str, str], most: int
) -> list[bool]:
    """Print what two models make of each recording; says of each whether both made something of it."""
    jobs = [
        _Job(f"{recording.name} · {model}", recording, replace(options, model=model))
        for recording in recordings
        for model in models
    ]
    texts = _texts_of(client, jobs, most)
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    for recording, (left, right) in zip(recordings, pairs, strict=True):
        if left is not None and right is not None:
            _show(recording.name, left, right, models)
    return [None not in pair for pair in pairs]


def _show(name: str, left: str, right: str, models: tuple[str, str]) -> None:
    comparison = compare(left, right)
    Console(markup=False, highlight=False).print(side_by_side(comparison, models))
    rate = f"word difference rate {comparison.rate:.1%}"
    click.echo(f"\n{name}: {comparison.different} of {comparison.length} words differ, {rate}\n")


def _texts_of(client: HostClient, jobs: list[_Job], most: int) -> list[str | None]:
    """Do all jobs, `most` at once, and return their texts; None for one that failed, whose error is printed."""

    async def all_of_them(lines: ProgressLines) -> list[str | None]:
        slots = asyncio.Semaphore(most)
        async with client.patient() as patient, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_text_or_none(job, patient, slots, lines)) for job in jobs]
        return [task.result() for task in tasks]

    with ProgressLines(len(jobs)) as lines:
        return asyncio.run(all_of_them(lines))


async def _text_or_none(job: _Job, client: httpx.AsyncClient, slots: asyncio.Semaphore, lines: ProgressLines) -> str | None:
    async with slots:
        try:
            return await _text(job, client, lines)
        except click.ClickException as error:
            lines.say(f"Error: {job.name}: {error.message}")
        except OSError as error:
            lines.say(f"Error: {error.filename or job.name}: {error.strerror}")
    return None


async def _text(job: _Job, client: httpx.AsyncClient, lines: ProgressLines) -> str:
    """Return a job's text, and write it where it belongs."""
    if job.target and job.target.exists() and not job.replaces:
        raise click.ClickException(f"{job.target} is there already; delete it, or name a folder with --output")
    with lines.line(job.name, job.recording.path.stat().st_size) as line:
        text = await transcript(client, job.recording, job.options, line)
    if job.target:
        job.target.write_bytes(text.encode())
    return text


def _sum_up(recordings: list[Recording], done: list[bool]) -> None:
    if len(done) > 1:
        failed = [recording.name for recording, is_done in zip(recordings, done, strict=True) if not is_done]
        rest = f"; not {', '.join(failed)}" if failed else ""
        click.echo(f"{sum(done)} of {len(done)} recordings transcribed{rest}", err=True)
    if not all(done):
        raise click.exceptions.Exit(1)
