"""How a body spells what the contract calls by another name: an error is about what was sent.

A body says it in `spelt`: by a name of the contract, the names that its clients may give it, in the order in which they count.
What has the same name in both is not there.
"""

from collections.abc import Container
from typing import Any

Spelt = dict[str, tuple[str, ...]]


def spelling(payload: Any, files: Container[str] = ()) -> dict[str, str]:
    """Return what the client calls each field that has another name in the contract: as it was sent, where it was."""
    table: Spelt = getattr(payload, "spelt", {})
    return {
        name: next((one for one in names if one in files or _is_sent(payload, one)), names[0]) for name, names in table.items()
    }


def _is_sent(payload: Any, name: str) -> bool:
    return getattr(payload, name, None) not in (None, "")
