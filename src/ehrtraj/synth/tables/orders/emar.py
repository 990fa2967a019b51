"""Draws emar and emar_detail: what is charted of each dose."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import NONE, Bools, Ints, pick, repeat, times
from ehrtraj.synth.tables.orders.chains import Orders
from ehrtraj.synth.tables.orders.columns import IDLE, digits, hadm_ids, positions, providers, same, take, with_null
from ehrtraj.synth.tables.orders.draws import share_of
from ehrtraj.synth.tables.orders.drugs import read_drugs
from ehrtraj.synth.tables.orders.given import Given
from ehrtraj.synth.tables.orders.schedules import ANY, END, MIDDLE, START, read_events

NO_RATE, SAME, RATE_CHANGED, INCREASE, DECREASE, INITIAL, TITRATED = -1, 0, 1, 2, 3, 4, 5
ADJUSTMENTS = pl.Series(
    ["No Change in Rate", "Rate Changed", "Increase", "Decrease", "Initial Rate", "See Flowsheet for Titration", None]
)


def emar_frame(
    block: PatientBlock, orders: Orders, given: Given, labels: pl.Series, emar_labels: pl.Series
) -> pl.DataFrame:
    """Return emar."""
    rng = block.streams.rng("emar rows")
    count = len(given.person)
    provider = rng.integers(0, len(providers()) - 1, count)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(given.person),
            "hadm_id": hadm_ids(block, orders.episode[given.order]),
            "emar_id": emar_labels,
            "emar_seq": given.number,
            "poe_id": labels[positions(given.order)],
            "pharmacy_id": take(*_known(given.pharmacy_id)),
            "enter_provider_id": take(
                providers(), np.where(rng.random(count) < share_of("no_enter_provider"), IDLE, provider)
            ),
            "charttime": times(given.chart),
            "medication": take(read_drugs().texts["medication"], given.item),
            "event_txt": take(read_events().text, given.event),
            "scheduletime": times(given.due),
            "storetime": times(given.store),
        }
    )


_Texts = dict[str, tuple[pl.Series, Ints]]
"""Columns as values, with null at the end, and which of them each row has."""


def emar_detail_frame(block: PatientBlock, given: Given, labels: pl.Series) -> pl.DataFrame:
    """Return for each row of emar what was due, and below it each product that was given."""
    rng = block.streams.rng("emar_detail")
    drugs, events = read_drugs(), read_events()
    whole = given.product & (events.shares["dose_given"][given.event] > 0.5) & ~drugs.scale[given.item]
    pieces = np.where(whole, drugs.doses.pieces[given.dose], given.product)
    halved = (
        whole
        & (pieces == 1)
        & (drugs.doses.half[given.dose] >= 0)
        & (rng.random(len(whole)) < share_of("half_strength"))
    )
    row, ordinal = repeat(1 + pieces + halved)
    # Half of the columns belong to the dose as a whole and stand in its first row only, the others to its products.
    due, below = np.flatnonzero(ordinal == 0), np.flatnonzero(ordinal > 0)
    units = drugs.unit_words[pick(rng, drugs.unit_weights, len(given.person))]
    product = row[below]
    texts = _due_texts(rng, given, units) | _rate_texts(rng, given)
    columns = {name: _spread(values, index, due, len(row)) for name, (values, index) in texts.items()}
    texts = _product_texts(rng, given, product, units[product], halved[product])
    columns |= {name: _spread(values, index, below, len(row)) for name, (values, index) in texts.items()}
    columns |= {
        "subject_id": block.subject_id(given.person[row]),
        "emar_id": labels[positions(row)],
        "emar_seq": pl.Series(given.number[row]),
        "parent_field_ordinal": take(_piece_numbers(), np.where(ordinal > 0, ordinal, IDLE)),
        "continued_infusion_in_other_location": same(None, len(row)),
        "non_formulary_visual_verification": same(None, len(row)),
    }
    return pl.DataFrame({name: columns[name] for name in DETAIL_COLUMNS})


def _spread(values: pl.Series, index: Ints, places: Ints, count: int) -> pl.Series:
    """Return values[index] at some places of a column that is null elsewhere; the last value is null."""
    whole = np.full(count, len(values) - 1, dtype=np.uint32)
    whole[places] = np.where(index < 0, len(values) - 1, index)
    column: pl.Series = values[pl.Series(whole)]
    return column


def _known(numbers: Ints) -> tuple[pl.Series, Ints]:
    """Return numbers and their own positions; NONE is null."""
    return with_null(pl.Series(numbers)), np.where(numbers == NONE, IDLE, np.arange(len(numbers)))


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
def _answers() -> pl.Series:
    return pl.Series(["No", "Yes", None], dtype=pl.String)


@cache
def _marks() -> pl.Series:
    return pl.Series(["Y", "N", None], dtype=pl.String)


def _chosen(rng: np.random.Generator, field: str, where: Bools) -> tuple[pl.Series, Ints]:
    """Draw a value of choices_orders.csv for the rows where it is wanted."""
    values, weights = catalog.choices(field)
    index = np.full(len(where), IDLE)
    index[where] = pick(rng, weights, int(where.sum()))
    return with_null(values), index


def _due_texts(rng: np.random.Generator, given: Given, units: Ints) -> _Texts:
    drugs, item = read_drugs(), given.item
    draws = rng.random((3, len(item)))

    def shown(share: str, place: int) -> Bools:
        seen: Bools = draws[place] < read_events().shares[share][given.event]
        return seen

    rate = np.where(given.rate >= 0, drugs.rate_words[given.rate], IDLE)
    ordered = np.where(given.titrated & (drugs.range_word[item] >= 0), drugs.range_word[item], rate)
    due = np.where(given.rate >= 0, ordered, drugs.doses.due[given.dose])
    due = np.where(drugs.scale[item], np.where(given.product, units, drugs.nothing), due)
    unit = drugs.texts["dose_due_unit"], drugs.texts["rate_unit"]
    later = shown("remainder_yes", 2) & shown("remainder", 1)
    standard = drugs.standard[item]
    return {
        "administration_type": (drugs.texts["administration"], item),
        "reason_for_no_barcode": _chosen(rng, "orders_no_barcode", standard & given.product & ~given.scanned),
        "complete_dose_not_given": (_answers(), np.where(shown("complete", 1), 0, IDLE)),
        "dose_due": (drugs.words, np.where(shown("dose_due", 0), due, IDLE)),
        "dose_due_unit": (pl.concat(unit), np.where(given.rate >= 0, len(unit[0]) + item, item)),
        "will_remainder_of_dose_be_given": (_answers(), np.where(shown("remainder", 1), later.astype(np.int64), IDLE)),
        "route": (
            drugs.mouths,
            np.where(standard & drugs.mouth[item] & given.product, draws[0] < share_of("by_tube"), IDLE),
        ),
        "completion_interval": _chosen(rng, "orders_completion", later),
        "side": _chosen(rng, "orders_side", drugs.patch[item] & (given.place == START) & given.product),
        "site": _chosen(rng, "orders_site", drugs.patch[item] & (given.place == START) & given.product),
    }


def _rate_texts(rng: np.random.Generator, given: Given) -> _Texts:
    drugs, item = read_drugs(), given.item
    wording, running = drugs.wording[item], given.place < ANY
    told = running & (wording > 0) & given.product & (given.place != END)
    old, new = drugs.rate_values[given.prior], drugs.rate_values[given.rate]
    changed = np.where(wording == 1, RATE_CHANGED, np.where(new > old, INCREASE, DECREASE))
    adjusted = np.where(given.place == START, INITIAL, np.where(new == old, SAME, changed))
    adjusted = np.where(told, np.where(given.titrated, TITRATED, adjusted), NO_RATE)
    known = told & ~given.titrated
    by_how_much = (adjusted == INCREASE) | (adjusted == DECREASE)
    stopped = (
        running
        & (given.place == END)
        & given.product
        & (wording > 0)
        & (rng.random(len(item)) < share_of("completion_told"))
    )
    resumed = stopped & (rng.random(len(item)) < share_of("incomplete"))
    bag = told & (given.place == MIDDLE) & (rng.random(len(item)) < share_of("new_bag"))
    return {
        "prior_infusion_rate": (
            drugs.words,
            np.where(known & (given.place == MIDDLE), drugs.rate_words[given.prior], IDLE),
        ),
        "infusion_rate": (drugs.words, np.where(known, drugs.rate_words[given.rate], IDLE)),
        "infusion_rate_adjustment": (ADJUSTMENTS, adjusted),
        "infusion_rate_adjustment_amount": (
            digits(2048),
            np.where(by_how_much, np.abs(new - old), IDLE).astype(np.int64),
        ),
        "infusion_rate_unit": (drugs.texts["rate_unit"], np.where(told, item, IDLE)),
        "infusion_complete": (_marks(), np.where(stopped, resumed.astype(np.int64), IDLE)),
        "new_iv_bag_hung": (_marks(), np.where(bag, 0, IDLE)),
        "restart_interval": _chosen(rng, "orders_restart", resumed),
    }


def _product_texts(rng: np.random.Generator, given: Given, row: Ints, units: Ints, halved: Bools) -> _Texts:
    drugs, events = read_drugs(), read_events()
    item, event, dose = given.item[row], given.event[row], given.dose[row]
    draws = rng.random(len(row))
    fluid = (given.rate[row] >= 0) & (drugs.wording[item] == 0)
    amount = np.where(fluid, drugs.rate_words[given.rate[row]], drugs.doses.piece_dose[dose])
    amount = np.where(drugs.scale[item], units, np.where(halved, drugs.doses.half[dose], amount))
    scanned = np.where(given.scanned[row], item, IDLE)
    measured = draws < events.shares["amount"][event]
    return {
        "pharmacy_id": _known(given.pharmacy_id[row]),
        "barcode_type": (drugs.texts["barcode_type"], scanned),
        "dose_given": (drugs.words, np.where(draws < events.shares["dose_given"][event], amount, IDLE)),
        "dose_given_unit": (
            drugs.texts["dose_given_unit"],
            np.where(draws < events.shares["dose_unit"][event], item, IDLE),
        ),
        "product_amount_given": (drugs.words, np.where(measured, drugs.doses.piece_amount[dose], IDLE)),
        "product_unit": (drugs.texts["product_unit"], np.where(measured, item, IDLE)),
        "product_code": (drugs.texts["product_code"], scanned),
        "product_description": (drugs.texts["product_description"], scanned),
        "product_description_other": (drugs.texts["product_other"], scanned),
    }
