/* Exact arithmetic: each function says with `false` that the result would not fit, and then has stored nothing. */
#ifndef LK_NUMBERS_H
#define LK_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

__extension__ typedef __int128 lk_wide_t; /* products only; never stored, never in the ABI */

#define LK_SCALE_MAX 18u

static inline bool lk_add(int64_t a, int64_t b, int64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool lk_subtract(int64_t a, int64_t b, int64_t *difference)
{
    return !__builtin_sub_overflow(a, b, difference);
}

static inline bool lk_multiply(int64_t a, int64_t b, int64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool lk_narrow(lk_wide_t wide, int64_t *value)
{
    if (wide < INT64_MIN || wide > INT64_MAX) return false;
    *value = (int64_t)wide;
    return true;
}

/* 10^exponent, for exponents up to LK_SCALE_MAX. */
int64_t lk_power_of_ten(uint32_t exponent);

/* Whether the machine's own instruction can divide it, as nearly always: a wide division is a function. */
static inline bool lk_is_narrow(lk_wide_t dividend)
{
    return dividend == (int64_t)dividend;
}

/* Towards minus infinity, and towards plus infinity; divisor > 0. */
static inline lk_wide_t lk_divide_down(lk_wide_t dividend, int64_t divisor)
{
    if (lk_is_narrow(dividend)) return (lk_wide_t)((int64_t)dividend / divisor) - ((int64_t)dividend % divisor < 0);
    return dividend / divisor - (dividend % divisor < 0);
}

static inline lk_wide_t lk_divide_up(lk_wide_t dividend, int64_t divisor)
{
    if (lk_is_narrow(dividend)) return (lk_wide_t)((int64_t)dividend / divisor) + ((int64_t)dividend % divisor > 0);
    return dividend / divisor + (dividend % divisor > 0);
}

/* To the nearest, ties to even; dividend >= 0, divisor > 0. */
static inline lk_wide_t lk_divide_half_even(lk_wide_t dividend, lk_wide_t divisor)
{
    lk_wide_t quotient = dividend / divisor;
    lk_wide_t rest = dividend % divisor;
    bool is_more = rest > divisor - rest;
    bool is_tie = rest == divisor - rest;
    return is_more || (is_tie && quotient % 2 != 0) ? quotient + 1 : quotient;
}

typedef enum { LK_ROUND_DOWN, LK_ROUND_UP } lk_rounding_t;

/* units at one scale, as units at another. *is_exact says whether anything was lost to the rounding. */
bool lk_rescale(int64_t units, uint32_t from_scale, uint32_t to_scale, lk_rounding_t rounding, int64_t *result,
                bool *is_exact);

#endif
