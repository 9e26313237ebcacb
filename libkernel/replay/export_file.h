/* An exported journal: a file that anyone can check with nothing but a C compiler. This page is its format.
 *
 * All integers are little endian. Texts are ASCII, padded with NUL. Hashes and digests are 32 bytes.
 *
 *   file     = "KJOURNAL" || u32 format version (1) || u32 0 || record ... (the first is HEADER, the last TRAILER)
 *   record   = u32 kind || u32 payload size || payload || check
 *   check    = BLAKE2b-256(check before || kind || size || payload); before the first: BLAKE2b-256 of the first 16
 * bytes
 *
 * So each check covers the file up to it: the first one that disagrees says where the file was damaged, and the
 * trailer's is the checksum of the whole.
 *
 *   1 HEADER    u32 ABI version, u32 sizeof(lk_config_t), u32 sizeof(lk_input_t), u32 partition, u32 flags,
 *               u32 save version,
 *               u64 first sequence, i64 exported at (ns), hash of the entry before the first (0: there is none),
 *               char[64] stream, char[64] account (empty: all), char[16] version of libkernel
 *   2 ACCOUNT   u64 sequence of the entry that set it up, lk_config_t. Repeated at each epoch, always the same
 *   3 STATE     u64 sequence (the one before the first), digest, char[64] account, bytes of lk_kernel_save
 *   4 EPOCH     entry head, u64 epoch, stored entry
 *   5 INPUT     entry head, digest as journaled, u32 code as journaled (lk_code_t), u32 accepted, lk_input_t as it was
 *               applied, stored entry
 *   6 PARKED    entry head, stored entry: an input that could not be parsed or placed; it changed nothing
 *   7 OMITTED   entry head with an empty account: the entry of an account that was not asked for
 *   8 TRAILER   u64 entries, u64 inputs, u64 accounts, u64 last sequence, hash of the last entry
 *
 *   entry head  = u64 journal sequence, u64 input sequence (EPOCH: 0), i64 time the input was stored (ns), hash of the
 *                 entry, hash of the entry before it (0: there is none), char[64] account ("_": of no account)
 *   stored entry  the bytes of the journal's message (kestrel.kernel.v1.JournalEntry). Left out when flag 1 is not set.
 *
 * The hash of an entry is SHA-256 of its stored bytes, in which the hash before (field 17) and the digest (field 16)
 * are found. Entries follow each other without a gap. ACCOUNT records follow their EPOCH; in a file that does not begin
 * with the first entry, ACCOUNT and STATE records of what was known come before the first.
 * Flags: 1 stored entries are included; 2 the exporter verified chain, digests and outcomes while it wrote.
 */
#ifndef LK_REPLAY_EXPORT_FILE_H
#define LK_REPLAY_EXPORT_FILE_H

#include "blake2b.h"
#include "lk/lk.h"

#include <stdbool.h>
#include <stdio.h>

#define LK_EXPORT_MAGIC "KJOURNAL"
#define LK_EXPORT_VERSION 1u
#define LK_EXPORT_START_BYTES 16u
#define LK_EXPORT_HEADER_BYTES 216u
#define LK_EXPORT_ENTRY_BYTES 152u
#define LK_EXPORT_TRAILER_BYTES 64u
#define LK_EXPORT_PAYLOAD_BYTES_MAX (64u << 20)
#define LK_EXPORT_HASH_BYTES 32u
#define LK_EXPORT_HAS_ENTRIES 1u
#define LK_EXPORT_WAS_VERIFIED 2u
#define LK_EXPORT_FLAGS_ALL 3u

#define LK_EXPORT_RECORDS(X) X(NONE) X(HEADER) X(ACCOUNT) X(STATE) X(EPOCH) X(INPUT) X(PARKED) X(OMITTED) X(TRAILER)
#define LK_X(name) LK_EXPORT_##name,
typedef enum { LK_EXPORT_RECORDS(LK_X) LK_EXPORT_RECORD_COUNT } lk_export_kind_t;
#undef LK_X

typedef struct {
    uint8_t bytes[LK_EXPORT_HASH_BYTES];
} lk_hash_t;

typedef struct {
    uint32_t abi_version;
    uint32_t config_bytes;
    uint32_t input_bytes;
    uint32_t partition;
    uint32_t flags;        /* LK_EXPORT_HAS_ENTRIES, LK_EXPORT_WAS_VERIFIED */
    uint32_t save_version; /* LK_SAVE_VERSION: of the form of the state, and so of its digest */
    uint64_t first_sequence;
    int64_t exported_at_ns;
    lk_hash_t previous_hash;
    lk_id_t stream;
    lk_id_t account; /* empty: all */
    char libkernel_version[16];
} lk_export_header_t;

/* What every journal entry has, and, by kind, what only some have. Pointers are into the record. */
typedef struct {
    uint64_t sequence;
    uint64_t input_sequence;
    int64_t input_time_ns;
    lk_hash_t hash;
    lk_hash_t previous_hash;
    lk_id_t account;
    uint64_t epoch;    /* EPOCH */
    lk_hash_t digest;  /* INPUT, and the three that follow */
    uint32_t code;     /* lk_code_t */
    uint32_t accepted; /* 0 or 1 */
    lk_input_t input;
    const uint8_t *stored;
    size_t stored_bytes; /* 0: left out */
} lk_export_entry_t;

typedef struct {
    uint64_t entry_count;
    uint64_t input_count;
    uint64_t account_count;
    uint64_t last_sequence;
    lk_hash_t last_hash;
} lk_export_trailer_t;

/* What is wrong: which field, its value, and the rule it breaks. */
typedef struct {
    const char *field;
    char value[80];
    const char *rule;
} lk_export_fault_t;

/* A file being read, record by record. The payload of the last record is at payload[0 .. payload_bytes). */
typedef struct {
    FILE *file;
    uint64_t offset;        /* where the next record begins */
    uint64_t record_offset; /* where the last one began */
    lk_export_kind_t kind;  /* of the last record; NONE before its head is known */
    uint8_t *payload;
    size_t payload_bytes;
    size_t payload_capacity;
    lk_hash_t check;
    lk_export_fault_t fault;
} lk_export_reader_t;

/* Begin to read; checks the first 16 bytes. false: see fault. The file stays the caller's. */
bool lk_export_begin(lk_export_reader_t *reader, FILE *file);
/* Read and check the next record. false: see fault; kind and record_offset say of what. */
bool lk_export_next(lk_export_reader_t *reader);
/* true: nothing follows the last record. */
bool lk_export_at_end(lk_export_reader_t *reader);
void lk_export_end(lk_export_reader_t *reader);

/* The last record's payload as what its kind says. false: it is too short, too long, or a field breaks its rule. */
bool lk_export_read_header(lk_export_reader_t *reader, lk_export_header_t *header);
bool lk_export_read_account(lk_export_reader_t *reader, uint64_t *sequence, lk_config_t *config);
bool lk_export_read_state(lk_export_reader_t *reader, uint64_t *sequence, lk_hash_t *digest, lk_id_t *account,
                          const uint8_t **saved, size_t *saved_bytes);
bool lk_export_read_entry(lk_export_reader_t *reader, const lk_export_header_t *header, lk_export_entry_t *entry);
bool lk_export_read_trailer(lk_export_reader_t *reader, lk_export_trailer_t *trailer);

/* "INPUT"; "record" when out of range. */
const char *lk_export_kind_name(uint32_t kind);

/* State a fault; always false, so that it can be returned. */
bool lk_export_fault(lk_export_fault_t *fault, const char *field, const char *rule, const char *value);
bool lk_export_fault_number(lk_export_fault_t *fault, const char *field, const char *rule, uint64_t value);
bool lk_export_fault_hash(lk_export_fault_t *fault, const char *field, const char *rule, const lk_hash_t *value);

void lk_hash_text(const lk_hash_t *hash, char text[2 * LK_EXPORT_HASH_BYTES + 1]);
bool lk_hash_is_same(const lk_hash_t *a, const lk_hash_t *b);
bool lk_hash_is_zero(const lk_hash_t *hash);

#endif
