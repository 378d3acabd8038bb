/* completion.c - bash and zsh completion, from the tables of options. */
#include <string.h>

#include "commands.h"
#include "help.h"

/* ---- bash --------------------------------------------------------------- */

static void bash_options(FILE *stream, const cli_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(stream, " --%s", options[i].name);
        if (options[i].letter) fprintf(stream, " -%c", options[i].letter);
    }
}

/* The words after an option that takes a value: its choices, folders, files, or nothing. */
static void bash_value(FILE *stream, const cli_option *option)
{
    if (option->kind == CLI_FLAG) return;
    fprintf(stream, "        --%s", option->name);
    if (option->letter) fprintf(stream, "|-%c", option->letter);
    fputs(") COMPREPLY=(", stream);
    if (option->choices) {
        fputs("$(compgen -W '", stream);
        for (const char *at = option->choices; *at; at++) fputc(*at == '|' ? ' ' : *at, stream);
        fputs("' -- \"$cur\")", stream);
    } else if (option->kind == CLI_FILE || option->kind == CLI_FILES || option->kind == CLI_FOLDER) {
        fprintf(stream, "$(compgen -%c -- \"$cur\")", option->kind == CLI_FOLDER ? 'd' : 'f');
    }
    fputs("); return ;;\n", stream);
}

void cli_completion_bash(FILE *stream)
{
    fputs("# bash completion of dcam, made by 'dcam help --completion bash'\n"
          "_dcam()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command=${COMP_WORDS[1]} options\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          stream);
    for (size_t i = 0; i < cli_command_count; i++)
        fprintf(stream, "%.*s ", (int)strcspn(cli_commands[i]->name, " "), cli_commands[i]->name);
    fputs("--help --version' -- \"$cur\"))\n        return\n    fi\n    case $command in\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        const char *second = strchr(command->name, ' ');
        fprintf(stream, "    %.*s)\n", (int)strcspn(command->name, " "), command->name);
        if (second)
            fprintf(stream,
                    "        [ \"$COMP_CWORD\" -eq 2 ] && { COMPREPLY=($(compgen -W '%s' -- \"$cur\")); "
                    "return; }\n",
                    second + 1);
        if (command == &cli_help) {
            fputs("        [ \"$COMP_CWORD\" -eq 2 ] && [[ $cur != -* ]] && { COMPREPLY=($(compgen -W '",
                  stream);
            for (size_t j = 0; j < cli_command_count; j++) fprintf(stream, "%s ", cli_commands[j]->name);
            fputs("' -- \"$cur\")); return; }\n", stream);
        }
        fputs("        case $prev in\n", stream);
        for (size_t j = 0; j < command->option_count; j++) bash_value(stream, &command->options[j]);
        fputs("        esac\n        options='", stream);
        bash_options(stream, command->options, command->option_count);
        bash_options(stream, cli_common_options, cli_common_option_count);
        fputs("' ;;\n", stream);
    }
    fputs("    *) return ;;\n    esac\n"
          "    if [[ $cur == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
          "    else\n"
          "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "    fi\n"
          "}\n"
          "complete -o filenames -F _dcam dcam\n",
          stream);
}

/* ---- zsh ---------------------------------------------------------------- */

/* A phrase inside a single-quoted _arguments specification. */
static void zsh_phrase(FILE *stream, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stream);
        else if (strchr("[]:\\", *text))
            fprintf(stream, "\\%c", *text);
        else
            fputc(*text, stream);
    }
}

static void zsh_option(FILE *stream, const cli_option *option)
{
    if (option->letter)
        fprintf(stream, "            '(-%c --%s)'{-%c,--%s}'", option->letter, option->name, option->letter,
                option->name);
    else
        fprintf(stream, "            '--%s", option->name);
    if (option->kind != CLI_FLAG && !option->letter) fputc('=', stream);
    fputc('[', stream);
    zsh_phrase(stream, option->help);
    fputc(']', stream);
    if (option->choices) {
        fputs(":value:(", stream);
        for (const char *at = option->choices; *at; at++) fputc(*at == '|' ? ' ' : *at, stream);
        fputc(')', stream);
    } else if (option->kind != CLI_FLAG) {
        fputc(':', stream);
        zsh_phrase(stream, option->value_name);
        fputs(option->kind == CLI_FILE || option->kind == CLI_FILES ? ":_files"
              : option->kind == CLI_FOLDER ? ":_files -/"
                                           : ": ",
              stream);
    }
    fputs("' \\\n", stream);
}

void cli_completion_zsh(FILE *stream)
{
    fputs("#compdef dcam\n# made by 'dcam help --completion zsh'\n"
          "_dcam()\n{\n"
          "    if (( CURRENT == 2 )); then\n"
          "        local -a commands=(\n",
          stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        fprintf(stream, "            '%.*s:", (int)strcspn(cli_commands[i]->name, " "),
                cli_commands[i]->name);
        zsh_phrase(stream, cli_commands[i]->summary);
        fputs("'\n", stream);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n    case $words[2] in\n",
          stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        const char *second = strchr(command->name, ' ');
        fprintf(stream, "    %.*s)\n", (int)strcspn(command->name, " "), command->name);
        if (second) fprintf(stream, "        (( CURRENT == 3 )) && { compadd %s; return }\n", second + 1);
        fputs("        _arguments \\\n", stream);
        for (size_t j = 0; j < command->option_count; j++) zsh_option(stream, &command->options[j]);
        for (size_t j = 0; j < cli_common_option_count; j++) zsh_option(stream, &cli_common_options[j]);
        if (command == &cli_help) {
            fputs("            '*:command:(", stream);
            for (size_t j = 0; j < cli_command_count; j++)
                fprintf(stream, "%s%s", j ? " " : "", cli_commands[j]->name);
            fputs(")' ;;\n", stream);
        } else {
            fputs("            '*:file:_files' ;;\n", stream);
        }
    }
    fputs("    esac\n}\n_dcam \"$@\"\n", stream);
}
