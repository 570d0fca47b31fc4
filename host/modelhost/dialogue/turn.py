"""One turn of a dialogue: hear, write, speak."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

from msgspec.structs import replace

from modelhost.config import Config
from modelhost.contract.errors import BadInputError, ModelhostError, RequestError
from modelhost.contract.event_stream import EventStream
from modelhost.contract.log import Log
from modelhost.contract.structs import Struct
from modelhost.contract.types import (
    Ability,
    AudioChunk,
    Delta,
    Done,
    FinishReason,
    GenerateRequest,
    Message,
    Role,
    SynthesizeRequest,
    TextPart,
    TranscribeRequest,
)
from modelhost.contract.types.synthesize import MEDIA_TYPES
from modelhost.dialogue.events import AssistantDelta, AssistantText, Degraded, DialogueEvent, Metadata, Models, SpeechChunk
from modelhost.dialogue.live_text import LiveText
from modelhost.dialogue.memory import Exchange, InProcessMemory, Memory
from modelhost.dialogue.record import Record
from modelhost.dialogue.spoken_text import ReadAloud
from modelhost.dialogue.transcription import collect_transcript
from modelhost.observability.metrics import Metrics
from modelhost.router import Router
from modelhost.running_call import CallDetails, RunningCall

AHEAD = 16
"""Events that may wait to be read. Chosen, because beyond a few the models should wait for the client as well."""

ANY_RATE = frozenset({"wav", "pcm", "flac"})
"""Formats that take whatever rate a voice has; the others choose the next one they know."""


class Turn(Struct):
    """What is said to the host, and how it is to reply."""

    session: str
    text: str = ""
    """What was written, where there is no recording."""
    recording: TranscribeRequest | None = None
    system: str = ""
    """What the model is told before; empty for nothing."""
    generate: GenerateRequest = GenerateRequest()
    """How the reply is to be written; its messages are filled in."""
    synthesize: SynthesizeRequest | None = None
    """How the reply is to be spoken; its text is filled in. None for a reply in writing alone."""
    models: Models = Models()
    """Who is asked; None for those of the routes."""
    live: bool = False
    """Return the reply while it is written, and speak each sentence as soon as it is complete."""


class Dialogue:
    """Takes turns, any number at once."""

    @classmethod
    def of(cls, config: Config, router: Router, metrics: Metrics, log: Log) -> "Dialogue":
        """Return what the configuration asks for."""
        bounds = config.dialogue
        memory = InProcessMemory(sessions=bounds.memory_sessions, turns=bounds.memory_turns, seconds=bounds.memory_minutes * 60)
        return cls(router, memory, metrics, log, hold=config.server.hold_status)

    def __init__(self, router: Router, memory: Memory, metrics: Metrics, log: Log, *, hold: float) -> None:
        """Take what does the work; `Metadata` waits for a first result, `hold` seconds at most."""
        self.router = router
        self.memory = memory
        self.metrics = metrics
        self.log = log
        self.hold = hold

    async def reply(self, turn: Turn, details: CallDetails) -> AsyncGenerator[DialogueEvent, None]:
        """Work a turn off with calls of these details; give each step as it is there.

        `Metadata` comes first and `TurnDone` last. What keeps the reply from being spoken is a step of its own; other failures
        are raised as `ModelhostError`. Closing this generator early stops every stage, and nothing is remembered.
        """
        reply = _Reply(self, turn, details)
        working = asyncio.get_running_loop().create_task(reply.run())
        try:
            while (step := await reply.steps.get()) is not None:
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


class _Reply:
    """One turn while it is worked on: what comes of it arrives in `steps`, an exception or None at the end."""

    def __init__(self, dialogue: Dialogue, turn: Turn, details: CallDetails) -> None:
        self.steps: asyncio.Queue[DialogueEvent | Exception | None] = asyncio.Queue(AHEAD)
        self._dialogue = dialogue
        self._turn = turn
        self._details = details
        self._record = Record()
        self._introduced = False
        self._written: list[str] = []
        self._live: LiveText | None = None
        self._aloud = ReadAloud()
        self._speaking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run all stages."""
        timer = asyncio.get_running_loop().call_later(self._dialogue.hold, self._introduce)
        try:
            await self._take_turn()
        except Exception as error:
            await self.steps.put(error)
        else:
            await self.steps.put(None)
        finally:
            timer.cancel()

    async def _take_turn(self) -> None:
        turn, dialogue = self._turn, self._dialogue
        self._check_models()
        message = _message("user", await self._transcribe(turn.recording) if turn.recording else turn.text)
        try:
            reason = await self._write(message)
            reply = "".join(self._written)
            if self._live:
                self._say(self._aloud.finish())
                self._live.finish()
            await self._tell(AssistantText(text=reply, finish_reason=reason))
            if self._speaking:
                await self._speaking
            elif turn.synthesize and (aloud := ReadAloud.of(reply)).strip():
                await self._speak(turn.synthesize, aloud)
        finally:
            if self._speaking:
                self._speaking.cancel()
                await asyncio.gather(self._speaking, return_exceptions=True)
        if reply.strip():
            await dialogue.memory.remember(self._details.caller, turn.session, (message, _message("assistant", reply)))
        await self._tell(self._record.sum_up(dialogue.metrics))

    # The stages

    async def _transcribe(self, request: TranscribeRequest) -> str:
        async with self._stage("transcribe", request) as events:
            transcript = await collect_transcript(events, request.language)
        if not transcript.text:
            raise BadInputError("no words were heard in the recording", param="file", code="no_speech")
        await self._tell(transcript)
        return transcript.text

    async def _write(self, message: Message) -> FinishReason:
        """Have the reply written; where the model cannot take all that is remembered, with less and less of it."""
        earlier = await self._dialogue.memory.recall(self._details.caller, self._turn.session)
        while True:
            try:
                return await self._generate((*earlier, message))
            except RequestError as error:
                if error.code != "context_length_exceeded" or not earlier or self._written:
                    raise
                earlier = earlier[(len(earlier) + 2) // 4 * 2 :]  # the newer half; a question stays with its reply

    async def _generate(self, messages: Exchange) -> FinishReason:
        turn = self._turn
        system = (_message("system", turn.system),) if turn.system else ()
        request = replace(turn.generate, messages=(*system, *messages))
        reason: FinishReason = "stop"
        async with self._stage("generate", request) as events:
            async for event in events:
                if isinstance(event, Delta) and event.text:
                    self._written.append(event.text)
                    if turn.live:
                        await self._pass_on(event.text)
                elif isinstance(event, Done):
                    reason = event.reason
        return reason

    async def _pass_on(self, text: str) -> None:
        """Return a piece of the reply to the client and to the voice, which is asked for with the first of them."""
        request = self._turn.synthesize
        if request and self._live is None:
            self._live = LiveText()
            self._speaking = asyncio.get_running_loop().create_task(self._speak(request, ""))
        self._say(self._aloud.feed(text))
        await self._tell(AssistantDelta(text=text))

    def _say(self, text: str) -> None:
        if self._live and text:
            self._live.put(text.encode())

    async def _speak(self, request: SynthesizeRequest, text: str) -> None:
        """Speak `text`, or the live text; a failure is told and costs nothing but the sound."""
        try:
            async with self._stage("synthesize", replace(request, text=text), live=self._live) as events:
                async for event in events:
                    if isinstance(event, AudioChunk):
                        self._record.sounded()
                        await self._tell(SpeechChunk(data=event.data, sample_rate=event.sample_rate))
        except ModelhostError as error:
            self._dialogue.metrics.dialogue_degraded.inc()
            facts = {"request_id": self._details.request_id, "model": self._record.model("synthesize"), "code": error.code}
            self._dialogue.log.warning("reply not spoken", **facts)
            await self._tell(Degraded(stage="synthesize", error=error))

    @asynccontextmanager
    async def _stage(
        self, ability: Ability, request: Any, *, live: EventStream[bytes] | None = None
    ) -> AsyncIterator[RunningCall[Any]]:
        """Run a stage and give its events; notes who did it, how long that took, and what it cost.

        A turn stands and falls with hearing and writing; speaking is beside the point.
        """
        details = replace(self._details, input=live, beside=ability == "synthesize")
        start = time.monotonic()
        with _naming(ability):
            call = self._dialogue.router.start(ability, getattr(self._turn.models, ability), request, details)
            try:
                async with aclosing(call):
                    yield call
            finally:
                self._record.called(call.record)
        self._record.finished(call.record, time.monotonic() - start)

    def _check_models(self) -> None:
        """Raise for a model that is not there before anything is done. A host without any voice still replies in writing."""
        models, find = self._turn.models, self._dialogue.router.candidates
        if self._turn.recording:
            with _naming("transcribe"):
                find("transcribe", models.transcribe)
        with _naming("generate"):
            find("generate", models.generate)
        if self._turn.synthesize and models.synthesize:
            with _naming("synthesize"):
                find("synthesize", models.synthesize)

    # Telling

    async def _tell(self, step: DialogueEvent) -> None:
        self._introduce()
        await self.steps.put(step)

    def _introduce(self) -> None:
        """Return `Metadata`, once. It waits for a first result, because a failure before it is a plain answer."""
        if self._introduced:
            return
        self._introduced = True
        request = self._turn.synthesize
        metadata = Metadata(
            session_id=self._turn.session,
            request_id=self._details.request_id,
            format=request.format if request else None,
            media_type=MEDIA_TYPES[request.format] if request else None,
            sample_rate=self._sample_rate(request) if request else None,
            reference_id=request.voice if request else None,
        )
        self.steps.put_nowait(metadata)

    def _sample_rate(self, request: SynthesizeRequest) -> int | None:
        """Return the rate of the sound to come, where that is certain: as it was asked for, or the model's own."""
        if request.format not in ANY_RATE:
            return None
        if request.sample_rate:
            return request.sample_rate
        try:
            model, *others = self._dialogue.router.candidates("synthesize", self._turn.models.synthesize)
        except RequestError:
            return None
        return model.card.sample_rate if model.card and not others else None


@contextmanager
def _naming(ability: Ability) -> Iterator[None]:
    """Make an error about the `model` say which of the three it is."""
    try:
        yield
    except ModelhostError as error:
        if error.param == "model":
            error.param = f"{ability}_model"
        raise


def _message(role: Role, text: str) -> Message:
    return Message(role=role, content=(TextPart(text=text),))
