"""What drugs are ordered as, as arrays: doses, products, carriers and infusions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.tables.orders.columns import IDLE, codes_of, floats, floats_or, with_null
from ehrtraj.synth.tables.orders.draws import upper_edges
from ehrtraj.synth.tables.orders.schedules import read_events

PIECES = ("TAB", "CAP", "PKT", "UDCUP", "SUPP", "VIAL", "BAG", "AMP", "SYR", "PTCH", "HALF TAB", "LOZ")
"""Units scanned one by one when a dose needs several."""
HALVED = ("TAB", "CAP")


class _Words:
    """Texts that appear in several columns, each known by a number; -1 is null."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Return the number of a text, a new one if need be."""
        return IDLE if text is None else self._numbers.setdefault(text, len(self._numbers))

    def numbers(self, column: pl.Series) -> Ints:
        """Return the numbers of a column of texts."""
        return np.array([self.number(text) for text in column.cast(pl.String)], dtype=np.int64)

    def series(self) -> pl.Series:
        """Return the texts in the order of their numbers, and null at the end, where -1 finds it."""
        return pl.Series([*self._numbers, None], dtype=pl.String)


@dataclass(frozen=True)
class _Doses:
    """The doses that drugs are ordered in, drug by drug."""

    item: Ints
    edges: Floats
    """Upper edges of the doses' shares; those of drug i lie between i and i + 1."""
    due: Ints
    amount: Ints
    frequency: Ints
    pieces: Ints
    piece_dose: Ints
    piece_amount: Ints
    half: Ints
    """Half of the piece's dose, for pieces of half the strength; -1 where it is not a number."""


@dataclass(frozen=True)
class Drugs:
    """Doses, products and infusions of the drugs, by number of the drug."""

    words: pl.Series
    texts: dict[str, pl.Series]
    """Columns of drugs.csv, and below those of drug_bases.csv; end with a null."""
    parts_first: Ints
    parts_count: Ints
    """Which of `parts` a drug has: its carrier, and what is added to it."""
    parts: Ints
    """Lines of drug_bases.csv; in `texts` they follow after the drugs."""
    filled: Floats
    charted: Floats
    schedule: Ints
    """Given by the drug itself, or -1: given by the frequency."""
    administration: Ints
    mouth: Bools
    standard: Bools
    scale: Bools
    bolus: Bools
    wording: Ints
    """0: rate not charted, 1: 'Rate Changed', 2: 'Increase' and 'Decrease'."""
    titrated: Floats
    rate_first: Ints
    rate_count: Ints
    rate_words: Ints
    rate_values: Floats
    range_word: Ints
    doses: _Doses
    base_dose: Ints
    base_amount: Ints
    unit_words: Ints
    unit_weights: Floats
    nothing: int
    """The text 0."""
    mouths: pl.Series
    """What the chart calls the two ways of PO/NG."""
    patch: Bools


TEXTS = (
    "drug", "medication", "drug_type", "formulary_drug_cd", "gsn", "ndc", "prod_strength", "dose_unit_rx",
    "form_unit_disp", "route", "proc_type", "dispensation", "expiration_unit", "infusion_type", "sliding_scale",
    "lockout_interval", "one_hr_max", "administration", "product_code", "product_description", "product_other",
    "product_unit", "dose_due_unit", "dose_given_unit", "barcode_type", "rate_unit",
)  # fmt: skip


@cache
def read_drugs() -> Drugs:
    """Return the drugs with their doses, products and infusions, as arrays."""
    drugs = catalog.read("drugs.csv")
    bases = catalog.read("drug_bases.csv")
    drips = drugs.select("item").join(catalog.read("drug_infusions.csv"), on="item", how="left", maintain_order="left")
    words = _Words()
    schedules = {name: number for number, name in enumerate(catalog.read("drug_schedules.csv")["schedule"])}
    parts = [[] if text is None else text.split(";") for text in drugs["base"]]
    parts_count = np.array([len(names) for names in parts], dtype=np.int64)
    rates = [[] if text is None else text.split() for text in drips["rates"].cast(pl.String)]
    counts = np.array([len(ladder) for ladder in rates], dtype=np.int64)
    ladder = [rate for ladder in rates for rate in ladder]
    kinds = read_events().administrations
    units, unit_weights = catalog.choices("orders_insulin_units")
    return Drugs(
        texts=_drug_texts(drugs, bases, drips),
        parts_first=np.cumsum(parts_count) - parts_count,
        parts_count=parts_count,
        parts=codes_of(pl.Series([name for names in parts for name in names]), tuple(bases["base"])),
        filled=floats(drugs["filled"]),
        charted=floats(drugs["charted"]),
        schedule=np.array([schedules.get(name, IDLE) for name in drugs["schedule"]], dtype=np.int64),
        administration=np.array([kinds[name] for name in drugs["administration"]], dtype=np.int64),
        mouth=(drugs["route"].fill_null("") == "PO/NG").to_numpy(),
        standard=(drugs["administration"] == "Standard Maintenance Medication").to_numpy(),
        scale=(drugs["administration"] == "Insulin SC Sliding Scale").to_numpy(),
        bolus=(drugs["infusion_type"].fill_null("") == "B").to_numpy(),
        wording=codes_of(drips["wording"].fill_null(""), ("", "rate", "heparin")),
        titrated=floats_or(drips["titrated"], 0.0),
        rate_first=np.cumsum(counts) - counts,
        rate_count=counts,
        rate_words=np.array([words.number(rate) for rate in ladder], dtype=np.int64),
        rate_values=np.array([float(rate) for rate in ladder]),
        range_word=words.numbers(drips["dose_due"]),
        base_dose=words.numbers(bases["dose_val_rx"]),
        base_amount=words.numbers(bases["form_val_disp"]),
        unit_words=words.numbers(units),
        unit_weights=unit_weights,
        nothing=words.number("0"),
        mouths=pl.Series(["PO", "NG", None], dtype=pl.String),
        patch=(drugs["administration"] == "Transdermal Patch").to_numpy(),
        doses=_doses(drugs, words),
        words=words.series(),
    )


def _drug_texts(drugs: pl.DataFrame, bases: pl.DataFrame, drips: pl.DataFrame) -> dict[str, pl.Series]:
    drugs = drugs.with_columns(drips["rate_unit"])
    # A reader of CSV takes codes of digits for numbers; their leading zeros come back here.
    whole = pl.concat([drugs, bases], how="diagonal_relaxed")
    codes = [pl.col("gsn").cast(pl.String).str.zfill(6)]
    ndc = pl.col("ndc").cast(pl.String)
    codes.append(pl.when(ndc == "0").then(ndc).otherwise(ndc.str.zfill(11)))
    whole = whole.with_columns(codes).select(
        *(pl.col(name).cast(pl.String) for name in TEXTS),
        pl.col("expiration_value").cast(pl.Int64),
        pl.col("basal_rate").cast(pl.Float64),
    )
    return {column.name: with_null(column) for column in whole}


def _doses(drugs: pl.DataFrame, words: _Words) -> _Doses:
    """Return the doses of drug_doses.csv, and for drugs that have none there the usual one."""
    frequencies = {name: number for number, name in enumerate(catalog.read("drug_frequencies.csv")["frequency"])}
    columns = ["item", "dose_val_rx", "form_val_disp", "frequency", "weight"]
    listed = catalog.read("drug_doses.csv").select(columns)
    usual = drugs.join(listed, on="item", how="anti").with_columns(weight=pl.lit(1)).select(columns)
    table = pl.concat([listed, usual], how="vertical_relaxed")
    item = codes_of(table["item"], tuple(drugs["item"]))
    place = np.argsort(item, kind="stable")
    table, item = table[place], item[place]
    unit = [drugs["form_unit_disp"][number] for number in item.tolist()]
    pieces = [_pieces(*dose) for dose in zip(table["dose_val_rx"], table["form_val_disp"], unit, strict=True)]
    halves = [_half(dose) if name in HALVED else None for (_, dose, _), name in zip(pieces, unit, strict=True)]
    return _Doses(
        item=item,
        edges=upper_edges(item, floats(table["weight"])),
        due=words.numbers(table["dose_val_rx"]),
        amount=words.numbers(table["form_val_disp"]),
        frequency=np.array([frequencies.get(name, IDLE) for name in table["frequency"]], dtype=np.int64),
        pieces=np.array([count for count, _, _ in pieces], dtype=np.int64),
        piece_dose=words.numbers(pl.Series([dose for _, dose, _ in pieces])),
        piece_amount=words.numbers(pl.Series([amount for _, _, amount in pieces])),
        half=words.numbers(pl.Series(halves)),
    )


def _pieces(dose: str | None, amount: str | None, unit: str | None) -> tuple[int, str | None, str | None]:
    """Return how many pieces are scanned for a dose, and the dose and amount of each: of '5-10' the lower is given."""
    if dose is None or amount is None:
        return 1, dose, amount
    low, few = dose.split("-")[0].replace(",", ""), amount.split("-")[0].replace(",", "")
    try:
        whole, number = float(low), float(few)
    except ValueError:
        return 1, low, few
    if unit in PIECES and number in (2, 3, 4, 5, 6):
        return int(number), f"{whole / number:.6g}", "1"
    return 1, low, few


def _half(dose: str | None) -> str | None:
    try:
        return None if dose is None else f"{float(dose) / 2:.6g}"
    except ValueError:
        return None
