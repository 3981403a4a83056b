"""Ollama builds the same prompt as the base's own template, token for token."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from joshi.errors import JoshiError
from joshi.export.modelfile import modelfile, serving
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Message, Role

# The chat templates as the models' publishers wrote them, but for line breaks.
PHI4 = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'assistant') %}"
    "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
UNLIKE = (  # turns of unlike shape, each with its own ending blanks
    "{% for m in messages %}{% if m.role == 'system' %}[SYS]{{ m.content }}<|im_end|>\n\n"
    "{% elif m.role == 'user' %}[Q] {{ m.content }} <|im_end|>{% else %}[A] {{ m.content }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}[A] {% endif %}"
)
FAMILIES = {
    "phi4": (PHI4, "<|im_end|>", ""),
    "phi3": (PHI3, "<|end|>", ""),
    "llama3": (LLAMA3, "<|eot_id|>", "<|begin_of_text|>"),
    "unlike": (UNLIKE, "<|im_end|>", ""),
}


def talk(*texts: str) -> list[Message]:
    roles: list[Role] = ["system", "user", "assistant"]
    return [
        Message(role=roles[0] if i == 0 else roles[2 - i % 2], content=text) for i, text in enumerate(texts)
    ]  # fmt: skip


TALKS = [
    talk("Be brief.", "Hello"),
    talk("Be brief.\n\nNever say why.", "Hi {{ .Role }}", "Yes.", "Then?\n"),
    talk("ü", "one", "two", "three", "four", "five <|im_end|> six"),
]


def go_template(text: str, messages: list[Message]) -> str:
    """Go's text/template (its documentation is the source) for the actions that a Modelfile of ours may hold."""
    pieces = re.split(r"(\{\{-?.*?-?\}\})", text)
    for i, piece in enumerate(pieces):
        if piece.startswith("{{- "):
            pieces[i - 1] = pieces[i - 1].rstrip()
        if piece.startswith("{{") and piece.endswith(" -}}"):
            pieces[i + 1] = pieces[i + 1].lstrip()
    tokens = iter([re.sub(r"^\{\{-? ?| ?-?\}\}$", "", p) if p.startswith("{{") else ("text", p) for p in pieces])
    return "".join(_run(list(_block(tokens)), messages, None))


def _block(tokens: Iterator[str | tuple[str, str]]) -> Iterator[object]:
    """Nested lists: ("range", body) and ("if", [(condition, body), …])."""
    for token in tokens:
        if not isinstance(token, str):
            yield token
        elif token == "range .Messages":
            yield ("range", list(_block(tokens)))
        elif token.startswith("if "):
            branches: list[tuple[str, list[object]]] = [(token[3:], [])]
            for part in _block(tokens):
                if isinstance(part, tuple) and part[0] == "else":
                    branches.append((part[1], []))
                else:
                    branches[-1][1].append(part)
            yield ("if", branches)
        elif token.startswith("else"):
            yield ("else", token.removeprefix("else").removeprefix(" if "))
        elif token == "end":
            return
        else:
            yield ("value", token)


def _run(block: list[object], messages: list[Message], here: Message | None) -> Iterator[str]:
    for kind, content in block:  # type: ignore[misc]
        if kind == "text":
            yield content
        elif kind == "range":
            for message in messages:
                yield from _run(content, messages, message)
        elif kind == "if":
            for condition, body in content:
                if not condition or (here and re.fullmatch(rf'eq \.Role "{here.role}"', condition)):
                    yield from _run(body, messages, here)
                    break
        else:
            assert here
            yield {".Role": here.role, ".Content": here.content}[content]


def template_in(text: str) -> str:
    found = re.search(r'^TEMPLATE """(.*?)"""$', text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("family", [*FAMILIES, "smollm2"])
def test_ollamas_prompt_is_the_bases_own(family: str, tokenizer: ChatTokenizer) -> None:
    one = tokenizer if family == "smollm2" else ChatTokenizer(tokenizer.tokenizer, *FAMILIES[family])
    template = template_in(modelfile(serving(Plan(), one), "./m.gguf"))
    for messages in TALKS:
        if family == "llama3":  # it trims contents, which Go's template cannot: Joshi's prompts have no blanks around
            messages = [m.model_copy(update={"content": m.content.strip()}) for m in messages]
        ours = one.bos_token + go_template(template, messages)  # Ollama adds BOS itself
        theirs = one.render(messages)
        assert ours == theirs
        assert one.tokenizer.encode(ours).ids == one.tokenizer.encode(theirs).ids


def test_phi4s_separator_is_kept(tokenizer: ChatTokenizer) -> None:
    phi4 = ChatTokenizer(tokenizer.tokenizer, *FAMILIES["phi4"])
    assert "<|im_start|>{{ .Role }}<|im_sep|>{{ .Content }}<|im_end|>" in modelfile(serving(Plan(), phi4), "./m.gguf")


@pytest.mark.parametrize(
    ("family", "stops"),
    [
        ("phi4", ["<|im_end|>", "<|im_start|>"]),
        ("phi3", ["<|end|>", "<|user|>"]),
        ("llama3", ["<|eot_id|>", "<|start_header_id|>"]),
    ],
)
def test_an_answer_stops_where_its_turn_ends(family: str, stops: list[str], tokenizer: ChatTokenizer) -> None:
    lines = modelfile(serving(Plan(), ChatTokenizer(tokenizer.tokenizer, *FAMILIES[family])), "./m.gguf").splitlines()
    assert [line for line in lines if line.startswith("PARAMETER stop")] == [f'PARAMETER stop "{s}"' for s in stops]


def test_modelfile_carries_what_ollama_would_guess_wrong(tokenizer: ChatTokenizer) -> None:
    text = modelfile(serving(Plan(), tokenizer), "./m.gguf")
    lines = text.splitlines()
    assert lines[0] == "FROM ./m.gguf"
    assert "PARAMETER temperature 0.2" in lines
    assert "PARAMETER top_p 0.9" in lines
    assert "PARAMETER num_ctx 4096" in lines
    assert f'SYSTEM """{Plan().model.system_prompt}"""' in text


def test_the_adapter_form_names_the_base_and_the_adapter(tokenizer: ChatTokenizer) -> None:
    lines = modelfile(serving(Plan(), tokenizer), "phi4:14b", "./m-adapter.gguf").splitlines()
    assert lines[:2] == ["FROM phi4:14b", "ADAPTER ./m-adapter.gguf"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0]['content'] }}",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        PHI4.replace("message['content']", "message['content'] + ' '", 1).replace("'user'", "'nobody'", 1),
        "{% for m in messages %}{{ loop.index }}{{ m.content }}<|im_end|>{% endfor %}A",  # turns tell their number
    ],
)
def test_a_template_that_is_no_sequence_of_like_turns_is_refused(template: str, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(JoshiError, match="none can be derived for Ollama"):
        modelfile(serving(Plan(), ChatTokenizer(tokenizer.tokenizer, template, "<|im_end|>")), "./m.gguf")
