/* What was traded, as cumulative facts, and what follows from them. Pure: a book in, a book out.
 *
 * A book is changed in a copy; `false` means that a figure would not fit, and the copy is thrown away.
 */
#include "internal.h"

bool lk_book_realized(const lk_book_t *book, int direction, int64_t *realized)
{
    int64_t narrow = 0;
    bool fits = lk_subtract(book->exit_notional, book->entry_notional, &narrow);
    fits &= lk_add(narrow, book->open_cost, &narrow);
    fits &= lk_add(narrow, book->skipped_cost, &narrow);
    fits &= lk_multiply(narrow, direction, &narrow);
    fits &= lk_add(narrow, book->venue_realized, realized);
    if (fits) return true;
    lk_wide_t gain = (lk_wide_t)book->exit_notional - book->entry_notional + book->open_cost + book->skipped_cost;
    return lk_narrow(gain * direction + book->venue_realized, realized); /* only a part of the sum did not fit */
}

/* The share of cost that leaves with part_qty of whole_qty, rounded so that we realize less: the dearer side of a long,
 * the cheaper of a short. All of it leaves with all of the quantity. */
static int64_t cost_share(int64_t cost, int64_t part_qty, int64_t whole_qty, int direction)
{
    LK_ASSERT(part_qty > 0 && part_qty <= whole_qty);
    if (part_qty == whole_qty) return cost;
    lk_wide_t product = (lk_wide_t)cost * part_qty; /* |share| <= |cost|: it fits */
    return (int64_t)(direction > 0 ? lk_divide_up(product, whole_qty) : lk_divide_down(product, whole_qty));
}

/* Of the notional of a fill, what belongs to a part of it; exact: a notional is a multiple of its quantity. */
static int64_t notional_of(int64_t notional, int64_t part_qty, int64_t qty)
{
    if (part_qty == 0) return 0;
    return part_qty == qty ? notional : (int64_t)((lk_wide_t)notional * part_qty / qty);
}

/* Move the open position by a fill; *skipped_cost is what of it realizes nothing: the cost that a fill without a figure
 * closes, or the notional with which an entry closes a surplus without one. With a figure is closed first. */
static bool move_position(lk_book_t *book, int direction, const lk_execution_t *execution, int64_t notional,
                          int64_t *skipped_cost)
{
    bool is_exit = execution->is_exit != 0;
    int64_t qty = execution->qty;
    int64_t open_qty = 0;
    if (!lk_subtract(book->entry_qty, book->exit_qty, &open_qty)) return false;
    bool is_long_part = open_qty >= 0; /* in the trade's own direction */
    int64_t standing_qty = is_long_part ? open_qty : -open_qty;
    int64_t costed_qty = standing_qty - book->surplus_unpriced_qty;
    bool reduces = standing_qty > 0 && is_exit == is_long_part;
    int64_t closed_qty = !reduces ? 0 : qty < standing_qty ? qty : standing_qty;
    int64_t costless_qty = closed_qty > costed_qty ? closed_qty - costed_qty : 0; /* of what is closed */
    int64_t opened_qty = qty - closed_qty;
    int64_t opened_cost = notional_of(notional, opened_qty, qty);
    int64_t removed_cost = 0;

    if (closed_qty > costless_qty) {
        removed_cost = cost_share(book->open_cost, closed_qty - costless_qty, costed_qty, direction);
    }
    *skipped_cost = execution->is_skipped ? removed_cost : notional_of(notional, costless_qty, qty);
    book->surplus_unpriced_qty -= costless_qty;
    int64_t costless_opened_qty = is_exit && execution->is_skipped ? opened_qty : 0;
    return lk_add(book->surplus_unpriced_qty, costless_opened_qty, &book->surplus_unpriced_qty) &&
           lk_subtract(book->open_cost, removed_cost, &book->open_cost) &&
           lk_add(book->open_cost, is_exit ? -opened_cost : opened_cost, &book->open_cost);
}

/* Fold a fill: the execution's qty, notional and has_price are given; is_skipped, skipped_cost and realized are found.
 */
bool lk_book_add(lk_book_t *book, int direction, lk_execution_t *execution)
{
    bool is_exit = execution->is_exit != 0;
    bool is_skipped = !execution->has_price || (is_exit && book->entry_unpriced_qty > 0);
    int64_t notional = is_skipped ? 0 : execution->notional;
    int64_t before = 0;
    int64_t after = 0;

    LK_ASSERT(execution->qty > 0);
    LK_ASSERT(execution->notional >= 0);
    if (!lk_book_realized(book, direction, &before)) return false;
    execution->is_skipped = is_skipped ? 1 : 0;
    if (!move_position(book, direction, execution, notional, &execution->skipped_cost)) return false;
    if (!lk_add(book->skipped_cost, execution->skipped_cost, &book->skipped_cost)) return false;
    if (is_exit) {
        if (!lk_add(book->exit_qty, execution->qty, &book->exit_qty)) return false;
        if (!lk_add(book->exit_notional, notional, &book->exit_notional)) return false;
        if (is_skipped) book->skipped_count++;
        if (is_skipped) book->skipped_qty += execution->qty; /* <= exit_qty: it fits */
    } else {
        if (!lk_add(book->entry_qty, execution->qty, &book->entry_qty)) return false;
        if (!lk_add(book->entry_notional, notional, &book->entry_notional)) return false;
        if (is_skipped) book->entry_unpriced_qty += execution->qty; /* <= entry_qty: it fits */
    }
    if (!lk_book_realized(book, direction, &after)) return false;
    return lk_subtract(after, before, &execution->realized);
}

/* The share of an amount that goes with part_qty of whole_qty; all of it with all of the quantity. */
static lk_wide_t share_of(int64_t amount, int64_t part_qty, int64_t whole_qty, lk_rounding_t rounding)
{
    LK_ASSERT(part_qty >= 0 && part_qty <= whole_qty);
    if (part_qty == whole_qty) return whole_qty == 0 ? 0 : amount;
    lk_wide_t product = (lk_wide_t)amount * part_qty;
    return rounding == LK_ROUND_UP ? lk_divide_up(product, whole_qty) : lk_divide_down(product, whole_qty);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* After a fill was taken back the order of fills is no guide any more: all is carried at the mean of the fills that
 * have a figure. What has none is taken to be open rather than closed; what it closed all the same realizes nothing. */
static bool average_again(lk_book_t *book, int direction)
{
    lk_rounding_t cost_rounding = direction > 0 ? LK_ROUND_UP : LK_ROUND_DOWN;     /* of what was closed */
    lk_rounding_t proceeds_rounding = direction > 0 ? LK_ROUND_DOWN : LK_ROUND_UP; /* and so we realize less */
    int64_t open_qty = book->entry_qty - book->exit_qty;
    int64_t standing_qty = open_qty > 0 ? open_qty : 0;
    int64_t surplus_qty = open_qty < 0 ? -open_qty : 0;
    int64_t entry_qty = book->entry_qty - book->entry_unpriced_qty; /* with a figure, here and below */
    int64_t exit_qty = book->exit_qty - book->skipped_qty;
    int64_t unpriced_closed_qty = book->entry_unpriced_qty - smaller(book->entry_unpriced_qty, standing_qty);
    int64_t skipped_closed_qty = book->skipped_qty - smaller(book->skipped_qty, surplus_qty);
    int64_t closed_qty = smaller(book->entry_qty, book->exit_qty) - unpriced_closed_qty - skipped_closed_qty;
    standing_qty -= book->entry_unpriced_qty - unpriced_closed_qty;
    surplus_qty -= book->skipped_qty - skipped_closed_qty;
    if (closed_qty < 0) closed_qty = 0;
    book->surplus_unpriced_qty = book->skipped_qty - skipped_closed_qty;

    lk_wide_t standing = share_of(book->entry_notional, standing_qty, entry_qty, proceeds_rounding);
    lk_wide_t surplus = share_of(book->exit_notional, surplus_qty, exit_qty, cost_rounding);
    lk_wide_t cost = share_of(book->entry_notional, closed_qty, entry_qty, cost_rounding);
    lk_wide_t proceeds = share_of(book->exit_notional, closed_qty, exit_qty, proceeds_rounding);
    lk_wide_t skipped = proceeds - cost - book->exit_notional + book->entry_notional - standing + surplus;
    return lk_narrow(standing - surplus, &book->open_cost) && lk_narrow(skipped, &book->skipped_cost);
}

/* Unfold a fill that the venue took back. */
bool lk_book_remove(lk_book_t *book, int direction, const lk_execution_t *execution)
{
    LK_ASSERT(!execution->is_busted);
    if (execution->is_exit) {
        book->exit_qty -= execution->qty;
        if (execution->is_skipped) {
            book->skipped_qty -= execution->qty;
            if (!execution->is_settled) book->skipped_count--;
            if (!lk_subtract(book->venue_realized, execution->venue_realized, &book->venue_realized)) return false;
        } else {
            book->exit_notional -= execution->notional;
        }
    } else {
        book->entry_qty -= execution->qty;
        if (execution->is_skipped)
            book->entry_unpriced_qty -= execution->qty;
        else
            book->entry_notional -= execution->notional;
    }
    LK_ASSERT(book->entry_qty >= 0);
    LK_ASSERT(book->exit_qty >= 0);
    LK_ASSERT(book->skipped_count >= 0);
    LK_ASSERT(book->skipped_qty >= 0);
    return average_again(book, direction);
}
