"""OpenAI's API as a dialect."""

from functools import partial

from modelhost.http.openai.envelope import ErrorEnvelope
from modelhost.http.routing import spec
from modelhost.http.routing.dialect import Dialect

OPENAI = Dialect(name="openai", envelope=ErrorEnvelope)

route_spec = partial(spec.route_spec, OPENAI)

DONE = b"data: [DONE]\n\n"
"""Ends a stream of the older kinds: chat and completions."""
