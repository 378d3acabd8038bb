/* help.h - texts made from the tables of options: help, man page, shell completion. */
#ifndef DCAM_CLI_HELP_H
#define DCAM_CLI_HELP_H

#include <stdio.h>

#include "options.h"

void cli_help_overview(FILE *stream);
void cli_help_command(FILE *stream, const cli_command *command);

/* The man page in troff (completion.c has the rest). */
void cli_help_man(FILE *stream);

void cli_completion_bash(FILE *stream);
void cli_completion_zsh(FILE *stream);

/* "VALUE" of an option as shown in every text: its value's name, or its choices. */
const char *cli_value_shown(const cli_option *option);

/* Exit codes with their meaning, for help and man page. */
typedef struct {
    int code;
    const char *meaning;
} cli_exit_code;
extern const cli_exit_code cli_exit_codes[];
extern const size_t cli_exit_code_count;

#endif
