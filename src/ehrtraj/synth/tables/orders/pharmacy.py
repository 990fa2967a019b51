"""Draw pharmacy and prescriptions: how the pharmacy fills drug orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, MINUTE, NONE, Bools, Floats, Ints, pick, repeat, times
from ehrtraj.synth.tables.orders.chains import (
    AT_DISCHARGE,
    CHANGED,
    DROPPED,
    EXPIRED,
    NEW,
    STATUSES,
    STOP,
    STOPPED,
    ProviderOrders,
)
from ehrtraj.synth.tables.orders.columns import MISSING, positions, providers, same, take
from ehrtraj.synth.tables.orders.draws import SharedDraws, lag, pick_member, share_of
from ehrtraj.synth.tables.orders.drugs import read_drugs
from ehrtraj.synth.tables.orders.kinds import PER, read_kinds
from ehrtraj.synth.tables.orders.schedules import read_frequencies

OF_PHARMACY = (
    "medication", "proc_type", "route", "infusion_type", "sliding_scale", "lockout_interval", "basal_rate",
    "one_hr_max", "expiration_value", "expiration_unit", "dispensation",
)  # fmt: skip
OF_PRESCRIPTIONS = (
    "drug_type", "drug", "formulary_drug_cd", "gsn", "ndc", "prod_strength", "dose_unit_rx", "form_unit_disp",
)  # fmt: skip


@dataclass(frozen=True)
class Fills:
    """Rows of pharmacy, by patient, start and pharmacy_id."""

    order: Ints
    pharmacy_id: Ints
    dose: Ints
    """Position in the doses of the catalog."""
    start: Ints
    stop: Ints
    """NONE without an end."""
    limit: Ints
    """Number of hours to which the order was limited, or -1."""
    ending: Ints
    main: Bools
    """The row is the first of its order. Doses are charted against it."""


def draw_fills(block: PatientBlock, orders: ProviderOrders) -> Fills:
    """Draw how the pharmacy fills drug orders, one element per row of pharmacy."""
    rng = block.streams.rng("pharmacy")
    kinds, drugs = read_kinds(), read_drugs()
    is_drug_order = (orders.kind < kinds.drugs) & (orders.action != STOP)
    order = np.flatnonzero(is_drug_order & (orders.episode < len(block.admissions.person)))
    order = order[rng.random(len(order)) < drugs.filled[orders.kind[order]]]
    copies, ordinal = repeat(1 + (rng.random(len(order)) < share_of("second_pharmacy_row")))
    order = order[copies]
    item = orders.kind[order]
    dose = pick_member(drugs.doses.edges, item, _dose_draws(block, rng, orders, order, ordinal))
    # A second row has another strength or dose if the drug has one.
    following = np.minimum(dose + 1, len(drugs.doses.item) - 1)
    dose = np.where((ordinal > 0) & (drugs.doses.item[following] == item), following, dose)
    start = -(-orders.time[order] // HOUR) * HOUR
    # Some orders start at a later hour instead of immediately.
    late = (rng.random(len(order)) < share_of("starts_later")) & (kinds.days[item] > 0)
    start += np.where(late, rng.integers(1, 20, len(order)), 0) * HOUR
    ending = orders.ending[order]
    stop = np.where(ending == AT_DISCHARGE, orders.until[order] + 4 * HOUR, orders.until[order]) // HOUR * HOUR
    start = np.where(late & (stop <= start), -(-orders.time[order] // HOUR) * HOUR, start)
    stop = np.maximum(stop, start + HOUR)
    limit, stop, ending = _limits(rng, dose, start, stop, ending)
    open_end = (take(kinds.order_type, item) == "TPN").to_numpy()
    columns = {
        "order": order,
        "pharmacy_id": block.streams.unique_ids("pharmacy", len(order)),
        "dose": dose,
        "start": start,
        "stop": np.where(open_end, NONE, stop),
        "limit": limit,
        "ending": np.where(
            (ending == CHANGED) & (rng.random(len(order)) < share_of("changed_as_discontinued")), STOPPED, ending
        ),
    }
    place = np.lexsort((columns["pharmacy_id"], start, orders.person[order]))
    return Fills(**{name: column[place] for name, column in columns.items()}, main=(ordinal == 0)[place])


def _dose_draws(
    block: PatientBlock, rng: np.random.Generator, orders: ProviderOrders, order: Ints, ordinal: Ints
) -> Floats:
    """Return uniform random numbers for the doses. The dose of a home drug is the same in every admission."""
    is_home_drug = read_kinds().per[orders.kind[order]] == PER.index("home")
    usual = is_home_drug & (orders.action[order] == NEW) & (ordinal == 0)
    habit = SharedDraws(rng)(orders.person[order], orders.kind[order], 3)
    return np.where(usual, habit, rng.random(len(order)))


def _limits(rng: np.random.Generator, dose: Ints, start: Ints, stop: Ints, ending: Ints) -> tuple[Ints, Ints, Ints]:
    """Limit some orders to a number of hours, after which they expire."""
    frequency = read_drugs().doses.frequency[dose]
    share = np.append(read_frequencies().limited, 0.0)[frequency]
    hours = (stop - start) // HOUR
    alone = (ending == EXPIRED) | (ending == DROPPED) | (ending == AT_DISCHARGE)
    limited = alone & (rng.random(len(dose)) < share * 2) & ~np.append(read_frequencies().single, True)[frequency]
    hours = np.where(hours >= 36, np.rint(hours / 24).astype(np.int64) * 24, hours)
    stop = np.where(limited, start + hours * HOUR, stop)
    return np.where(limited, hours, MISSING), stop, np.where(limited, EXPIRED, ending)


def pharmacy_frame(block: PatientBlock, orders: ProviderOrders, fills: Fills, poe_ids: pl.Series) -> pl.DataFrame:
    """Return pharmacy."""
    rng = block.streams.rng("pharmacy times")
    drugs, frequencies = read_drugs(), read_frequencies()
    order, item = fills.order, orders.kind[fills.order]
    count = len(order)
    rows = positions(item)
    text = {name: drugs.texts[name][rows] for name in OF_PHARMACY}
    frequency = drugs.doses.frequency[fills.dose]
    sched = np.append(frequencies.sched_number, MISSING)[frequency]
    hours = len(frequencies.names) - 1 + fills.start // HOUR % 24
    entered = orders.time[order] + (lag("enter_minutes", rng.random(count)) * MINUTE).astype(np.int64)
    verified = entered + np.where(rng.random(count) < share_of("verified_later"), rng.integers(60, 6 * HOUR, count), 0)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(orders.person[order]),
            "hadm_id": block.hadm_id(orders.episode[order]),
            "pharmacy_id": fills.pharmacy_id,
            "poe_id": poe_ids[positions(order)],
            "starttime": times(fills.start),
            "stoptime": times(fills.stop),
            "medication": text["medication"],
            "proc_type": text["proc_type"],
            "status": take(STATUSES, fills.ending),
            "entertime": times(entered),
            "verifiedtime": times(verified),
            "route": text["route"],
            "frequency": take(frequencies.names, frequency),
            "disp_sched": take(frequencies.sched, np.where(sched == -2, hours, sched)),
            "infusion_type": text["infusion_type"],
            "sliding_scale": text["sliding_scale"],
            "lockout_interval": text["lockout_interval"],
            "basal_rate": text["basal_rate"],
            "one_hr_max": text["one_hr_max"],
            "doses_per_24_hrs": take(frequencies.doses, frequency),
            **_duration(fills, item, frequency),
            "expiration_value": text["expiration_value"],
            "expiration_unit": text["expiration_unit"],
            "expirationdate": same(None, count, pl.Datetime("us")),
            "dispensation": _dispensation(rng, text["dispensation"]),
            "fill_quantity": same(None, count),
        }
    )


def _dispensation(rng: np.random.Generator, usual: pl.Series) -> pl.Series:
    """Return where the drug is dispensed, occasionally in another spelling."""
    values, weights = catalog.choices("orders_dispensation")
    spelled = values[positions(pick(rng, weights, len(usual)))]
    return usual.zip_with((usual != values[0]).fill_null(value=True), spelled)


def _duration(fills: Fills, item: Ints, frequency: Ints) -> dict[str, pl.Series]:
    frequencies = read_frequencies()
    names = len(frequencies.names) - 1
    days = names
    hours = names + 1
    doses = int(np.flatnonzero(frequencies.single)[0])
    once = np.append(frequencies.single, False)[frequency] | read_drugs().bolus[item]
    limited = fills.limit >= 0
    in_days = limited & (fills.limit % 24 == 0) & (fills.limit > 24)
    number = np.where(in_days, fills.limit // 24, np.where(limited, fills.limit, np.where(once, 1, 0)))
    interval = np.where(in_days, days, np.where(limited, hours, np.where(once, doses, frequency)))
    value = pl.concat([pl.Series([None], dtype=pl.Float64), pl.Series(np.arange(1.0, 24.0 * 64))])
    return {"duration": take(value, number), "duration_interval": take(frequencies.interval, interval)}


def prescriptions_frame(block: PatientBlock, orders: ProviderOrders, fills: Fills, poe_ids: pl.Series) -> pl.DataFrame:
    """Return prescriptions: the rows of pharmacy, with the carriers and additives of the drugs."""
    rng = block.streams.rng("prescriptions")
    drugs = read_drugs()
    item = orders.kind[fills.order]
    # Parenteral nutrition has no end and no prescription.
    fill, ordinal = repeat(np.where(fills.stop == NONE, 0, 1 + drugs.parts_count[item]))
    item, order, dose = item[fill], fills.order[fill], fills.dose[fill]
    main = ordinal == 0
    part = drugs.parts[np.where(main, 0, drugs.parts_first[item] + ordinal - 1)]
    rows = positions(np.where(main, item, len(drugs.filled) + part))
    text = {name: drugs.texts[name][rows] for name in OF_PRESCRIPTIONS}
    dose_text = np.where(main, drugs.doses.due[dose], drugs.base_dose[part])
    amount_text = np.where(main, drugs.doses.amount[dose], drugs.base_amount[part])
    stop = np.where(rng.random(len(fill)) < share_of("no_stop_in_prescriptions"), NONE, fills.stop[fill])
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(orders.person[order]),
            "hadm_id": block.hadm_id(orders.episode[order]),
            "pharmacy_id": fills.pharmacy_id[fill],
            "poe_id": poe_ids[positions(order)],
            "poe_seq": orders.number[order],
            "order_provider_id": take(providers(), orders.provider[order]),
            "starttime": times(fills.start[fill]),
            "stoptime": times(stop),
            "drug_type": text["drug_type"],
            "drug": text["drug"],
            "formulary_drug_cd": text["formulary_drug_cd"],
            "gsn": text["gsn"],
            "ndc": text["ndc"],
            "prod_strength": text["prod_strength"],
            "form_rx": same(None, len(fill)),
            "dose_val_rx": take(drugs.pool, dose_text),
            "dose_unit_rx": text["dose_unit_rx"],
            "form_val_disp": take(drugs.pool, amount_text),
            "form_unit_disp": text["form_unit_disp"],
            "doses_per_24_hrs": take(read_frequencies().doses, drugs.doses.frequency[dose]),
            "route": take(drugs.texts["route"], item),
        }
    )
