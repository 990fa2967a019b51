"""Check codes and patterns of codes against a dataset, and suggest codes for those that match none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import polars as pl

from ehrtraj.dataset.patterns import is_exact, matches
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import nearest

_MOST_SUGGESTED = 3
# Shorter parts of words occur in too many descriptions: HR is in "chronic".
_SHORTEST_PART = 4
# Descriptions have so many words that one of them is always a little similar.
_SIMILAR_WORD = 0.75
# Parts of a pattern that are not text. A ? is not a wildcard, but is meant as one.
_WILD = "*?/ "
_WORD = re.compile(r"[^\W_]+")


class KnownCodes:
    """The codes of a dataset.

    A pattern is looked up once per dataset: `Trajectory.codes` is called for many patients with the same patterns.
    """

    def __init__(self, codes: pl.DataFrame, name: str) -> None:
        """Prepare the codes.

        Args:
            codes: metadata/codes.parquet.
            name: name of the dataset in messages.
        """
        self._codes = codes
        self._name = name
        self._found = {"*"}

    def check(self, patterns: Sequence[str]) -> None:
        """Check that each pattern matches a code.

        Raises:
            SettingsError: if one matches none; the message suggests codes.
        """
        for pattern in patterns:
            if pattern not in self._found:
                if not self._matches(pattern):
                    raise SettingsError(f"no code in {self._name} matches '{pattern}'{self.suggestion(pattern)}")
                self._found.add(pattern)

    def check_event_types(self, names: Iterable[str]) -> None:
        """Check that each event type occurs.

        Raises:
            SettingsError: if one does not; the message suggests another.
        """
        for name in names:
            if name not in self._event_types:
                near = nearest(name, self._event_types)
                listed = f"Did you mean {near[0]}?" if near else f"Its event types: {', '.join(self._event_types)}"
                raise SettingsError(f"{self._name} has no events of type '{name}'. {listed}")

    def _matches(self, pattern: str) -> bool:
        if is_exact(pattern):
            return pattern in self._all
        return not self._codes.filter(matches([pattern])).is_empty()

    @cached_property
    def _all(self) -> frozenset[str]:
        return frozenset(self._codes["code"])

    @cached_property
    def _event_types(self) -> list[str]:
        return self._codes["event_type"].unique().sort().to_list()

    @cached_property
    def _by_frequency(self) -> pl.DataFrame:
        """Codes with item and description, the most frequent first."""
        ordered = self._codes.sort("n_events", "code", descending=[True, False])
        item = pl.col("code").str.splitn("//", 2).struct.field("field_1").fill_null("")
        return ordered.select("code", "event_type", pl.col("description").fill_null(""), item=item)

    def suggestion(self, pattern: str) -> str:
        """Return the end of a message about a pattern that matches no code: what was probably meant, or how to find it.

        It is found by event type, by parts of the code, and by the description of the code.
        """
        if found := self._similar(pattern):
            return f". Did you mean {', '.join(found)}?"
        return f": `ehrtraj codes {self._name} WORD` finds codes by a word of their description"

    def _similar(self, pattern: str) -> list[str]:
        first, separator, rest = pattern.partition("//")
        name, item = first.strip(_WILD), rest.strip(_WILD)
        types = [one for one in self._event_types if one.lower() == name.lower()]
        if not types and separator:
            types = nearest(name, self._event_types)
        of_types = [f"{one}//*" if one not in self._all else one for one in types]
        if types and not item:
            return of_types
        codes = self._by_frequency.filter(pl.col("event_type").is_in(types)) if types else self._by_frequency
        for found in _candidates(item or name, codes):
            if not found.is_empty():
                return [_shown(code) for code in found.head(_MOST_SUGGESTED).iter_rows(named=True)]
        return of_types


def _candidates(text: str, codes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield codes that may be meant by a text, the most likely first: by item, by description, by similarity."""
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return
    code = pl.col("code").str.to_lowercase()
    yield codes.filter(code.str.ends_with(f"//{text.lower()}"))
    if any(map(str.isdigit, text)):
        yield codes.filter(code.str.contains(f"//{text.lower()}", literal=True))
    if len(words) == 1:
        yield codes.filter(_initials(words[0]))
    yield from _described(words, codes)
    in_use = (
        codes["description"].str.to_lowercase().str.extract_all(r"[^\W_]{3,}").explode().drop_nulls().unique().sort()
    )
    corrected = [word for similar in words for word in nearest(similar, in_use, _SIMILAR_WORD)]
    if len(corrected) == len(words):
        yield from _described(corrected, codes)
    yield codes.filter(pl.col("item").is_in(nearest(text, codes["item"], _SIMILAR_WORD)))


def _described(words: list[str], codes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield codes whose description contains all words, then those that contain them as parts of words."""
    description = pl.col("description").str.to_lowercase()
    yield codes.filter(pl.all_horizontal(description.str.contains(rf"\b{re.escape(word)}\b") for word in words))
    if min(map(len, words)) >= _SHORTEST_PART:
        yield codes.filter(pl.all_horizontal(description.str.contains(word, literal=True) for word in words))


def _initials(word: str) -> pl.Expr:
    """Return whether a description, up to a comma or bracket, abbreviates to a word: Heart Rate to HR."""
    beginning = r"[\s\-/]+".join(rf"{re.escape(letter)}[^\s,(\-/]*" for letter in word)
    return pl.col("description").str.contains(rf"(?i)^{beginning}\s*($|[,(])")


def _shown(code: dict[str, str]) -> str:
    """Return a code with its description, unless the code already contains it."""
    description = code["description"]
    known = not description or (code["item"] and description.endswith(code["item"]))
    return code["code"] if known else f"{code['code']} ({description})"
