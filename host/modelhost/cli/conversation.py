"""What is said to a model in a terminal, and what it answered: kept so that `chat --continue` can go on with it."""

import base64
import contextlib
import json
import mimetypes
from pathlib import Path
from typing import Any

import click
from platformdirs import user_state_path

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""What OpenAI's chat takes as pictures."""


class Conversation:
    """Messages in the form of OpenAI's chat, with the pictures that go with what is said next."""

    def __init__(self, system: str | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._pictures: list[str] = []
        if system:
            self.tell(system)

    def tell(self, system: str) -> None:
        """Put another system prompt in front."""
        spoken = [message for message in self.messages if message["role"] != "system"]
        self.messages = [{"role": "system", "content": system}, *spoken]

    def attach(self, file: Path) -> None:
        """Send a picture along with what is said next. Raises `ClickException` for what is none."""
        kind, _ = mimetypes.guess_type(file.name)
        if kind not in PICTURES:
            raise click.ClickException(f"{file} is not named like a picture: .png, .jpg, .webp or .gif")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise click.ClickException(f"{file} cannot be read: {error.strerror}") from None
        self._pictures.append(f"data:{kind};base64,{base64.b64encode(content).decode()}")

    def say(self, text: str) -> None:
        """Add what the user says."""
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in self._pictures]
        self._pictures = []
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}, *pictures] if pictures else text})

    def take_back(self) -> None:
        """Forget the last message and its answer."""
        self.messages.pop()

    def answer(self, text: str) -> None:
        """Add what the model answered."""
        self.messages.append({"role": "assistant", "content": text})

    def clear(self) -> None:
        """Forget everything but the system prompt."""
        self.messages = [message for message in self.messages if message["role"] == "system"]

    def keep(self) -> None:
        """Write it where `last` finds it, for this user's eyes only; a disk that takes nothing changes nothing else."""
        with contextlib.suppress(OSError):
            file = _file()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(json.dumps(self.messages))


def last() -> Conversation:
    """Return the last conversation that was kept. Raises `ClickException` where there is none."""
    kept = Conversation()
    try:
        kept.messages = list(json.loads(_file().read_text()))
    except (OSError, ValueError, TypeError):
        raise click.ClickException("there is no conversation to go on with") from None
    return kept


def history() -> Path:
    """Return the file with the lines that were typed before, for the arrow keys."""
    return user_state_path("modelhost") / "chat_history"


def _file() -> Path:
    return user_state_path("modelhost") / "conversation.json"
