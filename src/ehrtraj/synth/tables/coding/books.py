"""The catalog of codes as arrays. The number of a code is its position among the distinct codes of its file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Floats, Ints

DIAGNOSES = "diagnoses.csv"
PROCEDURES = "procedures.csv"


@dataclass(frozen=True)
class Menu:
    """Codes to choose from, with two lines for each cause: line 2 * cause for ICD-9, and the next for ICD-10."""

    number: Ints
    weight: Floats


@cache
def figure(name: str) -> float:
    """Return a figure of the field coding_number."""
    return shares("coding_number")[name]


@cache
def shares(field: str) -> dict[str, float]:
    """Return the share of each value of a field in choices_coding.csv."""
    values, weights = catalog.choices(field)
    return dict(zip(values.to_list(), weights.tolist(), strict=True))


@cache
def code_table(file: str) -> pl.DataFrame:
    """Return the distinct codes of a file."""
    return catalog.read(file).unique(["icd_version", "icd_code"], keep="first", maintain_order=True)


@cache
def code_numbers(file: str) -> dict[tuple[int, str], int]:
    """Return the number of each code by version and code."""
    codes = code_table(file)
    return {key: number for number, key in enumerate(zip(codes["icd_version"], codes["icd_code"], strict=True))}


def beginning_with(file: str, start: str) -> list[tuple[int, int]]:
    """Return version and number of the codes that begin with `start`."""
    return [(version, number) for (version, code), number in code_numbers(file).items() if code.startswith(start)]


def exactly(file: str, code: str) -> list[tuple[int, int]]:
    """Return version and number of a code in each version that contains it."""
    return [
        (version, code_numbers(file)[version, code]) for version in (9, 10) if (version, code) in code_numbers(file)
    ]


@cache
def menu_of(file: str, role: str, causes: tuple[str, ...]) -> Menu:
    """Return the codes of a file with a role for each of the causes, and their weights."""
    lines: list[list[tuple[int, float]]] = [[] for _ in range(2 * len(causes))]
    chosen = catalog.read(file).filter(pl.col("role") == role, pl.col("cause").is_in(causes))
    for cause, version, code, weight in chosen.select("cause", "icd_version", "icd_code", "weight").iter_rows():
        lines[2 * causes.index(cause) + (version == 10)].append((code_numbers(file)[version, code], weight))
    return padded(lines)


def padded(lines: list[list[tuple[int, float]]]) -> Menu:
    """Return lines of codes and weights as a menu. Shorter lines are padded with weights of 0."""
    width = max(1, *(len(line) for line in lines))
    number, weight = np.zeros((len(lines), width), dtype=np.int64), np.zeros((len(lines), width))
    for row, line in enumerate(lines):
        for column, (code, chance) in enumerate(line):
            number[row, column], weight[row, column] = code, chance
    return Menu(number, weight)


@dataclass(frozen=True)
class Companions:
    """Codes that occur together with other codes. Code i has `count[i]` companions from `first[i]` on."""

    first: Ints
    count: Ints
    number: Ints
    chance: Floats


@cache
def companions_of(file: str, field: str) -> Companions:
    """Return the companions of each code of a file, by a field of choices_coding.csv."""
    total = code_table(file).height
    lists: list[list[tuple[int, float]]] = [[] for _ in range(total)]
    for words, chance in shares(field).items():
        leader, follower = words.split(">")
        for version, number in beginning_with(file, leader):
            if (version, follower) in code_numbers(file):
                lists[number].append((code_numbers(file)[version, follower], chance))
    count = np.array([len(entries) for entries in lists], dtype=np.int64)
    flat = [entry for entries in lists for entry in entries]
    numbers, chances = np.array([entry[0] for entry in flat]), np.array([entry[1] for entry in flat])
    return Companions(np.cumsum(count) - count, count, numbers.astype(np.int64), chances)
