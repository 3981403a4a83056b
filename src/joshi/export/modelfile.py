"""A Modelfile for `ollama create`: the template in Ollama's language, stop tokens, sampling and system prompt.

Without a TEMPLATE Ollama takes the known one that looks nearest, and Phi-4's is near enough to ChatML to lose
<|im_sep|>. So the base's own Jinja template is taken apart and written in Go's template language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import CHAT_TOKEN, ChatTokenizer
from joshi.schema import Message, Role

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turns:
    """What a chat template writes before and after each role's text, and before an answer."""

    around: dict[Role, tuple[str, str]]
    answer: str

    def render(self, messages: list[Message]) -> str:
        return "".join(m.content.join(self.around[m.role]) for m in messages) + self.answer

    def go(self) -> str:
        """In Go's template language; blanks in it count, so no action trims any."""
        shared = {tuple(part.replace(role, "{{ .Role }}") for part in self.around[role]) for role in _ROLES}
        if len(shared) == 1:
            turn = "{{ .Content }}".join(shared.pop())
        else:
            system, user, assistant = ("{{ .Content }}".join(self.around[role]) for role in _ROLES)
            turn = f'{{{{ if eq .Role "system" }}}}{system}{{{{ else if eq .Role "user" }}}}{user}'
            turn += f"{{{{ else }}}}{assistant}{{{{ end }}}}"
        return f"{{{{ range .Messages }}}}{turn}{{{{ end }}}}{self.answer}"


def turns_of(tokenizer: ChatTokenizer) -> Turns:
    """Take the base's chat template apart; BOS is left out where the tokenizer adds it, as Ollama does so too.

    Raises:
        JoshiError: it is no sequence of turns that begin and end alike, so Ollama could not be told of it.
    """
    roles: list[Role] = ["system", "user", "assistant", "user", "assistant", "user"]
    talk = [Message(role=role, content=f"TEXT{i}END") for i, role in enumerate(roles)]
    rendered = _without_bos(tokenizer, talk)
    pieces = re.split("|".join(m.content for m in talk), rendered)
    if len(pieces) != len(talk) + 1 or any(tokenizer.end_token not in piece for piece in pieces[1:]):
        raise _underivable(rendered)
    before = pieces[0]
    around: dict[Role, tuple[str, str]] = {}
    for message, piece in zip(talk, pieces[1:], strict=True):
        end = piece.index(tokenizer.end_token) + len(tokenizer.end_token)
        end += len(piece[end:]) - len(piece[end:].lstrip())  # a line break after the token belongs to the turn
        around.setdefault(message.role, (before, piece[:end]))
        before = piece[end:]
    turns = Turns(around, before)
    for length in (2, 4, 6):
        if turns.render(talk[:length]) != _without_bos(tokenizer, talk[:length]):
            raise _underivable(rendered)
    if any("{{" in text for text in (turns.answer, *sum(turns.around.values(), ()))):
        raise _underivable(rendered)
    return turns


def _without_bos(tokenizer: ChatTokenizer, messages: list[Message]) -> str:
    return tokenizer.render(messages).removeprefix(tokenizer.bos_token)


def _underivable(rendered: str) -> JoshiError:
    return JoshiError(
        f"the base's chat template does not write turns that begin and end alike (it renders {rendered[:60]!r}…), so "
        "none can be derived for Ollama, which would guess one; choose a base of the Phi-4, Phi-3, ChatML or Llama 3 "
        "family"
    )


@dataclass(frozen=True)
class Serving:
    """What Ollama has to be told besides the weights; `stop`, sampling and window are its parameters."""

    template: str  # in Go's template language
    system: str
    stop: tuple[str, ...]
    temperature: float
    top_p: float
    num_ctx: int  # tokens

    @property
    def parameters(self) -> dict[str, Any]:
        """As /api/create takes them."""
        return {
            "stop": list(self.stop),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "num_ctx": self.num_ctx,
        }


def serving(plan: Plan, tokenizer: ChatTokenizer) -> Serving:
    """How the plan's model is served.

    Raises:
        JoshiError: no template can be derived.
    """
    turns = turns_of(tokenizer)
    opening = CHAT_TOKEN.search(turns.around["user"][0])
    stop = dict.fromkeys([tokenizer.end_token, *([opening[0]] if opening else [])])
    release = plan.release
    return Serving(
        turns.go(), plan.model.system_prompt, tuple(stop), release.temperature, release.top_p, release.num_ctx
    )


def modelfile(how: Serving, weights: str, adapter: str | None = None) -> str:
    """The Modelfile of `weights`, a file or a model's name as FROM takes it, with an adapter's file on top.

    Raises:
        JoshiError: a text holds what a Modelfile cannot.
    """
    if '"""' in how.system:
        raise JoshiError('joshi.toml: [model] system_prompt holds """, which a Modelfile cannot; reword it')
    lines = [
        f"FROM {weights}",
        *([f"ADAPTER {adapter}"] if adapter else []),
        f'TEMPLATE """{how.template}"""',
        f'SYSTEM """{how.system}"""',
        *[f'PARAMETER stop "{stop}"' for stop in how.stop],
        f"PARAMETER temperature {how.temperature}",
        f"PARAMETER top_p {how.top_p}",
        f"PARAMETER num_ctx {how.num_ctx}",
    ]
    return "\n".join(lines) + "\n"
