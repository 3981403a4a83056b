"""A Modelfile for `ollama create`: the template in Ollama's language, stop tokens, sampling and system prompt."""

from __future__ import annotations

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Message

# Chat templates by the token that opens a turn and the one that ends its header.
_TURN = (
    ("<|im_start|>", "<|im_sep|>", "<|im_end|>", ""),  # Phi-4
    ("<|im_start|>", "\n", "<|im_end|>", "\n"),  # ChatML
)


def modelfile(plan: Plan, tokenizer: ChatTokenizer) -> str:
    """The Modelfile of the exported GGUF beside it.

    Raises:
        JoshiError: the base's chat template is of no known family; without a TEMPLATE Ollama would guess one.
    """
    opening, header_end, end, gap = _family(tokenizer)
    turn = f"{opening}{{{{ .Role }}}}{header_end}{{{{ .Content }}}}{end}{gap}"
    template = f"{{{{- range .Messages }}}}{turn}{{{{- end }}}}{opening}assistant{header_end}"
    stops = dict.fromkeys([tokenizer.end_token, opening])
    release = plan.release
    lines = [
        f"FROM ./{plan.model.name}.gguf",
        f'TEMPLATE """{template}"""',
        f'SYSTEM """{plan.model.system_prompt}"""',
        *[f'PARAMETER stop "{stop}"' for stop in stops],
        f"PARAMETER temperature {release.temperature}",
        f"PARAMETER top_p {release.top_p}",
        f"PARAMETER num_ctx {release.num_ctx}",
    ]
    if '"""' in plan.model.system_prompt:
        raise JoshiError('joshi.toml: [model] system_prompt holds """, which a Modelfile cannot; reword it')
    return "\n".join(lines) + "\n"


def render_family(messages: list[Message], tokenizer: ChatTokenizer) -> str:
    """What Ollama makes of the messages with the Modelfile's template; equal to the base's own rendering."""
    opening, header_end, end, gap = _family(tokenizer)
    turns = "".join(f"{opening}{m.role}{header_end}{m.content}{end}{gap}" for m in messages)
    return f"{turns}{opening}assistant{header_end}"


def _family(tokenizer: ChatTokenizer) -> tuple[str, str, str, str]:
    probe = [Message(role="system", content="S"), Message(role="user", content="U")]
    probe += [Message(role="assistant", content="A"), Message(role="user", content="V")]
    rendered = tokenizer.render(probe)
    for family in _TURN:
        opening, header_end, end, gap = family
        turns = "".join(f"{opening}{m.role}{header_end}{m.content}{end}{gap}" for m in probe)
        if rendered == f"{turns}{opening}assistant{header_end}":
            return family
    raise JoshiError(
        f"the base's chat template is neither Phi-4's nor ChatML (it renders {rendered[:60]!r}…), and Ollama would "
        "guess one; choose a base of these families"
    )
