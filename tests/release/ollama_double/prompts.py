"""From messages to the text that the model reads: what server/prompt.go and template/template.go make of a template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.release.ollama_double import go_template as go
from tests.release.ollama_double.go_template import If, Message, Node, Range, Show

DEFAULT = "{{ .Prompt }}"  # what a model without a template has
Rendering = Callable[[list[Message]], str]


def compiled(template: str) -> tuple[Node, ...]:
    """A template that mentions neither messages nor an answer ends with {{ .Response }}. Raises: TemplateError."""
    nodes = go.parse(template)
    if not go.names(nodes) & {"messages", "response"}:
        nodes = (*nodes, Show(go.Field(("Response",), False)))
    return nodes


def render(template: str, messages: Sequence[Message]) -> str:
    """A conversation in a template that knows .Messages, or turn by turn in one that knows only .Prompt.

    Raises:
        TemplateError: the template cannot be executed.
    """
    nodes = compiled(template)
    system, merged = collate(messages)
    flags = {"Think": False, "ThinkLevel": "", "IsThinkSet": False}
    if "messages" in go.names(nodes):
        return go.execute(nodes, {"System": system, "Messages": merged, "Tools": [], "Response": "", **flags})
    turn = {"System": "", "Prompt": "", "Response": ""}
    said = ""

    def execute(nodes: Sequence[Node]) -> str:
        text = go.execute(nodes, {**turn, **flags})
        turn.update(System="", Prompt="", Response="")
        return text

    for message in merged:
        if (message.role == "system" and (turn["Prompt"] or turn["Response"])) or (
            message.role == "user" and turn["Response"]
        ):
            said += execute(nodes)
        place = {"system": "System", "user": "Prompt", "assistant": "Response"}.get(message.role)
        if place:
            turn[place] = message.content
    return said + execute(_up_to_response(nodes)[0])


def infill(template: str, prompt: str, suffix: str) -> str:
    """Text between two texts. Raises: TemplateError."""
    values: dict[str, Any] = {"Prompt": prompt, "Suffix": suffix, "Response": ""}
    return go.execute(compiled(template), {**values, "Think": False, "ThinkLevel": "", "IsThinkSet": False})


def collate(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """All system texts as one, and the messages, neighbours of one role joined by an empty line."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role != "tool":
            merged[-1] = Message(message.role, f"{merged[-1].content}\n\n{message.content}")
        else:
            merged.append(message)
    return "\n\n".join(message.content for message in messages if message.role == "system"), merged


def fitting(messages: Sequence[Message], rendering: Rendering, n_tokens: Callable[[str], int], window: int) -> str:
    """The prompt of the most messages that fit the window; system messages stay, and so does the last one.

    Nobody is told what was left out, and a last message that is too long stays too long (chatPrompt).
    """
    prompt = ""
    for first in range(len(messages)):
        kept = [message for message in messages[:first] if message.role == "system"]
        prompt = rendering([*kept, *messages[first:]])
        if n_tokens(prompt) <= window:
            break
    return prompt


def _up_to_response(nodes: Sequence[Node]) -> tuple[tuple[Node, ...], bool]:
    """What stands before an answer, and the answer: the rest is cut off where the model goes on (deleteNode)."""
    kept: list[Node] = []
    for node in nodes:
        match node:
            case Show(value) if "response" in go.names([Show(value)]):
                return (*kept, node), True
            case If(first, then, other) | Range(first, then, other):
                then, cut = _up_to_response(then)
                if cut and other:
                    raise go.TemplateError("Ollama fails where .Response stands before an else")
                if not cut:
                    other, cut = _up_to_response(other)
                kept.append(type(node)(first, then, other))
                if cut:
                    return tuple(kept), True
            case _:
                kept.append(node)
    return tuple(kept), False
