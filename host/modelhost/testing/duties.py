"""Which fields of a request a backend sees to itself, how, and which test of the kit tries it.

The other fields are the host's: it refuses what a card does not name (`pool.requirements`), and does the rest around hooks.
"""

from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability


class Duty(Struct):
    """What a backend does with a field."""

    what: str
    test: str = ""
    """The test of the ability's class that tries it; empty where nobody can know from outside."""


_OPTIONS = Duty(
    what="your own, with `request_options`: read it with `RequestOptions.of`",
    test="test_request_options_are_read_as_they_are_described",
)

DUTIES: dict[Ability, dict[str, Duty]] = {
    "generate": {
        "options": _OPTIONS,
        "messages": Duty(
            what="answer the last; any may be empty, or be of the system alone", test="test_odd_input_is_answered_or_refused"
        ),
        "prompt": Duty(what="with `completion`: continue it, no template around it", test="test_a_raw_prompt_is_continued"),
        "max_tokens": Duty(
            what="end there, with `reason='length'`; None is your choice", test="test_max_tokens_is_kept_and_told"
        ),
        "temperature": Duty(
            what="0 takes the likeliest word each time; None is your choice", test="test_the_same_seed_gives_the_same_text"
        ),
        "top_p": Duty(what="sample from the likeliest tokens that make up this much; a model without sampling ignores it"),
        "seed": Duty(what="the same seed gives the same text", test="test_the_same_seed_gives_the_same_text"),
        "stop": Duty(
            what="only where the card names `stop`: end before the first (`StopStrings`); else the host cuts",
            test="test_a_stop_string_ends_the_text",
        ),
        "n": Duty(what="with `n`: that many choices, told apart by `index`", test="test_as_many_choices_as_asked"),
        "logprobs": Duty(what="with `logprobs`: fill `Delta.logprobs`", test="test_token_probabilities_come_when_asked_for"),
        "top_logprobs": Duty(
            what="with `logprobs`: as many others beside each token", test="test_token_probabilities_come_when_asked_for"
        ),
        "tool_choice": Duty(what="with `tools`: whether and which tools may be called; None is `auto`"),
        "parallel_tool_calls": Duty(what="with `tools`: False allows one call"),
        "response_format": Duty(what="with `json_object` or `json_schema`: nothing but that", test="test_json_is_json"),
        "language": Duty(what="with audio among the inputs: the language that is spoken"),
        "echo": Duty(what="with `completion`: begin with the prompt"),
        "continue_final_message": Duty(what="with `prefill`: go on where the last message ends"),
        "add_generation_prompt": Duty(what="with `prefill`: False begins no turn of the assistant's"),
    },
    "transcribe": {
        "options": _OPTIONS,
        "audio": Duty(
            what="any file (`modelhost.audio.decode`); None is live sound", test="test_odd_input_is_answered_or_refused"
        ),
        "format": Duty(what="a hint, which may be wrong", test="test_odd_input_is_answered_or_refused"),
        "sample_rate": Duty(what="of live sound and of `format='pcm'`"),
        "language": Duty(what="of those on the card; where it names none, refuse what you do not know"),
        "prompt": Duty(what="let it guide the spelling; a model that cannot ignores it"),
        "temperature": Duty(what="as for text; None is your choice"),
        "word_timestamps": Duty(what="with `word_timestamps`: fill `Segment.words`", test="test_words_lie_within_their_segment"),
    },
    "synthesize": {
        "options": _OPTIONS,
        "text": Duty(
            what="speak all of it, refuse what nobody can say (`code='nothing_to_say'`)", test="test_a_longer_text_takes_longer"
        ),
        "voice": Duty(
            what="None is your choice; the host refuses what the card does not list, unless there is the hook `voices`",
            test="test_a_voice_nobody_has_is_refused",
        ),
        "speed": Duty(what="with `speed`: 2 is twice as fast", test="test_speed_is_honoured"),
        **{
            name: Duty(what="for models that sample; others ignore it, and None is your choice")
            for name in ("temperature", "top_p", "repetition_penalty", "seed", "max_tokens", "chunk_length")
        },
        "normalize": Duty(
            what="True to write numbers and abbreviations out, False to leave the text as it is, None is your choice"
        ),
    },
    "embed": {
        "options": _OPTIONS,
        "inputs": Duty(what="one vector for each, in order, of length 1", test="test_there_is_one_unit_vector_for_each_input"),
        "dimensions": Duty(
            what="one of the card's; None is the first of them", test="test_vectors_have_the_length_the_card_says"
        ),
        "overlong": Duty(
            what="refuse what is too long; with `truncate`, cut it and name it in `Vectors.truncated`",
            test="test_a_text_that_is_too_long_is_refused_or_cut_and_told",
        ),
        "prompt_name": Duty(what="with `prompts`: `query`, `document`, …; refuse a name you do not have"),
        "title": Duty(what="with `title`: of the document"),
    },
    "summarize": {
        "options": _OPTIONS,
        "text": Duty(what="UTF-8; refuse what is none", test="test_odd_input_is_answered_or_refused"),
        "filename": Duty(what="says what the text is; never open it", test="test_odd_input_is_answered_or_refused"),
        "language": Duty(what="of the summary; None is that of the text"),
        "persona": Duty(what="for whom it is written; refuse one you do not have", test="test_odd_input_is_answered_or_refused"),
        "generator": Duty(what="the model to ask through `context.host`; a backend that writes itself refuses it"),
        "max_tokens": Duty(what="end there; None is your choice"),
        "temperature": Duty(what="as for text; None is your choice"),
    },
    "tokenize": {
        "options": _OPTIONS,
        "text": Duty(what="cut it", test="test_text_survives_the_way_to_tokens_and_back"),
        "messages": Duty(what="write them by your template and cut that: the very prompt `generate` would make"),
        "tokens": Duty(what="turn them back into text", test="test_a_token_that_does_not_exist_is_refused"),
        "continue_final_message": Duty(what="with `prefill`: as `generate` does"),
        "add_generation_prompt": Duty(what="with `prefill`: as `generate` does"),
        "add_special": Duty(what="begin as a prompt begins"),
        "parse_special": Duty(what="take names of control tokens for the tokens; False: they are characters"),
    },
    "voices": {
        "options": _OPTIONS,
        "add": Duty(
            what="make a voice of `samples`, good for `voice` from then on", test="test_a_voice_is_added_listed_and_deleted"
        ),
        "samples": Duty(what="recordings of it", test="test_a_voice_is_added_listed_and_deleted"),
        "delete": Duty(what="forget it", test="test_a_voice_that_is_not_there_cannot_be_deleted"),
    },
}
