"""Tokens for autoregressive models such as ETHOS: codes, quantiles of values, gaps in time, and the age.

ETHOS is described in Renc P et al., npj Digit Med 2024, doi:10.1038/s41746-024-01235-0. Everything is learnt from the
split train only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.arguments import check_argument, checked, shown
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.patterns import matches
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.storage.files import private_files, write_json
from ehrtraj.suggestions import did_you_mean
from ehrtraj.torch.vocabulary import PAD, UNKNOWN, Vocabulary

Values = Literal["shared", "joined", "none"]
_VALUES = ("shared", "joined", "none")

_HOUR, _DAY = 60, 1440
GAPS = (5, 15, _HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, *(days * _DAY for days in (1, 3, 7, 14, 30, 90, 180)))
"""Limits between gaps in minutes, as in ETHOS."""
_AGE_STEP, _OLDEST = 5, 100


@dataclass(frozen=True)
class TokenForm:
    """Which tokens an event becomes.

    Attributes:
        values: `shared`: a token for the quantile of the value follows the token of the code, as in ETHOS. All codes
            share these tokens. `joined`: each quantile of each code is one token, and replaces that of the code.
            `none`: values have no tokens.
        bins: number of quantiles.
        gaps: limits between gaps in minutes, in ascending order. A gap that is shorter than the first has no token. One
            that is longer than the last has its token several times, once per length. Empty for no tokens of gaps.
        ages: begin with a token for the age at the first event, in steps of 5 years. It replaces the birth.
        split: lengths of the parts into which the last part of codes is split, by pattern: `{"DIAGNOSIS//*": [3, 2]}`
            turns the code A41.51 into tokens for A41, `.5` and `1`. Later parts share their tokens.
    """

    values: Values = "shared"
    bins: int = 10
    gaps: Sequence[int] = GAPS
    ages: bool = True
    split: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingsError: if one is invalid.
        """
        for name, hint in (
            ("values", Values),
            ("bins", int),
            ("gaps", Sequence[int]),
            ("ages", bool),
            ("split", Mapping),
        ):
            check_argument(name, getattr(self, name), hint)
        for pattern, lengths in self.split.items():
            check_argument(f"split of {shown(pattern)}", lengths, Sequence[int])
        # A form that was read from JSON equals the one that was written.
        object.__setattr__(self, "gaps", tuple(self.gaps))
        object.__setattr__(self, "split", {pattern: tuple(lengths) for pattern, lengths in self.split.items()})
        if self.values not in _VALUES:
            near = did_you_mean(str(self.values), _VALUES)
            raise SettingsError(f"values is '{self.values}'{near}: it must be one of {', '.join(_VALUES)}")
        if self.bins < 2:
            raise SettingsError(f"bins is {self.bins}: it must be at least 2")
        if any(gap < 1 for gap in self.gaps) or sorted(set(self.gaps)) != list(self.gaps):
            raise SettingsError(f"gaps is {list(self.gaps)}: it must be numbers of minutes in ascending order")
        for pattern, lengths in self.split.items():
            if not lengths or min(lengths) < 1:
                raise SettingsError(f"split is {list(lengths)} for '{pattern}': each length must be at least 1")

    def gap_tokens(self) -> list[str]:
        """Return the tokens of gaps, the shortest first."""
        names = [_duration(gap) for gap in self.gaps]
        return [f"<gap {a}-{b}>" for a, b in pairwise(names)] + [f"<gap {n}+>" for n in names[-1:]]

    def age_tokens(self) -> list[str]:
        """Return the tokens of ages, the youngest first."""
        if not self.ages:
            return []
        steps = range(0, _OLDEST, _AGE_STEP)
        return [*(f"<age {age}-{age + _AGE_STEP - 1}>" for age in steps), f"<age {_OLDEST}+>"]

    def quantile_tokens(self) -> list[str]:
        """Return the tokens that quantiles of all codes share."""
        return [f"<Q{number}>" for number in range(1, self.bins + 1)] if self.values == "shared" else []

    def joined_token(self, code: str, quantile: int) -> str:
        """Return the token of a quantile of a code, from 0."""
        return f"{code}//Q{quantile + 1}"


def _duration(minutes: int) -> str:
    for size, letter in ((_DAY, "d"), (_HOUR, "h")):
        if minutes % size == 0:
            return f"{minutes // size}{letter}"
    return f"{minutes}m"


class TokenVocabulary(Vocabulary):
    """Token IDs for codes, quantiles, gaps and ages: 0 is padding, 1 is any unknown token, and the others follow.

    Attributes:
        codes: the token of each ID, beginning with 2.
        form: which tokens an event becomes.
        edges: for each code with values, the greatest value of each quantile but the last, as in the dataset.
    """

    def __init__(self, codes: Sequence[str], form: TokenForm, edges: Mapping[str, Sequence[float]]) -> None:
        """Create a vocabulary from tokens in the order of their IDs; `fit` learns one.

        Raises:
            SettingsError: if a token occurs twice.
        """
        super().__init__(codes)
        self.form = form
        self.edges = dict(edges)

    @classmethod
    @checked
    def fit(cls, dataset: Dataset, form: TokenForm | None = None, *, min_count: int = 1) -> TokenVocabulary:
        """Learn tokens and quantiles from the patients in the split train. No other split is read.

        Memory grows with the number of different values of a code, not with the number of events.

        Args:
            dataset: a dataset, or a selection of its patients.
            form: which tokens an event becomes.
            min_count: a token that occurs less often is UNKNOWN.

        Raises:
            SettingsError: if there are no patients in train, or a pattern of `split` matches no code of the dataset.
        """
        form = form or TokenForm()
        dataset.layout.known_codes.check(list(form.split))
        train = dataset.filter(split="train")
        if not len(train):
            raise SettingsError(f"{dataset.path} has no patients in train, from which to learn a vocabulary")
        # The number of each distinct value, from which quantiles are exact.
        pairs = train.scan().group_by("code", value="numeric_value").len().collect(engine="streaming")
        edges = {} if form.values == "none" else _edges(pairs, form.bins)
        special = [*form.gap_tokens(), *form.age_tokens(), *form.quantile_tokens()]
        return cls([*special, *_frequent_tokens(pairs, form, edges, min_count)], form, edges)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> TokenVocabulary:
        """Read a vocabulary that `save` wrote.

        Raises:
            DatasetError: if the file cannot be read, or is not a vocabulary of tokens.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(content["codes"], TokenForm(**content["form"]), content["edges"])
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{path} is not a vocabulary of tokens") from None

    @checked
    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON. Only the user can read the file."""
        content = {"pad": PAD, "unknown": UNKNOWN, "codes": self.codes, "form": asdict(self.form), "edges": self.edges}
        with private_files():
            write_json(Path(path), content)

    def parts(self, codes: Sequence[str]) -> list[list[int]]:
        """Return the token IDs of each code, without those of its value."""
        return [[self[token] for token in tokens] for tokens in _split(codes, self.form.split)]

    def numbers(self, codes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the first token ID of codes, int64 [len(codes)]."""
        return np.array([parts[0] for parts in self.parts(codes)], dtype=np.int64)


def _edges(pairs: pl.DataFrame, bins: int) -> dict[str, list[float]]:
    """Return the greatest value of each quantile but the last; equal ones if a value is frequent."""
    values = pairs.filter(pl.col("value").is_not_nan(), pl.col("value").is_not_null()).sort("code", "value")
    of_code = values.with_columns(
        until=pl.col("len").cast(pl.Int64).cum_sum().over("code"), total=pl.col("len").cast(pl.Int64).sum().over("code")
    )
    reached = [
        of_code.filter(pl.col("until") * bins >= pl.col("total") * number)
        .group_by("code", maintain_order=True)
        .agg(pl.col("value").first().alias(str(number)))
        for number in range(1, bins)
    ]
    return {code: list(edges) for frames in [_joined(reached)] for code, *edges in frames.iter_rows()}


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    joined, *others = frames
    for frame in others:
        joined = joined.join(frame, on="code", maintain_order="left")
    return joined


def _frequent_tokens(
    pairs: pl.DataFrame, form: TokenForm, edges: Mapping[str, Sequence[float]], min_count: int
) -> list[str]:
    """Return the tokens of codes, the most frequent first."""
    codes = pairs["code"].unique().sort().to_list()
    tokens_of = dict(zip(codes, _split(codes, form.split), strict=True))
    counts: dict[str, int] = {}
    for code, value, number in pairs.iter_rows():
        tokens = tokens_of[code]
        if form.values == "joined" and value is not None and code in edges:
            tokens = [form.joined_token(code, int(np.searchsorted(edges[code], value, side="left")))]
        for token in tokens:
            counts[token] = counts.get(token, 0) + number
    frequent = [(token, number) for token, number in counts.items() if number >= min_count]
    return [token for token, _ in sorted(frequent, key=lambda pair: (-pair[1], pair[0]))]


def _split(codes: Sequence[str], split: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Return the tokens of each code: itself, or the parts of its last part, by the first pattern that matches."""
    tokens = [[code] for code in codes]
    table = pl.DataFrame({"code": codes}, schema={"code": pl.String}).with_row_index("at")
    for pattern, lengths in reversed(list(split.items())):
        for at in table.filter(matches([pattern]))["at"]:
            tokens[at] = _parts(codes[at], lengths)
    return tokens


def _parts(code: str, lengths: Sequence[int]) -> list[str]:
    before, separator, last = code.rpartition("//")
    first, begin = last[: lengths[0]], lengths[0]
    tokens = [f"{before}{separator}{first}"]
    for length in [*lengths[1:], len(last)]:
        # A point belongs to the character after it: A41.51 has the parts A41, .5 and 1.
        end = begin + length + (last[begin : begin + 1] == ".")
        if part := last[begin:end]:
            tokens.append(f"{before}{separator}+{part}")
        begin = end
    return tokens


@dataclass(frozen=True)
class Encoded:
    """Tokens of some events.

    Attributes:
        tokens: token IDs.
        events: position of the event of each token among the given events.
        is_code: whether a token is the last of its code, which has the value of the event.
    """

    tokens: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    is_code: npt.NDArray[np.bool_]


class Encoder:
    """Turns events of one dataset into tokens."""

    def __init__(self, vocabulary: TokenVocabulary, codes: Sequence[str]) -> None:
        """Prepare the tokens of each code.

        Args:
            vocabulary: vocabulary of the tokens.
            codes: codes of the dataset, in the order of its table of codes.
        """
        form = vocabulary.form
        parts = vocabulary.parts(codes)
        self._begin = np.cumsum([0, *map(len, parts)])
        self._parts = np.array([number for tokens in parts for number in tokens], dtype=np.int64)
        self._edges = np.full((len(codes), form.bins - 1), np.nan, dtype=np.float32)
        self._quantiles = np.full((len(codes), form.bins), UNKNOWN, dtype=np.int64)
        self._joined = form.values == "joined"
        for at, code in enumerate(codes):
            if (edges := vocabulary.edges.get(code)) is not None:
                self._edges[at] = edges
                names = (
                    [form.joined_token(code, n) for n in range(form.bins)] if self._joined else form.quantile_tokens()
                )
                self._quantiles[at] = [vocabulary[name] for name in names]
        self._gaps = np.array([vocabulary[name] for name in form.gap_tokens()], dtype=np.int64)
        self._limits = np.array(form.gaps, dtype=np.int64) * 60_000_000
        self._ages = np.array([vocabulary[name] for name in form.age_tokens()], dtype=np.int64)

    def age(self, microseconds: int) -> int:
        """Return the token of an age."""
        years = int(microseconds / (365.25 * _DAY * 60_000_000))
        return int(self._ages[min(max(years, 0) // _AGE_STEP, len(self._ages) - 1)])

    def encode(
        self,
        codes: npt.NDArray[np.int32],
        times: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
        *,
        static: int,
        most: int,
        latest: bool,
    ) -> Encoded:
        """Return the tokens of events, for each event: gaps before it, its code, the quantile of its value.

        Args:
            codes: position of each code.
            times: times in microseconds.
            values: numbers, NaN if there is none.
            static: number of events without a time, which are the first.
            most: maximum number of tokens. Events that do not fit completely are left out.
            latest: keep the latest events if there are too many tokens, not the earliest.
        """
        quantiles = self._quantiles_of(codes, values)
        has_quantile = quantiles >= 0
        replaced = has_quantile & self._joined
        sizes = np.where(replaced, 0, self._begin[codes + 1] - self._begin[codes])
        gap, repeats = self._gaps_before(times, static)
        lengths = repeats + sizes + has_quantile
        kept = _fitting(lengths, static, most, latest=latest)
        if len(first := kept[kept >= static]):
            # Nothing precedes the first event with a time.
            lengths[first[0]] -= repeats[first[0]]
            repeats[first[0]] = 0
        events = np.repeat(kept, lengths[kept])
        place = np.arange(len(events)) - np.repeat(np.cumsum(lengths[kept]) - lengths[kept], lengths[kept])
        after_gap = place - repeats[events]
        in_code = (after_gap >= 0) & (after_gap < sizes[events])
        tokens = np.where(after_gap < 0, gap[events], quantiles[events])
        tokens[in_code] = self._parts[(self._begin[codes[events]] + after_gap)[in_code]]
        is_code = after_gap == np.where(replaced, 0, sizes - 1)[events]
        return Encoded(tokens, events, is_code)

    def _quantiles_of(self, codes: npt.NDArray[np.int32], values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return the token of the quantile of each value, -1 if there is none."""
        edges = self._edges[codes]
        number = (values[:, None] > edges).sum(axis=1)
        return np.where(np.isnan(values) | np.isnan(edges[:, 0]), -1, self._quantiles[codes, number])

    def _gaps_before(
        self, times: npt.NDArray[np.int64], static: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the token of the gap before each event, and how often it is written."""
        token, repeats = np.zeros(len(times), dtype=np.int64), np.zeros(len(times), dtype=np.int64)
        if not len(self._gaps) or len(times) <= static + 1:
            return token, repeats
        gaps = np.diff(times[static:])
        number = np.searchsorted(self._limits, gaps, side="right")
        token[static + 1 :] = self._gaps[np.maximum(number - 1, 0)]
        longest = number == len(self._limits)
        repeats[static + 1 :] = np.where(longest, np.rint(gaps / self._limits[-1]), number > 0)
        return token, repeats


def _fitting(lengths: npt.NDArray[np.int64], static: int, most: int, *, latest: bool) -> npt.NDArray[np.int64]:
    """Return the positions of the events that fit: static ones first, then the latest or earliest of the others."""
    facts = np.flatnonzero(np.cumsum(lengths[:static]) <= most)
    left = most - int(lengths[facts].sum())
    timed = lengths[static:]
    if latest:
        count = int((np.cumsum(timed[::-1]) <= left).sum())
        return np.concatenate([facts, np.arange(len(lengths) - count, len(lengths))])
    count = int((np.cumsum(timed) <= left).sum())
    return np.concatenate([facts, np.arange(static, static + count)])
