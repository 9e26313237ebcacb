/* Fees: predicted at once, settled by the venue, and how far the published rates hold (K17); and the map from
 * conviction to the venue's leverage (K05). Pure: figures in, figures out.
 */
#include "internal.h"

#define RATE_ONE INT64_C(100000000)  /* 10^LK_RATE_SCALE */
#define RATIO_ONE INT64_C(100000000) /* 10^LK_RATIO_SCALE */
#define BPS_ONE 10000

_Static_assert(LK_RATE_SCALE == 8 && LK_RATIO_SCALE == 8, "the constants above");

/* value x factor / 10^8, towards plus infinity: a cost grows, a rebate shrinks. */
static bool scale_up(int64_t value, int64_t factor, int64_t *result)
{
    int64_t product = 0;
    if (!lk_multiply(value, factor, &product)) {
        return lk_narrow(lk_divide_up((lk_wide_t)value * factor, RATE_ONE), result);
    }
    *result = product / RATE_ONE + (product % RATE_ONE > 0);
    return true;
}

static int64_t published_rate(const lk_config_t *config, uint8_t liquidity)
{
    return liquidity == LK_LIQUIDITY_MAKER ? config->maker_fee_rate : config->taker_fee_rate;
}

/* NONE is charged as TAKER, and calibrated by it. */
static uint32_t calibration_index(uint8_t liquidity)
{
    return liquidity == LK_LIQUIDITY_MAKER ? 0 : 1;
}

int64_t lk_fee_publish(const lk_config_t *config, uint8_t liquidity, int64_t notional)
{
    int64_t fee = 0;
    bool fits = scale_up(notional, published_rate(config, liquidity), &fee);
    LK_ASSERT(fits); /* a rate is less than one */
    return fee;
}

bool lk_fee_predict(const lk_config_t *config, const lk_ledger_t *ledger, uint8_t liquidity, int64_t notional,
                    int64_t *fee)
{
    const lk_calibration_t *calibration = &ledger->calibrations[calibration_index(liquidity)];
    *fee = lk_fee_publish(config, liquidity, notional);
    return calibration->sample_count == 0 || scale_up(*fee, calibration->ratio, fee);
}

/* ------------------------------------------------------------------------------------------- calibration -- */

static lk_wide_t magnitude(lk_wide_t value)
{
    return value < 0 ? -value : value;
}

static bool is_too_far_off(int64_t settled, int64_t published)
{
    lk_wide_t difference = (lk_wide_t)settled - published;
    return magnitude(difference) * BPS_ONE > magnitude(published) * LK_FEE_GUARD_BPS;
}

/* Bounded: when a sum would not fit, both are halved, so that older samples fade. */
static void add_sample(lk_calibration_t *calibration, int64_t settled, int64_t published)
{
    lk_wide_t settled_sum = calibration->settled_sum + magnitude(settled);
    lk_wide_t published_sum = calibration->published_sum + magnitude(published);
    if (settled_sum > INT64_MAX || published_sum > INT64_MAX) {
        settled_sum /= 2;
        published_sum /= 2;
    }
    LK_ASSERT(settled_sum <= INT64_MAX && published_sum <= INT64_MAX);
    calibration->settled_sum = (int64_t)settled_sum;
    calibration->published_sum = (int64_t)published_sum;
    calibration->ratio = (int64_t)lk_divide_half_even(settled_sum * RATIO_ONE, published_sum);
    calibration->sample_count++;
}

bool lk_fee_learn(const lk_config_t *config, lk_ledger_t *ledger, const lk_execution_t *execution)
{
    lk_calibration_t *calibration = &ledger->calibrations[calibration_index(execution->liquidity)];
    if (execution->liquidity == LK_LIQUIDITY_NONE) return true; /* nobody knows which rate it was charged by */
    int64_t published = lk_fee_publish(config, execution->liquidity, execution->notional);
    if (published == 0) return true;
    bool is_refused = is_too_far_off(execution->fee, published);
    calibration->is_last_refused = is_refused;
    if (is_refused) {
        calibration->refused_count++;
        return false;
    }
    add_sample(calibration, execution->fee, published);
    return true;
}

bool lk_fee_is_sound(const lk_ledger_t *ledger)
{
    for (uint32_t i = 0; i < 2; i++) {
        const lk_calibration_t *calibration = &ledger->calibrations[i];
        bool is_empty = calibration->sample_count == 0;
        if (calibration->settled_sum < 0 || calibration->published_sum < 0 || calibration->ratio < 0) return false;
        if (!is_empty && calibration->published_sum == 0) return false;
        if (is_empty && (calibration->published_sum != 0 || calibration->ratio != 0)) return false;
        if (calibration->is_last_refused > 1) return false;
    }
    return true;
}

static lk_fee_status_t calibration_status(const lk_calibration_t *calibration, int64_t rate, int64_t deviation)
{
    int64_t tolerance = RATIO_ONE / BPS_ONE * LK_FEE_DEVIATION_BPS;
    if (rate == 0) return LK_FEE_STATUS_NONE;
    if (calibration->is_last_refused) return LK_FEE_STATUS_DEVIATING;
    if (calibration->sample_count == 0) return LK_FEE_STATUS_UNCALIBRATED;
    return magnitude(deviation) > tolerance ? LK_FEE_STATUS_DEVIATING : LK_FEE_STATUS_OK;
}

void lk_fee_view(const lk_config_t *config, const lk_ledger_t *ledger, uint8_t liquidity, lk_fee_view_t *view)
{
    const lk_calibration_t *calibration = &ledger->calibrations[calibration_index(liquidity)];
    view->rate = published_rate(config, liquidity);
    view->ratio = calibration->sample_count == 0 ? RATIO_ONE : calibration->ratio;
    view->deviation = view->ratio - RATIO_ONE;
    view->sample_count = calibration->sample_count;
    view->refused_count = calibration->refused_count;
    view->status = (uint8_t)calibration_status(calibration, view->rate, view->deviation);
}

/* -------------------------------------------------------------------------------------------- conviction -- */

uint32_t lk_conviction_to_leverage(int64_t conviction, uint32_t leverage_max)
{
    lk_wide_t width = LK_CONVICTION_MAX - LK_CONVICTION_MIN;
    if (leverage_max == 0) return 0;
    if (conviction <= LK_CONVICTION_MIN) return 1;
    if (conviction >= LK_CONVICTION_MAX) return leverage_max;
    lk_wide_t dividend = width + (lk_wide_t)(conviction - LK_CONVICTION_MIN) * (leverage_max - 1);
    return (uint32_t)lk_divide_half_even(dividend, width);
}

lk_status_t lk_conviction_of(int64_t notional, int64_t capital, int64_t *conviction)
{
    lk_wide_t one = lk_power_of_ten(LK_CONVICTION_SCALE);
    if (conviction == NULL || notional < 0 || capital <= 0) return LK_STATUS_INVALID_ARGUMENT;
    bool fits = lk_narrow(lk_divide_half_even(notional * one, capital), conviction);
    return fits ? LK_STATUS_OK : LK_STATUS_INVALID_ARGUMENT;
}
