/* The ABI, pinned: a change here is a new LK_ABI_VERSION. */
#include "internal.h"

LK_STATIC_SIZE(lk_config_t, 160);
LK_STATIC_SIZE(lk_input_t, 600);
LK_STATIC_SIZE(lk_outcome_t, 104);
LK_STATIC_SIZE(lk_event_t, 344);
LK_STATIC_SIZE(lk_order_view_t, 184);
LK_STATIC_SIZE(lk_slot_view_t, 760);
LK_STATIC_SIZE(lk_account_view_t, 248);

LK_STATIC_OFFSET(lk_config_t, maker_fee_rate, 24);
LK_STATIC_OFFSET(lk_config_t, seed_capital, 48);
LK_STATIC_OFFSET(lk_config_t, account, 80);
LK_STATIC_OFFSET(lk_input_t, flags, 8);
LK_STATIC_OFFSET(lk_input_t, now_ns, 16);
LK_STATIC_OFFSET(lk_input_t, qty, 32);
LK_STATIC_OFFSET(lk_input_t, amount, 72);
LK_STATIC_OFFSET(lk_input_t, expires_at_ns, 96);
LK_STATIC_OFFSET(lk_input_t, tick_units, 120);
LK_STATIC_OFFSET(lk_input_t, exit_leg_bps, 152);
LK_STATIC_OFFSET(lk_input_t, event_id, 168);
LK_STATIC_OFFSET(lk_input_t, symbol, 552);
LK_STATIC_OFFSET(lk_outcome_t, code, 4);
LK_STATIC_OFFSET(lk_outcome_t, changed_slots, 24);
LK_STATIC_OFFSET(lk_outcome_t, trade_id, 40);
LK_STATIC_OFFSET(lk_event_t, code, 16);
LK_STATIC_OFFSET(lk_event_t, qty, 32);
LK_STATIC_OFFSET(lk_event_t, trade_id, 88);
LK_STATIC_OFFSET(lk_order_view_t, order_qty, 16);
LK_STATIC_OFFSET(lk_slot_view_t, leverage, 20);
LK_STATIC_OFFSET(lk_slot_view_t, qty, 64);
LK_STATIC_OFFSET(lk_slot_view_t, entry, 392);
LK_STATIC_OFFSET(lk_slot_view_t, exit, 576);
LK_STATIC_OFFSET(lk_account_view_t, capital, 40);
LK_STATIC_OFFSET(lk_account_view_t, account, 168);
