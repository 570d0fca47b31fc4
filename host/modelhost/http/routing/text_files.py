"""Files that are text."""

from modelhost.contract.errors import BadInputError
from modelhost.http.routing.bodies.form import Upload
from modelhost.http.routing.forms import one_file


def text_of(files: dict[str, list[Upload]], name: str = "file") -> str:
    """Return the one text of a form, without a byte order mark. Raises `BadInputError` unless it is UTF-8 without NUL."""
    try:
        text = one_file(files, "a text", name).audio.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{name} is not UTF-8", param=name) from None
    if "\0" in text:
        raise BadInputError(f"{name} is not a text: it has NUL in it", param=name)
    return text
