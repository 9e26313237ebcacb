/* The binding's reader of messages, for a test that builds this with sanitizers. It is given tables and messages, and
 * writes for each message which table took it (one byte, 255: none) and, if one did, the input made of it. All numbers
 * have 8 bytes.
 *
 * - How many tables. For each: rows, required, the rows, the words' length, the words, the blank input.
 * - For each message: its length, the message.
 */
#include <stdio.h>
#include <stdlib.h>

#include "crossing.h"

/* In memory of exactly its own size, so that the sanitizer sees each byte too far. */
static void *taken(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);

    if (memory == NULL || fread(memory, 1, bytes, stdin) != bytes) exit(2);
    return memory;
}

static uint64_t taken_number(void)
{
    uint64_t number;

    if (fread(&number, sizeof number, 1, stdin) != 1) exit(2);
    return number;
}

int main(void)
{
    size_t count = taken_number();
    lkpy_reader_t *readers = calloc(count, sizeof *readers);
    lk_input_t *input = malloc(sizeof *input);
    uint64_t bytes;

    for (size_t i = 0; i < count; i++) {
        readers[i].row_count = taken_number();
        readers[i].required = taken_number();
        readers[i].rows = taken(readers[i].row_count * sizeof(lkpy_row_t));
        readers[i].words = taken(taken_number());
        readers[i].blank = taken(sizeof *input);
    }
    while (fread(&bytes, sizeof bytes, 1, stdin) == 1) {
        char *message = taken(bytes);
        int64_t by = lkpy_read(readers, count, message, bytes, 1000, 7, (char *)input);
        putchar(by < 0 ? 255 : (int)by);
        if (by >= 0) fwrite(input, sizeof *input, 1, stdout);
        free(message);
    }
    return 0;
}
