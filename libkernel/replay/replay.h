/* Replays an exported journal: applies each input again and compares with what was journaled.
 *
 * For each entry it is checked that the file is intact (export_file.h), that the entry's hash is the SHA-256 of its
 * stored bytes, that the stored bytes carry the hash of the entry before and say the same as the record, and that the
 * kernel comes to the journaled outcome and digest. A damaged file is refused where it breaks; a difference is told and
 * counted, and the replay goes on.
 */
#ifndef LK_REPLAY_REPLAY_H
#define LK_REPLAY_REPLAY_H

#include "export_file.h"

#define LK_REPLAY_MATCHES 0 /* every entry */
#define LK_REPLAY_DIFFERS 1 /* at least one */
#define LK_REPLAY_REFUSED 2 /* the file is damaged or of another version; or wrong use */

#define LK_REPLAY_ACCOUNTS_MAX 1024u
#define LK_REPLAY_MEMORY_BYTES_MAX (2ull << 30) /* of all kernels of a file */
#define LK_REPLAY_FAULTS_MAX 16u                /* differences of one entry */

typedef struct {
    const char *name;    /* of the file, for messages */
    const char *account; /* show and apply only this one's entries; NULL: all */
    uint64_t until;      /* apply no entry after this; UINT64_MAX: all. The rest is still checked for damage */
    bool is_json;
    bool shows_state;
} lk_replay_options_t;

typedef struct {
    lk_config_t config;
    lk_kernel_t *kernel; /* NULL: not asked for */
    uint64_t sequence;   /* of the last entry applied; 0: none */
    lk_hash_t digest;    /* after it */
} lk_replay_account_t;

/* One entry, and what came of it. */
typedef struct {
    lk_export_kind_t kind;
    lk_export_entry_t entry;
    const lk_replay_account_t *account; /* INPUT that was applied; else NULL */
    lk_outcome_t outcome;
    const lk_event_t *events;
    lk_export_fault_t faults[LK_REPLAY_FAULTS_MAX];
    uint32_t fault_count;
} lk_replay_step_t;

typedef struct {
    lk_export_header_t header;
    lk_export_trailer_t seen; /* as the trailer should say it */
    uint64_t epoch_count;
    uint64_t parked_count;
    uint64_t omitted_count;
    uint64_t applied_count;
    uint64_t hashed_count;     /* entries whose hash was computed here */
    uint64_t difference_count; /* entries that differ */
    uint64_t first_difference; /* its sequence; 0: none */
} lk_replay_totals_t;

/* Replay the file; prints to out, faults to errors. One of LK_REPLAY_... */
int lk_replay_run(const lk_replay_options_t *options, FILE *file, FILE *out, FILE *errors);

#endif
