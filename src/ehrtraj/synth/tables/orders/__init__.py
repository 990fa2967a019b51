"""Orders and what came of them: poe, poe_detail, pharmacy, prescriptions, emar and emar_detail.

An order is a chain of rows of poe: New, then Changes that each end the one before, then perhaps D/C. Each link of a
chain that orders a drug has its rows in pharmacy and prescriptions, and is given, row by row, in emar.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.orders.chains import draw_orders
from ehrtraj.synth.tables.orders.columns import labels_of
from ehrtraj.synth.tables.orders.emar import emar_detail_frame, emar_frame
from ehrtraj.synth.tables.orders.given import draw_given
from ehrtraj.synth.tables.orders.pharmacy import draw_fills, pharmacy_frame, prescriptions_frame
from ehrtraj.synth.tables.orders.poe import poe_detail_frame, poe_frame

__all__ = ["draw"]


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the orders of the block's patients and everything done about them."""
    orders = draw_orders(block)
    labels = labels_of(block, orders.person, orders.number)
    fills = draw_fills(block, orders)
    given = draw_given(block, orders, fills)
    emar_labels = labels_of(block, given.person, given.number)
    return {
        "hosp/poe": poe_frame(block, orders, labels),
        "hosp/poe_detail": poe_detail_frame(block, orders, labels),
        "hosp/pharmacy": pharmacy_frame(block, orders, fills, labels),
        "hosp/prescriptions": prescriptions_frame(block, orders, fills, labels),
        "hosp/emar": emar_frame(block, orders, given, labels, emar_labels),
        "hosp/emar_detail": emar_detail_frame(block, given, emar_labels),
    }
