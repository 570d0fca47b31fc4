"""Jinja as chat templates want it: what Hugging Face's renderer has, marks on the template's own words, bounds on work."""

import re
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Impossible
from jinja2.parser import Parser
from jinja2.runtime import Context as TemplateContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from modelhost_gguf_chat import filters
from modelhost_gguf_chat.bounds import check_method, check_numbers, check_operator, paid, rendering, tick, ticking, weighed
from modelhost_gguf_chat.origins import Safe, Traced, joined, own, pure

LIST_METHODS = frozenset({"append", "extend", "insert", "pop"})
"""Ways to change a list that templates use (Kimi K2 keeps a queue of calls); the lists are those of one rendering."""


TICK = object()
"""Stands in a syntax tree for a look at the clock; Jinja knows no way to add a kind of node."""


class Sandbox(ImmutableSandboxedEnvironment):
    """What a template is compiled by and runs in; one for each template, because it holds its literal texts."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        # not optimized: folding constants would compute before any bound holds
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols])
        self.code_generator_class = _MarkingGenerator
        self.finalize = weighed
        self.words: list[Traced] = []
        self.globals |= filters.GLOBALS
        self.filters = filters.bounded_filters(dict[str, Any](self.filters))
        self.tests = filters.bounded_tests(dict[str, Any](self.tests))

    def word(self, text: str) -> int:
        """Keep a literal text of the template; returns its number."""
        self.words.append(own(text))
        return len(self.words) - 1

    tick = staticmethod(tick)
    weighed = staticmethod(weighed)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a block, a macro or a template has put out."""
        parts = list(parts)
        rendering.get().spend(sum(map(len, parts)))
        return joined(parts)

    @staticmethod
    def joined(parts: Iterable[Any]) -> str:
        """Join the operands of `~`."""
        return Sandbox.concat([str(weighed(part)) for part in parts])

    @staticmethod
    def sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
        """Return a part of a text or a list."""
        return paid(value[start:stop:step])

    @staticmethod
    def made(value: Any) -> Any:
        """Pay for a list, tuple or dictionary that is written out; keys of dictionaries may be tuples of tuples."""
        return paid(weighed(value) if isinstance(value, tuple) else value)

    def compiled(self, source: str) -> Template:
        """Compile a template; raises what Jinja and Python raise for one with an error."""
        tree = _Ticking().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def call_binop(self, context: TemplateContext, operator: str, left: Any, right: Any) -> Any:
        """Compute where the result is not huge."""
        check_operator(operator, left, right)
        return paid(super().call_binop(context, operator, left, right))

    def call(__self, __context: TemplateContext, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  # as Jinja's
        """Call what is safe to call and makes nothing huge."""
        rendering.get().tick()
        owner = __obj.__self__ if isinstance(__obj, BuiltinMethodType | MethodType) else None
        if isinstance(owner, str | bytes | int | list | dict | tuple):
            if __obj.__name__ == "join" and args and not isinstance(args[0], str | bytes | list | tuple):
                args = (list(ticking(args[0])), *args[1:])
            check_method(owner, __obj.__name__, args, kwargs)
        made = super().call(__context, __obj, *args, **kwargs)
        return made if isinstance(owner, dict) or isinstance(__obj, Macro) else paid(made)  # those make nothing new

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may reach it."""
        if attr == "own" and isinstance(obj, Traced | Safe):  # plain Jinja's strings have no marks
            return False
        return (isinstance(obj, list) and attr in LIST_METHODS) or super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a safe `format` or `format_map` in place of a string's own."""
        wrapped = super().wrap_str_format(value)
        form: Any = getattr(value, "__self__", None)
        if wrapped is None or hasattr(form, "__html__"):  # Markup has a formatter of its own, which escapes
            return wrapped
        formatter = _Formatter(self)
        if value.__name__ == "format_map":
            return lambda mapping: formatter.traced(form, (), mapping)
        return lambda *args, **kwargs: formatter.traced(form, args, kwargs)


class _MarkingGenerator(CodeGenerator):
    """Writes code that takes literal texts from `Sandbox.words`, and asks the sandbox about whatever may be large."""

    environment: Sandbox

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.words[{self.environment.word(''.join(group))}]"

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802  # Jinja's visitors are named after nodes
        if node.value is TICK:
            self.write("environment.tick()")
        elif isinstance(node.value, str):
            self.write(f"environment.words[{self.environment.word(node.value)}]")
        else:
            super().visit_Const(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
            return
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            self.visit(bound if bound is not None else nodes.Const(None), frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._through("made", super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._through("made", super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._through("made", super().visit_Dict, node, frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        self.write("(")
        self._operand(node.expr, frame)
        for operand in node.ops:
            self.visit(operand, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802
        self.write({"in": " in ", "notin": " not in "}.get(node.op) or _OPERATORS[node.op])
        self._operand(node.expr, frame)

    def _operand(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
        else:
            self._through("weighed", self.visit, node, frame)

    def _through(self, function: str, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        self.write(f"environment.{function}(")
        visit(node, frame)
        self.write(")")


_OPERATORS = {"eq": " == ", "ne": " != ", "gt": " > ", "gteq": " >= ", "lt": " < ", "lteq": " <= "}


class _Formatter(SandboxedFormatter):
    """`str.format`, whose fields are paid for one by one and keep their marks."""

    def traced(self, form: str, args: tuple[Any, ...], kwargs: Any) -> Traced:
        """Format; what is own in the text around the fields, and in them, stays so."""
        self._own = pure(form)
        self._parts: list[str] = []
        made = self.vformat(form, args, kwargs)
        whole = joined(self._parts)
        return whole if whole == made else Traced(made)  # where a field has a specification: its text is a part too many

    def parse(self, format_string: str) -> Iterator[Any]:
        for part in super().parse(format_string):
            if part[0]:
                self._parts.append(own(part[0]) if self._own else part[0])
            yield part

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(weighed(value), conversion)

    def format_field(self, value: Any, format_spec: str) -> str:
        check_numbers(int(digits[:9]) for digits in re.findall(r"\d+", format_spec))
        made = value if isinstance(value, str) and not format_spec else super().format_field(value, format_spec)
        self._parts.append(paid(made))
        return str(made)


class _Ticking(NodeTransformer):
    """Puts a look at the clock at the beginning of every loop's turn and every macro."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        return self._begin_with_tick(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._begin_with_tick(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._begin_with_tick(node)

    def _begin_with_tick(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(nodes.Const(TICK)).set_lineno(node.lineno))
        return node


class _Generation(Extension):
    """`{% generation %}`, with which templates mark what a model is trained on; it changes nothing here."""

    tags = {"generation"}  # Jinja's declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
