"""Whether an answer begins a turn or goes on with the last message: two fields that vLLM and Transformers brought."""

from modelhost.contract.errors import BadInputError
from modelhost.contract.types import Message

GENERATION_PROMPT = "add_generation_prompt"
CONTINUE = "continue_final_message"


def check_prefill(messages: tuple[Message, ...], continue_final_message: bool | None, add_generation_prompt: bool | None) -> None:
    """Raise `BadInputError` for fields that contradict each other, or a last message that nobody can go on with."""
    if not continue_final_message:
        return
    if add_generation_prompt:
        raise BadInputError(f"{CONTINUE} and {GENERATION_PROMPT} exclude each other; leave one out", param=GENERATION_PROMPT)
    last = messages[-1]
    if last.role != "assistant" or last.tool_calls:
        raise BadInputError(
            f"{CONTINUE} goes on with the assistant's words; end the messages with them, or leave it out", param=CONTINUE
        )
