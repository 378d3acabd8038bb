/* cmd_help.c - dcam help: the same texts on the terminal, as man page and as
 * shell completion. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "help.h"
#include "output.h"

typedef struct {
    const char *completion;
    bool man;
} help_values;

static const cli_option options[] = {
    {.name = "man",
     .kind = CLI_FLAG,
     .offset = offsetof(help_values, man),
     .help = "prints the man page (troff)"},
    {.name = "completion",
     .kind = CLI_CHOICE,
     .offset = offsetof(help_values, completion),
     .choices = "bash|zsh",
     .help = "prints the completion script of this shell"},
};

static int run(const cli_parsed *parsed)
{
    const help_values *values = parsed->values;
    if (values->man) {
        cli_help_man(stdout);
    } else if (values->completion) {
        if (strcmp(values->completion, "bash") == 0)
            cli_completion_bash(stdout);
        else
            cli_completion_zsh(stdout);
    } else if (parsed->operand_count == 0) {
        cli_help_overview(stdout);
    } else {
        int used;
        const cli_command *command =
            cli_find_command((int)parsed->operand_count, (char **)parsed->operands, &used);
        if (!command) return CLI_EXIT_USAGE;
        if ((size_t)used < parsed->operand_count) {
            cli_error("help explains one command at a time: '%s' is none of 'dcam %s'", parsed->operands[used], command->name);
            return CLI_EXIT_USAGE;
        }
        cli_help_command(stdout, command);
    }
    return 0;
}

const cli_command cli_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .min_operands = 0,
    .max_operands = 2,
    .summary = "explain a command",
    .description = "Without an argument lists the commands and the exit codes.",
    .example = "dcam help train\ndcam help teacher import",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(help_values),
    .run = run,
};
