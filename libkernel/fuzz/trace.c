/* trace SEED SEQUENCES INPUTS: random sequences, and one hash of everything that came out of them.
 *
 * The same library gives the same hash; one whose behavior differs anywhere on these sequences gives another, or stops
 * at a check of world.h. tools/mutate.py tells with it whether a mutant that the tests let pass behaves differently at
 * all.
 */
#include "world.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* How often each kind comes, of 64. Fills and order facts most, so that trades get somewhere. */
static uint8_t random_kind(uint64_t number)
{
    static const uint8_t KINDS[] = {
        LK_INPUT_FILL,  LK_INPUT_FILL,       LK_INPUT_FILL,    LK_INPUT_FILL,    LK_INPUT_FILL,  LK_INPUT_FILL,
        LK_INPUT_FILL,  LK_INPUT_FILL,       LK_INPUT_FILL,    LK_INPUT_FILL,    LK_INPUT_ORDER, LK_INPUT_ORDER,
        LK_INPUT_ORDER, LK_INPUT_ORDER,      LK_INPUT_ORDER,   LK_INPUT_ENTER,   LK_INPUT_ENTER, LK_INPUT_ENTER,
        LK_INPUT_ENTER, LK_INPUT_EXIT,       LK_INPUT_EXIT,    LK_INPUT_EXIT,    LK_INPUT_EXIT,  LK_INPUT_SETTLEMENT,
        LK_INPUT_BUST,  LK_INPUT_CORRECTION, LK_INPUT_BALANCE, LK_INPUT_BALANCE,
    };
    uint64_t at = number % 64u;
    if (at < sizeof KINDS) return KINDS[at];
    return (uint8_t)(1 + number / 64u % LK_INPUT_COUNT); /* any kind, or a restart */
}

/* Orders and executions near those in use, small quantities, few twists: so that most inputs do something. */
static record_t random_record(uint64_t *state)
{
    record_t record;
    uint64_t words[RECORD_BYTES / 8];
    for (size_t i = 0; i < RECORD_BYTES / 8; i++)
        words[i] = next_random(state);
    memcpy(&record, words, sizeof record);
    uint64_t choice = next_random(state);
    record.kind = random_kind(choice);
    record.trade &= 0x2fu; /* 8 trades, 2 symbols */
    record.venue &= choice >> 24 & 3u ? 0xf0u : 0xffu;
    if ((choice >> 26 & 3u) != 0) record.venue &= 0x7fu;
    bool is_protective = (record.venue & 0x80u) != 0;
    record.order &= is_protective ? 0x2fu : choice >> 20 & 7u ? 0x0fu : 0xffu;
    record.qty = choice >> 28 & 31u ? record.qty % 20 + 1 : record.qty % 100000;
    record.price = choice >> 34 & 31u ? 1000 + record.price % 100 : record.price % 3000000;
    record.amount = choice >> 40 & 3u ? record.amount % 2000 : record.amount;
    if ((choice >> 44 & 7u) != 0) record.step &= 0x1bu;
    if ((choice >> 48 & 7u) != 0) record.twist = 0;
    if ((choice >> 52 & 3u) != 0) record.watermark = 0;
    if (record.kind == LK_INPUT_FILL && (choice >> 56 & 7u) != 0) record.flags |= LK_HAS_PRICE;
    return record;
}

static void add_to_hash(lk_blake2b_t *hash, const world_t *world)
{
    lk_blake2b_add(hash, &world->outcome, sizeof world->outcome);
    lk_blake2b_add(hash, world->events, world->outcome.event_count * sizeof *world->events);
    lk_blake2b_add(hash, &world->account, sizeof world->account);
    lk_blake2b_add(hash, world->slots, world->config.slot_count * sizeof *world->slots);
    lk_blake2b_add(hash, &world->digest, sizeof world->digest);
}

int main(int argument_count, char **arguments)
{
    uint8_t sum[LK_DIGEST_BYTES];
    lk_blake2b_t hash;
    if (argument_count != 4) return 2;
    uint64_t seed = strtoull(arguments[1], NULL, 10);
    uint64_t sequence_count = strtoull(arguments[2], NULL, 10);
    uint64_t input_count = strtoull(arguments[3], NULL, 10);
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;
    uint64_t accepted_count = 0;
    lk_blake2b_begin(&hash);
    for (uint64_t i = 0; i < sequence_count; i++) {
        lk_config_t config = decode_config((uint8_t)next_random(&state));
        world_t *world = world_new(&config);
        for (uint64_t n = 0; n < input_count; n++) {
            record_t record = random_record(&state);
            world_take(world, &record);
            accepted_count += world->outcome.accepted;
            add_to_hash(&hash, world);
        }
        world_free(world);
    }
    lk_blake2b_end(&hash, sum);
    for (size_t i = 0; i < sizeof sum; i++)
        (void)printf("%02x", sum[i]);
    (void)printf(" %llu of %llu accepted\n", (unsigned long long)accepted_count,
                 (unsigned long long)(sequence_count * input_count));
    return 0;
}
