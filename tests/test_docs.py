"""docs/plan.md is made from the plan's own descriptions: python -m tests.test_docs > docs/plan.md"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from joshi.plan import Plan
from joshi.plan_gates import GATES, MEANING

DOCS = Path(__file__).parents[1] / "docs"
INTRODUCTION = """# The plan

`joshi.toml` holds every choice of a workspace. A flag (`--set sft.epochs=2`) beats an environment variable
(`JOSHI_SFT__EPOCHS=2`), which beats the file, which beats the default. Unknown keys are errors; `joshi plan show`
names the source of each value, and `joshi plan check` finds plans that cannot do what they say.
"""
HEAD = ["", "| Key | Default | Meaning |", "|---|---|---|"]


def plan_page() -> str:
    top = Plan()
    sections = {name: value for name in Plan.model_fields if isinstance(value := getattr(top, name), BaseModel)}
    lines = [INTRODUCTION.rstrip(), *HEAD]
    lines += [row(name, top) for name in Plan.model_fields if name not in sections]
    for name, section in sections.items():
        lines += ["", f"## [{name}]", *HEAD, *[row(key, section) for key in type(section).model_fields]]
        if name == "evaluation":
            lines += gates()
    return "\n".join(lines) + "\n"


def gates() -> list[str]:
    """The gates, each with its defaults."""
    head = ["", "| Gate | Default | Fewest | Decides | What is measured |", "|---|---|---|---|---|"]
    return head + [
        f"| `{name}` | {gate.direction} {gate.bound:g} | {gate.minimum} | {'yes' if gate.required else 'no'} | "
        f"{MEANING[name]} |"
        for name, gate in GATES.items()
    ]


def row(key: str, section: BaseModel) -> str:
    field = type(section).model_fields[key]
    assert field.description, f"{key} has no description"
    default = "the table below" if key == "gates" else f"`{getattr(section, key)!r}`"
    return f"| `{key}` | {default} | {field.description} |"


def test_the_plan_page_is_current() -> None:
    assert (DOCS / "plan.md").read_text(encoding="utf-8") == plan_page()


def test_documents_speak_of_the_project_alone() -> None:
    root = DOCS.parent
    texts = [*DOCS.glob("*.md"), *root.glob("*.md"), *root.glob("src/**/*.py"), *root.glob("tests/**/*.py")]
    machine = "/" + "work/"
    assert [path.name for path in texts if machine in path.read_text(encoding="utf-8")] == []


if __name__ == "__main__":
    print(plan_page(), end="")
