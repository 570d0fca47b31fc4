"""What is put before a text, so that the model knows what the vector is for."""

from collections.abc import Mapping

from modelhost import BadInputError, UnsupportedError

EVERYWHERE = ("query", "document", "clustering")
"""Names every model takes; one that has no such prompt gets the text alone."""
DOCUMENT = ("document", "passage", "corpus")
"""Names that models give to the prompt of documents, in the order sentence-transformers tries them."""
NO_TITLE = "title: none"
"""How EmbeddingGemma's prompt of documents begins, where there is no title."""


class Prompts:
    """A model's prompts by name."""

    def __init__(self, named: Mapping[str, str], default: str | None = None) -> None:
        """Take the prompts, and the name of the one for requests that name none."""
        self._named = dict(named)
        self._folded = {name.casefold(): text for name, text in named.items()}
        self._folded["document"] = next((text for name in DOCUMENT if (text := self._folded.get(name))), "")
        self._default = self._named.get(default or "", "")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names a request may use; upper and lower case are alike."""
        own = (name for name in self._named if name.casefold() not in EVERYWHERE)
        return (*EVERYWHERE, *sorted(own))

    def text(self, name: str | None, title: str | None = None) -> str:
        """Return what to put before a text; a title makes it a document.

        Raises `BadInputError` for a name the model does not have, `UnsupportedError` for a title it has no place for.
        """
        if title is not None:
            return self._titled(name, title)
        if name is None:
            return self._default
        if name in self._named and name != "document":
            return self._named[name]
        found = self._folded.get(name.casefold())
        if found is None and name.casefold() not in EVERYWHERE:
            raise BadInputError(f"this model has no prompt of that name; it has {', '.join(self.names)}", param="prompt_name")
        return found or ""

    def _titled(self, name: str | None, title: str) -> str:
        if name is not None and name.casefold() not in DOCUMENT:
            raise BadInputError("only a document has a title; leave it out, or name the prompt `document`", param="title")
        prompt = self.text("document")
        if not prompt.startswith(NO_TITLE):
            raise UnsupportedError("this model has no place for a title; put it into the text", param="title")
        return "title: " + title + prompt.removeprefix(NO_TITLE)
