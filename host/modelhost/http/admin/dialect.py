"""The routes for whoever runs the host as a dialect: failures are told as OpenAI's clients know them."""

from functools import partial

from modelhost.http.routing import spec
from modelhost.http.routing.dialect import Dialect

ADMIN = Dialect(name="admin")

route_spec = partial(spec.route_spec, ADMIN)
