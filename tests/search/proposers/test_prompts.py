"""What a model is asked: all that the search knows is in it, and nothing of it can pass for an instruction."""

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlab.activations import REGISTRY
from actlab.candidates.language import ALLOWED
from actlab.candidates.program import check
from actlab.search.proposers import Ask, Brief, Failure, Parent
from actlab.search.proposers.prompts import EDIT, REWRITE, TOOLS, VERSION, fence, repair, system, user

RELU = "def activation(x):\n    return torch.relu(x)"
SINE = "def activation(x):\n    return x + torch.sin(x)"
START = Parent(0, RELU, 0.0)
PARENT = Parent(3, SINE, 0.25, START, "up to 2 GELU, odd", 7.0, {"polynomial": 0.5, "harmonic": -0.25})
OTHER = Parent(2, "def activation(x):\n    return x ** 2", 0.125)
FAILURE = Failure("import os\nos.system('rm')", "line 1: the import of os; leave it out")
ASK = Ask(9, PARENT, 1, (OTHER,), (FAILURE,))
BRIEF = Brief((ASK,), 30, 50, 196.0)


def test_a_request_shows_parents_with_scores_other_cells_failures_and_what_remains():
    assert (
        user(BRIEF, ASK, EDIT)
        == f"""\
Request 9 of the search, for island 1. Of 50 evaluations 30 remain.

# The parent
Program 3: fitness 0.2500; by family: polynomial +0.5000, harmonic -0.2500; 7 operations an element; cell: up to 2 \
GELU, odd
```
{SINE}
```

# What the parent was made from
Program 0: fitness 0.0000
```
{RELU}
```

# Programs of other cells, to take ideas from
Program 2: fitness 0.1250
```
{OTHER.source}
```

# Programs that did not come through lately: do not repeat what was wrong
```
{FAILURE.source}
```
what was wrong:
```
{FAILURE.error}
```

# What to do
Change the parent in one or a few places, for a reason that its numbers give. Each text that you replace must occur \
exactly once in the parent. Answer with the tool `edit`. The program must differ in its values from all programs \
above."""
    )


def test_no_two_requests_of_a_run_are_equal():
    other = Ask(10, PARENT, 1, (OTHER,), (FAILURE,))
    assert user(BRIEF, ASK, REWRITE) != user(BRIEF, other, REWRITE)


def test_the_first_part_states_the_contract_and_is_kept_in_the_cache():
    (block,) = system(123.0, False)
    assert block["cache_control"] == {"type": "ephemeral"}
    assert "at most 123 floating-point operations" in block["text"]
    assert "statistics or neighbours along any axis" in block["text"]
    (pointwise,) = system(123.0, True)
    assert "It has to be pointwise" in pointwise["text"]
    assert "statistics or neighbours" not in pointwise["text"]


def test_every_function_that_the_language_allows_is_listed():
    words = set(re.findall(r"\w+", system(1.0, False)[0]["text"]))
    assert {name for names in ALLOWED.values() for name in names} <= words


def test_nothing_that_the_paper_found_is_named():
    text = json.dumps([system(1.0, False), TOOLS, user(BRIEF, ASK, REWRITE)]).lower()
    found = [function for function in REGISTRY.values() if function.kind != "hand-made"]
    assert len(found) >= 5
    for function in found:
        assert function.name not in text
        assert function.label.lower() not in text


def test_the_words_have_a_version_that_is_raised_when_they_change():
    parts = [system(196.0, False), system(196.0, True), TOOLS]
    parts += [user(BRIEF, ASK, REWRITE), user(BRIEF, ASK, EDIT), repair("an error", "an answer")]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    assert (VERSION, digest) == (1, "84e71d8173316efc")


@given(st.text(alphabet="`ab\n~", max_size=40))
def test_a_fence_is_closed_by_its_own_marks_alone(text):
    first, *inner, last = fence(text).split("\n")
    assert set(first) == {"`"}
    assert first == last
    assert "\n".join(inner) == text
    assert all(first not in line for line in inner)


def test_a_long_failed_program_is_shown_in_part():
    ask = Ask(9, PARENT, failures=(Failure("x" * 100_000, "y" * 100_000),))
    assert len(user(BRIEF, ask, REWRITE)) < 8_000


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["name"])
def test_the_tools_ask_for_a_name_a_reason_and_the_program(tool):
    schema = tool["input_schema"]
    assert set(schema["required"]) == set(schema["properties"]) >= {"name", "rationale"}


def test_the_examples_here_are_programs():
    for source in (RELU, SINE, OTHER.source):
        assert check(source).source == source
