#include "internal.h"

int64_t lk_power_of_ten(uint32_t exponent)
{
    static const int64_t POWERS[LK_SCALE_MAX + 1] = {
        1,
        10,
        100,
        1000,
        10000,
        100000,
        1000000,
        10000000,
        100000000,
        1000000000,
        10000000000,
        100000000000,
        1000000000000,
        10000000000000,
        100000000000000,
        1000000000000000,
        10000000000000000,
        100000000000000000,
        1000000000000000000,
    };
    LK_ASSERT(exponent <= LK_SCALE_MAX);
    return POWERS[exponent];
}

bool lk_rescale(int64_t units, uint32_t from_scale, uint32_t to_scale, lk_rounding_t rounding, int64_t *result,
                bool *is_exact)
{
    LK_ASSERT(from_scale <= LK_SCALE_MAX);
    LK_ASSERT(to_scale <= LK_SCALE_MAX);
    *is_exact = true;
    *result = units;
    if (from_scale == to_scale) return true;
    if (from_scale < to_scale) return lk_multiply(units, lk_power_of_ten(to_scale - from_scale), result);
    int64_t divisor = lk_power_of_ten(from_scale - to_scale);
    *is_exact = units % divisor == 0;
    *result = (int64_t)(rounding == LK_ROUND_UP ? lk_divide_up(units, divisor) : lk_divide_down(units, divisor));
    return true;
}
