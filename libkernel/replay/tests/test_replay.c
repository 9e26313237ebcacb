/* lk-replay against files it wrote itself: sound ones, ones damaged at every byte, and ones whose checks were made
 * again after the damage, so that hostile records reach what lies behind them. */
#define _POSIX_C_SOURCE 200809L /* fmemopen */

#include "harness.h"

#include "replay.h"
#include "sha256.h"
#include "stored_entry.h"

#define FILE_BYTES_MAX 65536u
#ifndef RESEALED_ROUNDS
#define RESEALED_ROUNDS 3000u /* of each file; more by -DRESEALED_ROUNDS=... */
#endif
#ifndef RESEALED_SEED
#define RESEALED_SEED 0x9e3779b97f4a7c15u
#endif

/* ------------------------------------------------------------------------------------------- a small writer -- */

typedef struct {
    uint8_t data[FILE_BYTES_MAX];
    size_t size;
    size_t records[64]; /* where each begins */
    size_t record_count;
    uint64_t sequence;
    uint64_t input_count;
    lk_hash_t previous_hash;
} file_t;

static void put(file_t *file, const void *data, size_t size)
{
    CHECK(file->size + size <= sizeof file->data);
    memcpy(file->data + file->size, data, size);
    file->size += size;
}

static void put_u32(file_t *file, uint32_t value)
{
    put(file, &value, sizeof value);
}

static void put_u64(file_t *file, uint64_t value)
{
    put(file, &value, sizeof value);
}

static void begin_record(file_t *file, uint32_t kind)
{
    CHECK(file->record_count < 64);
    file->records[file->record_count++] = file->size;
    put_u32(file, kind);
    put_u32(file, 0);
}

static void end_record(file_t *file)
{
    lk_hash_t check;
    size_t at = file->records[file->record_count - 1];
    uint32_t size = (uint32_t)(file->size - at - 8);
    memcpy(file->data + at + 4, &size, sizeof size);
    memset(&check, 0, sizeof check); /* made by seal */
    put(file, &check, sizeof check);
}

/* Makes all checks anew, as far as the records' sizes still lead. */
static void seal(file_t *file)
{
    lk_hash_t check;
    lk_blake2b(file->data, LK_EXPORT_START_BYTES, check.bytes);
    for (size_t at = LK_EXPORT_START_BYTES; at + 40 <= file->size;) {
        uint32_t size;
        lk_blake2b_t hash;
        memcpy(&size, file->data + at + 4, sizeof size);
        if (size > file->size - at - 40) return;
        lk_blake2b_begin(&hash);
        lk_blake2b_add(&hash, check.bytes, sizeof check);
        lk_blake2b_add(&hash, file->data + at, 8 + size);
        lk_blake2b_end(&hash, check.bytes);
        memcpy(file->data + at + 8 + size, &check, sizeof check);
        at += 40 + size;
    }
}

/* A stored entry, as protobuf: up to 200 bytes. */
typedef struct {
    uint8_t data[512];
    size_t size;
} message_t;

static void wire_number(message_t *message, uint32_t field, uint64_t value)
{
    uint64_t parts[2] = {(uint64_t)field << 3, value};
    for (size_t i = 0; i < 2; i++) {
        for (; parts[i] >= 128; parts[i] >>= 7)
            message->data[message->size++] = (uint8_t)(parts[i] | 128u);
        message->data[message->size++] = (uint8_t)parts[i];
    }
}

static void wire_bytes(message_t *message, uint32_t field, const void *data, size_t size)
{
    wire_number(message, field, size); /* the length is written like a value */
    message->data[message->size - 1 - (field >= 16 ? 2 : 1)] |= 2u;
    memcpy(message->data + message->size, data, size);
    message->size += size;
}

static message_t stored_entry(const file_t *file, const char *account, const lk_hash_t *digest, const char *code)
{
    message_t message = {.size = 0};
    message_t outcome = {.size = 0};
    wire_bytes(&message, 2, account, strlen(account));
    wire_number(&message, 3, 1);
    if (digest != NULL) wire_number(&message, 4, 100 + file->sequence);
    if (digest != NULL) wire_number(&message, 5, file->sequence);
    if (digest == NULL) wire_bytes(&message, 8, "", 0);
    if (digest != NULL) {
        wire_number(&outcome, 1, 1);
        wire_bytes(&outcome, 2, code, strlen(code));
        wire_bytes(&message, 9, outcome.data, outcome.size);
        wire_bytes(&message, 16, digest, sizeof *digest);
    }
    if (!lk_hash_is_zero(&file->previous_hash)) wire_bytes(&message, 17, &file->previous_hash, 32);
    return message;
}

static void begin_entry(file_t *file, uint32_t kind, const char *account, const message_t *stored)
{
    lk_id_t name = id_of(account);
    lk_hash_t hash;
    lk_sha256(stored->data, stored->size, hash.bytes);
    begin_record(file, kind);
    put_u64(file, file->sequence);
    put_u64(file, kind == LK_EXPORT_EPOCH ? 0 : 100 + file->sequence);
    put_u64(file, kind == LK_EXPORT_EPOCH ? 0 : file->sequence);
    put(file, &hash, sizeof hash);
    put(file, &file->previous_hash, sizeof hash);
    put(file, &name, sizeof name);
    file->previous_hash = hash;
}

/* Of a file that begins after what was journaled so far. */
static void write_header(file_t *file)
{
    lk_id_t stream = id_of("JOURNAL_0");
    uint8_t zeros[LK_EXPORT_HEADER_BYTES] = {0};
    put(file, LK_EXPORT_MAGIC, 8);
    put_u32(file, LK_EXPORT_VERSION);
    put_u32(file, 0);
    begin_record(file, LK_EXPORT_HEADER);
    put_u32(file, LK_ABI_VERSION);
    put_u32(file, sizeof(lk_config_t));
    put_u32(file, sizeof(lk_input_t));
    put_u32(file, 0);
    put_u32(file, LK_EXPORT_HAS_ENTRIES);
    put_u32(file, LK_SAVE_VERSION);
    put_u64(file, file->sequence + 1);
    put_u64(file, 0);
    put(file, &file->previous_hash, sizeof file->previous_hash);
    put(file, &stream, sizeof stream);
    put(file, zeros, 64 + 16);
    end_record(file);
}

static lk_config_t small_config(void)
{
    lk_config_t config = config_of(2);
    config.window_count = LK_WINDOW_MIN;
    return config;
}

static void write_epoch(file_t *file)
{
    file->sequence++;
    message_t stored = stored_entry(file, "_", NULL, "");
    begin_entry(file, LK_EXPORT_EPOCH, "_", &stored);
    put_u64(file, 1);
    put(file, stored.data, stored.size);
    end_record(file);
}

static void write_account(file_t *file)
{
    lk_config_t config = small_config();
    begin_record(file, LK_EXPORT_ACCOUNT);
    put_u64(file, file->sequence);
    put(file, &config, sizeof config);
    end_record(file);
}

/* Applied to the bench, and written as the journal would have it. */
static void write_input(file_t *file, bench_t *bench, lk_input_t input)
{
    lk_hash_t digest;
    file->sequence++;
    input.sequence = file->sequence;
    input.now_ns = (int64_t)file->sequence;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(lk_kernel_digest(bench->kernel, digest.bytes) == LK_STATUS_OK);
    message_t stored = stored_entry(file, "TEST-1", &digest, "OK");
    begin_entry(file, LK_EXPORT_INPUT, "TEST-1", &stored);
    put(file, &digest, sizeof digest);
    put_u32(file, LK_CODE_OK);
    put_u32(file, 1);
    put(file, &input, sizeof input);
    put(file, stored.data, stored.size);
    end_record(file);
    file->input_count++;
}

/* The account as it is on the bench, before the file's first entry. */
static void write_state(file_t *file, const bench_t *bench)
{
    static uint8_t saved[32768];
    lk_hash_t digest;
    lk_id_t account = id_of("TEST-1");
    size_t size = 0;
    CHECK(lk_kernel_digest(bench->kernel, digest.bytes) == LK_STATUS_OK);
    CHECK(lk_kernel_save(bench->kernel, saved, sizeof saved, &size) == LK_STATUS_OK);
    begin_record(file, LK_EXPORT_STATE);
    put_u64(file, file->sequence);
    put(file, &digest, sizeof digest);
    put(file, &account, sizeof account);
    put(file, saved, size);
    end_record(file);
}

/* An entry of nobody we asked for, and one that changed nothing. */
static void write_omitted_and_parked(file_t *file)
{
    lk_hash_t nothing;
    memset(&nothing, 5, sizeof nothing);
    file->sequence++;
    message_t stored = stored_entry(file, "TEST-2", &nothing, "OK");
    begin_entry(file, LK_EXPORT_OMITTED, "", &stored);
    end_record(file);
    file->sequence++;
    stored = stored_entry(file, "TEST-1", &nothing, "PARKED");
    begin_entry(file, LK_EXPORT_PARKED, "TEST-1", &stored);
    put(file, stored.data, stored.size);
    end_record(file);
}

static void write_trailer(file_t *file, uint64_t entry_count)
{
    begin_record(file, LK_EXPORT_TRAILER);
    put_u64(file, entry_count);
    put_u64(file, file->input_count);
    put_u64(file, 1);
    put_u64(file, file->sequence);
    put(file, &file->previous_hash, sizeof file->previous_hash);
    end_record(file);
    seal(file);
}

/* A whole trade of the golden replay: entries 2 to 5, after an epoch. */
static void write_file(file_t *file)
{
    lk_config_t config = small_config();
    bench_t *bench = bench_with(&config);
    memset(file, 0, sizeof *file);
    write_header(file);
    write_epoch(file);
    write_account(file);
    write_input(file, bench, enter_input(bench, "T1", "O1", LK_SIDE_SELL, 202276));
    write_input(file, bench, fill_input(bench, "O1", "E1", LK_SIDE_SELL, 202276, 1878));
    lk_input_t leaving = input_of(bench, LK_INPUT_EXIT);
    leaving.trade_id = id_of("T1");
    leaving.client_order_id = id_of("O2");
    write_input(file, bench, leaving);
    write_input(file, bench, fill_input(bench, "O2", "E2", LK_SIDE_BUY, 202276, 1866));
    write_trailer(file, 5);
    bench_free(bench);
}

/* The same trade, but the file begins with entry 8, when it is open; two further entries are not the kernel's. */
static void write_late_file(file_t *file)
{
    lk_config_t config = small_config();
    bench_t *bench = bench_with(&config);
    CHECK(enter(bench, "T1", "O1", LK_SIDE_SELL, 202276) == LK_CODE_OK);
    CHECK(fill(bench, "O1", "E1", LK_SIDE_SELL, 202276, 1878) == LK_CODE_OK);
    memset(file, 0, sizeof *file);
    memset(&file->previous_hash, 3, sizeof file->previous_hash);
    file->sequence = 7;
    write_header(file);
    file->sequence = 1; /* the entry that set the account up */
    write_account(file);
    file->sequence = 7;
    write_state(file, bench);
    write_omitted_and_parked(file);
    lk_input_t leaving = input_of(bench, LK_INPUT_EXIT);
    leaving.trade_id = id_of("T1");
    leaving.client_order_id = id_of("O2");
    write_input(file, bench, leaving);
    write_input(file, bench, fill_input(bench, "O2", "E2", LK_SIDE_BUY, 202276, 1866));
    write_trailer(file, 4);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------------ running -- */

typedef struct {
    int result;
    char out[32768];
    char errors[4096];
} answer_t;

static FILE *memory(void *data, size_t size, const char *mode)
{
    FILE *file = fmemopen(data, size, mode);
    CHECK(file != NULL);
    return file;
}

static answer_t *run(file_t *file, lk_replay_options_t options)
{
    answer_t *answer = calloc(1, sizeof *answer);
    CHECK(answer != NULL);
    uint8_t nothing = 0;
    FILE *in = memory(file->size == 0 ? &nothing : file->data, file->size == 0 ? 1 : file->size, "rb");
    if (file->size == 0) (void)fgetc(in);
    FILE *out = memory(answer->out, sizeof answer->out, "wb");
    FILE *errors = memory(answer->errors, sizeof answer->errors, "wb");
    options.name = "test.kj";
    answer->result = lk_replay_run(&options, in, out, errors);
    CHECK(fclose(in) == 0);
    (void)fclose(out); /* may be full: what matters is its beginning */
    (void)fclose(errors);
    answer->out[sizeof answer->out - 1] = '\0';
    answer->errors[sizeof answer->errors - 1] = '\0';
    return answer;
}

static const lk_replay_options_t ALL = {.until = UINT64_MAX};

static int result_of(file_t *file)
{
    answer_t *answer = run(file, ALL);
    int result = answer->result;
    CHECK((result == LK_REPLAY_MATCHES) == (answer->errors[0] == '\0'));
    free(answer);
    return result;
}

static void expect(file_t *file, lk_replay_options_t options, int result, const char *shown, const char *complaint)
{
    answer_t *answer = run(file, options);
    if (answer->result != result || strstr(answer->out, shown) == NULL || strstr(answer->errors, complaint) == NULL) {
        (void)fprintf(stderr, "result %d, expected %d and %s and %s\n%s\n%s\n", answer->result, result, shown,
                      complaint, answer->out, answer->errors);
    }
    CHECK(answer->result == result);
    CHECK(strstr(answer->out, shown) != NULL);
    CHECK(strstr(answer->errors, complaint) != NULL);
    free(answer);
}

/* --------------------------------------------------------------------------------------------------- tests -- */

static void test_sha256_comes_to_the_published_values(void)
{
    static const char EMPTY[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char ABC[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char TWO_BLOCKS[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    static const char MILLION[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    static char many[1000000];
    char text[65];
    lk_hash_t hash;
    lk_sha256("", 0, hash.bytes);
    lk_hash_text(&hash, text);
    CHECK(strcmp(text, EMPTY) == 0);
    lk_sha256("abc", 3, hash.bytes);
    lk_hash_text(&hash, text);
    CHECK(strcmp(text, ABC) == 0);
    lk_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hash.bytes);
    lk_hash_text(&hash, text);
    CHECK(strcmp(text, TWO_BLOCKS) == 0);
    memset(many, 'a', sizeof many);
    lk_sha256(many, sizeof many, hash.bytes);
    lk_hash_text(&hash, text);
    CHECK(strcmp(text, MILLION) == 0);
}

static void test_a_stored_entry_is_read_and_a_cut_one_is_refused_or_shorter(void)
{
    file_t file = {.sequence = 7};
    lk_hash_t digest;
    lk_stored_entry_t entry;
    memset(&digest, 7, sizeof digest);
    memset(&file.previous_hash, 9, sizeof file.previous_hash);
    message_t message = stored_entry(&file, "TEST-1", &digest, "SLOT_BUSY");
    CHECK(lk_stored_entry_read(message.data, message.size, &entry));
    CHECK(entry.epoch == 1 && entry.input_sequence == 107 && entry.input_time_ns == 7 && entry.accepted);
    CHECK(entry.code.size == 9 && memcmp(entry.code.data, "SLOT_BUSY", 9) == 0);
    CHECK(entry.state_digest.size == 32 && memcmp(entry.state_digest.data, &digest, 32) == 0);
    CHECK(entry.previous_hash.size == 32);
    for (size_t size = 0; size < message.size; size++) {
        uint8_t *copy = malloc(size + 1); /* its own memory, so that a sanitizer sees one byte too many */
        CHECK(copy != NULL);
        memcpy(copy, message.data, size);
        (void)lk_stored_entry_read(copy, size, &entry);
        CHECK(entry.previous_hash.size == 0);
        free(copy);
    }
    CHECK(!lk_stored_entry_read((const uint8_t *)"\x0b", 1, &entry));     /* a group */
    CHECK(!lk_stored_entry_read((const uint8_t *)"\x00\x00", 2, &entry)); /* field 0 */
    CHECK(!lk_stored_entry_read((const uint8_t *)"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, &entry));
    CHECK(!lk_stored_entry_read((const uint8_t *)"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, &entry));
}

static void test_a_sound_file_matches_and_says_what_happened_K21(void)
{
    file_t file;
    write_file(&file);
    expect(&file, ALL, LK_REPLAY_MATCHES, "IDLE -> ENTRY_REQUESTED", "");
    expect(&file, ALL, LK_REPLAY_MATCHES, "realized 242.73120000", "");
    expect(&file, ALL, LK_REPLAY_MATCHES, "every entry's hash was computed here", "");
    expect(&file, ALL, LK_REPLAY_MATCHES, "everything matches", "");
}

static void test_a_file_in_mid_journal_goes_on_from_its_state_K21(void)
{
    file_t file;
    write_late_file(&file);
    expect(&file, ALL, LK_REPLAY_MATCHES, "realized 242.73120000", "");
    expect(&file, ALL, LK_REPLAY_MATCHES, "4 entries: 2 inputs, 0 epochs, 1 parked, 1 omitted", "");
    expect(&file, ALL, LK_REPLAY_MATCHES, "3 of 4 hashes were computed here; the others are unverified", "");
    file.data[file.records[2] + 8 + 8] ^= 1; /* the digest of the state */
    seal(&file);
    expect(&file, ALL, LK_REPLAY_REFUSED, "", "entry 8 (STATE at byte ");
    write_late_file(&file);
    file.data[file.records[2] + 8 + 104 + 600] ^= 1; /* the state itself */
    seal(&file);
    expect(&file, ALL, LK_REPLAY_REFUSED, "", "state INVALID_CHECKSUM: must be one that this kernel saved");
}

static void test_json_has_an_object_for_each_entry_K21(void)
{
    file_t file;
    lk_replay_options_t options = ALL;
    options.is_json = true;
    options.shows_state = true;
    write_file(&file);
    expect(&file, options, LK_REPLAY_MATCHES, "{\"record\":\"EPOCH\",\"sequence\":1,", "");
    expect(&file, options, LK_REPLAY_MATCHES, "{\"record\":\"INPUT\",\"sequence\":5,\"input_sequence\":105,", "");
    expect(&file, options, LK_REPLAY_MATCHES, "{\"record\":\"STATE\",\"account\":\"TEST-1\"", "");
    expect(&file, options, LK_REPLAY_MATCHES, "\"realized_pnl\":\"242.73120000\"", "");
    expect(&file, options, LK_REPLAY_MATCHES, "\"matches\":true}", "");
}

static void test_until_and_account_choose_what_is_applied(void)
{
    file_t file;
    lk_replay_options_t options = ALL;
    write_file(&file);
    options.until = 3;
    options.shows_state = true;
    expect(&file, options, LK_REPLAY_MATCHES, "TEST-1 after entry 3", "");
    expect(&file, options, LK_REPLAY_MATCHES, "position -202276 at 0.18780000", "");
    expect(&file, options, LK_REPLAY_MATCHES, "4 inputs, 1 epochs, 0 parked, 0 omitted; 2 inputs applied", "");
    options = ALL;
    options.account = "TEST-2";
    expect(&file, options, LK_REPLAY_MATCHES, "; 0 inputs applied", "");
}

static void test_every_cut_is_refused_and_named_K21(void)
{
    file_t file;
    write_file(&file);
    size_t whole = file.size;
    for (size_t size = 0; size < whole; size++) {
        file.size = size;
        CHECK(result_of(&file) == LK_REPLAY_REFUSED);
    }
    file.size = file.records[4] + 20; /* HEADER, EPOCH, ACCOUNT, INPUT 2, INPUT 3 */
    expect(&file, ALL, LK_REPLAY_REFUSED, "", "lk-replay: test.kj: entry 3 (INPUT at byte ");
    file.size = whole;
    file.data[file.size++] = 0;
    expect(&file, ALL, LK_REPLAY_REFUSED, "", "must end with its trailer");
}

static void test_every_changed_byte_is_refused_K21(void)
{
    file_t file;
    write_file(&file);
    for (size_t at = 0; at < file.size; at++) {
        file.data[at] ^= (uint8_t)(1u << (at % 8));
        CHECK(result_of(&file) == LK_REPLAY_REFUSED);
        file.data[at] ^= (uint8_t)(1u << (at % 8));
    }
    file.data[file.records[5] + 300] ^= 1;
    expect(&file, ALL, LK_REPLAY_REFUSED, "", "entry 4 (INPUT at byte ");
}

/* Whoever changes a byte and makes the file's checks anew is found by what the checks protect. */
static void test_a_resealed_change_is_told_with_its_entry_K21(void)
{
    file_t file;
    write_file(&file);
    size_t input = file.records[4] + 8 + LK_EXPORT_ENTRY_BYTES + 40; /* of entry 3 */
    file.data[input + offsetof(lk_input_t, price)] ^= 1;
    seal(&file);
    expect(&file, ALL, LK_REPLAY_DIFFERS, "entries DIFFER, the first is 3", "entry 3: digest ");
    write_file(&file);
    file.data[file.records[4] - 33] ^= 1; /* the last stored byte of entry 2 */
    seal(&file);
    expect(&file, ALL, LK_REPLAY_DIFFERS, "DIFFERS  entry hash", "entry 2: entry hash ");
    write_file(&file);
    file.data[file.records[4] + 8 + 24] ^= 1; /* entry 3's own hash */
    seal(&file);
    expect(&file, ALL, LK_REPLAY_DIFFERS, "DIFFERS", "entry 4: previous hash ");
}

/* Changes some bytes, mostly where fields are read: at the beginning of a record. */
static void disturb(file_t *file, uint64_t *random, uint32_t round)
{
    for (uint32_t i = 0; i <= round % 4; i++) {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        size_t at = (size_t)(*random % file->size);
        if (round % 2 == 0) at = file->records[*random % file->record_count] + (size_t)(*random >> 32) % 240;
        if (at < file->size) file->data[at] = (uint8_t)(*random >> 40);
    }
}

static void test_hostile_records_never_crash_it_K21(void)
{
    file_t sound[2];
    file_t *file = malloc(sizeof *file);
    uint64_t random = RESEALED_SEED;
    uint32_t seen[3] = {0};
    CHECK(file != NULL);
    write_file(&sound[0]);
    write_late_file(&sound[1]);
    (void)printf("seed %llu, %u rounds\n", (unsigned long long)random, 2 * RESEALED_ROUNDS);
    for (uint32_t round = 0; round < 2 * RESEALED_ROUNDS; round++) {
        *file = sound[round / 4 % 2];
        disturb(file, &random, round);
        seal(file);
        seen[result_of(file)]++;
    }
    CHECK(seen[LK_REPLAY_DIFFERS] > RESEALED_ROUNDS / 10 && seen[LK_REPLAY_REFUSED] > RESEALED_ROUNDS / 10);
    free(file);
}

int main(void)
{
    RUN(test_sha256_comes_to_the_published_values);
    RUN(test_a_stored_entry_is_read_and_a_cut_one_is_refused_or_shorter);
    RUN(test_a_sound_file_matches_and_says_what_happened_K21);
    RUN(test_a_file_in_mid_journal_goes_on_from_its_state_K21);
    RUN(test_json_has_an_object_for_each_entry_K21);
    RUN(test_until_and_account_choose_what_is_applied);
    RUN(test_every_cut_is_refused_and_named_K21);
    RUN(test_every_changed_byte_is_refused_K21);
    RUN(test_a_resealed_change_is_told_with_its_entry_K21);
    RUN(test_hostile_records_never_crash_it_K21);
    return 0;
}
