"""A dialogue's turn: what was said is written down, answered and spoken. No HTTP in here."""

from modelhost.dialogue.memory import InProcessMemory, Memory
from modelhost.dialogue.turn import Dialogue, Turn

__all__ = ["Dialogue", "InProcessMemory", "Memory", "Turn"]
