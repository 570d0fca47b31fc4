"""The model, its context, and the loop that computes with them on the model's compute thread.

Everything around says `for step in engine.run(job)`; how jobs share the context is decided in here alone.
"""

import contextlib
import ctypes
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
from modelhost import ComputeThread, Log, NotReadyError
from numpy.typing import NDArray

from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.sampling import Sampler, Sampling
from modelhost_gguf_chat.tokens import Vocabulary
from modelhost_gguf_chat.weights import listen, load_model, reason

DEFAULT_MOST_CONTEXT = 8192
"""Tokens of the context unless the options say otherwise. Chosen, because the cache of a model's whole context may not fit into
memory."""
AHEAD = 16
"""Steps the engine computes before somebody takes them. Chosen, because an interrupted reader then costs no step, and a gone one
few."""
SEQUENCE = 0
"""The only sequence of llama.cpp's context: requests are computed one after the other."""
UNLOADED = "this model is being unloaded; send the request again"
CACHE_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # the binding has no name for it
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class Prefilled(NamedTuple):
    """The prompt has been computed."""

    cached: int
    """Its tokens that an earlier job had left in the cache."""


class Sampled(NamedTuple):
    """A token of the answer; never one that ends it."""

    token: int
    logits: NDArray[np.float32] | None
    """What the model gave before sampling, one number a token of the vocabulary, where the job asks for it."""


class Finished(NamedTuple):
    """The last step."""

    ended: bool
    """Whether the model ended the answer, by a token that no `Sampled` showed; else there was no room for more."""


Step = Prefilled | Sampled | Finished


class Job:
    """An answer to compute."""

    __slots__ = (
        "caller",
        "cancelled",
        "drained",
        "exact",
        "logits",
        "max_tokens",
        "sampling",
        "steps",
        "tokens",
        "waiting",
    )

    def __init__(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        *,
        logits: bool = False,
        exact: bool = False,
        caller: str = "",
    ) -> None:
        """Take what to compute.

        `tokens` and `max_tokens` together fit into the context. `exact` asks for the very numbers that a fresh
        context would give, so of the cache only what was computed in the same batches is used. A `caller` never
        profits from the cache of another one: how quick an answer is would tell what the other had asked.
        """
        self.tokens = list(tokens)
        self.sampling = sampling
        self.max_tokens = max_tokens
        self.logits = logits
        self.exact = exact
        self.caller = caller
        self.cancelled = False
        self.steps: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()
        self.drained = threading.Event()
        self.waiting = False

    def wait_for_reader(self) -> None:
        """Block the engine while its steps pile up unread; returns at once when the job is cancelled."""
        while self.steps.qsize() >= AHEAD and not self.cancelled:
            self.drained.clear()
            self.waiting = True  # from here on a reader sets `drained`, so look once more before waiting for it
            if self.steps.qsize() >= AHEAD and not self.cancelled:
                self.drained.wait()
            self.waiting = False


class Engine:
    """A loaded model. `run` and `cancel` may be called from any thread; one job is computed at a time, in order."""

    def __init__(self, weights: Path, options: GgufChatOptions, *, threads: int, log: Log) -> None:
        """Load and compute one token; raises `NotReadyError` with llama.cpp's reason, `BadInputError` for an option."""
        self._model: Any = None
        self._context: Any = None
        listen(log)
        llama_cpp.llama_backend_init()
        try:
            self._model = load_model(weights, options)
            self.vocabulary = Vocabulary(self._model)
            trained: int = llama_cpp.llama_model_n_ctx_train(self._model)
            self.n_ctx = options.n_ctx or min(trained, DEFAULT_MOST_CONTEXT)
            if self.n_ctx > trained:
                log.warning("the context is longer than the model was trained for", n_ctx=self.n_ctx, trained=trained)
            self._n_batch = min(options.n_batch, self.n_ctx)
            self._context = _make_context(self._model, options, self.n_ctx, self._n_batch, threads)
            self._memory = llama_cpp.llama_get_memory(self._context)
            self._prepare()
        except BaseException:
            self._free()
            raise
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._users = 0
        self._unused = threading.Condition(self._lock)
        self._current: Job | None = None
        self._closed = False
        self._serving: Future[None] | None = None

    def start(self, compute: ComputeThread) -> None:
        """Serve jobs on this thread, the one that the engine was made on, until `close`."""
        self._serving = compute.submit(self._serve)

    @property
    def model(self) -> Any:
        """llama.cpp's pointer to the weights: for questions about them, not for computing."""
        return self._model

    def run(self, job: Job) -> Generator[Step, None, None]:
        """Compute a job: `Prefilled`, every `Sampled`, `Finished`; a cancelled one just ends.

        Closing the generator cancels the job. Raises RuntimeError where llama.cpp fails; the engine stays usable.
        """
        with self._lock:
            if self._closed:
                raise NotReadyError(UNLOADED)
            self._jobs.put(job)
        steps = job.steps
        try:
            while True:
                step = steps.get()
                if job.waiting:
                    job.drained.set()
                if self._closed:  # also with steps left over: what they are tokens of is about to be freed
                    raise NotReadyError(UNLOADED)
                if step is None:
                    return
                if isinstance(step, BaseException):
                    raise step
                yield step
                if isinstance(step, Finished):
                    return
        finally:
            self.cancel(job)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the weights, and so the vocabulary, from being freed; for short work, because unloading waits for its end.

        Raises `NotReadyError` when unloading has begun. May be used beside `run`, from any thread.
        """
        with self._lock:
            if self._closed:
                raise NotReadyError(UNLOADED)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._unused.notify_all()

    def cancel(self, job: Job) -> None:
        """Stop a job, on the CPU in the middle of a decode too; nothing happens to one that is over."""
        with self._lock:
            job.cancelled = True
            if self._current is job:
                self._abort.value = b"x"
        job.drained.set()
        job.steps.put(None)

    def close(self) -> None:
        """Cancel what runs, and free context and weights."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            current = self._current
            self._jobs.put(None)
        if current:
            self.cancel(current)
        if self._serving:
            self._serving.result()
        else:
            self._free()

    def _prepare(self) -> None:
        """Set up what every decode uses, and see that one works."""
        self._batch = llama_cpp.llama_batch_init(self._n_batch, 0, 1)
        for i in range(self._n_batch):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = SEQUENCE
            self._batch.logits[i] = 0
        row = ctypes.c_int32 * self._n_batch
        self._tokens: Any = row.from_address(ctypes.addressof(self._batch.token.contents))
        self._positions: Any = row.from_address(ctypes.addressof(self._batch.pos.contents))
        # strlen as the abort callback: true once the buffer holds a character. One in Python would take the GIL for
        # each node of the graph, hundreds of times a token.
        self._abort = ctypes.create_string_buffer(2)
        self._strlen = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(self._context, self._strlen, ctypes.cast(self._abort, ctypes.c_void_p))
        self._window = llama_cpp.llama_model_n_swa(self._model)
        self._rewinds = not (llama_cpp.llama_model_is_recurrent(self._model) or llama_cpp.llama_model_is_hybrid(self._model))
        self._kept: list[int] = []
        self._exact = 0
        self._caller = ""
        self._tokens[0], self._positions[0], self._batch.logits[0] = max(self.vocabulary.bos, 0), 0, 1
        self._batch.n_tokens = 1
        if llama_cpp.llama_decode(self._context, self._batch):
            raise NotReadyError(f"llama.cpp loaded the model but cannot compute with it{reason()}", retry=False)
        llama_cpp.llama_synchronize(self._context)
        self._forget()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._current = job
                self._abort.value = b""
                if self._closed:
                    job.cancelled = True
            try:
                self._compute(job)
            except BaseException as error:  # whatever it is, it is for the one who reads
                self._forget()
                job.steps.put(error)
            finally:
                with self._lock:
                    self._current = None
                job.steps.put(None)
        with self._unused:
            self._unused.wait_for(lambda: not self._users)
        self._free()

    def _compute(self, job: Job) -> None:
        if job.cancelled:
            return
        cached = self._reuse(job)
        if not self._prefill(job, cached):
            return
        job.steps.put(Prefilled(cached))
        sampler = Sampler(job.sampling, self.vocabulary, job.tokens, self.n_ctx)
        try:
            self._answer(job, sampler)
        finally:
            sampler.close()

    def _prefill(self, job: Job, start: int) -> bool:
        """Compute the prompt from `start` on; false when the job was cancelled meanwhile."""
        tokens, size = job.tokens, self._n_batch
        while start < len(tokens):
            # batches end at multiples of their size, so that the same prompt is always cut in the same places
            end = min(len(tokens), (start // size + 1) * size)
            count = end - start
            self._tokens[:count] = tokens[start:end]
            self._positions[:count] = list(range(start, end))
            self._batch.n_tokens = count
            last = end == len(tokens)
            self._batch.logits[count - 1] = last
            whole = self._decode(job)
            self._batch.logits[count - 1] = 0
            if not whole:
                return False
            self._kept += tokens[start:end]
            if start == self._exact and count == size:
                self._exact = end
            start = end
        return True

    def _answer(self, job: Job, sampler: Sampler) -> None:
        sample, is_end, put = llama_cpp.llama_sampler_sample, llama_cpp.llama_vocab_is_eog, job.steps.put
        context, chain, vocabulary = self._context, sampler.pointer, self.vocabulary.pointer
        batch, tokens, positions = self._batch, self._tokens, self._positions
        batch.n_tokens, batch.logits[0] = 1, 1
        try:
            for left in range(job.max_tokens - 1, -1, -1):
                token = sample(chain, context, -1)
                if is_end(vocabulary, token):
                    put(Finished(ended=True))
                    return
                put(Sampled(token, self._logits() if job.logits else None))
                if not left:
                    put(Finished(ended=False))
                    return
                if job.steps.qsize() >= AHEAD:
                    job.wait_for_reader()
                tokens[0], positions[0] = token, len(self._kept)
                if not self._decode(job):
                    return
                self._kept.append(token)
        finally:
            batch.logits[0] = 0

    def _decode(self, job: Job) -> bool:
        """Compute the batch; false when the job was cancelled, and then the cache is as it was before."""
        if job.cancelled:
            return False
        code = llama_cpp.llama_decode(self._context, self._batch)
        if code == 0:
            return True
        if code != 2:
            raise RuntimeError(f"llama_decode answered {code}{reason()}")
        if not (self._rewinds and llama_cpp.llama_memory_seq_rm(self._memory, SEQUENCE, len(self._kept), -1)):
            self._forget()
        return False

    def _logits(self) -> NDArray[np.float32]:
        row = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(row, shape=(self.vocabulary.size,)).copy()

    def _reuse(self, job: Job) -> int:
        """Keep what the cache holds of the prompt, drop the rest of it; returns how many tokens that are."""
        common = 0
        if job.caller == self._caller:
            most = min(len(self._kept), len(job.tokens) - 1)  # the last one is computed again, for its logits
            while common < most and self._kept[common] == job.tokens[common]:
                common += 1
        self._caller = job.caller
        if job.exact:
            common = min(common, self._exact) // self._n_batch * self._n_batch
        if common == len(self._kept):
            return common
        if not common or not llama_cpp.llama_memory_seq_rm(self._memory, SEQUENCE, common, -1):
            return self._forget()
        if self._window and llama_cpp.llama_memory_seq_pos_min(self._memory, SEQUENCE) > max(0, common - self._window):
            return self._forget()  # what the next tokens look back at has slid out of the window
        del self._kept[common:]
        self._exact = min(self._exact, common // self._n_batch * self._n_batch)
        return common

    def _forget(self) -> int:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._kept = []
        self._exact = 0
        return 0

    def _free(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_batch_free(self._batch)
            self._context = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None


def _make_context(model: Any, options: GgufChatOptions, n_ctx: int, n_batch: int, threads: int) -> Any:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = n_ctx
    parameters.n_batch = parameters.n_ubatch = n_batch
    parameters.n_seq_max = 1
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.type_k = CACHE_TYPES[options.cache_type_k]
    parameters.type_v = CACHE_TYPES[options.cache_type_v]
    parameters.flash_attn_type = FLASH_ATTENTION[options.flash_attn]
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise NotReadyError(
            f"llama.cpp cannot make a context of {n_ctx} tokens{reason()}; try a smaller n_ctx, or f16 for cache_type_v",
            retry=False,
        )
    return context
