"""The proposer that asks Claude models for programs, as the paper asks Gemini models (paper, section 3; details ours).

A program is asked for as a whole, or as changes of its parent. Of several models, the more successful are asked more
often. Answers are kept in a recording, by request; everything else follows from the brief and the generator.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from actlab.candidates.language import short
from actlab.candidates.reading import unwrapped
from actlab.search.proposers import Ask, Brief, Proposal, Tally
from actlab.search.proposers.answers import FAILED, Answers
from actlab.search.proposers.models import Model
from actlab.search.proposers.prompts import EDIT, MODES, REWRITE, TOOLS, VERSION, repair, system, user
from actlab.search.proposers.recording import Answer

T = TypeVar("T")
TITLE, RATIONALE = 80, 2_000  # characters that are kept of a name and of a rationale


_FENCED = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)


class Unusable(ValueError):
    """An answer that holds no program: the reason, how it `ended`, and what it `brought` instead."""

    def __init__(self, reason: str, ended: str = "malformed", brought: str = "") -> None:
        super().__init__(reason)
        self.ended, self.brought = ended, brought


@dataclass(frozen=True)
class Request:
    """One program that is to be asked for, with all that chance decides about it."""

    ask: Ask
    model: Model
    mode: str  # which tool is asked for
    body: Mapping[str, Any]  # the arguments of the Messages API


@dataclass(frozen=True)
class Claude:
    """Asks models for programs; a proposer."""

    answers: Answers  # from the service, or from a recording
    models: tuple[Model, ...]  # that may be asked, with their weights and settings
    max_tokens: int = 8_000  # of one answer; a program needs some hundred, the rest is for thinking
    edits: float = 0.4  # the chance that changes of the parent are asked for, in place of a whole program
    parallel: int = 4  # requests that are under way at once; changes no result

    def __post_init__(self) -> None:
        if not self.models or not all(model.weight > 0 for model in self.models):
            raise ValueError(f"wanted models with weights above 0; got {[(m.name, m.weight) for m in self.models]}")
        if self.max_tokens < 1 or self.parallel < 1 or not 0 <= self.edits <= 1:
            came = f"{self.max_tokens}, {self.parallel} and {self.edits}"
            raise ValueError(f"wanted max_tokens and parallel from 1, and edits from 0 to 1; got {came}")

    @property
    def name(self) -> str:
        """The proposer, its settings and the version of its prompt; the same for live and replayed answers."""
        models = ", ".join(f"{m.name}: weight {m.weight!r}, effort {m.effort}, forced {m.forced}" for m in self.models)
        return f"Claude(models=[{models}], max_tokens={self.max_tokens}, edits={self.edits!r}, prompt={VERSION})"

    @property
    def spent(self) -> float:
        """US dollars that its answers cost."""
        return self.answers.spent

    def propose(self, brief: Brief, generator: np.random.Generator) -> Sequence[Proposal]:
        """One program for each ask, in their order; the requests go side by side.

        Raises:
            AnswersError: if an answer cannot be had: a cap is reached, a recording lacks it, a key is refused. Earlier
                answers are kept, requests under way are waited for, and nothing more is asked.
        """
        requests = [self._request(brief, ask, generator) for ask in brief.asks]
        stop, futures = threading.Event(), list[Future[Proposal]]()
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="claude") as pool:
            try:
                for request in requests:
                    futures.append(pool.submit(self._proposal, request, stop))
                for future in as_completed(futures):
                    future.result()  # the first that raised ends them all
            finally:  # of no effect but where one raised
                stop.set()
                for future in futures:
                    future.cancel()
        return [future.result() for future in futures]

    def _request(self, brief: Brief, ask: Ask, generator: np.random.Generator) -> Request:
        model = choose_model(self.models, brief.tallies, generator)
        mode = EDIT if generator.random() < self.edits else REWRITE
        choice = {"type": "tool", "name": mode} if model.forced else {"type": "auto"}
        body: dict[str, Any] = {
            "model": model.name,
            "max_tokens": self.max_tokens,
            "system": system(brief.flops, brief.pointwise),
            "tools": list(TOOLS),
            "tool_choice": {**choice, "disable_parallel_tool_use": True},
            "messages": [{"role": "user", "content": [{"type": "text", "text": user(brief, ask, mode)}]}],
        }
        if model.effort is not None:
            body["output_config"] = {"effort": model.effort}
        return Request(ask, model, mode, body)

    def _proposal(self, request: Request, stop: threading.Event, again: Mapping[str, Any] | None = None) -> Proposal:
        """The program that a model wrote, on the second try if need be; or a proposal that says why there is none."""
        body = again or request.body
        try:
            return self._written(request, body, stop)
        except Unusable as error:
            if again or error.ended == FAILED:
                parents, reason = (request.ask.parent.id,), f"{error.ended}: {error}"
                return Proposal(error.brought, parents, request.mode, request.model.name, failure=reason)
            (message,) = body["messages"]
            more = {"type": "text", "text": repair(str(error), error.brought)}
        message = {**message, "content": [*message["content"], more]}
        return self._proposal(request, stop, {**body, "messages": [message]})

    def _written(self, request: Request, body: Mapping[str, Any], stop: threading.Event) -> Proposal:
        answer = self.answers.ask(body, request.ask.id, stop)
        try:
            proposal = read_answer(answer, request.ask)
        except Unusable as error:
            self.answers.judge(answer, error.ended)
            raise
        self.answers.judge(answer, "answered")
        return replace(proposal, author=request.model.name)


def choose_model(models: Sequence[Model], tallies: Mapping[str, Tally], generator: np.random.Generator) -> Model:
    """The model to ask, by Thompson sampling: the highest product of a model's weight and a draw of its success rate.

    The prior of a rate is uniform on [0, 1]. A success is a program that took a cell. With weights that are the inverse
    of prices, it is success a dollar that is drawn for.
    """
    drawn = []
    for model in models:
        tally = tallies.get(model.name, Tally())
        drawn.append(model.weight * generator.beta(1 + tally.successes, 1 + tally.proposals - tally.successes))
    return models[int(np.argmax(drawn))]


def read_answer(answer: Answer, ask: Ask) -> Proposal:
    """The program in an answer, unchecked; its operator is the tool that was used. Raises Unusable if there is none."""
    if answer.stop == FAILED:
        raise Unusable(answer.error or "no answer", FAILED)
    text = _plain("\n".join(str(block.get("text", "")) for block in answer.content if block["type"] == "text").strip())
    if answer.stop == "refusal":
        why = "" if answer.error is None else f": {answer.error}"  # if a filter refused, rather than the model
        raise Unusable(f"the model refused to answer{why}", "refused", text)
    if answer.stop in ("max_tokens", "model_context_window_exceeded"):
        raise Unusable("the answer was cut off before its end", "truncated", text)
    calls = [block for block in answer.content if block["type"] == "tool_use" and block.get("name") in MODES]
    if not calls and (written := unwrapped(text)) is not None:  # in words, in place of a call
        return Proposal(written.strip(), (ask.parent.id,), REWRITE)
    if not calls:
        raise Unusable(f"wanted a call of the tool {' or '.join(MODES)}; got none", brought=text)
    mode, given = calls[0]["name"], _of(dict, calls[0].get("input"), "an object as the tool's input")
    title, rationale = _text(given, "name"), _text(given, "rationale")
    source = _text(given, "source") if mode == REWRITE else apply_edits(ask.parent.source, given.get("replacements"))
    return Proposal(source, (ask.parent.id,), mode, title=short(title, TITLE), rationale=rationale[:RATIONALE])


def apply_edits(source: str, replacements: Any) -> str:
    """A program with parts of its text replaced; raises Unusable, which says which part and why, if that fails.

    Replacements are a list of {"old": ..., "new": ...}: each old text, without fences around it, occurs exactly once in
    the source, and no two overlap.
    """
    spans = []
    if replacements == []:
        raise Unusable("wanted a list of replacements; got []")
    for number, item in enumerate(_of(list, replacements, "a list of replacements"), 1):
        item = _of(dict, item, "an object", f"replacement {number}: ")
        old, new = (_FENCED.sub(r"\1", _text(item, key)) for key in ("old", "new"))
        places = [i for i in range(len(source)) if source.startswith(old, i)] if old else []
        if len(places) != 1:
            many = f"{len(places)} times" if old else "empty"
            reason = f"replacement {number}: wanted a text that occurs exactly once in the parent; this one is there"
            raise Unusable(f"{reason} {many}: {short(old, 200)!r}")
        spans.append((places[0], places[0] + len(old), new))
    spans.sort()
    if any(start < end for (_, end, _), (start, _, _) in pairwise(spans)):
        raise Unusable("wanted replacements that do not overlap; two of them do")
    for start, end, new in reversed(spans):
        source = source[:start] + new + source[end:]
    return source


def _text(given: Mapping[str, Any], key: str) -> str:
    """A text of the tool's input, of characters that can be written to a file."""
    value = _of(str, given.get(key), f"a text as {key!r}")
    if value != _plain(value):
        raise Unusable(f"wanted characters of Unicode in {key!r}; got half of one")
    return value


def _of(kind: type[T], value: Any, wanted: str, where: str = "") -> T:
    if not isinstance(value, kind):
        raise Unusable(f"{where}wanted {wanted}; got {short(repr(value), 200)}")
    return value


def _plain(text: str) -> str:
    """A text without what cannot be written as UTF-8, such as half of a character."""
    return text.encode("utf-8", "replace").decode()
