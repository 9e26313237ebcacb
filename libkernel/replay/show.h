/* What a replay prints: columns for people, or one JSON object per line. */
#ifndef LK_REPLAY_SHOW_H
#define LK_REPLAY_SHOW_H

#include "replay.h"

void lk_show_header(FILE *out, const lk_replay_options_t *options, const lk_export_header_t *header);
void lk_show_step(FILE *out, const lk_replay_options_t *options, const lk_replay_step_t *step);
void lk_show_state(FILE *out, const lk_replay_options_t *options, const lk_replay_account_t *account);
void lk_show_summary(FILE *out, const lk_replay_options_t *options, const lk_replay_totals_t *totals,
                     const lk_replay_account_t *accounts, uint32_t account_count);

#endif
