/* main.c - finds the command, reads its options and runs it. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "commands.h"
#include "help.h"
#include "output.h"

const cli_command *const cli_commands[] = {&cli_train,     &cli_eval,  &cli_detect,
                                           &cli_calibrate, &cli_export, &cli_info,
                                           &cli_teacher_import,
#ifndef DCAM_WITHOUT_FETCH
                                           &cli_teacher_fetch,
#endif
                                           &cli_pretrain, &cli_synth, &cli_bench, &cli_doctor,
#ifndef DCAM_WITHOUT_SERVE
                                           &cli_serve,
#endif
                                           &cli_help};
const size_t cli_command_count = CLI_COUNT(cli_commands);

/* Room for all names with blanks between. */
#define LIST_BYTES 512

const cli_command *cli_find_command(int count, char **words, int *used)
{
    const char *names[CLI_COUNT(cli_commands)];
    char list[LIST_BYTES] = "";
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        const char *second = strchr(command->name, ' ');
        size_t first_length = second ? (size_t)(second - command->name) : strlen(command->name);
        bool first_same =
            strlen(words[0]) == first_length && memcmp(words[0], command->name, first_length) == 0;
        if (first_same && (!second || (count > 1 && strcmp(words[1], second + 1) == 0))) {
            *used = second ? 2 : 1;
            return command;
        }
        names[i] = command->name;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", command->name);
    }
    const char *nearest = cli_nearest(words[0], names, cli_command_count);
    if (nearest)
        cli_error("unknown command '%s'; did you mean '%s'? The commands are: %s", words[0], nearest, list);
    else
        cli_error("unknown command '%s'; the commands are: %s", words[0], list);
    return NULL;
}

static int run_command(const cli_command *command, int count, char **arguments)
{
    cli_parsed parsed = {0};
    int code = CLI_EXIT_USAGE;
    parsed.operands = calloc((size_t)count + 1, sizeof *parsed.operands);
    parsed.values = calloc(1, command->values_size ? command->values_size : 1);
    if (!parsed.operands || !parsed.values) {
        cli_error("out of memory for the command line; free some and run again");
        code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else if (cli_parse(command, count, arguments, &parsed)) {
        cli_output_start(parsed.quiet, parsed.verbose);
        if (parsed.help) cli_help_command(stdout, command);
        code = parsed.help ? 0 : command->run(&parsed);
    }
    free(parsed.operands);
    free(parsed.values);
    return code;
}

/* A standard descriptor that the caller has closed would be given to the next file that is opened, and what is said would be
 * written into it. The root folder takes its place: reading it and writing to it fails, as with a closed one. */
static bool keep_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && dcam_open_file("/", O_RDONLY | O_DIRECTORY) < 0) return false;
    return true;
}

int main(int count, char **arguments)
{
    /* A write past the process's limit on files (ulimit -f) then fails, which is told and cleaned up after. */
    (void)signal(SIGXFSZ, SIG_IGN);
    if (!keep_standard_descriptors()) return dcam_status_exit_code(DCAM_ERROR_MEMORY); /* there is nowhere to say it */
    const int code = cli_output_open();
    if (code != 0) return code;
    if (count < 2) {
        cli_help_overview(stderr);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0) {
        cli_help_overview(stdout);
        return cli_finish(0);
    }
    if (strcmp(arguments[1], "--version") == 0 || strcmp(arguments[1], "-V") == 0) {
        printf("dcam %s\n", dcam_version());
        return cli_finish(0);
    }
    if (arguments[1][0] == '-') {
        cli_error("unknown option %s before the command; see 'dcam --help'", arguments[1]);
        return CLI_EXIT_USAGE;
    }
    int used;
    const cli_command *command = cli_find_command(count - 1, arguments + 1, &used);
    if (!command) return CLI_EXIT_USAGE;
    return cli_finish(run_command(command, count - 1 - used, arguments + 1 + used));
}
