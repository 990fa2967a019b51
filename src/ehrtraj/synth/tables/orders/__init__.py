"""Draw orders and their execution: poe, poe_detail, pharmacy, prescriptions, emar and emar_detail.

An order is a chain of rows of poe: New, then Changes that each end the previous row, then possibly D/C. Each link of a
chain that orders a drug has rows in pharmacy and prescriptions, and its administrations are rows of emar.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.orders.administrations import draw_emar_rows
from ehrtraj.synth.tables.orders.chains import draw_orders
from ehrtraj.synth.tables.orders.columns import numbered_ids
from ehrtraj.synth.tables.orders.emar import emar_detail_frame, emar_frame
from ehrtraj.synth.tables.orders.pharmacy import draw_fills, pharmacy_frame, prescriptions_frame
from ehrtraj.synth.tables.orders.poe import poe_detail_frame, poe_frame

__all__ = ["draw"]


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return poe, poe_detail, pharmacy, prescriptions, emar and emar_detail for a block."""
    orders = draw_orders(block)
    poe_ids = numbered_ids(block, orders.person, orders.number)
    fills = draw_fills(block, orders)
    emar = draw_emar_rows(block, orders, fills)
    emar_ids = numbered_ids(block, emar.person, emar.number)
    return {
        "hosp/poe": poe_frame(block, orders, poe_ids),
        "hosp/poe_detail": poe_detail_frame(block, orders, poe_ids),
        "hosp/pharmacy": pharmacy_frame(block, orders, fills, poe_ids),
        "hosp/prescriptions": prescriptions_frame(block, orders, fills, poe_ids),
        "hosp/emar": emar_frame(block, orders, emar, poe_ids, emar_ids),
        "hosp/emar_detail": emar_detail_frame(block, emar, emar_ids),
    }
