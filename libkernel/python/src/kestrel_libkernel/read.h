/* A protobuf message as an input of the library: wire.h the other way round, for messages that are as they mostly are.
 *
 * A table says which field of a message goes into which field of an lk_input_t, and what it must be like. Whatever is
 * not exactly so (a field that the table does not have or that comes twice, a number out of range, a letter that no id
 * has) makes the answer "no", and somebody slower then looks at the message and says what is wrong, if anything is. So a
 * "no" is never wrong; a "yes" must mean that the slow one would have made the same input.
 */
#ifndef LKPY_READ_H
#define LKPY_READ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lk/lk.h"

/* A message, which the next `inside` rows describe. */
#define LKPY_READ_MESSAGE 1u
/* 1 to `bytes` letters from '!' to '~'. */
#define LKPY_READ_TEXT 2u
/* 1 to `bytes` of A-Z 0-9 _ -, and neither of the last two in front. */
#define LKPY_READ_SYMBOL 3u
/* The `bytes` letters that stand in the words of the table at `at`; they go nowhere. */
#define LKPY_READ_SAME 4u
/* A number from `least` to `most`, into one byte. */
#define LKPY_READ_NUMBER 5u
/* { 1: units, 2: scale } without its trailing zeros: units, and the scale into the byte scale_at. Scales to `most`. */
#define LKPY_READ_SHORTEST 6u
/* { 1: units, 2: scale } as units at scale `most`, which is no smaller than its own. */
#define LKPY_READ_AMOUNT 7u
/* Any number, and it goes nowhere. */
#define LKPY_READ_NOTHING 8u
/* As TEXT, and it goes nowhere. */
#define LKPY_READ_UNUSED 9u

#define LKPY_READ_ROWS_MAX 64u
#define LKPY_READ_DEPTH_MAX 4u

typedef struct {
    uint32_t kind;
    uint32_t number; /* in its message */
    uint32_t at;     /* in the input */
    uint32_t bytes;
    uint32_t least;
    uint32_t most;
    uint32_t scale_at;
    uint32_t flag;   /* of the input, set when the field is there */
    uint32_t inside; /* MESSAGE: rows */
} lkpy_row_t;

/* What is left of a message. */
typedef struct {
    const uint8_t *next;
    const uint8_t *end;
} lkpy_source_t;

/* Each takes something from the source and says whether it was there. A number that is longer than it has to be is not:
 * how long one may be, parsers do not agree on. */
static int lkpy_take_varint(lkpy_source_t *source, uint64_t *value)
{
    uint64_t found = 0;

    for (unsigned shift = 0; shift < 64 && source->next < source->end; shift += 7) {
        uint8_t byte = *source->next++;
        if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0)) return 0;
        found |= (uint64_t)(byte & 0x7fu) << shift;
        if (byte > 0x7fu) continue;
        *value = found;
        return 1;
    }
    return 0;
}

static int lkpy_take_piece(lkpy_source_t *source, lkpy_source_t *piece)
{
    uint64_t bytes;

    if (!lkpy_take_varint(source, &bytes) || bytes > (uint64_t)(source->end - source->next)) return 0;
    *piece = (lkpy_source_t){source->next, source->next + bytes};
    source->next = piece->end;
    return 1;
}

static int lkpy_take_decimal(lkpy_source_t *source, int64_t *units, uint64_t *scale)
{
    lkpy_source_t piece;
    uint64_t value[2] = {0, 0};
    uint64_t tag_least = 1; /* units before scale, each once at most */

    if (!lkpy_take_piece(source, &piece)) return 0;
    while (piece.next < piece.end) {
        uint64_t tag;
        if (!lkpy_take_varint(&piece, &tag) || (tag & 7u) != 0) return 0;
        if (tag >> 3 < tag_least || tag >> 3 > 2) return 0;
        tag_least = (tag >> 3) + 1;
        if (!lkpy_take_varint(&piece, &value[(tag >> 3) - 1])) return 0;
    }
    memcpy(units, &value[0], sizeof *units);
    *scale = value[1];
    return 1;
}

static int lkpy_is_text(const lkpy_source_t *piece)
{
    for (const uint8_t *letter = piece->next; letter < piece->end; letter++) {
        if (*letter < '!' || *letter > '~') return 0;
    }
    return 1;
}

static int lkpy_is_symbol(const lkpy_source_t *piece)
{
    for (const uint8_t *letter = piece->next; letter < piece->end; letter++) {
        int is_plain = (*letter >= 'A' && *letter <= 'Z') || (*letter >= '0' && *letter <= '9');
        int is_joint = *letter == '_' || *letter == '-';
        if (!is_plain && (!is_joint || letter == piece->next)) return 0;
    }
    return 1;
}

static int lkpy_read_text(lkpy_source_t *source, const lkpy_row_t *row, const char *words, char *input)
{
    lkpy_source_t piece;
    size_t count;

    if (!lkpy_take_piece(source, &piece)) return 0;
    count = (size_t)(piece.end - piece.next);
    if (row->kind == LKPY_READ_SAME) return count == row->bytes && memcmp(piece.next, words + row->at, count) == 0;
    if (count == 0 || count > row->bytes) return 0;
    if (row->kind == LKPY_READ_SYMBOL ? !lkpy_is_symbol(&piece) : !lkpy_is_text(&piece)) return 0;
    if (row->kind != LKPY_READ_UNUSED) memcpy(input + row->at, piece.next, count);
    return 1;
}

static int lkpy_read_number(lkpy_source_t *source, const lkpy_row_t *row, char *input)
{
    uint64_t value;

    if (!lkpy_take_varint(source, &value)) return 0;
    if (row->kind == LKPY_READ_NOTHING) return 1;
    if (value < row->least || value > row->most || value > UINT8_MAX) return 0;
    input[row->at] = (char)value;
    return 1;
}

static int lkpy_read_decimal(lkpy_source_t *source, const lkpy_row_t *row, char *input)
{
    int64_t units;
    uint64_t scale;

    if (!lkpy_take_decimal(source, &units, &scale) || scale > row->most) return 0;
    if (row->kind == LKPY_READ_SHORTEST) {
        for (; scale > 0 && units % 10 == 0; scale--) units /= 10;
        input[row->scale_at] = (char)scale;
    } else {
        for (; scale < row->most; scale++) {
            if (__builtin_mul_overflow(units, 10, &units)) return 0;
        }
    }
    memcpy(input + row->at, &units, sizeof units);
    return 1;
}

static const lkpy_row_t *lkpy_row_of(const lkpy_row_t *rows, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i += 1 + rows[i].inside) {
        if (rows[i].number == number) return &rows[i];
    }
    return NULL;
}

/* A message that is open: what is left of it, and what may be in it. */
typedef struct {
    lkpy_source_t source;
    const lkpy_row_t *rows;
    size_t row_count;
} lkpy_level_t;

/* One field of the innermost message; a message inside is opened. */
static int lkpy_read_field(lkpy_level_t *levels, size_t *depth, const lkpy_row_t *row, unsigned wire_type,
                           const char *words, char *input)
{
    lkpy_source_t *source = &levels[*depth - 1].source;
    int is_number = row->kind == LKPY_READ_NUMBER || row->kind == LKPY_READ_NOTHING;

    if (wire_type != (is_number ? 0u : 2u)) return 0;
    if (is_number) return lkpy_read_number(source, row, input);
    if (row->kind == LKPY_READ_SHORTEST || row->kind == LKPY_READ_AMOUNT) return lkpy_read_decimal(source, row, input);
    if (row->kind != LKPY_READ_MESSAGE) return lkpy_read_text(source, row, words, input);
    if (*depth == LKPY_READ_DEPTH_MAX) return 0;
    levels[*depth] = (lkpy_level_t){{NULL, NULL}, row + 1, row->inside};
    return lkpy_take_piece(source, &levels[(*depth)++].source);
}

/* The fields of a message into the input, which is blank. Whether it was as the rows say, all of `required` (a bit for
 * each row) in it, and nothing twice. */
static int lkpy_read_message(lkpy_source_t source, const lkpy_row_t *rows, size_t row_count, uint64_t required,
                             const char *words, lk_input_t *input)
{
    lkpy_level_t levels[LKPY_READ_DEPTH_MAX];
    size_t depth = 1;
    uint64_t seen = 0;

    levels[0] = (lkpy_level_t){source, rows, row_count};
    while (depth > 0) {
        lkpy_level_t *level = &levels[depth - 1];
        uint64_t tag;
        if (level->source.next == level->source.end) {
            depth--;
            continue;
        }
        if (!lkpy_take_varint(&level->source, &tag)) return 0;
        const lkpy_row_t *row = lkpy_row_of(level->rows, level->row_count, tag >> 3);
        if (row == NULL) return 0;
        uint64_t bit = (uint64_t)1 << (row - rows);
        if (seen & bit) return 0;
        seen |= bit;
        if (!lkpy_read_field(levels, &depth, row, tag & 7u, words, (char *)input)) return 0;
        input->flags |= row->flag;
    }
    return (seen & required) == required;
}

#endif
