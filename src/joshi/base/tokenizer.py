"""A GGUF's byte-level BPE vocabulary as a `tokenizers` tokenizer that splits as llama.cpp does."""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError
from joshi.prompt import CHAT_TOKEN, ChatTokenizer
from joshi.schema import Message

# The split of tiktoken's cl100k_base, which Phi-4 and Llama 3 use (llama.cpp: llama-vocab.cpp).
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CONTROL, USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type


def chat_tokenizer(file: GgufFile) -> ChatTokenizer:
    """Build the tokenizer, with the chat template and end-of-turn token, from a GGUF's metadata.

    Raises:
        JoshiError: a tokenizer family that is not byte-level BPE, an unknown split, or no template.
    """
    family = file.need("tokenizer.ggml.model")
    if family != "gpt2":
        raise JoshiError(f"{file.path}: tokenizer family {family} is not supported; gpt2 (byte-level BPE) is")
    tokens = [str(token) for token in file.need("tokenizer.ggml.tokens")]
    merges = [tuple(merge.split(" ", 1)) for merge in file.need("tokenizer.ggml.merges")]
    kinds = file.need("tokenizer.ggml.token_type")
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, fuse_unk=False))
    tokenizer.pre_tokenizer = _split(str(file.value("tokenizer.ggml.pre", "default")), file)
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    bos = tokens[file.need("tokenizer.ggml.bos_token_id")] if file.value("tokenizer.ggml.add_bos_token") else ""
    template = str(file.need("tokenizer.chat_template"))
    chat = ChatTokenizer(tokenizer, template, _end_of_turn(template, tokens, file), bos)
    _require_tokens(chat, set(tokens), file)
    return chat


def _require_tokens(chat: ChatTokenizer, known: set[str], file: GgufFile) -> None:
    """A marker of the template that is no token would be read as letters, and turns would never end."""
    rendered = chat.render([Message(role="system", content="a"), Message(role="user", content="b")])
    missing = sorted({found[0] for found in CHAT_TOKEN.finditer(rendered + chat.end_token)} - known)
    if missing:
        raise JoshiError(
            f"{file.path}: its chat template writes {', '.join(missing)}, which the tokenizer does not know; get the "
            "file again, or choose another base"
        )


def _split(pre: str, file: GgufFile) -> pre_tokenizers.PreTokenizer:
    match pre:
        case "smollm" | "starcoder" | "refact" | "command-r":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False),
                ]
            )
        case "gpt-2" | "default":
            return pre_tokenizers.ByteLevel(add_prefix_space=False)
        case "dbrx" | "llama-bpe" | "llama3":
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(CL100K), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
    raise JoshiError(f"{file.path}: pre-tokenizer {pre!r} is not known; choose a base of the Phi-4 or SmolLM2 family")


def _end_of_turn(template: str, tokens: list[str], file: GgufFile) -> str:
    """The token that ends an assistant's turn: one the template writes, else the file's end of sequence."""
    known = set(tokens)
    for token in ("<|im_end|>", "<|eot_id|>", "<|end|>"):
        if token in template and token in known:
            return token
    return tokens[int(file.need("tokenizer.ggml.eos_token_id"))]
