/* SHA-256 (FIPS 180-4): the hash of a journal entry. */
#ifndef LK_REPLAY_SHA256_H
#define LK_REPLAY_SHA256_H

#include <stddef.h>
#include <stdint.h>

void lk_sha256(const void *data, size_t size, uint8_t digest[32]);

#endif
