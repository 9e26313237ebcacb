/* BLAKE2b with a 32-byte digest, unkeyed (RFC 7693). */
#ifndef LK_BLAKE2B_H
#define LK_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

#define LK_BLAKE2B_BLOCK_BYTES 128u

typedef struct {
    uint64_t state[8];
    uint64_t total_bytes;
    size_t used_bytes; /* of block */
    uint8_t block[LK_BLAKE2B_BLOCK_BYTES];
} lk_blake2b_t;

void lk_blake2b_begin(lk_blake2b_t *hash);
void lk_blake2b_add(lk_blake2b_t *hash, const void *data, size_t size);
void lk_blake2b_end(lk_blake2b_t *hash, uint8_t digest[32]);
/* All in one. */
void lk_blake2b(const void *data, size_t size, uint8_t digest[32]);

#endif
