/* Names of everything, from the lists of the header. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define NAME(name) #name,

static const char *const STATUS_NAMES[] = {LK_STATUSES(NAME)};
static const char *const INPUT_NAMES[] = {LK_INPUT_KINDS(NAME)};
static const char *const FACT_NAMES[] = {LK_ORDER_FACTS(NAME)};
static const char *const LIFE_NAMES[] = {LK_LIVES(NAME)};
static const char *const STAGE_NAMES[] = {LK_STAGES(NAME)};
static const char *const LIFECYCLE_NAMES[] = {LK_LIFECYCLES(NAME)};
static const char *const FIELD_NAMES[] = {LK_FIELDS(NAME)};
static const char *const LEDGER_STATUS_NAMES[] = {LK_LEDGER_STATUSES(NAME)};
static const char *const LEDGER_CAUSE_NAMES[] = {LK_LEDGER_CAUSES(NAME)};
static const char *const FEE_STATUS_NAMES[] = {LK_FEE_STATUSES(NAME)};
static const char *const REQUIREMENT_NAMES[] = {LK_REQUIREMENTS(NAME)};

/* What each kind makes of each field. */
#define READS(kind, field, requirement) [LK_INPUT_##kind][LK_FIELD_##field] = LK_REQUIREMENT_##requirement,
static const uint8_t INPUT_READS[LK_INPUT_COUNT][LK_FIELD_COUNT] = {LK_INPUT_FIELDS(READS)};

#define CODE_NAME(name, severity, text) #name,
static const char *const CODE_NAMES[] = {LK_CODES(CODE_NAME)};
#define CODE_TEXT(name, severity, text) text,
static const char *const CODE_TEXTS[] = {LK_CODES(CODE_TEXT)};
#define CODE_SEVERITY(name, severity, text) LK_SEVERITY_##severity,
static const uint8_t CODE_SEVERITIES[] = {LK_CODES(CODE_SEVERITY)};

_Static_assert(COUNT_OF(STATUS_NAMES) == LK_STATUS_COUNT, "one name each");
_Static_assert(COUNT_OF(CODE_TEXTS) == LK_CODE_COUNT, "one text each");
_Static_assert(LK_STAGE_COUNT <= 32 && LK_LIFECYCLE_COUNT <= 32, "sets of them are 32-bit words");

#define PICK(names, value) ((value) < COUNT_OF(names) ? (names)[value] : "?")

uint32_t lk_abi_version(void)
{
    return LK_ABI_VERSION;
}

const char *lk_version(void)
{
    return "0.1.0";
}

const char *lk_status_name(uint32_t status)
{
    return PICK(STATUS_NAMES, status);
}

const char *lk_input_name(uint32_t kind)
{
    return PICK(INPUT_NAMES, kind);
}

const char *lk_fact_name(uint32_t fact)
{
    return PICK(FACT_NAMES, fact);
}

const char *lk_life_name(uint32_t life)
{
    return PICK(LIFE_NAMES, life);
}

const char *lk_stage_name(uint32_t stage)
{
    return PICK(STAGE_NAMES, stage);
}

const char *lk_lifecycle_name(uint32_t lifecycle)
{
    return PICK(LIFECYCLE_NAMES, lifecycle);
}

const char *lk_code_name(uint32_t code)
{
    return PICK(CODE_NAMES, code);
}

const char *lk_code_text(uint32_t code)
{
    return PICK(CODE_TEXTS, code);
}

uint32_t lk_code_severity(uint32_t code)
{
    return code < LK_CODE_COUNT ? CODE_SEVERITIES[code] : LK_SEVERITY_NONE;
}

const char *lk_field_name(uint32_t field)
{
    return PICK(FIELD_NAMES, field);
}

const char *lk_ledger_status_name(uint32_t status)
{
    return PICK(LEDGER_STATUS_NAMES, status);
}

const char *lk_ledger_cause_name(uint32_t cause)
{
    return PICK(LEDGER_CAUSE_NAMES, cause);
}

const char *lk_fee_status_name(uint32_t status)
{
    return PICK(FEE_STATUS_NAMES, status);
}

const char *lk_requirement_name(uint32_t requirement)
{
    return PICK(REQUIREMENT_NAMES, requirement);
}

uint32_t lk_input_reads(uint32_t kind, uint32_t field)
{
    return kind < LK_INPUT_COUNT && field < LK_FIELD_COUNT ? INPUT_READS[kind][field] : LK_REQUIREMENT_NONE;
}

/* The one place that writes anywhere: last words before the end. */
void lk_assert_failed(const char *condition, const char *function, int line)
{
    (void)fprintf(stderr, "libkernel: broken invariant: %s (%s, line %d)\n", condition, function, line);
    abort();
}
