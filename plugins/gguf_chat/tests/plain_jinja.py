"""Chat templates as Hugging Face renders them, with Jinja alone: what ours is compared with."""

import datetime
import functools
import json

from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Plain(ImmutableSandboxedEnvironment):
    """With the list methods that Kimi K2's template needs, and the filter that DeepSeek V3.2's does."""

    def __init__(self):
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
        self.globals |= {"raise_exception": self.refuse, "strftime_now": lambda form: datetime.datetime.now().strftime(form)}
        self.filters |= {"tojson": self.tojson, "from_json": json.loads}

    def is_safe_attribute(self, obj, attr, value):
        return (isinstance(obj, list) and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)

    @staticmethod
    def refuse(message):
        raise RuntimeError(message)

    @staticmethod
    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def bare(value):
    """The same value with strings of `str` itself."""
    if isinstance(value, str):
        return "".join([value])
    if isinstance(value, dict):
        return {bare(key): bare(item) for key, item in value.items()}
    return [bare(item) for item in value] if isinstance(value, list) else value


def plainly(source, values, **more):
    """Render; raises whatever a template raises."""
    return _compiled(source).render(**bare(values), **more)


@functools.cache
def _compiled(source):
    return Plain().from_string(source)
