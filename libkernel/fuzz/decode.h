/* Bytes as a sequence of inputs.
 *
 * A sequence is a configuration byte and then records of RECORD_BYTES bytes, one input each. Identifiers come from
 * small alphabets (8 trades, 32 orders, 64 executions, 4 symbols), so that inputs meet: an order is filled, a fill
 * repeated, an execution busted. A record reads alike whatever its kind is, so a fuzzer that changes one byte changes
 * one thing, and a new kind of input is reached without a change here. Most records are well formed; a `twist` puts one
 * odd value into one field. fuzz/seeds.py writes the same form.
 */
#ifndef LK_FUZZ_DECODE_H
#define LK_FUZZ_DECODE_H

#include "lk/lk.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RECORD_BYTES 24u
#define SLOTS_MAX 4u
#define TWIST_FROM 192u /* a twist byte below it: none */

typedef struct {
    uint8_t kind;      /* of LK_INPUT_COUNT on: a restart */
    uint8_t trade;     /* 3 bits trade, 2 bits symbol, 2 bits strategy */
    uint8_t order;     /* 5 bits number, 2 bits which exit of a FLATTEN, 1 bit: none */
    uint8_t venue;     /* 4 bits venue order id (0: none), 1 bit side, 2 bits liquidity, 1 bit: a protective order */
    uint8_t execution; /* 6 bits number, 2 bits: 3 repeats an event id */
    uint8_t terms;     /* order type, time in force, exit legs */
    uint8_t fact;      /* 4 bits order fact, 4 bits leverage */
    uint8_t flags;     /* LK_HAS_..., of an ENTER: AVAILABLE makes it a bracket */
    uint8_t step;      /* 3 bits time, 2 bits expiry, 3 bits scales */
    uint8_t twist;
    uint8_t salt;
    uint8_t watermark;
    uint32_t qty;
    uint32_t price;
    int32_t amount;
} record_t;
_Static_assert(sizeof(record_t) == RECORD_BYTES, "as it lies in the file");

/* What a record needs to know of the kernel it is for. */
typedef struct {
    uint64_t input_count;
    int64_t now_ns;
    int64_t capital;
    uint64_t execution_count;
} moment_t;

static inline void put_text(char *text, size_t size, const char *prefix, unsigned number)
{
    char buffer[LK_ID_BYTES + 1];
    int length = snprintf(buffer, sizeof buffer, "%s%u", prefix, number);
    memset(text, 0, size);
    memcpy(text, buffer, (size_t)length < size ? (size_t)length : size);
}

/* 2 bits slots, 2 bits fees, 2 bits tolerances, 1 bit a longer window, 1 bit funding times. */
static inline lk_config_t decode_config(uint8_t byte)
{
    static const int64_t TAKER_RATES[4] = {0, 50000, 50000000, -20000};
    static const int64_t TOLERANCES[4] = {0, 1000, 100000000, 10000000000};
    lk_config_t config;
    memset(&config, 0, sizeof config);
    config.abi_version = LK_ABI_VERSION;
    config.slot_count = (byte & 3u) + 1;
    config.window_count = (byte & 0x40u) != 0 ? 4 * LK_WINDOW_MIN : LK_WINDOW_MIN;
    config.leverage_max = 3;
    config.amount_scale = 8;
    config.maker_fee_rate = TAKER_RATES[byte >> 2 & 3u] / 2;
    config.taker_fee_rate = TAKER_RATES[byte >> 2 & 3u];
    config.ack_timeout_ns = 60000000000;
    config.funding_interval_ns = (byte & 0x80u) != 0 ? 100000000000 : 0;
    config.seed_capital.units = 100000000000000;
    config.ledger_tolerance.units = TOLERANCES[byte >> 4 & 3u];
    config.ledger_error_tolerance.units = TOLERANCES[byte >> 4 & 3u] * 10;
    config.settlement_tolerance.units = TOLERANCES[byte >> 4 & 3u];
    memcpy(config.account.text, "FUZZ-1", 6);
    memcpy(config.currency.text, "USD", 3);
    return config;
}

static inline void decode_ids(const record_t *record, const moment_t *moment, lk_input_t *input)
{
    bool is_repeat = record->execution >> 6 == 3;
    uint64_t back = is_repeat ? record->salt % 32u + 1 : 0;
    put_text(input->event_id.text, LK_ID_BYTES, "event-", (unsigned)(moment->input_count - back));
    put_text(input->trade_id.text, LK_ID_BYTES, "trade-", record->trade & 7u);
    put_text(input->symbol.text, LK_SYMBOL_BYTES, "SYMBOL-", record->trade >> 3 & 3u);
    if (record->trade >> 5 != 0) put_text(input->strategy.text, LK_ID_BYTES, "strategy-", record->trade >> 5 & 3u);
    put_text(input->execution_id.text, LK_ID_BYTES, "execution-", record->execution & 63u);
    memcpy(input->currency.text, "USD", 3);
    if ((record->venue & 15u) != 0) put_text(input->venue_order_id.text, LK_ID_BYTES, "venue-", record->venue & 15u);
    if ((record->order & 0x80u) != 0) return;
    put_text(input->client_order_id.text, LK_ID_BYTES, "order-", record->order & 31u);
    size_t length = strlen(input->client_order_id.text);
    bool is_protective = (record->venue & 0x80u) != 0;
    if (is_protective) memcpy(input->client_order_id.text + length, (record->order & 0x20u) != 0 ? "-T" : "-S", 2);
    if (is_protective || (record->order >> 5 & 3u) == 0) return;
    put_text(input->client_order_id.text + length, LK_ID_BYTES - length, "-0", (record->order >> 5 & 3u) - 1);
}

static inline void decode_terms(const record_t *record, lk_input_t *input)
{
    static const uint16_t LEGS[4][LK_EXIT_LEGS_MAX] = {
        {0}, {5000, 10000}, {3333, 5000, 10000}, {100, 100, 100, 100, 100, 100, 100, 10000}};
    input->side = (record->venue >> 4 & 1u) != 0 ? LK_SIDE_SELL : LK_SIDE_BUY;
    input->liquidity = (uint8_t)((record->venue >> 5 & 3u) % LK_LIQUIDITY_COUNT);
    input->order_type = (uint8_t)((record->terms & 7u) % LK_ORDER_TYPE_COUNT);
    input->time_in_force = (uint8_t)((record->terms >> 3 & 7u) % LK_TIME_IN_FORCE_COUNT);
    memcpy(input->exit_leg_bps, LEGS[record->terms >> 6], sizeof input->exit_leg_bps);
    input->order_fact = (uint8_t)((record->fact & 15u) % LK_FACT_COUNT);
    input->leverage = 1 + (uint32_t)(record->fact >> 4) % 3u;
    input->flags = record->flags;
    bool is_bracket = input->kind == LK_INPUT_ENTER && (record->flags & LK_HAS_AVAILABLE) != 0;
    if (is_bracket) input->flags |= LK_BRACKET;
    input->tick_units = 1;
    input->lot_units = 1;
    input->multiplier = 1;
    input->instrument_version = 1;
    if (input->kind != LK_INPUT_ENTER) return;
    if (input->order_type == LK_ORDER_TYPE_NONE) input->order_type = LK_ORDER_TYPE_MARKET;
    if (input->time_in_force == LK_TIME_IN_FORCE_NONE) input->time_in_force = LK_TIME_IN_FORCE_DAY;
    input->flags &= ~LK_HAS_PRICE;
    if (input->order_type != LK_ORDER_TYPE_MARKET) input->flags |= LK_HAS_PRICE;
}

static inline void decode_time(const record_t *record, const moment_t *moment, lk_input_t *input)
{
    static const int64_t STEPS_NS[8] = {0, 1, 1000, 1000000, 1000000000, 30000000000, 60000000000, 61000000000};
    static const uint8_t PRICE_SCALES[8] = {4, 4, 4, 4, 2, 6, 0, 4};
    static const uint8_t QTY_SCALES[8] = {0, 0, 0, 0, 0, 1, 4, 2};
    int64_t expiry_step_ns = record->step >> 3 & 3u;
    input->sequence = moment->input_count;
    if (__builtin_add_overflow(moment->now_ns, STEPS_NS[record->step & 7u], &input->now_ns)) input->now_ns = INT64_MAX;
    if (expiry_step_ns != 0 &&
        __builtin_add_overflow(input->now_ns, expiry_step_ns * 1000000000 - 1000000000, &input->expires_at_ns)) {
        input->expires_at_ns = INT64_MAX;
    }
    input->price_scale = PRICE_SCALES[record->step >> 5];
    input->qty_scale = QTY_SCALES[record->step >> 5];
}

static inline void decode_figures(const record_t *record, const moment_t *moment, lk_input_t *input)
{
    input->qty.units = record->qty;
    if (input->kind == LK_INPUT_ADOPT && input->side == LK_SIDE_SELL) input->qty.units = -input->qty.units;
    input->price.units = record->price;
    int64_t distance = input->side == LK_SIDE_SELL ? -(int64_t)record->salt : record->salt;
    input->stop_price.units = (int64_t)record->price - distance;
    input->target_price.units = (int64_t)record->price + distance;
    input->reference_price.units = record->price;
    input->fee.units = (int64_t)record->salt * 1000 - 2000;
    input->amount.units = record->amount;
    input->available.units = moment->capital / 2;
    if (input->kind != LK_INPUT_BALANCE) return;
    bool is_near = (record->salt & 1u) != 0;
    if (is_near && __builtin_add_overflow(moment->capital, record->amount, &input->amount.units))
        input->amount.units = 1;
    input->venue_sequence = record->salt >> 1;
    if (record->watermark != 0) input->execution_watermark = moment->execution_count + record->watermark % 32u - 16u;
}

static inline int64_t odd_number(uint8_t salt)
{
    static const int64_t ODD[8] = {0, -1, 1, INT64_MAX, INT64_MIN, INT64_MAX / 2, 1000000000000000000, 7};
    return ODD[salt % 8u];
}

static inline void make_odd_text(char *text, size_t size, uint8_t salt)
{
    switch (salt % 6u) {
    case 0:
        memset(text, 0, size);
        break;
    case 1:
        text[0] = ' ';
        break;
    case 2:
        memset(text, 'x', size); /* as long as it may be */
        break;
    case 3:
        text[size - 1] = 'x'; /* something after the end */
        break;
    case 4:
        text[1] = (char)0x80;
        break;
    default:
        text[0] = (char)salt;
    }
}

/* One odd value in one field. */
static inline void twist(lk_input_t *input, uint8_t which, uint8_t salt)
{
    int64_t *numbers[] = {
        &input->qty.units,
        &input->price.units,
        &input->stop_price.units,
        &input->target_price.units,
        &input->reference_price.units,
        &input->amount.units,
        &input->available.units,
        &input->fee.units,
        &input->expires_at_ns,
        &input->tick_units,
        &input->lot_units,
        &input->multiplier,
        &input->now_ns,
    };
    uint8_t *bytes[] = {
        &input->side,       &input->order_type,  &input->time_in_force, &input->liquidity,
        &input->order_fact, &input->price_scale, &input->qty_scale,
    };
    char *texts[] = {
        input->event_id.text,       input->trade_id.text,     input->client_order_id.text,
        input->venue_order_id.text, input->execution_id.text, input->strategy.text,
    };
    unsigned at = which;
    if (at < sizeof numbers / sizeof *numbers) *numbers[at] = odd_number(salt);
    at -= (unsigned)(sizeof numbers / sizeof *numbers);
    if (at < sizeof bytes / sizeof *bytes) *bytes[at] = salt;
    at -= (unsigned)(sizeof bytes / sizeof *bytes);
    if (at < sizeof texts / sizeof *texts) make_odd_text(texts[at], LK_ID_BYTES, salt);
    at -= (unsigned)(sizeof texts / sizeof *texts);
    if (at == 0) make_odd_text(input->symbol.text, LK_SYMBOL_BYTES, salt);
    if (at == 1) make_odd_text(input->currency.text, LK_CURRENCY_BYTES, salt);
    if (at == 2) input->flags |= 1u << salt % 32u;
    if (at == 3) input->flags ^= 1u << salt % 8u;
    if (at == 4) input->leverage = salt < 128 ? salt % 5u : UINT32_MAX;
    if (at == 5) input->exit_leg_bps[salt % LK_EXIT_LEGS_MAX] = (uint16_t)(salt * 257u);
    if (at == 6) input->venue_sequence = UINT64_MAX - salt % 2u;
    if (at == 7) input->execution_watermark = (uint64_t)odd_number(salt);
    if (at == 8) input->sequence = (uint64_t)odd_number(salt);
    if (at == 9) input->kind = salt;
    if (at == 10) input->lot_units = 10; /* and these are not odd, only rarer */
    if (at == 11) input->tick_units = 5;
    if (at == 12) input->multiplier = 1000;
    if (at == 13) input->qty.units *= 1000000;
    if (at == 14) input->price.units *= 1000000;
}

static inline lk_input_t decode_input(const record_t *record, const moment_t *moment)
{
    lk_input_t input;
    memset(&input, 0, sizeof input);
    input.kind = record->kind;
    decode_ids(record, moment, &input);
    decode_terms(record, &input);
    decode_time(record, moment, &input);
    decode_figures(record, moment, &input);
    if (record->twist >= TWIST_FROM) twist(&input, (uint8_t)(record->twist - TWIST_FROM), record->salt);
    return input;
}

#endif
