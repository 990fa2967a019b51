"""Drugs as arrays: doses, products, carriers and infusions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.tables.orders.columns import MISSING, codes_of, floats, floats_or, with_null
from ehrtraj.synth.tables.orders.draws import upper_edges
from ehrtraj.synth.tables.orders.schedules import read_events

PIECES = ("TAB", "CAP", "PKT", "UDCUP", "SUPP", "VIAL", "BAG", "AMP", "SYR", "PTCH", "HALF TAB", "LOZ")
"""Units that are scanned one by one if a dose needs several."""
HALVED = ("TAB", "CAP")


class _TextPool:
    """Texts that appear in several columns, each identified by a number; -1 is null."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Return the number of a text; new texts get a new number."""
        return MISSING if text is None else self._numbers.setdefault(text, len(self._numbers))

    def numbers(self, column: pl.Series) -> Ints:
        """Return the numbers of a column of texts."""
        return np.array([self.number(text) for text in column.cast(pl.String)], dtype=np.int64)

    def series(self) -> pl.Series:
        """Return the texts in the order of their numbers, followed by a null."""
        return pl.Series([*self._numbers, None], dtype=pl.String)


@dataclass(frozen=True)
class _Doses:
    """Doses in which drugs are ordered, sorted by drug."""

    item: Ints
    edges: Floats
    """Upper edges of the shares of doses. Those of drug i are between i and i + 1."""
    due: Ints
    amount: Ints
    frequency: Ints
    pieces: Ints
    piece_dose: Ints
    piece_amount: Ints
    half: Ints
    """Half of the dose of a piece, for pieces of half the strength; -1 if it is not a number."""


@dataclass(frozen=True)
class Drugs:
    """Doses, products and infusions of drugs, by number of the drug."""

    pool: pl.Series
    texts: dict[str, pl.Series]
    """Columns of drugs.csv, continued by those of drug_bases.csv and followed by a null."""
    parts_first: Ints
    parts_count: Ints
    """Position of the first part of each drug in `parts`, and number of its parts: its carrier and additives."""
    parts: Ints
    """Lines of drug_bases.csv. In `texts` they follow the drugs."""
    filled: Floats
    charted: Floats
    schedule: Ints
    """Schedule of the drug, or -1 if the frequency determines it."""
    administration: Ints
    oral: Bools
    standard: Bools
    sliding_scale: Bools
    bolus: Bools
    wording: Ints
    """How rates are charted. 0: not at all; 1: 'Rate Changed'; 2: 'Increase' and 'Decrease'."""
    titrated: Floats
    rate_first: Ints
    rate_count: Ints
    rate_texts: Ints
    rate_values: Floats
    range_text: Ints
    doses: _Doses
    base_dose: Ints
    base_amount: Ints
    unit_texts: Ints
    unit_weights: Floats
    zero_text: int
    """Number of the text 0."""
    oral_routes: pl.Series
    """The two routes of PO/NG as they are charted."""
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
    pool = _TextPool()
    schedules = {name: number for number, name in enumerate(catalog.read("drug_schedules.csv")["schedule"])}
    parts = [[] if text is None else text.split(";") for text in drugs["base"]]
    parts_count = np.array([len(names) for names in parts], dtype=np.int64)
    rates = [[] if text is None else text.split() for text in drips["rates"].cast(pl.String)]
    counts = np.array([len(rate_list) for rate_list in rates], dtype=np.int64)
    rate_list = [rate for rate_list in rates for rate in rate_list]
    kinds = read_events().administrations
    units, unit_weights = catalog.choices("orders_insulin_units")
    return Drugs(
        texts=_drug_texts(drugs, bases, drips),
        parts_first=np.cumsum(parts_count) - parts_count,
        parts_count=parts_count,
        parts=codes_of(pl.Series([name for names in parts for name in names]), tuple(bases["base"])),
        filled=floats(drugs["filled"]),
        charted=floats(drugs["charted"]),
        schedule=np.array([schedules.get(name, MISSING) for name in drugs["schedule"]], dtype=np.int64),
        administration=np.array([kinds[name] for name in drugs["administration"]], dtype=np.int64),
        oral=(drugs["route"].fill_null("") == "PO/NG").to_numpy(),
        standard=(drugs["administration"] == "Standard Maintenance Medication").to_numpy(),
        sliding_scale=(drugs["administration"] == "Insulin SC Sliding Scale").to_numpy(),
        bolus=(drugs["infusion_type"].fill_null("") == "B").to_numpy(),
        wording=codes_of(drips["wording"].fill_null(""), ("", "rate", "heparin")),
        titrated=floats_or(drips["titrated"], 0.0),
        rate_first=np.cumsum(counts) - counts,
        rate_count=counts,
        rate_texts=np.array([pool.number(rate) for rate in rate_list], dtype=np.int64),
        rate_values=np.array([float(rate) for rate in rate_list]),
        range_text=pool.numbers(drips["dose_due"]),
        base_dose=pool.numbers(bases["dose_val_rx"]),
        base_amount=pool.numbers(bases["form_val_disp"]),
        unit_texts=pool.numbers(units),
        unit_weights=unit_weights,
        zero_text=pool.number("0"),
        oral_routes=pl.Series(["PO", "NG", None], dtype=pl.String),
        patch=(drugs["administration"] == "Transdermal Patch").to_numpy(),
        doses=_doses(drugs, pool),
        pool=pool.series(),
    )


def _drug_texts(drugs: pl.DataFrame, bases: pl.DataFrame, drips: pl.DataFrame) -> dict[str, pl.Series]:
    drugs = drugs.with_columns(drips["rate_unit"])
    # The CSV reader turns codes of digits into numbers. Their leading zeros are restored here.
    combined = pl.concat([drugs, bases], how="diagonal_relaxed")
    codes = [pl.col("gsn").cast(pl.String).str.zfill(6)]
    ndc = pl.col("ndc").cast(pl.String)
    codes.append(pl.when(ndc == "0").then(ndc).otherwise(ndc.str.zfill(11)))
    combined = combined.with_columns(codes).select(
        *(pl.col(name).cast(pl.String) for name in TEXTS),
        pl.col("expiration_value").cast(pl.Int64),
        pl.col("basal_rate").cast(pl.Float64),
    )
    return {column.name: with_null(column) for column in combined}


def _doses(drugs: pl.DataFrame, pool: _TextPool) -> _Doses:
    """Return the doses of drug_doses.csv, and the usual dose for drugs without an entry."""
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
        due=pool.numbers(table["dose_val_rx"]),
        amount=pool.numbers(table["form_val_disp"]),
        frequency=np.array([frequencies.get(name, MISSING) for name in table["frequency"]], dtype=np.int64),
        pieces=np.array([count for count, _, _ in pieces], dtype=np.int64),
        piece_dose=pool.numbers(pl.Series([dose for _, dose, _ in pieces])),
        piece_amount=pool.numbers(pl.Series([amount for _, _, amount in pieces])),
        half=pool.numbers(pl.Series(halves)),
    )


def _pieces(dose: str | None, amount: str | None, unit: str | None) -> tuple[int, str | None, str | None]:
    """Return the number of pieces scanned for a dose, and the dose and amount of each piece; '5-10' counts as 5."""
    if dose is None or amount is None:
        return 1, dose, amount
    low, low_amount = dose.split("-")[0].replace(",", ""), amount.split("-")[0].replace(",", "")
    try:
        total, number = float(low), float(low_amount)
    except ValueError:
        return 1, low, low_amount
    if unit in PIECES and number in (2, 3, 4, 5, 6):
        return int(number), f"{total / number:.6g}", "1"
    return 1, low, low_amount


def _half(dose: str | None) -> str | None:
    try:
        return None if dose is None else f"{float(dose) / 2:.6g}"
    except ValueError:
        return None
