#include "show.h"

#include <inttypes.h>
#include <string.h>

#define MARGIN "                  "

/* ------------------------------------------------------------------------------------------ plain values -- */

#define LK_X(name) #name,
static const char *event_name(unsigned kind)
{
    static const char *const NAMES[] = {LK_EVENT_KINDS(LK_X)};
    return kind < LK_EVENT_COUNT ? NAMES[kind] : "?";
}

static const char *command_name(unsigned command)
{
    static const char *const NAMES[] = {LK_COMMANDS(LK_X)};
    return command < LK_COMMAND_COUNT ? NAMES[command] : "?";
}
#undef LK_X

/* Ids are printable in every sound file; what is not shows as "?". */
static void put_text(FILE *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size && text[i] != '\0'; i++) {
        bool is_plain = text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\';
        (void)fputc(is_plain ? text[i] : '?', out);
    }
}

/* units / 10^scale, exactly. */
static void put_decimal(FILE *out, int64_t units, unsigned scale)
{
    char digits[288]; /* a scale is a byte, and 4 more of an average */
    uint64_t magnitude = units < 0 ? 0u - (uint64_t)units : (uint64_t)units;
    int length = snprintf(digits, sizeof digits, "%0*" PRIu64, (int)scale + 1, magnitude);
    int whole = length - (int)scale;
    (void)fprintf(out, "%s%.*s", units < 0 ? "-" : "", whole, digits);
    if (scale > 0) (void)fprintf(out, ".%s", digits + whole);
}

static void put_hash(FILE *out, const lk_hash_t *hash)
{
    char text[2 * LK_EXPORT_HASH_BYTES + 1];
    lk_hash_text(hash, text);
    (void)fputs(text, out);
}

static bool is_changed(const lk_outcome_t *outcome, uint32_t slot_index)
{
    return (outcome->changed_slots[slot_index / 64u] >> (slot_index % 64u) & 1u) != 0;
}

/* ------------------------------------------------------------------------------------------- JSON values -- */

static void json_text(FILE *out, const char *name, const char *text, size_t size)
{
    (void)fprintf(out, ",\"%s\":\"", name);
    put_text(out, text, size);
    (void)fputc('"', out);
}

static void json_word(FILE *out, const char *name, const char *word)
{
    json_text(out, name, word, strlen(word));
}

static void json_number(FILE *out, const char *name, uint64_t value)
{
    (void)fprintf(out, ",\"%s\":%" PRIu64, name, value);
}

/* 64-bit times and money are text, so that no reader rounds them. */
static void json_decimal(FILE *out, const char *name, int64_t units, unsigned scale)
{
    (void)fprintf(out, ",\"%s\":\"", name);
    put_decimal(out, units, scale);
    (void)fputc('"', out);
}

static void json_flag(FILE *out, const char *name, bool value)
{
    (void)fprintf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void json_hash(FILE *out, const char *name, const lk_hash_t *hash)
{
    (void)fprintf(out, ",\"%s\":\"", name);
    put_hash(out, hash);
    (void)fputc('"', out);
}

/* ------------------------------------------------------------------------------------------------ header -- */

void lk_show_header(FILE *out, const lk_replay_options_t *options, const lk_export_header_t *header)
{
    if (options->is_json) {
        (void)fputs("{\"record\":\"HEADER\"", out);
        json_text(out, "stream", header->stream.text, sizeof header->stream);
        json_number(out, "partition", header->partition);
        json_number(out, "abi_version", header->abi_version);
        json_text(out, "libkernel_version", header->libkernel_version, sizeof header->libkernel_version);
        json_number(out, "first_sequence", header->first_sequence);
        json_decimal(out, "exported_at_ns", header->exported_at_ns, 0);
        json_text(out, "account", header->account.text, sizeof header->account);
        json_flag(out, "has_entries", (header->flags & LK_EXPORT_HAS_ENTRIES) != 0);
        json_flag(out, "was_verified", (header->flags & LK_EXPORT_WAS_VERIFIED) != 0);
        (void)fputs("}\n", out);
        return;
    }
    (void)fputs("journal ", out);
    put_text(out, header->stream.text, sizeof header->stream);
    (void)fprintf(out, ", partition %" PRIu32 ", from entry %" PRIu64 ", written with libkernel ", header->partition,
                  header->first_sequence);
    put_text(out, header->libkernel_version, sizeof header->libkernel_version);
    (void)fprintf(
        out, " (ABI %" PRIu32 ")\n\n   entry    input  account           what         outcome             digest\n",
        header->abi_version);
}

/* ------------------------------------------------------------------------------------- entries, as text -- */

static void text_slot(FILE *out, const lk_slot_view_t *slot)
{
    (void)fprintf(out, MARGIN "slot %" PRIu32 "  ", slot->slot_index);
    put_text(out, slot->trade_id.text, sizeof slot->trade_id);
    (void)fputs("  ", out);
    put_text(out, slot->symbol.text, sizeof slot->symbol);
    (void)fprintf(out, "  %s  %s  position ", lk_stage_name(slot->stage), lk_lifecycle_name(slot->lifecycle));
    put_decimal(out, slot->qty.units, slot->qty_scale);
    if (slot->has_entry_price) {
        (void)fputs(" at ", out);
        put_decimal(out, slot->entry_price.units, slot->price_scale + LK_AVERAGE_PRICE_EXTRA_SCALE);
    }
}

static void text_slot_line(FILE *out, const lk_slot_view_t *slot, unsigned amount_scale)
{
    text_slot(out, slot);
    (void)fputs("  realized ", out);
    put_decimal(out, slot->realized_pnl.units, amount_scale);
    (void)fputs("  fees ", out);
    put_decimal(out, slot->fees.units, amount_scale);
    (void)fputc('\n', out);
}

static void text_event(FILE *out, const lk_event_t *event, unsigned amount_scale)
{
    if (event->kind == LK_EVENT_TRANSITION) {
        (void)fprintf(out, MARGIN "slot %" PRIu32 "  %s -> %s", event->slot_index, lk_stage_name(event->from_stage),
                      lk_stage_name(event->to_stage));
        if (event->from_lifecycle != event->to_lifecycle) {
            (void)fprintf(out, "  (%s -> %s)", lk_lifecycle_name(event->from_lifecycle),
                          lk_lifecycle_name(event->to_lifecycle));
        }
    } else if (event->kind == LK_EVENT_COMMAND) {
        (void)fprintf(out, MARGIN "command  %s  ", command_name(event->command));
        put_text(out, event->client_order_id.text, sizeof event->client_order_id);
        (void)fputs("  quantity ", out);
        put_decimal(out, event->qty.units, event->qty_scale);
    } else if (event->kind == LK_EVENT_ANOMALY) {
        (void)fprintf(out, MARGIN "anomaly  %s: %s", lk_code_name(event->code), lk_code_text(event->code));
    } else {
        (void)fprintf(out, MARGIN "%s  ", event->kind == LK_EVENT_SETTLED ? "settled" : "fill");
        put_text(out, event->execution_id.text, sizeof event->execution_id);
        (void)fputs("  quantity ", out);
        put_decimal(out, event->qty.units, event->qty_scale);
        (void)fputs("  realized ", out);
        put_decimal(out, event->realized_pnl.units, amount_scale);
        (void)fputs("  fee ", out);
        put_decimal(out, event->fee.units, amount_scale);
    }
    (void)fputc('\n', out);
}

static void text_followed(FILE *out, const lk_replay_step_t *step)
{
    const lk_replay_account_t *account = step->account;
    unsigned amount_scale = account->config.amount_scale;
    lk_slot_view_t slot;
    if (!step->outcome.accepted) {
        const char *field = step->outcome.field == LK_FIELD_NONE ? "" : lk_field_name(step->outcome.field);
        (void)fprintf(out, MARGIN "refused  %s%s%s\n", field, *field == '\0' ? "" : ": ",
                      lk_code_text(step->outcome.code));
    }
    for (uint32_t i = 0; i < step->outcome.event_count; i++)
        text_event(out, &step->events[i], amount_scale);
    for (uint32_t i = 0; i < account->config.slot_count; i++) {
        if (is_changed(&step->outcome, i) && lk_kernel_slot(account->kernel, i, &slot) == LK_STATUS_OK)
            text_slot_line(out, &slot, amount_scale);
    }
}

static void text_what(FILE *out, const lk_replay_step_t *step)
{
    const lk_export_entry_t *entry = &step->entry;
    if (step->account != NULL) {
        (void)fprintf(out, "%-12.22s %-18s  ", lk_input_name(entry->input.kind), lk_code_name(step->outcome.code));
        char digest[2 * LK_EXPORT_HASH_BYTES + 1];
        lk_hash_text(&step->account->digest, digest);
        (void)fprintf(out, "%.16s  ", digest);
    } else if (step->kind == LK_EXPORT_EPOCH) {
        (void)fprintf(out, "epoch %-6" PRIu64 " %-18s  %-16s  ", entry->epoch, "", "");
    } else {
        (void)fprintf(out, "%-12s %-18s  %-16s  ", step->kind == LK_EXPORT_PARKED ? "parked" : "omitted", "", "");
    }
    (void)fputs(step->fault_count == 0 ? "matches\n" : "DIFFERS\n", out);
}

static void text_step(FILE *out, const lk_replay_step_t *step)
{
    const lk_export_entry_t *entry = &step->entry;
    (void)fprintf(out, "%8" PRIu64 " %8" PRIu64 "  ", entry->sequence, entry->input_sequence);
    put_text(out, entry->account.text, sizeof entry->account);
    size_t length = 0;
    while (length < sizeof entry->account.text && entry->account.text[length] != '\0')
        length++;
    (void)fprintf(out, "%*s", length < 18 ? (int)(18 - length) : 1, "");
    text_what(out, step);
    if (step->account != NULL) text_followed(out, step);
    for (uint32_t i = 0; i < step->fault_count; i++) {
        (void)fprintf(out, MARGIN "DIFFERS  %s %s: %s\n", step->faults[i].field, step->faults[i].value,
                      step->faults[i].rule);
    }
}

/* ------------------------------------------------------------------------------------- entries, as JSON -- */

static void json_slot(FILE *out, const lk_slot_view_t *slot, unsigned amount_scale)
{
    unsigned average_scale = slot->price_scale + LK_AVERAGE_PRICE_EXTRA_SCALE;
    (void)fprintf(out, "{\"slot\":%" PRIu32, slot->slot_index);
    json_word(out, "stage", lk_stage_name(slot->stage));
    json_word(out, "lifecycle", lk_lifecycle_name(slot->lifecycle));
    json_text(out, "trade_id", slot->trade_id.text, sizeof slot->trade_id);
    json_text(out, "symbol", slot->symbol.text, sizeof slot->symbol);
    json_decimal(out, "qty", slot->qty.units, slot->qty_scale);
    if (slot->has_entry_price) json_decimal(out, "entry_price", slot->entry_price.units, average_scale);
    json_decimal(out, "realized_pnl", slot->realized_pnl.units, amount_scale);
    json_decimal(out, "unrealized_pnl", slot->unrealized_pnl.units, amount_scale);
    json_decimal(out, "fees", slot->fees.units, amount_scale);
    (void)fputc('}', out);
}

static void json_event(FILE *out, const lk_event_t *event, unsigned amount_scale)
{
    (void)fprintf(out, "{\"event\":\"%s\"", event_name(event->kind));
    if (event->slot_index != LK_NO_SLOT) json_number(out, "slot", event->slot_index);
    json_text(out, "trade_id", event->trade_id.text, sizeof event->trade_id);
    json_text(out, "client_order_id", event->client_order_id.text, sizeof event->client_order_id);
    json_text(out, "execution_id", event->execution_id.text, sizeof event->execution_id);
    if (event->kind == LK_EVENT_TRANSITION) {
        json_word(out, "from_stage", lk_stage_name(event->from_stage));
        json_word(out, "to_stage", lk_stage_name(event->to_stage));
        json_word(out, "from_lifecycle", lk_lifecycle_name(event->from_lifecycle));
        json_word(out, "to_lifecycle", lk_lifecycle_name(event->to_lifecycle));
    }
    if (event->kind == LK_EVENT_COMMAND) json_word(out, "command", command_name(event->command));
    if (event->kind == LK_EVENT_ANOMALY) json_word(out, "code", lk_code_name(event->code));
    json_decimal(out, "qty", event->qty.units, event->qty_scale);
    if ((event->flags & LK_EVENT_HAS_PRICE) != 0) json_decimal(out, "price", event->price.units, event->price_scale);
    if (event->kind == LK_EVENT_FILL_BOOKED || event->kind == LK_EVENT_SETTLED) {
        json_decimal(out, "realized_pnl", event->realized_pnl.units, amount_scale);
        json_decimal(out, "fee", event->fee.units, amount_scale);
    }
    (void)fputc('}', out);
}

static void json_followed(FILE *out, const lk_replay_step_t *step)
{
    const lk_replay_account_t *account = step->account;
    lk_slot_view_t slot;
    const char *before = "";
    json_word(out, "input", lk_input_name(step->entry.input.kind));
    json_flag(out, "accepted", step->outcome.accepted != 0);
    json_word(out, "code", lk_code_name(step->outcome.code));
    if (step->outcome.field != LK_FIELD_NONE) json_word(out, "field", lk_field_name(step->outcome.field));
    (void)fputs(",\"events\":[", out);
    for (uint32_t i = 0; i < step->outcome.event_count; i++) {
        (void)fputs(i == 0 ? "" : ",", out);
        json_event(out, &step->events[i], account->config.amount_scale);
    }
    (void)fputs("],\"slots\":[", out);
    for (uint32_t i = 0; i < account->config.slot_count; i++) {
        if (!is_changed(&step->outcome, i) || lk_kernel_slot(account->kernel, i, &slot) != LK_STATUS_OK) continue;
        (void)fputs(before, out);
        json_slot(out, &slot, account->config.amount_scale);
        before = ",";
    }
    (void)fputs("]", out);
    json_hash(out, "digest", &account->digest);
    json_hash(out, "recorded_digest", &step->entry.digest);
}

static void json_step(FILE *out, const lk_replay_step_t *step)
{
    const lk_export_entry_t *entry = &step->entry;
    (void)fprintf(out, "{\"record\":\"%s\"", lk_export_kind_name(step->kind));
    json_number(out, "sequence", entry->sequence);
    json_number(out, "input_sequence", entry->input_sequence);
    json_decimal(out, "input_time_ns", entry->input_time_ns, 0);
    json_text(out, "account", entry->account.text, sizeof entry->account);
    json_hash(out, "entry_hash", &entry->hash);
    if (step->kind == LK_EXPORT_EPOCH) json_number(out, "epoch", entry->epoch);
    if (step->account != NULL) json_followed(out, step);
    json_flag(out, "matches", step->fault_count == 0);
    (void)fputs(",\"differences\":[", out);
    for (uint32_t i = 0; i < step->fault_count; i++) {
        (void)fprintf(out, "%s{\"field\":\"%s\"", i == 0 ? "" : ",", step->faults[i].field);
        json_word(out, "value", step->faults[i].value);
        json_word(out, "rule", step->faults[i].rule);
        (void)fputc('}', out);
    }
    (void)fputs("]}\n", out);
}

void lk_show_step(FILE *out, const lk_replay_options_t *options, const lk_replay_step_t *step)
{
    if (options->is_json)
        json_step(out, step);
    else
        text_step(out, step);
}

/* ------------------------------------------------------------------------------------------ state, summary -- */

/* The figures of an account that people ask for, by name. */
static void put_figures(FILE *out, const lk_account_view_t *view, unsigned scale,
                        void (*put)(FILE *, const char *, int64_t, unsigned))
{
    put(out, "capital", view->capital.units, scale);
    put(out, "equity", view->equity.units, scale);
    put(out, "realized_pnl", view->realized_pnl.units, scale);
    put(out, "unrealized_pnl", view->unrealized_pnl.units, scale);
    put(out, "fees", view->fees.units, scale);
    put(out, "funding", view->funding.units, scale);
    put(out, "wallet", view->wallet.units, scale);
    put(out, "gross_exposure", view->gross_exposure.units, scale);
}

static void text_figure(FILE *out, const char *name, int64_t units, unsigned scale)
{
    (void)fprintf(out, "  %-16s ", name);
    put_decimal(out, units, scale);
    (void)fputc('\n', out);
}

static void json_state(FILE *out, const lk_replay_account_t *account, const lk_account_view_t *view)
{
    lk_slot_view_t slot;
    const char *before = "";
    (void)fputs("{\"record\":\"STATE\"", out);
    json_text(out, "account", view->account.text, sizeof view->account);
    json_text(out, "currency", view->currency.text, sizeof view->currency);
    json_number(out, "sequence", account->sequence);
    put_figures(out, view, view->amount_scale, json_decimal);
    json_number(out, "open_slot_count", view->open_slot_count);
    (void)fputs(",\"slots\":[", out);
    for (uint32_t i = 0; i < view->slot_count; i++) {
        if (lk_kernel_slot(account->kernel, i, &slot) != LK_STATUS_OK || slot.trade_sequence == 0) continue;
        (void)fputs(before, out);
        json_slot(out, &slot, view->amount_scale);
        before = ",";
    }
    (void)fputs("]", out);
    json_hash(out, "digest", &account->digest);
    (void)fputs("}\n", out);
}

static void text_state(FILE *out, const lk_replay_account_t *account, const lk_account_view_t *view)
{
    lk_slot_view_t slot;
    (void)fputs("\naccount ", out);
    put_text(out, view->account.text, sizeof view->account);
    (void)fprintf(out, " after entry %" PRIu64 ", in ", account->sequence);
    put_text(out, view->currency.text, sizeof view->currency);
    (void)fputc('\n', out);
    put_figures(out, view, view->amount_scale, text_figure);
    for (uint32_t i = 0; i < view->slot_count; i++) {
        if (lk_kernel_slot(account->kernel, i, &slot) == LK_STATUS_OK && slot.trade_sequence != 0)
            text_slot_line(out, &slot, view->amount_scale);
    }
}

void lk_show_state(FILE *out, const lk_replay_options_t *options, const lk_replay_account_t *account)
{
    lk_account_view_t view;
    if (lk_kernel_account(account->kernel, &view) != LK_STATUS_OK) return;
    if (options->is_json)
        json_state(out, account, &view);
    else
        text_state(out, account, &view);
}

static bool is_chain_whole(const lk_replay_totals_t *totals)
{
    return totals->hashed_count == totals->seen.entry_count;
}

static void json_summary(FILE *out, const lk_replay_totals_t *totals)
{
    (void)fputs("{\"record\":\"SUMMARY\"", out);
    json_number(out, "entries", totals->seen.entry_count);
    json_number(out, "inputs", totals->seen.input_count);
    json_number(out, "applied", totals->applied_count);
    json_number(out, "epochs", totals->epoch_count);
    json_number(out, "parked", totals->parked_count);
    json_number(out, "omitted", totals->omitted_count);
    json_number(out, "hashed_here", totals->hashed_count);
    json_number(out, "last_sequence", totals->seen.last_sequence);
    json_hash(out, "last_hash", &totals->seen.last_hash);
    json_number(out, "differing_entries", totals->difference_count);
    json_number(out, "first_difference", totals->first_difference);
    json_flag(out, "matches", totals->difference_count == 0);
    (void)fputs("}\n", out);
}

static void text_chain(FILE *out, const lk_replay_totals_t *totals)
{
    if (is_chain_whole(totals)) {
        (void)fputs("chain    every entry's hash was computed here, from its stored bytes\n", out);
    } else {
        (void)fprintf(out, "chain    %" PRIu64 " of %" PRIu64 " hashes were computed here; the others are %s\n",
                      totals->hashed_count, totals->seen.entry_count,
                      (totals->header.flags & LK_EXPORT_WAS_VERIFIED) != 0 ? "as the exporter verified them"
                                                                           : "unverified");
    }
    (void)fprintf(out, "head     entry %" PRIu64 " ", totals->seen.last_sequence);
    put_hash(out, &totals->seen.last_hash);
    (void)fputs("  (compare it with a signed checkpoint)\n", out);
}

void lk_show_summary(FILE *out, const lk_replay_options_t *options, const lk_replay_totals_t *totals,
                     const lk_replay_account_t *accounts, uint32_t account_count)
{
    if (options->is_json) {
        json_summary(out, totals);
        return;
    }
    (void)fprintf(out,
                  "\n%" PRIu64 " entries: %" PRIu64 " inputs, %" PRIu64 " epochs, %" PRIu64 " parked, %" PRIu64
                  " omitted; %" PRIu64 " inputs applied\n",
                  totals->seen.entry_count, totals->seen.input_count, totals->epoch_count, totals->parked_count,
                  totals->omitted_count, totals->applied_count);
    text_chain(out, totals);
    for (uint32_t i = 0; i < account_count; i++) {
        if (accounts[i].kernel == NULL || accounts[i].sequence == 0) continue;
        (void)fprintf(out, "digest   ");
        put_hash(out, &accounts[i].digest);
        (void)fputs("  ", out);
        put_text(out, accounts[i].config.account.text, sizeof accounts[i].config.account);
        (void)fprintf(out, " after entry %" PRIu64 "\n", accounts[i].sequence);
    }
    if (totals->difference_count == 0)
        (void)fputs("result   everything matches\n", out);
    else
        (void)fprintf(out, "result   %" PRIu64 " entries DIFFER, the first is %" PRIu64 "\n", totals->difference_count,
                      totals->first_difference);
}
