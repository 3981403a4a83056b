"""What Ollama takes for the template of a GGUF that comes without one: the nearest of those it knows (template.Named).

Ollama 0.33 knows 37 chat templates, as their models' publishers wrote them, by 19 names. Here are those near the models
that Joshi begins with; for a template that is nearer to one left out, the double would guess otherwise than Ollama.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

TOO_FAR = 100  # edits

_TURN = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
_NEXT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_CHATML = "{% for message in messages %}" + _TURN + "{% endfor %}" + _NEXT
_ASSISTED = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistantSTOP<|im_end|>\n' }}{% endif %}"
    f"{_TURN}{{% endfor %}}{_NEXT}"
)
_BY_ROLE = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|im_start|>user
' + message['content'] + '<|im_end|>' }}
{% elif message['role'] == 'system' %}
{{ '<|im_start|>system
' + message['content'] + '<|im_end|>' }}
{% elif message['role'] == 'assistant' %}
{{ '<|im_start|>assistant
' + message['content'] + '<|im_end|>' }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|im_start|>assistant' }}
{% endif %}
{% endfor %}"""
_ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
_PHI3 = (
    "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + "
    "'<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}"
    "{{ eos_token }}{% endif %}"
)
_LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Known:
    """A name, the template in Go's language, and the stop texts that come with it."""

    name: str
    template: str
    stop: tuple[str, ...]


CHATML = Known(
    "chatml",
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
    ("<|im_start|>", "<|im_end|>"),
)
ZEPHYR = Known(
    "zephyr",
    "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}</s>\n{{ end }}<|assistant|>\n",
    ("<|system|>", "</s>", "<|user|>", "<|assistant|>"),
)
PHI3 = Known(
    "phi-3",
    "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|end|>\n{{ end }}<|assistant|>\n",
    ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>"),
)
LLAMA3 = Known(
    "llama3-instruct",
    "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>\n"
    "{{- end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
_INDEX = [
    (_ZEPHYR, ZEPHYR),
    ("{{bos_token}}" + _CHATML, CHATML),
    (_CHATML, CHATML),
    (_ASSISTED.replace("STOP", "."), CHATML),
    (_ASSISTED.replace("STOP", ""), CHATML),
    (_BY_ROLE, CHATML),
    (_LLAMA3, LLAMA3),
    (_PHI3, PHI3),
]


@lru_cache(maxsize=32)
def guessed(jinja: str) -> Known | None:
    """The known template at the least edit distance, none if all are 100 edits or more away."""
    near = [(distance(jinja, text), known) for text, known in _INDEX]
    least, known = min(near, key=lambda pair: pair[0])
    return known if least < TOO_FAR else None


def distance(a: str, b: str, far: int = TOO_FAR) -> int:
    """Levenshtein's edit distance, or `far` if it is no less than that: only cells so near the diagonal matter."""
    if abs(len(a) - len(b)) >= far:
        return far
    row = {j: j for j in range(min(len(b), far) + 1)}
    for i, x in enumerate(a, 1):
        above, row = row, {}
        for j in range(max(0, i - far), min(len(b), i + far) + 1):
            if j == 0:
                row[j] = i
                continue
            row[j] = min(above.get(j, far) + 1, row.get(j - 1, far) + 1, above.get(j - 1, far) + (x != b[j - 1]))
    return min(row.get(len(b), far), far)
