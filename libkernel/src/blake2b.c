#include "blake2b.h"

#include <string.h>

static const uint64_t START[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t ORDER[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static inline uint64_t rotate_right(uint64_t word, unsigned count)
{
    return (word >> count) | (word << (64u - count));
}

#define MIX(a, b, c, d, x, y)                                                                                          \
    do {                                                                                                               \
        v[a] += v[b] + (x);                                                                                            \
        v[d] = rotate_right(v[d] ^ v[a], 32);                                                                          \
        v[c] += v[d];                                                                                                  \
        v[b] = rotate_right(v[b] ^ v[c], 24);                                                                          \
        v[a] += v[b] + (y);                                                                                            \
        v[d] = rotate_right(v[d] ^ v[a], 16);                                                                          \
        v[c] += v[d];                                                                                                  \
        v[b] = rotate_right(v[b] ^ v[c], 63);                                                                          \
    } while (0)

/* Written out, so that the compiler knows each word's place. */
#define ROUND(r)                                                                                                       \
    do {                                                                                                               \
        MIX(0, 4, 8, 12, m[ORDER[r][0]], m[ORDER[r][1]]);                                                              \
        MIX(1, 5, 9, 13, m[ORDER[r][2]], m[ORDER[r][3]]);                                                              \
        MIX(2, 6, 10, 14, m[ORDER[r][4]], m[ORDER[r][5]]);                                                             \
        MIX(3, 7, 11, 15, m[ORDER[r][6]], m[ORDER[r][7]]);                                                             \
        MIX(0, 5, 10, 15, m[ORDER[r][8]], m[ORDER[r][9]]);                                                             \
        MIX(1, 6, 11, 12, m[ORDER[r][10]], m[ORDER[r][11]]);                                                           \
        MIX(2, 7, 8, 13, m[ORDER[r][12]], m[ORDER[r][13]]);                                                            \
        MIX(3, 4, 9, 14, m[ORDER[r][14]], m[ORDER[r][15]]);                                                            \
    } while (0)

static void compress(lk_blake2b_t *hash, const uint8_t *block, int is_last)
{
    uint64_t m[16];
    uint64_t v[16];
    memcpy(m, block, sizeof m); /* little endian, as asserted in internal.h */
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, START, sizeof START);
    v[12] ^= hash->total_bytes;
    if (is_last) v[14] = ~v[14];
    ROUND(0);
    ROUND(1);
    ROUND(2);
    ROUND(3);
    ROUND(4);
    ROUND(5);
    ROUND(6);
    ROUND(7);
    ROUND(8);
    ROUND(9);
    ROUND(10);
    ROUND(11);
    for (unsigned i = 0; i < 8; i++)
        hash->state[i] ^= v[i] ^ v[i + 8];
}

void lk_blake2b_begin(lk_blake2b_t *hash)
{
    memcpy(hash->state, START, sizeof START);
    hash->state[0] ^= 0x01010000u ^ 32u;
    hash->total_bytes = 0;
    hash->used_bytes = 0;
}

void lk_blake2b_add(lk_blake2b_t *hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        if (hash->used_bytes == LK_BLAKE2B_BLOCK_BYTES) { /* full, and more follows: not the last block */
            hash->total_bytes += LK_BLAKE2B_BLOCK_BYTES;
            compress(hash, hash->block, 0);
            hash->used_bytes = 0;
        }
        size_t room = LK_BLAKE2B_BLOCK_BYTES - hash->used_bytes;
        size_t taken = size < room ? size : room;
        memcpy(hash->block + hash->used_bytes, bytes, taken);
        hash->used_bytes += taken;
        bytes += taken;
        size -= taken;
    }
}

void lk_blake2b_end(lk_blake2b_t *hash, uint8_t digest[32])
{
    hash->total_bytes += hash->used_bytes;
    memset(hash->block + hash->used_bytes, 0, LK_BLAKE2B_BLOCK_BYTES - hash->used_bytes);
    compress(hash, hash->block, 1);
    memcpy(digest, hash->state, 32);
}

void lk_blake2b(const void *data, size_t size, uint8_t digest[32])
{
    lk_blake2b_t hash;
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, data, size);
    lk_blake2b_end(&hash, digest);
}
