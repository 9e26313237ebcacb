#include "replay.h"

#include "sha256.h"
#include "show.h"
#include "stored_entry.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const lk_replay_options_t *options;
    FILE *out;
    FILE *errors;
    lk_export_reader_t reader;
    lk_replay_totals_t totals;
    lk_replay_account_t accounts[LK_REPLAY_ACCOUNTS_MAX];
    uint32_t account_count;
    uint64_t memory_bytes;
    uint64_t next_sequence;
    lk_hash_t previous_hash;
    lk_event_t events[LK_EVENTS_MAX]; /* enough for any kernel */
    lk_replay_step_t step;
} replay_t;

/* ----------------------------------------------------------------------------------------------- messages -- */

/* "lk-replay: journal.kj: entry 12: digest 3fa9...: rule" */
static void complain(const replay_t *replay, const char *place, const lk_export_fault_t *fault)
{
    (void)fprintf(replay->errors, "lk-replay: %s: %s: %s %s: %s\n", replay->options->name, place, fault->field,
                  fault->value, fault->rule);
}

static void refuse(const replay_t *replay)
{
    const lk_export_reader_t *reader = &replay->reader;
    char place[96];
    if (replay->next_sequence == 0)
        (void)snprintf(place, sizeof place, "header");
    else if (reader->kind == LK_EXPORT_TRAILER)
        (void)snprintf(place, sizeof place, "trailer, after entry %llu", (unsigned long long)replay->next_sequence - 1);
    else
        (void)snprintf(place, sizeof place, "entry %llu (%s at byte %llu)", (unsigned long long)replay->next_sequence,
                       lk_export_kind_name(reader->kind), (unsigned long long)reader->record_offset);
    complain(replay, place, &reader->fault);
}

/* The next fault of this step to fill in; the last place is used again when there are too many. */
static lk_export_fault_t *next_fault(lk_replay_step_t *step)
{
    if (step->fault_count < LK_REPLAY_FAULTS_MAX) step->fault_count++;
    return &step->faults[step->fault_count - 1];
}

static void expect_hash(lk_replay_step_t *step, const char *field, const lk_hash_t *stated, const lk_hash_t *computed,
                        const char *rule)
{
    if (!lk_hash_is_same(stated, computed)) (void)lk_export_fault_hash(next_fault(step), field, rule, stated);
}

static void expect_number(lk_replay_step_t *step, const char *field, uint64_t stated, uint64_t computed,
                          const char *rule)
{
    if (stated != computed) (void)lk_export_fault_number(next_fault(step), field, rule, stated);
}

/* ----------------------------------------------------------------------------------------------- accounts -- */

static lk_replay_account_t *find_account(replay_t *replay, const lk_id_t *name)
{
    for (uint32_t i = 0; i < replay->account_count; i++) {
        if (memcmp(&replay->accounts[i].config.account, name, sizeof *name) == 0) return &replay->accounts[i];
    }
    return NULL;
}

static bool is_wanted(const replay_t *replay, const lk_id_t *account)
{
    const char *wanted = replay->options->account;
    if (wanted == NULL) return true;
    return strlen(wanted) <= sizeof account->text && strncmp(wanted, account->text, sizeof account->text) == 0;
}

static bool create_kernel(replay_t *replay, lk_replay_account_t *account)
{
    lk_export_fault_t *fault = &replay->reader.fault;
    size_t slot_bytes = 0;
    size_t total_bytes = 0;
    lk_status_t status = lk_kernel_create(&account->config, &account->kernel);
    if (status != LK_STATUS_OK) {
        account->kernel = NULL;
        return lk_export_fault(fault, "configuration", "must be one that libkernel accepts", lk_status_name(status));
    }
    status = lk_kernel_memory(account->kernel, &slot_bytes, &total_bytes);
    replay->memory_bytes += total_bytes;
    if (status == LK_STATUS_OK && replay->memory_bytes <= LK_REPLAY_MEMORY_BYTES_MAX) return true;
    return lk_export_fault_number(fault, "configuration", "the kernels of one file may take at most 2 GiB",
                                  replay->memory_bytes);
}

static bool fold_account(replay_t *replay)
{
    lk_export_fault_t *fault = &replay->reader.fault;
    lk_config_t config;
    uint64_t sequence;
    if (!lk_export_read_account(&replay->reader, &sequence, &config)) return false;
    const lk_replay_account_t *known = find_account(replay, &config.account);
    if (sequence >= replay->next_sequence) {
        return lk_export_fault_number(fault, "sequence", "an account must be set up by an entry before", sequence);
    }
    if (known != NULL) {
        if (memcmp(&known->config, &config, sizeof config) == 0) return true;
        return lk_export_fault(fault, "configuration", "an account must keep what it began with", "another one");
    }
    if (replay->account_count == LK_REPLAY_ACCOUNTS_MAX) {
        return lk_export_fault_number(fault, "accounts", "at most 1024 in one file", replay->account_count);
    }
    lk_replay_account_t *account = &replay->accounts[replay->account_count++];
    account->config = config;
    replay->totals.seen.account_count++;
    return is_wanted(replay, &config.account) ? create_kernel(replay, account) : true;
}

static bool fold_state(replay_t *replay)
{
    lk_export_reader_t *reader = &replay->reader;
    uint64_t sequence;
    lk_hash_t stated;
    lk_id_t name;
    const uint8_t *saved;
    size_t saved_bytes;
    if (!lk_export_read_state(reader, &sequence, &stated, &name, &saved, &saved_bytes)) return false;
    lk_replay_account_t *account = find_account(replay, &name);
    if (sequence + 1 != replay->totals.header.first_sequence || replay->totals.seen.entry_count != 0) {
        return lk_export_fault_number(&reader->fault, "sequence", "a state must be that before the first entry",
                                      sequence);
    }
    if (account == NULL)
        return lk_export_fault(&reader->fault, "account", "must be one that was set up", "an unknown one");
    if (account->kernel == NULL) return true;
    lk_status_t status = lk_kernel_restore(account->kernel, saved, saved_bytes);
    if (status != LK_STATUS_OK) {
        return lk_export_fault(&reader->fault, "state", "must be one that this kernel saved", lk_status_name(status));
    }
    account->sequence = sequence;
    if (lk_kernel_digest(account->kernel, account->digest.bytes) == LK_STATUS_OK &&
        lk_hash_is_same(&account->digest, &stated)) {
        return true;
    }
    return lk_export_fault_hash(&reader->fault, "digest", "must be that of the saved state", &stated);
}

/* ------------------------------------------------------------------------------------------------ entries -- */

/* A hash as a stored entry has it: 32 bytes, or none for 0. */
static lk_hash_t hash_in(lk_bytes_t bytes)
{
    lk_hash_t hash;
    memset(&hash, bytes.size == 0 || bytes.size == sizeof hash ? 0 : 0xff, sizeof hash);
    if (bytes.size == sizeof hash) memcpy(&hash, bytes.data, sizeof hash);
    return hash;
}

static bool is_text_of(lk_bytes_t bytes, const char *text, size_t size_max)
{
    size_t length = 0;
    while (length < size_max && text[length] != '\0')
        length++;
    return bytes.size == length && memcmp(bytes.data, text, length) == 0;
}

static void compare_kind(lk_replay_step_t *step, const lk_stored_entry_t *stored)
{
    static const char RULE[] = "must be what the stored entry says";
    const lk_export_entry_t *entry = &step->entry;
    const char *code = step->kind == LK_EXPORT_PARKED ? "PARKED" : lk_code_name(entry->code);
    expect_number(step, "record", step->kind == LK_EXPORT_EPOCH, stored->has_epoch_started, RULE);
    if (step->kind == LK_EXPORT_EPOCH) {
        expect_number(step, "epoch", entry->epoch, stored->epoch, RULE);
        return;
    }
    if (!is_text_of(stored->code, code, LK_ID_BYTES)) (void)lk_export_fault(next_fault(step), "code", RULE, code);
    if (step->kind != LK_EXPORT_INPUT) return;
    lk_hash_t digest = hash_in(stored->state_digest);
    expect_number(step, "accepted", entry->accepted, stored->accepted, RULE);
    expect_hash(step, "digest", &entry->digest, &digest, RULE);
}

/* The record says the same as the stored bytes that the journal's chain is made of. */
static void compare_stored(replay_t *replay, lk_replay_step_t *step)
{
    static const char RULE[] = "must be what the stored entry says";
    const lk_export_entry_t *entry = &step->entry;
    lk_stored_entry_t stored;
    lk_hash_t hash;
    lk_sha256(entry->stored, entry->stored_bytes, hash.bytes);
    expect_hash(step, "entry hash", &entry->hash, &hash, "must be the SHA-256 of the stored entry");
    replay->totals.hashed_count++;
    if (!lk_stored_entry_read(entry->stored, entry->stored_bytes, &stored)) {
        (void)lk_export_fault_number(next_fault(step), "stored entry", "must be a protobuf message",
                                     entry->stored_bytes);
        return;
    }
    lk_hash_t previous = hash_in(stored.previous_hash);
    expect_hash(step, "previous hash", &entry->previous_hash, &previous, RULE);
    expect_number(step, "partition", replay->totals.header.partition, stored.partition, RULE);
    expect_number(step, "input sequence", entry->input_sequence, stored.input_sequence, RULE);
    expect_number(step, "input time", (uint64_t)entry->input_time_ns, (uint64_t)stored.input_time_ns, RULE);
    if (!is_text_of(stored.account, entry->account.text, sizeof entry->account)) {
        (void)lk_export_fault(next_fault(step), "account", RULE, "another one");
    }
    compare_kind(step, &stored);
}

/* What the service promises of each journaled input: it carries its entry's sequence, and time never goes back. */
static void compare_stamp(const lk_replay_account_t *account, lk_replay_step_t *step)
{
    lk_account_view_t view;
    const lk_export_entry_t *entry = &step->entry;
    if (lk_kernel_account(account->kernel, &view) != LK_STATUS_OK) return;
    int64_t now_ns = view.now_ns > entry->input_time_ns ? view.now_ns : entry->input_time_ns;
    expect_number(step, "input.sequence", entry->input.sequence, entry->sequence, "must be that of its entry");
    expect_number(step, "input.now_ns", (uint64_t)entry->input.now_ns, (uint64_t)now_ns,
                  "must be when the input was stored, or the account's time if that is later");
}

static bool apply_input(replay_t *replay, lk_replay_step_t *step)
{
    const lk_export_entry_t *entry = &step->entry;
    lk_replay_account_t *account = find_account(replay, &entry->account);
    if (account == NULL) {
        return lk_export_fault(&replay->reader.fault, "account", "must be one that was set up", "an unknown one");
    }
    replay->totals.seen.input_count++;
    if (account->kernel == NULL || entry->sequence > replay->options->until) return true;
    if (entry->stored_bytes > 0) compare_stamp(account, step);
    lk_status_t status = lk_kernel_apply(account->kernel, &entry->input, &step->outcome, replay->events, LK_EVENTS_MAX);
    if (status != LK_STATUS_OK) {
        return lk_export_fault(&replay->reader.fault, "input", "must be one that libkernel takes",
                               lk_status_name(status));
    }
    if (lk_kernel_digest(account->kernel, account->digest.bytes) != LK_STATUS_OK) return false;
    account->sequence = entry->sequence;
    step->account = account;
    step->events = replay->events;
    replay->totals.applied_count++;
    expect_number(step, "accepted", entry->accepted, step->outcome.accepted, "must be what the kernel answers");
    if (entry->code != step->outcome.code) {
        (void)lk_export_fault(next_fault(step), "code", "must be what the kernel answers", lk_code_name(entry->code));
    }
    expect_hash(step, "digest", &entry->digest, &account->digest, "must be what the kernel comes to");
    return true;
}

static void count(replay_t *replay, const lk_replay_step_t *step)
{
    lk_replay_totals_t *totals = &replay->totals;
    totals->seen.entry_count++;
    totals->seen.last_sequence = step->entry.sequence;
    totals->seen.last_hash = step->entry.hash;
    if (step->kind == LK_EXPORT_EPOCH) totals->epoch_count++;
    if (step->kind == LK_EXPORT_PARKED) totals->parked_count++;
    if (step->kind == LK_EXPORT_OMITTED) totals->omitted_count++;
    if (step->fault_count == 0) return;
    totals->difference_count++;
    if (totals->first_difference == 0) totals->first_difference = step->entry.sequence;
}

static void tell(const replay_t *replay, const lk_replay_step_t *step)
{
    char place[32];
    (void)snprintf(place, sizeof place, "entry %llu", (unsigned long long)step->entry.sequence);
    for (uint32_t i = 0; i < step->fault_count; i++)
        complain(replay, place, &step->faults[i]);
    bool is_shown = step->kind != LK_EXPORT_INPUT || step->account != NULL;
    if (!is_wanted(replay, &step->entry.account) && step->fault_count == 0) is_shown = false;
    if (is_shown && step->entry.sequence <= replay->options->until) lk_show_step(replay->out, replay->options, step);
}

static bool fold_entry(replay_t *replay)
{
    lk_replay_step_t *step = &replay->step;
    memset(step, 0, sizeof *step);
    step->kind = replay->reader.kind;
    if (!lk_export_read_entry(&replay->reader, &replay->totals.header, &step->entry)) return false;
    if (step->entry.sequence != replay->next_sequence || step->entry.sequence == UINT64_MAX) {
        return lk_export_fault_number(&replay->reader.fault, "sequence", "entries must follow each other without a gap",
                                      step->entry.sequence);
    }
    expect_hash(step, "previous hash", &step->entry.previous_hash, &replay->previous_hash,
                "must be the hash of the entry before");
    if (step->entry.stored_bytes > 0 && step->kind != LK_EXPORT_OMITTED) compare_stored(replay, step);
    if (step->kind == LK_EXPORT_INPUT && !apply_input(replay, step)) return false;
    count(replay, step);
    tell(replay, step);
    replay->previous_hash = step->entry.hash;
    replay->next_sequence++;
    return true;
}

/* --------------------------------------------------------------------------------------------- the file -- */

static bool fold_header(replay_t *replay)
{
    lk_export_header_t *header = &replay->totals.header;
    lk_export_fault_t *fault = &replay->reader.fault;
    if (!lk_export_next(&replay->reader)) return false;
    if (replay->reader.kind != LK_EXPORT_HEADER) {
        return lk_export_fault(fault, "record", "the first must be the HEADER",
                               lk_export_kind_name(replay->reader.kind));
    }
    if (!lk_export_read_header(&replay->reader, header)) return false;
    replay->next_sequence = header->first_sequence;
    replay->previous_hash = header->previous_hash;
    replay->totals.seen.last_sequence = header->first_sequence - 1;
    replay->totals.seen.last_hash = header->previous_hash;
    lk_show_header(replay->out, replay->options, header);
    return true;
}

static bool fold_record(replay_t *replay)
{
    switch (replay->reader.kind) {
    case LK_EXPORT_ACCOUNT:
        return fold_account(replay);
    case LK_EXPORT_STATE:
        return fold_state(replay);
    case LK_EXPORT_EPOCH:
    case LK_EXPORT_INPUT:
    case LK_EXPORT_PARKED:
    case LK_EXPORT_OMITTED:
        return fold_entry(replay);
    default:
        return lk_export_fault(&replay->reader.fault, "record", "there must be one header",
                               lk_export_kind_name(replay->reader.kind));
    }
}

static bool fold_trailer(replay_t *replay)
{
    lk_export_trailer_t trailer;
    const lk_export_trailer_t *seen = &replay->totals.seen;
    lk_export_fault_t *fault = &replay->reader.fault;
    if (!lk_export_read_trailer(&replay->reader, &trailer)) return false;
    if (trailer.entry_count != seen->entry_count) {
        return lk_export_fault_number(fault, "entry count", "must be that of the file", trailer.entry_count);
    }
    if (trailer.input_count != seen->input_count) {
        return lk_export_fault_number(fault, "input count", "must be that of the file", trailer.input_count);
    }
    if (trailer.account_count != seen->account_count) {
        return lk_export_fault_number(fault, "account count", "must be that of the file", trailer.account_count);
    }
    if (trailer.last_sequence != seen->last_sequence) {
        return lk_export_fault_number(fault, "last sequence", "must be that of the last entry", trailer.last_sequence);
    }
    if (!lk_hash_is_same(&trailer.last_hash, &seen->last_hash)) {
        return lk_export_fault_hash(fault, "last hash", "must be that of the last entry", &trailer.last_hash);
    }
    return lk_export_at_end(&replay->reader);
}

static bool fold_file(replay_t *replay, FILE *file)
{
    if (!lk_export_begin(&replay->reader, file) || !fold_header(replay)) return false;
    while (true) { /* ends: every round reads at least 40 bytes of the file */
        if (!lk_export_next(&replay->reader)) return false;
        if (replay->reader.kind == LK_EXPORT_TRAILER) return fold_trailer(replay);
        if (!fold_record(replay)) return false;
    }
}

static int end(replay_t *replay, bool is_whole)
{
    const lk_replay_options_t *options = replay->options;
    if (!is_whole) {
        refuse(replay);
        return LK_REPLAY_REFUSED;
    }
    for (uint32_t i = 0; options->shows_state && i < replay->account_count; i++) {
        if (replay->accounts[i].kernel != NULL) lk_show_state(replay->out, options, &replay->accounts[i]);
    }
    lk_show_summary(replay->out, options, &replay->totals, replay->accounts, replay->account_count);
    return replay->totals.difference_count == 0 ? LK_REPLAY_MATCHES : LK_REPLAY_DIFFERS;
}

int lk_replay_run(const lk_replay_options_t *options, FILE *file, FILE *out, FILE *errors)
{
    replay_t *replay = calloc(1, sizeof *replay);
    if (replay == NULL) {
        (void)fprintf(errors, "lk-replay: no memory\n");
        return LK_REPLAY_REFUSED;
    }
    replay->options = options;
    replay->out = out;
    replay->errors = errors;
    int result = end(replay, fold_file(replay, file));
    for (uint32_t i = 0; i < replay->account_count; i++)
        lk_kernel_destroy(replay->accounts[i].kernel);
    lk_export_end(&replay->reader);
    free(replay);
    return result;
}
