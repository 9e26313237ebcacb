/* Any sequence of inputs: see decode.h for the bytes, world.h for what is checked after each. */
#include "world.h"

#define INPUTS_MAX 400u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    lk_config_t config = decode_config(data[0]);
    world_t *world = world_new(&config);
    world_take_all(world, data + 1, size - 1, INPUTS_MAX);
    world_restart(world);
    world_free(world);
    return 0;
}
