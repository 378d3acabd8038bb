/* help.c - help on the terminal and the man page, from the tables of options.
 * Neither may hold a word about an option that is not in its table. */
#include "help.h"

#include <string.h>

#include "commands.h"
#include "dcam.h"

/* Fits a terminal of 80 columns. */
#define COLUMNS 79
#define OPTION_COLUMN 28

const cli_exit_code cli_exit_codes[] = {
    {0, "done"},
    {1, "an anomaly was found and --fail-on-anomaly was given"},
    {2, "wrong usage"},
    {3, "bad or missing data; also when one image of many could not be read, even if an anomaly was found"},
    {4, "bad model or weights file"},
    {5, "out of resources (memory, disk, device)"},
    {6, "this machine computes wrongly: `dcam doctor` shows where"},
    {70, "a fault of dcam itself"},
    {130, "interrupted by Ctrl-C (143: by SIGTERM)"},
};
const size_t cli_exit_code_count = CLI_COUNT(cli_exit_codes);

static const char about[] =
    "Finds defects in photographs of products after learning from good photographs alone: a student network "
    "learns to imitate a teacher on normal images, and where it fails to, something is not normal.";

const char *cli_value_shown(const cli_option *option)
{
    return option->value_name ? option->value_name : option->choices ? option->choices : "";
}

/* ---- terminal --------------------------------------------------------- */

/* Words of text up to `end`, wrapped; `column` says where the cursor is, later lines begin at indent. */
static void print_wrapped(FILE *stream, const char *text, const char *end, size_t indent, size_t column)
{
    bool first = true;
    while (text < end) {
        size_t length = 0;
        while (text + length < end && text[length] != ' ') length++;
        if (!first && column + 1 + length > COLUMNS) {
            fprintf(stream, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        fprintf(stream, "%s%.*s", first ? "" : " ", (int)length, text);
        column += length + !first;
        first = false;
        text += length;
        while (text < end && *text == ' ') text++;
    }
    fputc('\n', stream);
}

static void print_text(FILE *stream, const char *text)
{
    print_wrapped(stream, text, text + strlen(text), 0, 0);
}

static void print_paragraphs(FILE *stream, const char *text)
{
    while (*text) {
        const char *gap = strstr(text, "\n\n");
        const char *end = gap ? gap : text + strlen(text);
        print_wrapped(stream, text, end, 0, 0);
        fputc('\n', stream);
        text = gap ? gap + 2 : end;
    }
}

static void print_usage(FILE *stream, const cli_command *command)
{
    fprintf(stream, "Usage: dcam %s", command->name);
    if (command->operands) fprintf(stream, " %s", command->operands);
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (!option->required) continue;
        if (option->letter)
            fprintf(stream, " -%c %s", option->letter, cli_value_shown(option));
        else
            fprintf(stream, " --%s %s", option->name, cli_value_shown(option));
    }
    fputs(" [options]\n\n", stream);
}

static void print_option(FILE *stream, const cli_option *option)
{
    const char *value = cli_value_shown(option);
    int used = option->letter ? fprintf(stream, "  -%c, --%s", option->letter, option->name)
                              : fprintf(stream, "      --%s", option->name);
    if (value[0] != '\0') used += fprintf(stream, " %s", value);
    if (used + 2 > OPTION_COLUMN)
        fprintf(stream, "\n%*s", OPTION_COLUMN, "");
    else
        fprintf(stream, "%*s", OPTION_COLUMN - used, "");
    print_wrapped(stream, option->help, option->help + strlen(option->help), OPTION_COLUMN, OPTION_COLUMN);
}

void cli_help_command(FILE *stream, const cli_command *command)
{
    print_usage(stream, command);
    print_paragraphs(stream, command->description);
    fputs("Options:\n", stream);
    for (size_t i = 0; i < command->option_count; i++) print_option(stream, &command->options[i]);
    for (size_t i = 0; i < cli_common_option_count; i++) print_option(stream, &cli_common_options[i]);
    fputs("\nExample:\n", stream);
    for (const char *line = command->example; *line; line += strcspn(line, "\n"), line += *line == '\n')
        fprintf(stream, "  %.*s\n", (int)strcspn(line, "\n"), line);
}

void cli_help_overview(FILE *stream)
{
    fputs("Usage: dcam COMMAND [arguments]\n\n", stream);
    print_text(stream, about);
    fputs("\nCommands:\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) {
        int used = fprintf(stream, "  %s", cli_commands[i]->name);
        fprintf(stream, "%*s", 18 - used, "");
        print_wrapped(stream, cli_commands[i]->summary,
                      cli_commands[i]->summary + strlen(cli_commands[i]->summary), 18, 18);
    }
    fputs("\n'dcam help COMMAND' explains one; 'dcam --version' prints the version.\n\nExit codes:\n",
          stream);
    for (size_t i = 0; i < cli_exit_code_count; i++) {
        const char *meaning = cli_exit_codes[i].meaning;
        fprintf(stream, "  %3d  ", cli_exit_codes[i].code);
        print_wrapped(stream, meaning, meaning + strlen(meaning), 7, 7);
    }
}

/* ---- man page ----------------------------------------------------------- */

/* Text for troff: its escape character, dashes that are to be copied, and control characters at the start
 * of a line. */
static void put_troff(FILE *stream, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((text[i] == '.' || text[i] == '\'') && (i == 0 || text[i - 1] == '\n')) fputs("\\&", stream);
        if (text[i] == '\\')
            fputs("\\e", stream);
        else if (text[i] == '-')
            fputs("\\-", stream);
        else
            fputc(text[i], stream);
    }
}

static void put_troff_line(FILE *stream, const char *text)
{
    put_troff(stream, text, strlen(text));
    fputc('\n', stream);
}

static void man_option(FILE *stream, const cli_option *option)
{
    fputs(".TP\n", stream);
    if (option->letter) fprintf(stream, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stream);
    put_troff(stream, option->name, strlen(option->name));
    fputs("\\fR", stream);
    const char *value = cli_value_shown(option);
    if (value[0] != '\0') {
        fputs(" \\fI", stream);
        put_troff(stream, value, strlen(value));
        fputs("\\fR", stream);
    }
    fputc('\n', stream);
    put_troff_line(stream, option->help);
}

static void man_command(FILE *stream, const cli_command *command)
{
    fprintf(stream, ".SS \"dcam %s", command->name);
    if (command->operands) fprintf(stream, " %s", command->operands);
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (option->required && option->letter)
            fprintf(stream, " \\-%c %s", option->letter, cli_value_shown(option));
        else if (option->required)
            fprintf(stream, " \\-\\-%s %s", option->name, cli_value_shown(option));
    }
    fputs("\"\n", stream);
    for (const char *text = command->description; *text;) {
        const char *gap = strstr(text, "\n\n");
        size_t length = gap ? (size_t)(gap - text) : strlen(text);
        put_troff(stream, text, length);
        fputs("\n.PP\n", stream);
        text += length + (gap ? 2 : 0);
    }
    for (size_t i = 0; i < command->option_count; i++) man_option(stream, &command->options[i]);
}

void cli_help_man(FILE *stream)
{
    fprintf(stream, ".TH DCAM 1 \"\" \"dcam %s\" \"User Commands\"\n", dcam_version());
    fputs(".SH NAME\ndcam \\- visual anomaly detection from good photographs\n", stream);
    fputs(".SH SYNOPSIS\n.B dcam\n.I COMMAND\n[\\fIarguments\\fR]\n.SH DESCRIPTION\n", stream);
    put_troff_line(stream, about);
    fputs(".PP\nResults go to standard output, everything else to standard error. An option and its value may "
          "be joined by an equals sign; names of options cannot be abbreviated; \\fB\\-\\-\\fR ends the "
          "options.\n",
          stream);
    fputs(".SH COMMANDS\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) man_command(stream, cli_commands[i]);
    fputs(".SH OPTIONS OF EVERY COMMAND\n", stream);
    for (size_t i = 0; i < cli_common_option_count; i++) man_option(stream, &cli_common_options[i]);
    fputs(".SH EXIT STATUS\n", stream);
    for (size_t i = 0; i < cli_exit_code_count; i++) {
        fprintf(stream, ".TP\n.B %d\n", cli_exit_codes[i].code);
        put_troff_line(stream, cli_exit_codes[i].meaning);
    }
    fputs(".SH EXAMPLES\n.nf\n", stream);
    for (size_t i = 0; i < cli_command_count; i++) put_troff_line(stream, cli_commands[i]->example);
    fputs(".fi\n.SH SEE ALSO\narXiv 2405.06467: Attend, Distill, Detect: Attention\\-aware Entropy "
          "Distillation for Anomaly Detection\n",
          stream);
}
