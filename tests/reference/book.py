"""What was traded, and what follows from it.

A trade that is flat has realized exactly proceeds less cost. What is open is carried at its average cost, so

    realized = direction * (proceeds - cost of what left) + the venue's figures for what left without one

where the cost of what left is all that was paid, less what is open, less what left without a figure.
"""

from __future__ import annotations

from tests.reference.numbers import divide_down, divide_up, fits
from tests.reference.state import Book, Execution, Slot


def realized_pnl(book: Book, direction: int) -> int:
    cost = book.entry_notional - book.open_cost - book.skipped_cost
    return fits(direction * (book.exit_notional - cost) + book.venue_realized)


def notional(slot: Slot, amount_scale: int, price: int, qty: int) -> int:
    """price x qty x multiplier as an amount: exact, since the scales of an instrument fit the account's."""
    units = fits(fits(qty * slot.multiplier) * 10 ** (amount_scale - slot.price_scale - slot.qty_scale))
    return fits(units * price)


def unrealized_pnl(slot: Slot, book: Book, amount_scale: int, mark: int) -> int:
    """What is open at its mark, less its cost; nothing without a mark, or while some of what is open has no cost."""
    if book.open_qty == 0 or mark == 0 or book.entry_unpriced_qty > 0 or book.surplus_unpriced_qty > 0:
        return 0
    value = notional(slot, amount_scale, mark, book.open_qty)
    return fits(fits(value - book.open_cost) * slot.direction)


def add(book: Book, direction: int, execution: Execution) -> None:
    """Fold a fill. Finds what it realized, and whether it was skipped for want of a price (its own, or its entry's)."""
    before = realized_pnl(book, direction)
    execution.is_skipped = int(not execution.has_price or (execution.is_exit and book.entry_unpriced_qty > 0))
    booked_notional = 0 if execution.is_skipped else execution.notional
    execution.skipped_cost = _move_position(book, direction, execution, booked_notional)
    book.skipped_cost = fits(book.skipped_cost + execution.skipped_cost)
    if execution.is_exit:
        book.exit_qty = fits(book.exit_qty + execution.qty)
        book.exit_notional = fits(book.exit_notional + booked_notional)
        book.skipped_count += execution.is_skipped
        book.skipped_qty += execution.qty if execution.is_skipped else 0
    else:
        book.entry_qty = fits(book.entry_qty + execution.qty)
        book.entry_notional = fits(book.entry_notional + booked_notional)
        book.entry_unpriced_qty += execution.qty if execution.is_skipped else 0
    execution.realized = fits(realized_pnl(book, direction) - before)


def _move_position(book: Book, direction: int, execution: Execution, booked_notional: int) -> int:
    """Close what stands against the fill, open the rest of it; returns what of it realizes nothing.

    That is the cost a fill without a figure closes; or the notional with which an entry closes a surplus that has no
    cost because it was left without a figure. What has a cost is closed first.
    """
    standing_qty = book.open_qty
    change_qty = -execution.qty if execution.is_exit else execution.qty
    reduces = standing_qty * change_qty < 0
    closed_qty = min(execution.qty, abs(standing_qty)) if reduces else 0
    opened_qty = execution.qty - closed_qty
    costed_qty = abs(standing_qty) - book.surplus_unpriced_qty
    costless_qty = max(closed_qty - costed_qty, 0)
    removed_cost = _cost_share(book.open_cost, closed_qty - costless_qty, costed_qty, direction)
    book.surplus_unpriced_qty -= costless_qty
    if execution.is_exit and execution.is_skipped:
        book.surplus_unpriced_qty = fits(book.surplus_unpriced_qty + opened_qty)
    opened_cost = booked_notional * opened_qty // execution.qty
    book.open_cost = fits(fits(book.open_cost - removed_cost) + (-opened_cost if execution.is_exit else opened_cost))
    return removed_cost if execution.is_skipped else booked_notional * costless_qty // execution.qty


def _cost_share(cost: int, part_qty: int, whole_qty: int, direction: int) -> int:
    """The share of the cost that leaves with a part: rounded so that we realize less; the last part takes the rest."""
    if part_qty in (0, whole_qty):
        return cost if part_qty else 0
    return (divide_up if direction > 0 else divide_down)(cost * part_qty, whole_qty)


def remove(book: Book, direction: int, execution: Execution) -> None:
    """Unfold a fill that the venue took back."""
    booked_notional = 0 if execution.is_skipped else execution.notional
    if execution.is_exit:
        book.exit_qty -= execution.qty
        book.exit_notional -= booked_notional
        if execution.is_skipped:
            book.skipped_qty -= execution.qty
            book.skipped_count -= not execution.is_settled
            book.venue_realized = fits(book.venue_realized - execution.venue_realized)
    else:
        book.entry_qty -= execution.qty
        book.entry_notional -= booked_notional
        book.entry_unpriced_qty -= execution.qty if execution.is_skipped else 0
    _average_again(book, direction)


def _share(amount: int, part_qty: int, whole_qty: int, *, up: bool) -> int:
    """The part of an amount that goes with a part of its quantity; all of it with all."""
    if part_qty == whole_qty:
        return amount if whole_qty else 0
    return (divide_up if up else divide_down)(amount * part_qty, whole_qty)


def _average_again(book: Book, direction: int) -> None:
    """After a bust the order of fills is no guide any more: all is carried at the mean of the fills with a figure.

    What has no figure is taken to be open first; what it closed all the same realizes nothing.
    """
    against_us = direction > 0
    entry_qty, exit_qty = book.entry_qty - book.entry_unpriced_qty, book.exit_qty - book.skipped_qty
    standing_qty, surplus_qty = max(book.open_qty, 0), max(-book.open_qty, 0)
    unpriced_open_qty, skipped_open_qty = min(book.entry_unpriced_qty, standing_qty), min(book.skipped_qty, surplus_qty)
    without_figure = (book.entry_unpriced_qty - unpriced_open_qty) + (book.skipped_qty - skipped_open_qty)
    book.surplus_unpriced_qty = skipped_open_qty
    closed_qty = max(min(book.entry_qty, book.exit_qty) - without_figure, 0)
    standing_qty, surplus_qty = standing_qty - unpriced_open_qty, surplus_qty - skipped_open_qty
    standing = _share(book.entry_notional, standing_qty, entry_qty, up=not against_us)
    surplus = _share(book.exit_notional, surplus_qty, exit_qty, up=against_us)
    cost = _share(book.entry_notional, closed_qty, entry_qty, up=against_us)
    proceeds = _share(book.exit_notional, closed_qty, exit_qty, up=not against_us)
    book.open_cost = fits(standing - surplus)
    book.skipped_cost = fits(proceeds - cost - book.exit_notional + book.entry_notional - book.open_cost)
