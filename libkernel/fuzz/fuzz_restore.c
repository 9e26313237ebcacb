/* Any bytes as a saved state.
 *
 *   byte 0   configuration, as in decode.h
 *   byte 1   bit 0: what follows is a saved state as it is; else a state is made by inputs, saved, and changed
 *            bit 1: its checksum is made right, so that what is behind the checksum is reached
 *   else     byte 2: how many changes; the changes; then records, the first half to make the state, the rest to use it
 *
 * A state that is refused must have changed nothing. One that is accepted must bear every input without a broken
 * promise, and what comes of it must be accepted again.
 */
#include "world.h"

#define RECORDS_MAX 64u
#define CHANGES_MAX 8u
#define HEAD_BYTES 3u

typedef struct {
    uint16_t at;
    uint16_t from;
    uint8_t how;
    uint8_t value;
} change_t;
_Static_assert(sizeof(change_t) == 6, "as it lies in the file");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_checksum(uint8_t *state, size_t size)
{
    lk_blake2b_t hash;
    if (size < LK_DIGEST_BYTES) return;
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, state, size - LK_DIGEST_BYTES);
    lk_blake2b_end(&hash, state + size - LK_DIGEST_BYTES);
}

/* One change of a saved state: a byte, a bit, a number, or an id that is elsewhere already. */
static void change_state(uint8_t *state, size_t size, const change_t *change)
{
    size_t word = change->at % (size / 8) * 8;
    size_t wide = change->at % (size - LK_ID_BYTES);
    int64_t number = odd_number(change->value);
    switch (change->how % 5u) {
    case 0:
        state[change->at % size] = change->value;
        break;
    case 1:
        state[change->at % size] ^= (uint8_t)(1u << change->value % 8u);
        break;
    case 2:
        memcpy(state + word, &number, sizeof number);
        break;
    case 3:
        memcpy(&number, state + word, sizeof number);
        number = (int64_t)((uint64_t)number + change->value - 128u);
        memcpy(state + word, &number, sizeof number);
        break;
    default:
        memmove(state + wide, state + change->from % (size - LK_ID_BYTES), LK_ID_BYTES);
    }
}

static digest_t digest_of(lk_kernel_t *kernel)
{
    digest_t digest;
    REQUIRE(lk_kernel_digest(kernel, digest.bytes) == LK_STATUS_OK);
    return digest;
}

/* Use a state that restore accepted: look at all of it, and give it inputs. */
static void use(world_t *world, const uint8_t *records, size_t size)
{
    record_t record;
    size_t saved_size = 0;
    look(world);
    for (; size >= sizeof record; records += sizeof record, size -= sizeof record) {
        memcpy(&record, records, sizeof record);
        record.kind %= LK_INPUT_COUNT;
        moment_t moment = world_moment(world);
        lk_input_t input = decode_input(&record, &moment);
        world->input_count++;
        lk_status_t status =
            lk_kernel_apply(world->kernel, &input, &world->outcome, world->events, world->event_capacity);
        if (status == LK_STATUS_OK) look(world);
    }
    uint8_t *data = save(world->kernel, &saved_size);
    digest_t before = digest_of(world->kernel);
    REQUIRE(lk_kernel_restore(world->kernel, data, saved_size) == LK_STATUS_OK);
    digest_t after = digest_of(world->kernel);
    REQUIRE(memcmp(&before, &after, sizeof before) == 0);
    free(data);
}

static void restore_and_use(const lk_config_t *config, const uint8_t *state, size_t state_size, const uint8_t *records,
                            size_t size)
{
    world_t *world = world_new(config);
    digest_t before = digest_of(world->kernel);
    lk_status_t status = lk_kernel_restore(world->kernel, state, state_size);
    if (status == LK_STATUS_OK) {
        use(world, records, size);
    } else {
        digest_t after = digest_of(world->kernel);
        REQUIRE(memcmp(&before, &after, sizeof before) == 0);
    }
    world_free(world);
}

static void try_raw(const lk_config_t *config, const uint8_t *data, size_t size, bool has_checksum)
{
    uint8_t *state = malloc(size + 1);
    REQUIRE(state != NULL);
    memcpy(state, data, size);
    if (has_checksum) make_checksum(state, size);
    restore_and_use(config, state, size, NULL, 0);
    free(state);
}

static void try_changed(const lk_config_t *config, const uint8_t *data, size_t size, bool has_checksum)
{
    size_t change_count = data[0] % (CHANGES_MAX + 1);
    if (size < 1 + change_count * sizeof(change_t)) return;
    const uint8_t *changes = data + 1;
    const uint8_t *records = changes + change_count * sizeof(change_t);
    size_t record_count = (size - 1 - change_count * sizeof(change_t)) / RECORD_BYTES;
    if (record_count > RECORDS_MAX) record_count = RECORDS_MAX;
    size_t made_bytes = record_count / 2 * RECORD_BYTES;
    world_t *world = world_new(config);
    world_take_all(world, records, made_bytes, RECORDS_MAX);
    size_t state_size = 0;
    uint8_t *state = save(world->kernel, &state_size);
    world_free(world);
    for (size_t i = 0; i < change_count; i++) {
        change_t change;
        memcpy(&change, changes + i * sizeof change, sizeof change);
        change_state(state, state_size, &change);
    }
    if (has_checksum) make_checksum(state, state_size);
    restore_and_use(config, state, state_size, records + made_bytes, record_count * RECORD_BYTES - made_bytes);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES) return 0;
    lk_config_t config = decode_config(data[0]);
    bool has_checksum = (data[1] & 2u) != 0;
    if ((data[1] & 1u) != 0)
        try_raw(&config, data + 2, size - 2, has_checksum);
    else
        try_changed(&config, data + 2, size - 2, has_checksum);
    return 0;
}
