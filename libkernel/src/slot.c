/* What can be asked of one slot. */
#include "internal.h"

/* price x qty x multiplier, exactly: ENTER and ADOPT saw to it that the scales fit. */
bool lk_slot_notional(const lk_slot_t *slot, uint32_t amount_scale, int64_t price, int64_t qty, int64_t *notional)
{
    uint32_t scale = (uint32_t)slot->price_scale + slot->qty_scale;
    int64_t contracts = 0;
    LK_ASSERT(scale <= amount_scale);
    return lk_multiply(qty, slot->multiplier, &contracts) &&
           lk_multiply(contracts, lk_power_of_ten(amount_scale - scale), &contracts) &&
           lk_multiply(contracts, price, notional);
}

/* What is open at its mark, less what it cost. Nothing without a mark, or while the basis is missing (K08). */
bool lk_slot_unrealized(const lk_slot_t *slot, const lk_book_t *book, int64_t mark, uint32_t amount_scale,
                        int64_t *unrealized)
{
    int64_t open_qty = book->entry_qty - book->exit_qty;
    int64_t value = 0;
    *unrealized = 0;
    if (open_qty == 0 || mark == 0 || book->entry_unpriced_qty > 0 || book->surplus_unpriced_qty > 0) return true;
    if (!lk_slot_notional(slot, amount_scale, mark, open_qty, &value)) return false;
    if (!lk_subtract(value, book->open_cost, &value)) return false;
    return lk_multiply(value, lk_slot_direction(slot), unrealized);
}

/* Figures that may not be negative are looked at together, by their signs. Where both sides of a difference are not
 * negative it cannot overflow; else the signs tell already. */
bool lk_order_is_sound(const lk_order_t *order)
{
    uint64_t rest = (uint64_t)order->cum_qty - (uint64_t)order->priced_qty;
    int64_t signs = order->cum_qty | order->priced_qty | (int64_t)rest | order->cum_notional;
    return signs >= 0 && order->life > LK_LIFE_NONE && order->life < LK_LIFE_COUNT && order->order_qty > 0;
}

bool lk_book_is_sound(const lk_book_t *book)
{
    uint64_t entry_rest = (uint64_t)book->entry_qty - (uint64_t)book->entry_unpriced_qty;
    uint64_t exit_rest = (uint64_t)book->exit_qty - (uint64_t)book->skipped_qty;
    uint64_t surplus_rest = (uint64_t)book->skipped_qty - (uint64_t)book->surplus_unpriced_qty;
    uint64_t waiting_rest = (uint64_t)book->skipped_qty - (uint64_t)book->skipped_count; /* each is of 1 or more */
    int64_t signs = book->entry_qty | book->exit_qty | book->entry_unpriced_qty | book->skipped_qty |
                    book->surplus_unpriced_qty | book->skipped_count | book->entry_notional | book->exit_notional |
                    (int64_t)entry_rest | (int64_t)exit_rest | (int64_t)surplus_rest | (int64_t)waiting_rest;
    return signs >= 0;
}

bool lk_slot_is_sound(const lk_slot_t *slot)
{
    if (slot->trade_sequence == 0) return slot->entry.life == LK_LIFE_NONE && slot->book.entry_qty == 0;
    if (!lk_order_is_sound(&slot->entry)) return false;
    for (uint32_t i = 0; i < lk_slot_exits_kept(slot); i++) {
        if (!lk_order_is_sound(&slot->exits[i])) return false;
    }
    if (slot->is_bracket && !lk_order_is_sound(&slot->protectives[0])) return false;
    if (slot->is_bracket && slot->has_target_price && !lk_order_is_sound(&slot->protectives[1])) return false;
    return lk_book_is_sound(&slot->book) && slot->price_scale + slot->qty_scale <= (int)LK_SCALE_MAX;
}
