/* One call of apply: its answer and its events. */
#include "internal.h"

static inline void put_id(lk_id_t *to, const lk_id_t *from)
{
    if (from == NULL)
        lk_clear(to, sizeof *to);
    else
        *to = *from;
}

/* Ids are three quarters of an event: each is written once, not cleared before. */
lk_event_t *lk_emit(lk_call_t *call, lk_event_kind_t kind, uint32_t slot_index, const lk_id_t *client_order_id,
                    const lk_id_t *venue_order_id, const lk_id_t *execution_id)
{
    LK_ASSERT(call->event_count < call->kernel->event_capacity);
    const lk_slot_t *slot = slot_index == LK_NO_SLOT ? NULL : &call->kernel->slots[slot_index];
    lk_event_t *event = &call->events[call->event_count++];
    lk_clear(event, offsetof(lk_event_t, trade_id));
    put_id(&event->trade_id, slot == NULL ? NULL : &slot->trade_id);
    put_id(&event->client_order_id, client_order_id);
    put_id(&event->venue_order_id, venue_order_id);
    put_id(&event->execution_id, execution_id);
    event->kind = (uint8_t)kind;
    event->slot_index = slot_index;
    event->price_scale = slot == NULL ? 0 : slot->price_scale;
    event->qty_scale = slot == NULL ? 0 : slot->qty_scale;
    return event;
}
_Static_assert(sizeof(lk_event_t) == offsetof(lk_event_t, trade_id) + 4 * sizeof(lk_id_t), "figures, then four ids");

void lk_emit_anomaly(lk_call_t *call, lk_code_t code, uint32_t slot_index, const lk_id_t *order_id,
                     const lk_id_t *execution_id)
{
    lk_event_t *event = lk_emit(call, LK_EVENT_ANOMALY, slot_index, order_id, NULL, execution_id);
    event->code = (uint32_t)code;
    event->severity = (uint8_t)lk_code_severity(event->code);
    call->kernel->ledger.anomaly_count++;
    if (slot_index != LK_NO_SLOT && event->severity >= LK_SEVERITY_WARNING) {
        call->kernel->slots[slot_index].has_anomaly = 1;
    }
}

void lk_emit_cancel(lk_call_t *call, uint32_t slot_index, uint32_t place)
{
    lk_order_t *order = lk_slot_order(&call->kernel->slots[slot_index], place);
    LK_ASSERT(lk_order_is_live(order));
    order->cancel_pending = 1;
    lk_event_t *event =
        lk_emit(call, LK_EVENT_COMMAND, slot_index, &order->client_order_id, &order->venue_order_id, NULL);
    event->command = LK_COMMAND_CANCEL;
    event->side = order->side;
    event->order_type = order->order_type;
    event->time_in_force = order->time_in_force;
    event->qty.units = order->order_qty;
    event->filled_qty.units = order->cum_qty;
    if (place != 0) event->flags = LK_EVENT_IS_EXIT;
}

void lk_cancel_entry_rest(lk_call_t *call, uint32_t slot_index)
{
    const lk_order_t *entry = &call->kernel->slots[slot_index].entry;
    if (lk_order_is_live(entry) && !entry->cancel_pending) lk_emit_cancel(call, slot_index, 0);
}

void lk_emit_transition(lk_call_t *call, uint32_t slot_index, lk_stage_t from_stage, lk_stage_t to_stage,
                        lk_lifecycle_t from_lifecycle, lk_lifecycle_t to_lifecycle)
{
    const lk_slot_t *slot = &call->kernel->slots[slot_index];
    lk_event_t *event = lk_emit(call, LK_EVENT_TRANSITION, slot_index, NULL, NULL, NULL);
    event->from_stage = (uint8_t)from_stage;
    event->to_stage = (uint8_t)to_stage;
    event->from_lifecycle = (uint8_t)from_lifecycle;
    event->to_lifecycle = (uint8_t)to_lifecycle;
    event->qty.units = slot->entry.order_qty;
    event->filled_qty.units = slot->book.entry_qty;
}

lk_before_t lk_before(lk_call_t *call, uint32_t slot_index)
{
    lk_told_t told = call->kernel->told[slot_index];
    call->outcome->slot_index = slot_index;
    return (lk_before_t){slot_index, (lk_stage_t)told.stage, (lk_lifecycle_t)told.lifecycle};
}

/* The stage a trade passes on its way to TERMINAL_WRITTEN; NONE: none, it was canceled before a fill. */
static lk_stage_t closing_stage(lk_lifecycle_t lifecycle)
{
    if (lifecycle == LK_LIFECYCLE_CLOSED) return LK_STAGE_POSITION_CLOSED;
    return lifecycle == LK_LIFECYCLE_REJECTED ? LK_STAGE_ORDER_REJECTED : LK_STAGE_NONE;
}

static void mark_free(lk_call_t *call, uint32_t slot_index)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    lk_set_remove(call->kernel->busy_slots, slot_index);
    slot->closed_at_ns = call->input->now_ns;
    slot->close_sequence = ++call->kernel->ledger.close_count;
}

static void mark_busy(lk_call_t *call, uint32_t slot_index)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    lk_set_add(call->kernel->busy_slots, slot_index);
    slot->closed_at_ns = 0;
    slot->close_sequence = 0;
}

/* Tell where the slot has come to, and keep what follows from it. */
void lk_after(lk_call_t *call, lk_before_t before)
{
    lk_slot_t *slot = &call->kernel->slots[before.slot_index];
    lk_stage_t stage = lk_slot_stage(slot);
    lk_lifecycle_t lifecycle = lk_slot_lifecycle(slot, stage);
    bool is_over = stage == LK_STAGE_TERMINAL_WRITTEN;
    bool was_busy = lk_set_has(call->kernel->busy_slots, before.slot_index);

    LK_ASSERT(slot->trade_sequence != 0); /* whoever changed an order or the book has looked at that part */
    lk_set_add(call->outcome->changed_slots, before.slot_index);
    call->outcome->trade_id = slot->trade_id;
    lk_set_add(call->kernel->dirty_slots, before.slot_index);
    if (is_over && was_busy) {
        lk_stage_t closing = closing_stage(lifecycle);
        if (closing != LK_STAGE_NONE && closing != before.stage) {
            lk_emit_transition(call, before.slot_index, before.stage, closing, before.lifecycle, lifecycle);
            before.stage = closing;
            before.lifecycle = lifecycle;
        }
        mark_free(call, before.slot_index);
    } else if (!is_over && !was_busy) {
        mark_busy(call, before.slot_index);
    }
    call->kernel->told[before.slot_index] = (lk_told_t){(uint8_t)stage, (uint8_t)lifecycle};
    if (stage != before.stage || lifecycle != before.lifecycle) {
        lk_emit_transition(call, before.slot_index, before.stage, stage, before.lifecycle, lifecycle);
    }
}

lk_code_t lk_refuse(lk_call_t *call, lk_code_t code, lk_field_t field, int64_t value)
{
    call->outcome->field = (uint32_t)field;
    call->outcome->value = value;
    return code;
}

lk_code_t lk_refuse_at(lk_call_t *call, lk_code_t code, lk_field_t field, int64_t value, uint32_t slot_index)
{
    call->outcome->slot_index = slot_index;
    if (slot_index != LK_NO_SLOT) call->outcome->trade_id = call->kernel->slots[slot_index].trade_id;
    return lk_refuse(call, code, field, value);
}
