"""Draw emar and emar_detail: what is charted for each dose."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import NONE, Bools, Ints, pick, repeat, times
from ehrtraj.synth.tables.orders.administrations import EmarRows
from ehrtraj.synth.tables.orders.chains import ProviderOrders
from ehrtraj.synth.tables.orders.columns import MISSING, digits, hadm_ids, positions, providers, same, take, with_null
from ehrtraj.synth.tables.orders.draws import share_of
from ehrtraj.synth.tables.orders.drugs import read_drugs
from ehrtraj.synth.tables.orders.schedules import ANY, END, MIDDLE, START, read_events

NO_RATE, SAME, RATE_CHANGED, INCREASE, DECREASE, INITIAL, TITRATED = -1, 0, 1, 2, 3, 4, 5
ADJUSTMENTS = pl.Series(
    ["No Change in Rate", "Rate Changed", "Increase", "Decrease", "Initial Rate", "See Flowsheet for Titration", None]
)


def emar_frame(
    block: PatientBlock, orders: ProviderOrders, emar: EmarRows, poe_ids: pl.Series, emar_ids: pl.Series
) -> pl.DataFrame:
    """Return emar."""
    rng = block.streams.rng("emar rows")
    count = len(emar.person)
    provider = rng.integers(0, len(providers()) - 1, count)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(emar.person),
            "hadm_id": hadm_ids(block, orders.episode[emar.order]),
            "emar_id": emar_ids,
            "emar_seq": emar.number,
            "poe_id": poe_ids[positions(emar.order)],
            "pharmacy_id": take(*_pharmacy_ids(emar.pharmacy_id)),
            "enter_provider_id": take(
                providers(), np.where(rng.random(count) < share_of("no_enter_provider"), MISSING, provider)
            ),
            "charttime": times(emar.chart),
            "medication": take(read_drugs().texts["medication"], emar.item),
            "event_txt": take(read_events().text, emar.event),
            "scheduletime": times(emar.due),
            "storetime": times(emar.store),
        }
    )


_TextColumns = dict[str, tuple[pl.Series, Ints]]
"""Columns by name: their values followed by a null, and the position of the value for each row."""


def emar_detail_frame(block: PatientBlock, emar: EmarRows, emar_ids: pl.Series) -> pl.DataFrame:
    """Return emar_detail: for each row of emar a row with the dose that was due, then a row for each product."""
    rng = block.streams.rng("emar_detail")
    drugs, events = read_drugs(), read_events()
    whole_dose = emar.product & (events.shares["dose_given"][emar.event] > 0.5) & ~drugs.sliding_scale[emar.item]
    pieces = np.where(whole_dose, drugs.doses.pieces[emar.dose], emar.product)
    halved = (
        whole_dose
        & (pieces == 1)
        & (drugs.doses.half[emar.dose] >= 0)
        & (rng.random(len(whole_dose)) < share_of("half_strength"))
    )
    row, ordinal = repeat(1 + pieces + halved)
    # Half of the columns describe the dose and are filled only in its first row; the others describe its products.
    due, product_rows = np.flatnonzero(ordinal == 0), np.flatnonzero(ordinal > 0)
    units = drugs.unit_texts[pick(rng, drugs.unit_weights, len(emar.person))]
    product = row[product_rows]
    texts = _due_texts(rng, emar, units) | _rate_texts(rng, emar)
    columns = {name: _scatter(values, index, due, len(row)) for name, (values, index) in texts.items()}
    texts = _product_texts(rng, emar, product, units[product], halved[product])
    columns |= {name: _scatter(values, index, product_rows, len(row)) for name, (values, index) in texts.items()}
    columns |= {
        "subject_id": block.subject_id(emar.person[row]),
        "emar_id": emar_ids[positions(row)],
        "emar_seq": pl.Series(emar.number[row]),
        "parent_field_ordinal": take(_piece_numbers(), np.where(ordinal > 0, ordinal, MISSING)),
        "continued_infusion_in_other_location": same(None, len(row)),
        "non_formulary_visual_verification": same(None, len(row)),
    }
    return pl.DataFrame({name: columns[name] for name in DETAIL_COLUMNS})


def _scatter(values: pl.Series, index: Ints, places: Ints, count: int) -> pl.Series:
    """Return a column with values[index] at some positions and null elsewhere. The last value must be null."""
    whole_dose = np.full(count, len(values) - 1, dtype=np.uint32)
    whole_dose[places] = np.where(index < 0, len(values) - 1, index)
    column: pl.Series = values[pl.Series(whole_dose)]
    return column


def _pharmacy_ids(numbers: Ints) -> tuple[pl.Series, Ints]:
    """Return a column of IDs followed by a null, and the position of each ID; NONE becomes null."""
    return with_null(pl.Series(numbers)), np.where(numbers == NONE, MISSING, np.arange(len(numbers)))


DETAIL_COLUMNS = (
    "subject_id", "emar_id", "emar_seq", "parent_field_ordinal", "administration_type", "pharmacy_id", "barcode_type",
    "reason_for_no_barcode", "complete_dose_not_given", "dose_due", "dose_due_unit", "dose_given", "dose_given_unit",
    "will_remainder_of_dose_be_given", "product_amount_given", "product_unit", "product_code", "product_description",
    "product_description_other", "prior_infusion_rate", "infusion_rate", "infusion_rate_adjustment",
    "infusion_rate_adjustment_amount", "infusion_rate_unit", "route", "infusion_complete", "completion_interval",
    "new_iv_bag_hung", "continued_infusion_in_other_location", "restart_interval", "side", "site",
    "non_formulary_visual_verification",
)  # fmt: skip


@cache
def _piece_numbers() -> pl.Series:
    return pl.Series([*(f"1.{piece}" for piece in range(10)), None], dtype=pl.String)


@cache
def _yes_or_no() -> pl.Series:
    return pl.Series(["No", "Yes", None], dtype=pl.String)


@cache
def _y_or_n() -> pl.Series:
    return pl.Series(["Y", "N", None], dtype=pl.String)


def _chosen(rng: np.random.Generator, field: str, where: Bools) -> tuple[pl.Series, Ints]:
    """Draw a value of a field in choices_orders.csv for the rows where `where` is true."""
    values, weights = catalog.choices(field)
    index = np.full(len(where), MISSING)
    index[where] = pick(rng, weights, int(where.sum()))
    return with_null(values), index


def _due_texts(rng: np.random.Generator, emar: EmarRows, units: Ints) -> _TextColumns:
    drugs, item = read_drugs(), emar.item
    draws = rng.random((3, len(item)))

    def shown(share: str, place: int) -> Bools:
        seen: Bools = draws[place] < read_events().shares[share][emar.event]
        return seen

    rate = np.where(emar.rate >= 0, drugs.rate_texts[emar.rate], MISSING)
    ordered = np.where(emar.titrated & (drugs.range_text[item] >= 0), drugs.range_text[item], rate)
    due = np.where(emar.rate >= 0, ordered, drugs.doses.due[emar.dose])
    due = np.where(drugs.sliding_scale[item], np.where(emar.product, units, drugs.zero_text), due)
    unit = drugs.texts["dose_due_unit"], drugs.texts["rate_unit"]
    later = shown("remainder_yes", 2) & shown("remainder", 1)
    standard = drugs.standard[item]
    return {
        "administration_type": (drugs.texts["administration"], item),
        "reason_for_no_barcode": _chosen(rng, "orders_no_barcode", standard & emar.product & ~emar.scanned),
        "complete_dose_not_given": (_yes_or_no(), np.where(shown("complete", 1), 0, MISSING)),
        "dose_due": (drugs.pool, np.where(shown("dose_due", 0), due, MISSING)),
        "dose_due_unit": (pl.concat(unit), np.where(emar.rate >= 0, len(unit[0]) + item, item)),
        "will_remainder_of_dose_be_given": (
            _yes_or_no(),
            np.where(shown("remainder", 1), later.astype(np.int64), MISSING),
        ),
        "route": (
            drugs.oral_routes,
            np.where(standard & drugs.oral[item] & emar.product, draws[0] < share_of("by_tube"), MISSING),
        ),
        "completion_interval": _chosen(rng, "orders_completion", later),
        "side": _chosen(rng, "orders_side", drugs.patch[item] & (emar.place == START) & emar.product),
        "site": _chosen(rng, "orders_site", drugs.patch[item] & (emar.place == START) & emar.product),
    }


def _rate_texts(rng: np.random.Generator, emar: EmarRows) -> _TextColumns:
    drugs, item = read_drugs(), emar.item
    wording, running = drugs.wording[item], emar.place < ANY
    charted = running & (wording > 0) & emar.product & (emar.place != END)
    old, new = drugs.rate_values[emar.prior], drugs.rate_values[emar.rate]
    changed = np.where(wording == 1, RATE_CHANGED, np.where(new > old, INCREASE, DECREASE))
    adjusted = np.where(emar.place == START, INITIAL, np.where(new == old, SAME, changed))
    adjusted = np.where(charted, np.where(emar.titrated, TITRATED, adjusted), NO_RATE)
    known = charted & ~emar.titrated
    has_amount = (adjusted == INCREASE) | (adjusted == DECREASE)
    stopped = (
        running
        & (emar.place == END)
        & emar.product
        & (wording > 0)
        & (rng.random(len(item)) < share_of("completion_recorded"))
    )
    resumed = stopped & (rng.random(len(item)) < share_of("incomplete"))
    bag = charted & (emar.place == MIDDLE) & (rng.random(len(item)) < share_of("new_bag"))
    return {
        "prior_infusion_rate": (
            drugs.pool,
            np.where(known & (emar.place == MIDDLE), drugs.rate_texts[emar.prior], MISSING),
        ),
        "infusion_rate": (drugs.pool, np.where(known, drugs.rate_texts[emar.rate], MISSING)),
        "infusion_rate_adjustment": (ADJUSTMENTS, adjusted),
        "infusion_rate_adjustment_amount": (
            digits(2048),
            np.where(has_amount, np.abs(new - old), MISSING).astype(np.int64),
        ),
        "infusion_rate_unit": (drugs.texts["rate_unit"], np.where(charted, item, MISSING)),
        "infusion_complete": (_y_or_n(), np.where(stopped, resumed.astype(np.int64), MISSING)),
        "new_iv_bag_hung": (_y_or_n(), np.where(bag, 0, MISSING)),
        "restart_interval": _chosen(rng, "orders_restart", resumed),
    }


def _product_texts(rng: np.random.Generator, emar: EmarRows, row: Ints, units: Ints, halved: Bools) -> _TextColumns:
    drugs, events = read_drugs(), read_events()
    item, event, dose = emar.item[row], emar.event[row], emar.dose[row]
    draws = rng.random(len(row))
    fluid = (emar.rate[row] >= 0) & (drugs.wording[item] == 0)
    amount = np.where(fluid, drugs.rate_texts[emar.rate[row]], drugs.doses.piece_dose[dose])
    amount = np.where(drugs.sliding_scale[item], units, np.where(halved, drugs.doses.half[dose], amount))
    scanned = np.where(emar.scanned[row], item, MISSING)
    measured = draws < events.shares["amount"][event]
    return {
        "pharmacy_id": _pharmacy_ids(emar.pharmacy_id[row]),
        "barcode_type": (drugs.texts["barcode_type"], scanned),
        "dose_given": (drugs.pool, np.where(draws < events.shares["dose_given"][event], amount, MISSING)),
        "dose_given_unit": (
            drugs.texts["dose_given_unit"],
            np.where(draws < events.shares["dose_unit"][event], item, MISSING),
        ),
        "product_amount_given": (drugs.pool, np.where(measured, drugs.doses.piece_amount[dose], MISSING)),
        "product_unit": (drugs.texts["product_unit"], np.where(measured, item, MISSING)),
        "product_code": (drugs.texts["product_code"], scanned),
        "product_description": (drugs.texts["product_description"], scanned),
        "product_description_other": (drugs.texts["product_other"], scanned),
    }
