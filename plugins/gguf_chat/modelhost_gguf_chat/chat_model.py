"""A loaded model: where template, tokens, engine and answer meet."""

from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import llama_cpp
from modelhost import (
    BadInputError,
    ComputeThread,
    Context,
    Done,
    EventStream,
    GenerateEvent,
    GenerateRequest,
    Log,
    ModelCard,
    TokenizeEvent,
    TokenizeRequest,
    Tokens,
    UnsupportedError,
)

from modelhost_gguf_chat.engine.cells import TOKENS
from modelhost_gguf_chat.engine.engine import Engine
from modelhost_gguf_chat.engine.jobs import Job, deliver
from modelhost_gguf_chat.engine.sampling import SEEDS, Sampler, decide
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.origins import Piece
from modelhost_gguf_chat.reply import Reply, echo
from modelhost_gguf_chat.template import ChatTemplate
from modelhost_gguf_chat.tokens import NO_TOKEN
from modelhost_gguf_chat.weights import Weights, device_of

MAX_TEXT = 1024 * 1024
"""Bytes of a text or a chat to count the tokens of. Chosen, because some tokenizers take time by the square of it, and none can
be stopped."""
MAX_TOKENS = MAX_TEXT
"""Tokens to turn back into text."""
PROMPTS = 4
"""Threads that write prompts. Chosen, because Python runs one of them at a time, and a slow template must not hold up all
others."""


class ChatModel:
    """A GGUF model, ready to answer."""

    def __init__(
        self, weights: Weights, options: GgufChatOptions, *, threads: int, log: Log, compute: ComputeThread, model: str = ""
    ) -> None:
        """Load it on this thread, which is `compute`'s; raises what `Backend.load` may raise."""
        self._options = options
        self._size = weights.size
        self._engine = Engine(weights.file, options, threads=options.threads or threads, log=log, model=model)
        try:
            self._vocabulary = self._engine.vocabulary
            if llama_cpp.llama_model_has_encoder(self._engine.model) or not llama_cpp.llama_model_has_decoder(self._engine.model):
                raise BadInputError(f"{weights.file.name} is not a model that continues text", param="source")
            self._template = self._find_template(log)
        except BaseException:
            self._engine.close()
            raise
        self._prompts = ThreadPoolExecutor(PROMPTS, "modelhost-prompts")
        self._engine.start(compute)

    def close(self) -> None:
        """End what runs and free everything."""
        self._prompts.shutdown(wait=False)
        self._engine.close()

    def card(self) -> ModelCard:
        """Return what this model can do."""
        return ModelCard(
            abilities=("generate", "tokenize"),
            features=(
                *("streaming", "stop", "logprobs", "completion", "prompt_logprobs", "n", "top_k", "min_p", "repeat_penalty"),
                *("presence_penalty", "frequency_penalty", "logit_bias", "ignore_eos"),
                *(("suffix",) if self._vocabulary.gap else ()),
                *(() if isinstance(self._template, str) else ("prefill",)),
            ),
            context_length=self._engine.n_ctx,
            concurrency=self._engine.parallel,
            size_bytes=self._size,
            device=device_of(self._options),
        )

    def measures(self) -> dict[str, float]:
        """Return what its engine measures of itself."""
        return self._engine.measures()

    def generate(self, request: GenerateRequest, context: Context) -> EventStream[GenerateEvent]:
        """Answer a request; the stream ends with `BadInputError` or `UnsupportedError` where that cannot be."""
        reply = Reply(request, self._vocabulary, wake=self._engine.wake)
        context.on_cancel(reply.cancel)
        if not context.cancelled:
            self._prompts.submit(self._begin, request, context, reply)
        return reply.events

    def _begin(self, request: GenerateRequest, context: Context, reply: Reply) -> None:
        """Write the prompt, and have it computed; in a thread of its own, as that may take seconds."""
        try:
            with self._engine.in_use():
                prompt = self.prompt(request)
                most = self._token_limit(request, len(prompt))
                sampling = decide(request, self._options, self._vocabulary)
                if request.prompt_logprobs and prompt[0] not in (self._vocabulary.bos, NO_TOKEN):
                    for choice in reply.choices:
                        choice.begin_echo(prompt[:1])
                elif not request.prompt_logprobs and (text := self._echoed_prompt(request)):
                    echo(reply, text)
            reply.prompt_tokens = len(prompt)
            jobs = [
                Job(
                    array(TOKENS, prompt),
                    Sampler(sampling._replace(seed=(sampling.seed + choice.index) % SEEDS), prompt),
                    most,
                    choice,
                    caller=context.caller,
                    priority=context.priority,
                    keeps_logits=request.logprobs,
                    scores_prompt=request.prompt_logprobs,
                )
                for choice in reply.choices
            ]
            reply.on_cancel(lambda: self._engine.cancel(jobs))
            for job in jobs:
                self._engine.submit(job)
        except BaseException as error:  # it is for the one who reads
            reply.fail(error)
            deliver([reply.flushed()])

    def prompt(self, request: GenerateRequest) -> list[int]:
        """Return the token ids a request begins with."""
        vocabulary = self._vocabulary
        if request.prompt is None:
            if request.suffix or request.echo:
                param = "suffix" if request.suffix else "echo"
                raise BadInputError(f"{param} goes with a raw prompt, not with messages; leave it out", param=param)
            return self._of_chat(request)
        if isinstance(request.prompt, str):
            _bound(len(request.prompt.encode("utf-8", "replace")), "prompt")
            tokens = vocabulary.tokenize(request.prompt)
        else:
            tokens = self._existing(request.prompt, "prompt")
        if request.suffix:
            if vocabulary.gap is None:
                raise UnsupportedError("this model has no tokens for filling gaps; leave `suffix` out", param="suffix")
            return vocabulary.around_gap(tokens, vocabulary.tokenize(request.suffix))
        if isinstance(request.prompt, str):
            tokens = vocabulary.with_bos(tokens)
        if not tokens and vocabulary.bos != NO_TOKEN:
            tokens = [vocabulary.bos]
        if not tokens:
            raise BadInputError("the prompt is empty, and this model needs a token to continue", param="prompt")
        return tokens

    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Count without computing; from any thread, beside `generate` too. Raises `BadInputError` or `UnsupportedError`."""
        with self._engine.in_use():
            tokens = self._tokens(request)
            pieces = {token: self._vocabulary.piece(token, special=True) for token in set(tokens)}
        piece_bytes = tuple(pieces[token] for token in tokens)
        text = "" if request.tokens is None else self._vocabulary.joined(piece_bytes)
        yield Tokens(tokens=tuple(tokens), text=text, pieces=piece_bytes)
        yield Done()

    def _tokens(self, request: TokenizeRequest) -> list[int]:
        vocabulary = self._vocabulary
        if request.tokens is not None:
            if len(request.tokens) > MAX_TOKENS:
                raise BadInputError(f"there are {len(request.tokens)} tokens, {MAX_TOKENS} are allowed", param="tokens")
            return self._existing(request.tokens, "tokens")
        if request.text is not None:
            _bound(len(request.text.encode("utf-8", "replace")), "text")
            tokens = vocabulary.tokenize(request.text, parse_special=request.parse_special)
            return vocabulary.with_bos(tokens) if request.add_special else tokens
        return self._of_chat(request)

    def _of_chat(self, request: GenerateRequest | TokenizeRequest) -> list[int]:
        pieces = self._pieces(request)
        _bound(sum(len(piece.text.encode("utf-8", "replace")) for piece in pieces), "messages")
        return self._vocabulary.with_bos(self._vocabulary.tokenize_pieces(pieces))

    def _pieces(self, request: GenerateRequest | TokenizeRequest) -> list[Piece]:
        """Write a conversation as the template does, ready for the answer."""
        messages = request.messages
        if not messages:
            raise BadInputError("there are no messages; send at least one", param="messages")
        if isinstance(self._template, str):
            raise UnsupportedError(
                f"{self._template}, so it only continues a raw prompt; its operator can set the option `chat_template` "
                "or `chat_template_file`",
                param="messages",
            )
        if len(messages) > self._engine.n_ctx:
            raise BadInputError(
                f"This model's maximum context length is {self._engine.n_ctx} tokens, but there are {len(messages)} messages; "
                "leave older ones out.",
                code="context_length_exceeded",
                param="messages",
            )
        return self._template.render(
            messages,
            tools=request.tools if isinstance(request, GenerateRequest) else (),
            generation_prompt=request.add_generation_prompt is not False,
            continues=request.continues,
        )

    def _existing(self, tokens: tuple[int, ...], param: str) -> list[int]:
        if any(not 0 <= token < self._vocabulary.size for token in tokens):
            raise BadInputError(f"{param}: this model's tokens are 0 to {self._vocabulary.size - 1}", param=param)
        return list(tokens)

    def _echoed_prompt(self, request: GenerateRequest) -> str:
        """Return the prompt as text, where the answer is to begin with it."""
        if not request.echo or not request.prompt:
            return ""
        return request.prompt if isinstance(request.prompt, str) else self._vocabulary.text(request.prompt)

    def _token_limit(self, request: GenerateRequest, count: int) -> int:
        """Return how many tokens the answer may have; raises where the context does not hold prompt and answer."""
        n_ctx = self._engine.n_ctx
        param = "messages" if request.prompt is None else "prompt"
        limit = f"This model's maximum context length is {n_ctx} tokens"
        if count >= n_ctx:
            is_or_are = "messages have" if param == "messages" else "prompt has"
            raise BadInputError(
                f"{limit}, but the {is_or_are} {count} tokens; shorten the {param}.",
                code="context_length_exceeded",
                param=param,
            )
        if request.max_tokens is not None and count + request.max_tokens > n_ctx:
            raise BadInputError(
                f"{limit}, but you asked for {count + request.max_tokens} tokens: {count} in the {param}, "
                f"{request.max_tokens} for the answer; shorten the {param} or lower max_tokens.",
                code="context_length_exceeded",
                param=param,
            )
        wanted = self._options.most_tokens() if request.max_tokens is None else request.max_tokens
        return min(n_ctx - count, n_ctx if wanted is None else wanted)

    def _find_template(self, log: Log) -> ChatTemplate | str:
        """Compile the template of the options or of the file; of one in the file that has an error, say what it is.

        Raw prompts work all the same.
        """
        vocabulary = self._vocabulary
        bos, eos = vocabulary.name(vocabulary.bos), vocabulary.name(vocabulary.eos)
        if (chosen := self._options.chosen_template()) is not None:
            template = ChatTemplate(chosen, bos=bos, eos=eos)
        elif source := llama_cpp.llama_model_chat_template(self._engine.model, None):
            try:
                template = ChatTemplate(source.decode("utf-8", "replace"), bos=bos, eos=eos)
            except BadInputError as error:
                log.warning("the model's own chat template cannot be used", reason=error.message)
                return f"this model's own chat template cannot be used: {error.message}"
        else:
            return "this model has no chat template"
        if lost := self._lost_tokens(template):
            log.warning("the chat template makes control tokens in a way that cannot be followed, so they are text", tokens=lost)
        return template

    def _lost_tokens(self, template: ChatTemplate) -> list[str]:
        """Name the control tokens that are in what a template writes of a harmless conversation, but not in its own words."""
        pieces = template.sample()
        plain = self._vocabulary.tokenize("".join(piece.text for piece in pieces), parse_special=True)
        missing = self._vocabulary.control_tokens & (set(plain) - set(self._vocabulary.tokenize_pieces(pieces)))
        return sorted(map(self._vocabulary.name, missing))


def _bound(size: int, param: str) -> None:
    if size > MAX_TEXT:
        message = f"{param}: {size} bytes are too many to tokenize, {MAX_TEXT} are allowed"
        raise BadInputError(message, code="context_length_exceeded", param=param)
