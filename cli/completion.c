/* completion.c - bash and zsh completion, from the tables of options. */
#include <string.h>

#include "commands.h"
#include "help.h"

/* ---- names of two words --------------------------------------------------- */

static int first_length(const cli_command *command) { return (int)strcspn(command->name, " "); }

static bool same_first(const cli_command *a, const cli_command *b)
{
    return first_length(a) == first_length(b) && strncmp(a->name, b->name, (size_t)first_length(a)) == 0;
}

/* Whether no command before it has the same first word. */
static bool is_new_word(size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (same_first(cli_commands[i], cli_commands[index])) return false;
    return true;
}

static bool has_second(size_t index) { return strchr(cli_commands[index]->name, ' ') != NULL; }

/* The first words, each once. */
static void put_first_words(FILE *stream)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (is_new_word(i)) fprintf(stream, "%.*s ", first_length(cli_commands[i]), cli_commands[i]->name);
}

/* The second words of the commands that share this one's first. */
static void put_second_words(FILE *stream, size_t index)
{
    for (size_t i = index; i < cli_command_count; i++)
        if (same_first(cli_commands[i], cli_commands[index]))
            fprintf(stream, "%s%s", i > index ? " " : "", strchr(cli_commands[i]->name, ' ') + 1);
}

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

/* The second word, or both as the name of the command. */
static void bash_second_words(FILE *stream, size_t index)
{
    fprintf(stream, "    %.*s)\n        [ \"$COMP_CWORD\" -eq 2 ] && { COMPREPLY=($(compgen -W '",
            first_length(cli_commands[index]), cli_commands[index]->name);
    put_second_words(stream, index);
    fputs("' -- \"$cur\")); return; }\n        command=\"$command ${COMP_WORDS[2]}\" ;;\n", stream);
}

/* The commands that help explains. */
static void bash_help_words(FILE *stream)
{
    fputs("        [ \"$COMP_CWORD\" -eq 2 ] && [[ $cur != -* ]] && { COMPREPLY=($(compgen -W '", stream);
    put_first_words(stream);
    fputs("' -- \"$cur\")); return; }\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (!has_second(i) || !is_new_word(i)) continue;
        fprintf(stream, "        [ \"$COMP_CWORD\" -eq 3 ] && [ \"$prev\" = %.*s ] && { COMPREPLY=($(compgen -W '",
                first_length(cli_commands[i]), cli_commands[i]->name);
        put_second_words(stream, i);
        fputs("' -- \"$cur\")); return; }\n", stream);
    }
}

void cli_completion_bash(FILE *stream)
{
    fputs("# bash completion of dcam, made by 'dcam help --completion bash'\n"
          "_dcam()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command=${COMP_WORDS[1]} options\n"
          "    COMPREPLY=()\n"
          "    # --name=VALUE comes as three words\n"
          "    [ \"$cur\" = '=' ] && cur=''\n"
          "    [ \"$prev\" = '=' ] && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          stream);
    put_first_words(stream);
    fputs("--help --version' -- \"$cur\"))\n        return\n    fi\n    case $command in\n", stream);
    for (size_t i = 0; i < cli_command_count; i++)
        if (has_second(i) && is_new_word(i)) bash_second_words(stream, i);
    fputs("    esac\n    case $command in\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        fprintf(stream, "    '%s')\n", command->name);
        if (command == &cli_help) bash_help_words(stream);
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
    if (option->letter && option->kind == CLI_FILES) /* may be given again */
        fprintf(stream, "            '*'{-%c,--%s}'", option->letter, option->name);
    else if (option->letter)
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
        if (!is_new_word(i)) continue;
        fprintf(stream, "            '%.*s:", first_length(cli_commands[i]), cli_commands[i]->name);
        if (has_second(i)) put_second_words(stream, i);
        else zsh_phrase(stream, cli_commands[i]->summary);
        fputs("'\n", stream);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n"
          "    local command=$words[2]\n    case $command in\n",
          stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (!has_second(i) || !is_new_word(i)) continue;
        fprintf(stream, "    %.*s)\n        (( CURRENT == 3 )) && { compadd ", first_length(cli_commands[i]),
                cli_commands[i]->name);
        put_second_words(stream, i);
        fputs("; return }\n        command=\"$command $words[3]\" ;;\n", stream);
    }
    fputs("    esac\n    case $command in\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        const cli_command *command = cli_commands[i];
        fprintf(stream, "    '%s')\n", command->name);
        fputs("        _arguments \\\n", stream);
        for (size_t j = 0; j < command->option_count; j++) zsh_option(stream, &command->options[j]);
        for (size_t j = 0; j < cli_common_option_count; j++) zsh_option(stream, &cli_common_options[j]);
        if (command == &cli_help) {
            fputs("            '*:command:(", stream);
            put_first_words(stream);
            for (size_t j = 0; j < cli_command_count; j++)
                if (has_second(j) && is_new_word(j)) put_second_words(stream, j);
            fputs(")' ;;\n", stream);
        } else {
            fputs("            '*:file:_files' ;;\n", stream);
        }
    }
    fputs("    esac\n}\n_dcam \"$@\"\n", stream);
}
