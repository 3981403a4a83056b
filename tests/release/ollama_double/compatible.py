"""POST /v1/chat/completions as Ollama translates it to a chat of its own (openai/openai.go, middleware/openai.go)."""

from __future__ import annotations

from typing import Any

from tests.release.ollama_double import answers
from tests.release.ollama_double.answers import Answering
from tests.release.ollama_double.go_text import Refused


def chat(here: Answering, body: dict[str, Any]) -> dict[str, Any]:
    """One whole completion. Raises: Refused."""
    if body.get("stream"):
        raise Refused("this double of Ollama does not stream /v1/chat/completions", 501)
    if not body.get("messages"):
        raise Refused("[] is too short - 'messages'", 400)
    options = {
        # What a caller leaves out is 1.0, not what the Modelfile says.
        "temperature": body.get("temperature", 1.0),
        "top_p": body.get("top_p", 1.0),
        **({"seed": body["seed"]} if body.get("seed") is not None else {}),
        **({"num_predict": body["max_tokens"]} if body.get("max_tokens") is not None else {}),
    }
    asked = {"model": body.get("model", ""), "messages": body["messages"], "options": options, "stream": False}
    answer = answers.chat(here, asked)
    assert isinstance(answer, dict)
    prompt, completion = answer.get("prompt_eval_count", 0), answer.get("eval_count", 0)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "system_fingerprint": "fp_ollama",
        "choices": [{"index": 0, "message": answer["message"], "finish_reason": answer.get("done_reason", "stop")}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }
