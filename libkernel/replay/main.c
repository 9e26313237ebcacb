/* lk-replay: checks an exported journal, with libkernel and libc alone. */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "lk-replay [options] FILE    check an exported journal: replay every input, compare every digest\n"
    "\n"
    "FILE is what `kestrel journal export` wrote; - is standard input. Per entry it prints the journal's sequence, "
    "the\n"
    "input's, the account, what came in, the outcome, the beginning of the state's digest, and whether entry, chain,\n"
    "outcome and digest are what the journal says; below it what followed.\n"
    "\n"
    "  --json        one JSON object per line; digests and hashes whole, exact numbers as text\n"
    "  --until N     apply nothing after entry N (the rest is still checked for damage and for its chain)\n"
    "  --account A   apply and show only this account's entries\n"
    "  --state       at the end, print every account and the slots that were used\n"
    "  --version     print the version of libkernel and of its ABI\n"
    "  --help        this\n"
    "\n"
    "Exit status: 0 everything matches; 1 something differs, and the message names the entry; 2 the file is damaged, "
    "cut\n"
    "short or of another version, and the message names where, or wrong use.\n";

static int misused(const char *what, const char *value)
{
    (void)fprintf(stderr, "lk-replay: %s %s; see lk-replay --help\n", what, value);
    return LK_REPLAY_REFUSED;
}

/* A positive decimal number, whole; else false. */
static bool parse_sequence(const char *text, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    if (text[0] < '0' || text[0] > '9') return false;
    unsigned long long parsed = strtoull(text, &end, 10);
    *value = parsed;
    return errno == 0 && *end == '\0' && parsed > 0;
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, lk_replay_options_t *options)
{
    for (int i = 1; i < argc; i++) {
        const char *each = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(each, "--help") == 0) {
            (void)fputs(HELP, stdout);
            return 0;
        }
        if (strcmp(each, "--version") == 0) {
            (void)printf("lk-replay %s, ABI %u\n", lk_version(), lk_abi_version());
            return 0;
        }
        if (strcmp(each, "--json") == 0) {
            options->is_json = true;
        } else if (strcmp(each, "--state") == 0) {
            options->shows_state = true;
        } else if (strcmp(each, "--until") == 0) {
            if (!parse_sequence(value, &options->until))
                return misused("--until takes an entry's sequence, not", value);
            i++;
        } else if (strcmp(each, "--account") == 0) {
            if (*value == '\0') return misused("--account takes", "a name");
            options->account = value;
            i++;
        } else if (each[0] == '-' && each[1] != '\0') {
            return misused("no such option:", each);
        } else if (options->name != NULL) {
            return misused("one file only, not also", each);
        } else {
            options->name = each;
        }
    }
    return options->name == NULL ? misused("say which file:", "FILE is missing") : -1;
}

int main(int argc, char **argv)
{
    lk_replay_options_t options = {.until = UINT64_MAX};
    int result = parse(argc, argv, &options);
    if (result >= 0) return result;
    bool is_standard_input = strcmp(options.name, "-") == 0;
    FILE *file = is_standard_input ? stdin : fopen(options.name, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "lk-replay: %s: %s\n", options.name, strerror(errno));
        return LK_REPLAY_REFUSED;
    }
    result = lk_replay_run(&options, file, stdout, stderr);
    if (!is_standard_input) (void)fclose(file);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "lk-replay: cannot write the answer\n");
        return LK_REPLAY_REFUSED;
    }
    return result;
}
