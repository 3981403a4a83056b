"""The double reads templates, names and numbers as Go and Ollama do; what it does not know it refuses."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.export.test_modelfile import FAMILIES
from tests.release.ollama_double import known, names
from tests.release.ollama_double.go_template import Message, TemplateError, execute, parse
from tests.release.ollama_double.go_text import number, shown, to_json
from tests.release.ollama_double.names import Name
from tests.release.ollama_double.prompts import collate, compiled, fitting, infill, render

TALK = [Message("system", "Be brief."), Message("user", "One?"), Message("assistant", "Yes."), Message("user", "Two?")]
HI = {"System": "S", "Prompt": "P", "Response": ""}


# Each expectation was worked out by hand after the documentation of text/template.
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain { } text", "plain { } text"),
        ("{{ .System }}-{{.Prompt}}", "S-P"),
        ("a {{- .System }} b", "aS b"),
        ("a {{ .System -}} b", "a Sb"),
        ("a \n\t {{- .System -}} \r\n b", "aSb"),
        ("a {{- /* trimmed */ -}} b", "ab"),
        ("{{/* kept blanks */}} b", " b"),
        ("{{ if .System }}yes{{ end }}", "yes"),
        ("{{ if .Response }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if .Response }}1{{ else if .Suffix }}2{{ else if .System }}3{{ else }}4{{ end }}", "3"),
        ('{{ if eq .System "S" }}same{{ end }}', "same"),
        ('{{ if eq .System "A" "B" "S" }}one of them{{ end }}', "one of them"),
        ('{{ if ne .System "S" }}other{{ else }}same{{ end }}', "same"),
        ('{{ if and .System (eq .Prompt "P") }}both{{ end }}', "both"),
        ('{{ if or .Response (not (eq .Prompt "P")) }}either{{ else }}neither{{ end }}', "neither"),
        ("{{ and .System .Prompt }}{{ or .Response .Prompt }}", "PP"),
        ('{{ `raw \\n` }}{{ "line\\n" }}', "raw \\nline\n"),
        ("{{ .Suffix }}", "<no value>"),
        ("{{ eq 1 1 }}{{ not 1 }}", "truefalse"),
        ("{{ .System }}{{ .System", None),
        ("{{ if .System }}no end", None),
        ("{{ end }}", None),
        ("{{ if .System }}{{ else }}{{ else }}{{ end }}", None),
        ("{{ range .Messages }}{{ else if .System }}{{ end }}", None),
        ("{{ }}", None),
        ("{{ eq .System }}", None),
        ("{{ .Sytem }}", None),
        ("{{ .System.Name }}", None),
        ("{{ $x := .System }}", None),
        ("{{ .System | json }}", None),
        ("{{ len .System }}", None),
        ("{{ with .System }}{{ . }}{{ end }}", None),
        ('{{ template "x" }}', None),
        ("{{ index .Messages 0 }}", None),
        ("{{-.System}}", None),
        ("{{ eq .System 1 }}", None),
        ("{{ range .System }}{{ end }}", None),
    ],
)
def test_actions_mean_what_they_mean_in_go(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            execute(parse(template), HI)
    else:
        assert execute(parse(template), HI) == expected


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    assert execute(parse(text), {}) == text


@given(st.text(alphabet='{} -."`/*ifrangeelsend$eqSystem\n'))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(TemplateError):
        parse(text)


def test_messages_are_walked_through_one_by_one() -> None:
    template = (
        '{{- range .Messages }}{{ if eq .Role "system" }}[{{ .Content }}]{{ else if eq .Role "user" }}\n'
        "U: {{ .Content }}{{ else }}\nA: {{ .Content }}{{ end }}{{ end }}\nA:"
    )
    assert render(template, TALK) == "[Be brief.]\nU: One?\nA: Yes.\nU: Two?\nA:"


def test_the_outer_value_is_reached_from_within_and_the_inner_one_has_no_system() -> None:
    assert render("{{ range .Messages }}{{ $.System }}{{ end }}", TALK[:2]) == "Be brief.Be brief."
    with pytest.raises(TemplateError, match="can't evaluate field System"):
        render("{{ range .Messages }}{{ .System }}{{ end }}", TALK)


def test_a_template_without_messages_is_filled_turn_by_turn() -> None:
    template = "{{ if .System }}<s>{{ .System }}</s>{{ end }}<u>{{ .Prompt }}</u><a>{{ .Response }}</a>\n"
    # The first turn whole, the second up to where the model goes on.
    assert render(template, TALK) == "<s>Be brief.</s><u>One?</u><a>Yes.</a>\n<u>Two?</u><a>"


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    begun = [*TALK[:2], Message("assistant", "Well,")]
    assert render("{{ .Prompt }}|{{ .Response }}|", begun) == "One?|Well,"


def test_without_a_template_the_system_prompt_is_lost() -> None:
    assert render("{{ .Prompt }}", TALK) == "One?Yes.Two?"


def test_what_stands_after_the_answer_in_a_branch_is_cut_too() -> None:
    assert render("{{ if .Prompt }}{{ .Prompt }}:{{ .Response }}!{{ end }}?", TALK[1:2]) == "One?:"
    with pytest.raises(TemplateError, match="before an else"):
        render("{{ if .Prompt }}{{ .Response }}{{ else }}x{{ end }}", TALK[1:2])


def test_neighbours_of_one_role_become_one_message() -> None:
    system, merged = collate([*TALK[:2], Message("user", "More."), Message("system", "And kind.")])
    assert system == "Be brief.\n\nAnd kind."
    assert merged == [TALK[0], Message("user", "One?\n\nMore."), Message("system", "And kind.")]


def test_text_between_two_texts() -> None:
    assert infill("<pre>{{ .Prompt }}<suf>{{ .Suffix }}<mid>", "a", "b") == "<pre>a<suf>b<mid>"


def test_the_oldest_messages_go_first_and_system_messages_stay() -> None:
    def words(prompt: str) -> int:
        return len(prompt.split())

    talk = [Message("system", "s"), Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    template = "{{ range .Messages }}{{ .Content }} {{ end }}"

    def rendering(messages: list[Message]) -> str:
        return render(template, messages)

    windows = {window: fitting(talk, rendering, words, window).split() for window in (4, 3, 2, 1)}
    assert windows == {
        4: ["s", "one", "two", "three"],
        3: ["s", "two", "three"],
        2: ["s", "three"],
        1: ["s", "three"],  # too long, and sent all the same
    }


def test_every_known_template_is_within_what_the_double_knows() -> None:
    for one in (known.CHATML, known.ZEPHYR, known.PHI3, known.LLAMA3):
        assert compiled(one.template)
    assert render(known.CHATML.template, TALK[:2]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_phi4s_template_is_taken_for_chatml() -> None:
    """96 edits away, and less than 100 is near enough."""
    guessed = known.guessed(FAMILIES["phi4"][0])
    assert guessed == known.CHATML
    assert "<|im_sep|>" not in guessed.template
    assert known.guessed(FAMILIES["llama3"][0]) == known.LLAMA3
    assert known.guessed("{{ something(else) }}") is None


@given(st.text("ab", max_size=12), st.text("ab", max_size=12), st.integers(1, 15))
def test_the_distance_is_levenshteins(a: str, b: str, far: int) -> None:
    table = [[i + j if i == 0 or j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            least = min(table[i - 1][j], table[i][j - 1]) + 1
            table[i][j] = min(least, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
    assert known.distance(a, b, far) == min(table[-1][-1], far)


@pytest.mark.parametrize(
    ("text", "whole", "shortest"),
    [
        ("phi4", "registry.ollama.ai/library/phi4:latest", "phi4:latest"),
        ("phi4-joshi:v2", "registry.ollama.ai/library/phi4-joshi:v2", "phi4-joshi:v2"),
        ("team/model", "registry.ollama.ai/team/model:latest", "team/model:latest"),
        ("hf.co/team/model:Q4_K_M", "hf.co/team/model:Q4_K_M", "hf.co/team/model:Q4_K_M"),
        ("http://localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ("Registry.Ollama.AI/LIBRARY/x", "Registry.Ollama.AI/LIBRARY/x:latest", "x:latest"),
    ],
)
def test_a_name_is_completed_and_shown_short(text: str, whole: str, shortest: str) -> None:
    name = names.parse(text)
    assert name.valid
    assert (str(name), name.shortest) == (whole, shortest)


@pytest.mark.parametrize(
    "text", ["", ":", "a:", ":b", "a b", "-a", "a/b/", "/a", "../a", "a:b:c", "ä", "a\n", "a" * 81, "x.y/z", "a@b"]
)
def test_a_name_that_is_none(text: str) -> None:
    assert not names.parse(text).valid


PART = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,9}\Z")


@given(st.builds(Name, PART, PART, PART, PART))
def test_a_whole_name_is_read_back(name: Name) -> None:
    assert names.parse(str(name)) == name


def test_a_model_is_found_whatever_the_case_of_its_name() -> None:
    there = [names.parse("Phi4-Joshi"), names.parse("other:V1")]
    assert str(names.existing(names.parse("phi4-joshi:v1"), there)) == "registry.ollama.ai/library/Phi4-Joshi:V1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2, "0.2"), (1.0, "1"), (4096.0, "4096"), (131072.0, "131072"), (1048576.0, "1.048576e+06"), (-1, "-1"),
     (1e-05, "1e-05"), (0.0001, "0.0001"), (1e21, "1e+21"), (0, "0"), (True, "true"), ("a<b", '"a<b"')],
)  # fmt: skip
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert shown(value, quoted=True) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back(value: float) -> None:
    assert float(number(value)) == value


def test_json_is_escaped_as_go_escapes_it() -> None:
    assert to_json({"a": "<|im_end|> & é"}) == '{"a":"\\u003c|im_end|\\u003e \\u0026 é"}'
