"""The models that may write programs: names, weights and prices, from a table that the user can edit (ours)."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("models.toml")
MILLION = 1_000_000
OVERHEAD = 2_000  # tokens that the service may add to a request: its price list says up to 800, for tools; and roles
EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, as the service counts them."""

    input: int = 0  # neither written to the cache nor read from it
    output: int = 0  # thinking included
    cache_write: int = 0
    cache_read: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that went in."""
        return self.input + self.cache_write + self.cache_read


def most_tokens(prompt_bytes: int) -> int:
    """Tokens that a request of so many bytes as JSON may have: each takes a byte, but for those that are added."""
    return prompt_bytes + OVERHEAD


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens."""

    input: float
    output: float
    cache_write: float
    cache_read: float

    def of(self, usage: Usage) -> float:
        """US dollars for so many tokens."""
        return sum(price * count for price, count in zip(astuple(self), astuple(usage), strict=True)) / MILLION

    @property
    def dearest(self) -> float:
        """The highest price that a token of the prompt may have."""
        return max(self.input, self.cache_write, self.cache_read)


PRICES = tuple(part.name for part in fields(Price))


@dataclass(frozen=True)
class Model:
    """A model that may be asked."""

    name: str
    price: Price
    weight: float = 1.0  # in the choice among several
    forced: bool = False  # whether it accepts that one tool is forced
    effort: str | None = None  # of its thinking; None: its own default
    above: int | None = None  # tokens of a prompt beyond which `long_price` holds
    long_price: Price | None = None

    def cost(self, usage: Usage) -> float:
        """US dollars of an answer."""
        return self._prices(usage.prompt)[-1].of(usage)

    def worst(self, prompt_bytes: int, max_tokens: int) -> float:
        """US dollars that a call costs at most, for a request of so many bytes as JSON and an answer of so many tokens.

        Perhaps none is in the cache, all are written to it, and the answer is as long as it may be.
        """
        tokens = most_tokens(prompt_bytes)
        return max(price.dearest * tokens + price.output * max_tokens for price in self._prices(tokens)) / MILLION

    def _prices(self, tokens: int) -> list[Price]:
        """The prices that a prompt of so many tokens, or of fewer, may have; its own is the last."""
        is_long = self.above is not None and self.long_price is not None and tokens > self.above
        return [self.price, self.long_price] if is_long else [self.price]


def read_models(path: str | Path = TABLE) -> dict[str, Model]:
    """All models of a table, by name, in its order; raises ValueError, with the place, if it cannot be read."""
    try:
        table = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: wanted a table of models in TOML; got other text ({error})") from error
    return {name: _model(f"{path}: {name}", name, entry) for name, entry in table.items()}


def choose(models: Mapping[str, Model], names: Mapping[str, float] | None = None) -> tuple[Model, ...]:
    """The models that a search asks, with weights by name in place of the table's; those above 0 alone.

    Raises ValueError if a name is not in the table, or no weight is above 0.
    """
    weights = names if names is not None else {name: model.weight for name, model in models.items()}
    unknown = [name for name in weights if name not in models]
    if unknown:
        raise ValueError(f"wanted a model of the table ({', '.join(models)}); got {unknown[0]!r}")
    chosen = tuple(replace(models[name], weight=float(weight)) for name, weight in weights.items() if weight > 0)
    if not chosen:
        raise ValueError("wanted at least one model with a weight above 0; got none")
    return chosen


def _model(where: str, name: str, entry: Any) -> Model:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: wanted a section [{name}]; got {entry!r}")
    known = {"weight", "forced", "effort", "long", *PRICES}
    forced, effort, beyond = entry.get("forced", False), entry.get("effort"), entry.get("long")
    is_long = isinstance(beyond, dict) and type(beyond.get("above")) is int
    for holds, entry_name, wanted, came in (
        *((key in known, "", f"entries among {', '.join(sorted(known))}", key) for key in entry),
        (isinstance(forced, bool), ".forced", "true or false", forced),
        (effort is None or effort in EFFORTS, ".effort", f"one of {', '.join(EFFORTS)}", effort),
        (beyond is None or is_long, ".long", "prices and `above`, a number of tokens", beyond),
    ):
        if not holds:
            raise ValueError(f"{where}{entry_name}: wanted {wanted}; got {came!r}")
    above, long_price = (beyond["above"], _price(f"{where}.long", beyond)) if is_long else (None, None)
    weight = _number(f"{where}.weight", entry.get("weight", 1.0))
    return Model(name, _price(where, entry), weight, forced, effort, above, long_price)


def _price(where: str, entry: Mapping[str, Any]) -> Price:
    return Price(*(_number(f"{where}.{part}", entry.get(part)) for part in PRICES))


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{where}: wanted a number from 0; got {value!r}")
    return float(value)
