"""Routes of our own as a dialect. They are used beside OpenAI's, so failures are told as there."""

from functools import partial

from modelhost.http.routing import spec
from modelhost.http.routing.dialect import Dialect

NATIVE = Dialect(name="native")

route_spec = partial(spec.route_spec, NATIVE)
