/* The protective orders of a bracket: a stop, and a target if one was stated, which stand at the venue beside the
 * entry.
 *
 *   needed   while the entry is at work or something is open
 *   bare     something is open, and neither the stop nor an exit is at work: a person is called, once
 *   spent    the entry is dead and nothing is open: what is left of them is taken back
 */
#include "internal.h"

void lk_cancel_protection(lk_call_t *call, uint32_t slot_index)
{
    const lk_slot_t *slot = &call->kernel->slots[slot_index];
    if (!slot->is_bracket) return;
    for (uint32_t place = LK_STOP_PLACE; place < LK_ORDERS_PER_SLOT; place++) {
        const lk_order_t *order = lk_slot_order_at(slot, place);
        if (lk_order_is_live(order) && !order->cancel_pending) lk_emit_cancel(call, slot_index, place);
    }
}

/* Before the first fill only a stop that the venue refused or let lapse counts: canceled or denied it is together with
 * its entry, and which of them is told of first is not known. */
static bool is_bare(const lk_slot_t *slot)
{
    const lk_order_t *stop = &slot->protectives[0];
    if (lk_order_is_live(stop) || lk_slot_exit_is_at_work(slot)) return false;
    bool was_refused = stop->life == LK_LIFE_REJECTED || stop->life == LK_LIFE_EXPIRED;
    return lk_slot_open_qty(slot) > 0 || (lk_order_is_live(&slot->entry) && was_refused);
}

void lk_watch_protection(lk_call_t *call, uint32_t slot_index)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    if (!slot->is_bracket) return;
    if (lk_slot_is_spent(slot)) lk_cancel_protection(call, slot_index);
    bool was_bare = slot->is_bare;
    slot->is_bare = is_bare(slot);
    if (!slot->is_bare || was_bare) return;
    lk_emit_anomaly(call, LK_CODE_PROTECTION_LOST, slot_index, &slot->protectives[0].client_order_id, NULL);
}
