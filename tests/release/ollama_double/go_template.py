"""The part of Go's text/template that Modelfiles need; anything else is an error, never a guess.

Known: text, {{ .Field }}, {{ if }} … {{ else if }} … {{ else }} … {{ end }}, {{ range .Messages }} … {{ end }},
comments, trimming ({{- and -}}), `$` for the outermost value, texts, whole numbers, and the functions eq, ne, and,
or, not. Not known: variables, pipelines, with, template, define, index, slice, len, printf, and those that Ollama adds.
Source: the documentation of Go's package text/template, and template/template.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OUTER = ("System", "Messages", "Tools", "Prompt", "Suffix", "Response", "Think", "ThinkLevel", "IsThinkSet")
OF_MESSAGE = ("Role", "Content", "Thinking", "Images", "ToolCalls", "ToolName", "ToolCallID")
FUNCTIONS = ("eq", "ne", "and", "or", "not")
BLANKS = " \t\r\n"
_ACTION = re.compile(r"\{\{(-(?=[ \t\r\n])|)([\s\S]*?)((?<=[ \t\r\n])-|)\}\}")
_COMMENT = re.compile(r"/\*[\s\S]*?\*/")
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:\\.|[^"\\\n])*")|(?P<raw>`[^`]*`)|(?P<number>\d+)'
    r"|(?P<field>\$?(?:\.[A-Za-z_]\w*)+)|(?P<dot>\$|\.)|(?P<word>[A-Za-z_]\w*)|(?P<bracket>[()]))"
)


class TemplateError(ValueError):
    """What Go's parser or its execution refuses, or what this part of it does not know."""


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Field:
    names: tuple[str, ...]  # none: the value itself
    from_outermost: bool


@dataclass(frozen=True)
class Literal:
    value: str | int | bool


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]


Expression = Field | Literal | Call


@dataclass(frozen=True)
class Show:
    value: Expression


@dataclass(frozen=True)
class If:
    condition: Expression
    then: tuple[Node, ...]
    other: tuple[Node, ...]


@dataclass(frozen=True)
class Range:
    over: Expression
    body: tuple[Node, ...]
    other: tuple[Node, ...]


Node = Text | Show | If | Range


@dataclass(frozen=True)
class Message:
    """A message as templates see it; what only other models use is empty."""

    role: str
    content: str

    def field(self, name: str) -> Any:
        return {"Role": self.role, "Content": self.content}.get(name, "")


def parse(text: str) -> tuple[Node, ...]:
    """Raises: TemplateError."""
    steps = list(_steps(text))
    nodes, stopped, rest = _block(steps, 0)
    if stopped:
        raise TemplateError(f"unexpected {{{{{stopped}}}}}")
    assert rest == len(steps)
    return nodes


def names(nodes: Sequence[Node]) -> set[str]:
    """Every field that a template mentions, in small letters (Template.Vars)."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case Show(value):
                found |= _names_of(value)
            case If(first, then, other) | Range(first, then, other):
                found |= _names_of(first) | names(then) | names(other)
    return found


def execute(nodes: Sequence[Node], outermost: dict[str, Any], dot: Any = None) -> str:
    """Raises: TemplateError: a value has not that field, or two values cannot be compared."""
    dot = outermost if dot is None else dot
    out = []
    for node in nodes:
        match node:
            case Text(text):
                out.append(text)
            case Show(value):
                out.append(_printed(_value(value, outermost, dot)))
            case If(condition, then, other):
                out.append(execute(then if _value(condition, outermost, dot) else other, outermost, dot))
            case Range(over, body, other):
                items = _value(over, outermost, dot) or []
                if not isinstance(items, list):
                    raise TemplateError(f"range can't iterate over {items}")
                out += [execute(body, outermost, item) for item in items] or [execute(other, outermost, dot)]
    return "".join(out)


def _steps(text: str) -> Iterator[Text | str]:
    """Texts and the insides of actions, blanks trimmed where the actions ask for it."""
    position, trim = 0, False
    for found in _ACTION.finditer(text):
        before = text[position : found.start()]
        if "{{" in before:
            raise TemplateError("unclosed action")
        before = before.lstrip(BLANKS) if trim else before
        yield Text(before.rstrip(BLANKS) if found[1] else before)
        position, trim = found.end(), bool(found[3])
        inside = found[2].strip(BLANKS)
        if not _COMMENT.fullmatch(inside):
            yield inside
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError("unclosed action")
    yield Text(rest.lstrip(BLANKS) if trim else rest)


def _block(steps: list[Text | str], at: int) -> tuple[tuple[Node, ...], str, int]:
    """The nodes up to an else, an end or the end of the text; which of them it was; where to go on."""
    nodes: list[Node] = []
    while at < len(steps):
        step = steps[at]
        at += 1
        if isinstance(step, Text):
            nodes += [step] if step.text else []
            continue
        word, _, rest = step.partition(" ")
        if word in ("if", "range"):
            node, at = _branch(word, rest, steps, at)
            nodes.append(node)
        elif word in ("else", "end"):
            return tuple(nodes), step, at
        else:
            nodes.append(Show(_expression(step)))
    return tuple(nodes), "", at


def _branch(word: str, rest: str, steps: list[Text | str], at: int) -> tuple[Node, int]:
    first = _expression(rest)
    body, stopped, at = _block(steps, at)
    other: tuple[Node, ...] = ()
    if stopped.startswith("else if ") and word == "if":
        nested, at = _branch("if", stopped.removeprefix("else if "), steps, at)
        return If(first, body, (nested,)), at
    if stopped == "else":
        other, stopped, at = _block(steps, at)
    if stopped != "end":
        raise TemplateError(f"unexpected {{{{{stopped}}}}} in {word}" if stopped else f"unexpected EOF in {word}")
    return (If if word == "if" else Range)(first, body, other), at


def _expression(text: str) -> Expression:
    tokens = list(_tokens(text))
    value, rest = _call(tokens, text)
    if rest:
        raise TemplateError(f"unexpected {rest[0][1]!r} in {{{{ {text} }}}}")
    return value


def _call(tokens: list[tuple[str, str]], text: str) -> tuple[Expression, list[tuple[str, str]]]:
    if not tokens:
        raise TemplateError(f"missing value in {{{{ {text} }}}}")
    kind, token = tokens[0]
    if kind != "word" or token in ("true", "false"):
        return _operand(tokens, text)
    if token not in FUNCTIONS:
        raise TemplateError(f"{token!r} in {{{{ {text} }}}} is not known to this double")
    arguments, rest = [], tokens[1:]
    while rest and rest[0][1] != ")":
        argument, rest = _operand(rest, text)
        arguments.append(argument)
    few, many = {"not": (1, 1), "ne": (2, 2), "eq": (2, 99)}.get(token, (1, 99))
    if not few <= len(arguments) <= many:
        raise TemplateError(f"wrong number of args for {token} in {{{{ {text} }}}}")
    return Call(token, tuple(arguments)), rest


def _operand(tokens: list[tuple[str, str]], text: str) -> tuple[Expression, list[tuple[str, str]]]:
    kind, token = tokens[0]
    match kind:
        case "bracket" if token == "(":
            value, rest = _call(tokens[1:], text)
            if not rest or rest[0][1] != ")":
                raise TemplateError(f"unclosed left paren in {{{{ {text} }}}}")
            return value, rest[1:]
        case "text":
            try:
                return Literal(json.loads(token)), tokens[1:]
            except ValueError as error:
                raise TemplateError(f"{token} in {{{{ {text} }}}} is not known to this double") from error
        case "raw":
            return Literal(token[1:-1]), tokens[1:]
        case "number":
            return Literal(int(token)), tokens[1:]
        case "word" if token in ("true", "false"):
            return Literal(token == "true"), tokens[1:]
        case "dot":
            return Field((), token == "$"), tokens[1:]
        case "field":
            names = tuple(token.lstrip("$.").split("."))
            unknown = [name for name in names if name not in OUTER + OF_MESSAGE]
            if unknown or len(names) > 1:
                raise TemplateError(f"{token} in {{{{ {text} }}}} is not known to this double")
            return Field(names, token.startswith("$")), tokens[1:]
    raise TemplateError(f"unexpected {token!r} in {{{{ {text} }}}}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip(BLANKS):
        found = _TOKEN.match(text, at)
        if not found or found.lastgroup is None:
            raise TemplateError(f"{text[at:].strip()!r} is not known to this double")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _names_of(value: Expression) -> set[str]:
    match value:
        case Field(names):
            return {name.lower() for name in names}
        case Call(_, arguments):
            return set().union(*map(_names_of, arguments))
    return set()


def _value(value: Expression, outermost: dict[str, Any], dot: Any) -> Any:
    match value:
        case Literal(literal):
            return literal
        case Field((), from_outermost):
            return outermost if from_outermost else dot
        case Field((name, *_), from_outermost):
            return _field(outermost if from_outermost else dot, name)
        case Call("eq", arguments):
            first, *others = (_value(argument, outermost, dot) for argument in arguments)
            return any(_equal(first, other) for other in others)
        case Call("ne", (first, second)):
            return not _equal(_value(first, outermost, dot), _value(second, outermost, dot))
        case Call("not", (one,)):
            return not _value(one, outermost, dot)
        case Call("and" | "or" as function, arguments):
            result: Any = None
            for argument in arguments:
                result = _value(argument, outermost, dot)
                if bool(result) == (function == "or"):
                    break
            return result
    raise TemplateError(f"{value} is not known to this double")


def _field(of: Any, name: str) -> Any:
    """A key that the outermost map has not is nothing; a field that a message has not is an error."""
    if isinstance(of, dict):
        return of.get(name)
    if isinstance(of, Message) and name in OF_MESSAGE:
        return of.field(name)
    raise TemplateError(f"can't evaluate field {name} in a {type(of).__name__.lower()}")


def _equal(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        raise TemplateError("error calling eq: incompatible types for comparison")
    return bool(first == second)


def _printed(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise TemplateError(f"how Go prints a {type(value).__name__.lower()} is not known to this double")
