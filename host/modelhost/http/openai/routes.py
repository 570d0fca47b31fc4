"""OpenAI's API."""

from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from modelhost.http.openai.audio.speech import speech
from modelhost.http.openai.audio.transcriptions import transcriptions, translations
from modelhost.http.openai.audio.voices import add_voice, delete_voice, list_voices
from modelhost.http.openai.chat import chat_completions
from modelhost.http.openai.completions import completions
from modelhost.http.openai.embeddings import embeddings
from modelhost.http.openai.models import list_models, show_model

ROUTES: tuple[HTTPRouteHandler | WebsocketRouteHandler, ...] = (
    chat_completions,
    completions,
    embeddings,
    transcriptions,
    translations,
    speech,
    list_voices,
    add_voice,
    delete_voice,
    list_models,
    show_model,
)
