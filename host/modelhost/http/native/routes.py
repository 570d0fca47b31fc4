"""Routes of our own, and those of the older services that this host replaces."""

from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from modelhost.http.native.dialogue import dialogue, forget_dialogue
from modelhost.http.native.embed_file import embed_file
from modelhost.http.native.generate import generate, generate_stream
from modelhost.http.native.parse_ast import parse_ast
from modelhost.http.native.personas import list_personas
from modelhost.http.native.rerank import rerank
from modelhost.http.native.sockets.generate import generate_ws
from modelhost.http.native.sockets.synthesize import speak
from modelhost.http.native.sockets.transcribe import listen
from modelhost.http.native.speech_to_text import speech_to_text
from modelhost.http.native.summaries import summaries, summarize
from modelhost.http.native.text_to_speech import text_to_speech
from modelhost.http.native.tokens import detokenize, tokenize

ROUTES: tuple[HTTPRouteHandler | WebsocketRouteHandler, ...] = (
    generate,
    generate_stream,
    generate_ws,
    tokenize,
    detokenize,
    summaries,
    summarize,
    list_personas,
    speech_to_text,
    text_to_speech,
    listen,
    speak,
    dialogue,
    forget_dialogue,
    embed_file,
    rerank,
    parse_ast,
)
