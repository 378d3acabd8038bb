/* The command line: the bytes are its words, apart at line ends. Parsed, never run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The list of commands is beside main. */
int cli_main(int count, char **arguments);
#define main cli_main
#include "main.c"
#undef main

#include "fuzz.h"

enum { MAX_WORDS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static FILE *nowhere;
    char *words[MAX_WORDS + 1], *text = malloc(count + 2);
    int n = 0, used = 0;
    /* Every refusal is told. The stream alone: the descriptor is that of libFuzzer and the sanitizers. */
    if (!nowhere && !(nowhere = stderr = fopen("/dev/null", "w"))) abort();
    if (count > 0) memcpy(text, bytes, count);
    text[count] = text[count + 1] = '\0';
    for (char *p = strtok(text, "\n"); p && n < MAX_WORDS; p = strtok(NULL, "\n")) words[n++] = p;
    words[n] = NULL;
    const cli_command *command = n > 0 ? cli_find_command(n, words, &used) : NULL;
    if (command) {
        cli_parsed parsed = {0};
        parsed.operands = calloc((size_t)n + 1, sizeof *parsed.operands);
        parsed.values = calloc(1, command->values_size ? command->values_size : 1);
        fuzz_accepted += cli_parse(command, n - used, words + used, &parsed);
        free(parsed.operands);
        free(parsed.values);
    }
    free(text);
    return 0;
}
