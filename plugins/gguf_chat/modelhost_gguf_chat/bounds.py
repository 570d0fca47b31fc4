"""How much a chat template may do: a template comes with a downloaded file, so it is a stranger's program.

What it may compute is bounded in processor time of its own thread, so that other work on the machine takes none of it
away, and in what it makes: every string and list costs its size, and one whose size follows from numbers (`'a' * n`,
`center(n)`, `slice(n)`) is refused before it is made. Between two looks at the clock lies one operation of bounded size.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from modelhost.authors.chat_templates import OverBoundError

MAX_MADE = 32 * 1024 * 1024
"""Characters, and 16 times elements of lists, that a rendering may make; chosen so that no template holds gigabytes."""
MAX_NUMBER = 1_000_000
"""A number given to a method or a filter: widths, counts, lengths. Chosen, because no prompt needs a wider column."""
MAX_BITS = 4096
"""Bits of a number that `*` and `**` may make. Chosen, because templates count turns, and a few operations of that size take
microseconds."""
MAX_SLOW = 100_000
"""Characters for those filters of Jinja's that take time by the square of them. Chosen, because so many take seconds at most."""
TICKS = 15
"""Small operations between two looks at the clock. Chosen, because a look takes as long as some of them."""
LARGE = 16 * 1024
"""Characters; after making something of this size the next look is due. Chosen, because that takes as long as the operations
between two looks."""
ELEMENT = 16
"""What an element of a list costs, in characters. Chosen, because it is a pointer, and space to grow."""


class Budget:
    """What is left to a rendering."""

    def __init__(self, *, seconds: float, made: int) -> None:
        self._until = time.thread_time() + seconds
        self._left = made
        self._unseen = 0

    def tick(self) -> None:
        """Look at the clock, every now and then; raises when time is up."""
        self._unseen -= 1
        if self._unseen < 0:
            self._unseen = TICKS
            if time.thread_time() > self._until:
                raise OverBoundError("takes too long")

    def spend(self, size: int) -> None:
        """Pay for what is made; raises where that is too much."""
        self._left -= size
        if size > LARGE:
            self._unseen = 0
        if self._left < 0:
            raise OverBoundError("makes too much of this conversation")

    def afford(self, size: int) -> None:
        """Raise where a size could not be paid for."""
        if size > self._left:
            raise OverBoundError("makes too much of this conversation")

    def weigh(self, value: Any) -> int:
        """Return the size of a value with all that is in it, however often; raises where it could not be paid for.

        Whatever walks through a value (writing it, comparing it) takes that long, and lists can hold one another.
        """
        size = 0
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str | bytes):
                size += len(item)
            elif isinstance(item, dict):
                waiting += item.keys()
                waiting += item.values()
            elif isinstance(item, list | tuple):
                waiting += item
            size += ELEMENT
            if size + len(waiting) > self._left:
                raise OverBoundError("makes too much of this conversation")
        return size


rendering: ContextVar[Budget] = ContextVar("rendering")
_CONTAINERS = (list, tuple, dict)


def tick() -> None:
    """Raise when time is up; compiled templates call this wherever something can repeat."""
    rendering.get().tick()


def paid(value: Any) -> Any:
    """Pay for what has just been made, and return it."""
    budget = rendering.get()
    if isinstance(value, str | bytes):
        budget.spend(len(value))
    elif isinstance(value, list | tuple | dict):
        budget.spend(ELEMENT * (len(value) + 4))
    return value


def weighed(value: Any) -> Any:
    """Return a value that is not too large to walk through."""
    if isinstance(value, _CONTAINERS):
        rendering.get().weigh(value)
    return value


def ticking(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values, with a check of the clock at each; lists among them have just been made."""
    for value in values:
        rendering.get().tick()
        yield paid(value) if isinstance(value, list) else value


def check_numbers(values: Iterable[Any]) -> None:
    """Raise for a number larger than any width, count or length that makes sense."""
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in values):
        raise OverBoundError("asks for too great a width or count")


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise where the result of an operator would be too large to make."""
    match operator, left, right:
        case "*", int(), int():
            if left.bit_length() + right.bit_length() > MAX_BITS:
                raise OverBoundError("computes too large a product")
        case "**", _, _:
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
                raise OverBoundError("computes too large a power")
        case "*", _, int():
            _check_repeated(left, right)
        case "*", int(), _:
            _check_repeated(right, left)
        case "+", _, _:
            rendering.get().afford(_cost(left) + _cost(right))
        case "%", str() | bytes(), _:
            _check_percent(left, right)


def check_method(owner: Any, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise where a method of a built-in type would make something too large, or walk through it."""
    budget = rendering.get()
    if isinstance(owner, str | bytes | int):
        check_numbers([*arguments, *named.values()])
    for argument in arguments:
        weighed(argument)
    match owner, name, arguments:
        case str() | bytes(), "join", (list() | tuple() | str() | bytes() as parts,):
            budget.afford(len(owner) * len(parts) + (_cost(parts) if isinstance(parts, str | bytes) else sum(map(_cost, parts))))
        case (str(), "replace", (str() as old, new, *_)) | (bytes(), "replace", (bytes() as old, new, *_)):
            budget.afford(len(owner) + owner.count(old) * _cost(new))
        case str() | bytes(), "expandtabs", _:
            most = max((size for size in (*arguments, *named.values()) if isinstance(size, int)), default=8)
            budget.afford(len(owner) * max(most, 1))
        case str(), "translate", (dict() as table,):
            budget.afford(len(owner) * max((_cost(letters) for letters in table.values()), default=1))
        case list() | tuple(), "count" | "index" | "remove", _:
            budget.weigh(owner)
        case list(), "extend", (list() | tuple() as more,):
            budget.spend(ELEMENT * len(more))
        case list(), "append" | "insert", _:
            budget.spend(ELEMENT)


def _cost(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return ELEMENT * len(value) if isinstance(value, list | tuple) else 1


def _check_repeated(what: Any, times: int) -> None:
    rendering.get().afford(_cost(what) * max(times, 0))


def _check_percent(form: str | bytes, values: Any) -> None:
    text = form if isinstance(form, str) else form.decode("latin-1")
    numbers = [int(digits[:9]) for digits in re.findall(r"\d+", text)]
    check_numbers(numbers)
    if re.search(r"%[^a-zA-Z%]*\*", text):
        raise OverBoundError("formats to a width that is not written down")
    size = rendering.get().weigh(values) * (text.count("%(") if isinstance(values, dict) else 1)
    rendering.get().afford(len(text) + sum(numbers) + size)
