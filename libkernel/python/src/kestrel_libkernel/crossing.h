/* What the Python binding asks of C beside lk.h: each crossing does all that one call of Python needs.
 *
 * A crossing costs some 100 ns whatever it does, most of it cffi letting go of Python's global lock and taking it back
 * (there is no switch for that). So an answer comes in one piece: the outcome, and right behind it its events.
 */
#ifndef LKPY_CROSSING_H
#define LKPY_CROSSING_H

#include "lk/lk.h"
#include "wire.h"

/* Where the answer to one input of a batch ends in the answers, and what most callers ask of it. */
typedef struct {
    uint32_t end;
    uint16_t code;
    uint8_t accepted;
    uint8_t reserved;
} lkpy_answer_t;

/* A kernel with the memory for one answer: an lk_outcome_t and room for event_capacity events behind it, aligned for
 * int64. One argument instead of three: cffi takes longer to check each than the kernel to find a slot. */
typedef struct {
    lk_kernel_t *kernel;
    char *answer;
    size_t event_capacity;
} lkpy_room_t;

static int64_t lkpy_answer(const lkpy_room_t *room, const char *input, char *answer)
{
    lk_outcome_t *outcome = (lk_outcome_t *)(void *)answer;
    lk_event_t *events = (lk_event_t *)(void *)(answer + sizeof *outcome);
    lk_status_t status =
        lk_kernel_apply(room->kernel, (const lk_input_t *)(const void *)input, outcome, events, room->event_capacity);

    if (status != LK_STATUS_OK) return -(int64_t)status;
    return (int64_t)(sizeof *outcome + outcome->event_count * sizeof *events);
}

/* Apply one lk_input_t. The answer is in room->answer; returns its bytes, or minus an lk_status_t. */
static int64_t lkpy_apply(const lkpy_room_t *room, const char *input)
{
    return lkpy_answer(room, input, room->answer);
}

/* Apply inputs in order, until all are applied or answers might not hold the next one's answer; digests: 32 bytes for
 * each, or NULL. Returns how many were applied, or minus the lk_status_t of the first. */
static int64_t lkpy_apply_batch(const lkpy_room_t *room, const char *inputs, size_t input_count, char *answers,
                                size_t answers_bytes, lkpy_answer_t *index, char *digests)
{
    size_t answer_bytes_max = sizeof(lk_outcome_t) + room->event_capacity * sizeof(lk_event_t);
    size_t end = 0;
    size_t i;

    for (i = 0; i < input_count && answers_bytes - end >= answer_bytes_max; i++) {
        const lk_outcome_t *outcome = (const lk_outcome_t *)(const void *)(answers + end);
        int64_t bytes = lkpy_answer(room, inputs + i * sizeof(lk_input_t), answers + end);
        if (bytes < 0) return i == 0 ? bytes : (int64_t)i;
        end += (size_t)bytes;
        index[i] = (lkpy_answer_t){(uint32_t)end, (uint16_t)outcome->code, outcome->accepted, 0};
        if (digests == NULL) continue;
        lk_status_t status = lk_kernel_digest(room->kernel, (uint8_t *)digests + i * LK_DIGEST_BYTES);
        if (status != LK_STATUS_OK) return -(int64_t)status;
    }
    return (int64_t)i;
}

/* How records of one struct become field `number` of a message, or with 0 a message of their own: field_count lkpy_field_t (see wire.h), and a place for
 * what is written. The memory is the caller's. */
typedef struct {
    const uint32_t *fields;
    size_t field_count;
    const char *words;
    char *out;
    size_t room;
    uint32_t number;
    uint32_t reserved;
} lkpy_writer_t;

/* Write a record, and more_bytes of further fields behind its own. Returns the bytes in writer->out, or -1 when there is
 * no room for them. */
static int64_t lkpy_write(const lkpy_writer_t *writer, const char *record, const char *more, size_t more_bytes)
{
    lkpy_wire_t wire = {(uint8_t *)writer->out, 0, writer->room, 0};

    lkpy_write_fields(&wire, record, (const lkpy_field_t *)(const void *)writer->fields, writer->field_count,
                      writer->words);
    lkpy_put(&wire, more, more_bytes);
    if (writer->number != 0) lkpy_enclose(&wire, writer->number, 0);
    return wire.is_full ? -1 : (int64_t)wire.end;
}

#endif
