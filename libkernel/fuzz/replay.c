/* A fuzz target without a fuzzer: gives it the files of the command line, one after the other. For compilers that have
 * no libFuzzer, and for looking at one finding in a debugger. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argument_count, char **arguments)
{
    uint8_t *data = malloc(FILE_BYTES_MAX);
    if (data == NULL) return 1;
    for (int i = 1; i < argument_count; i++) {
        FILE *file = fopen(arguments[i], "rb");
        if (file == NULL) {
            (void)fprintf(stderr, "cannot read %s\n", arguments[i]);
            return 1;
        }
        size_t size = fread(data, 1, FILE_BYTES_MAX, file);
        (void)fclose(file);
        (void)LLVMFuzzerTestOneInput(data, size);
    }
    free(data);
    (void)printf("ok %d files\n", argument_count - 1);
    return 0;
}
