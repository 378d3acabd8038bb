/* options.c - reads a command line by a command's table of options.
 *
 * Accepts --name VALUE, --name=VALUE, -n VALUE, -nVALUE and `--`; operands and
 * options may be mixed. Abbreviated names are refused: a script that uses one
 * would break on the day a second option begins alike. Must not know any
 * command: everything comes from the table. */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

const cli_option cli_common_options[] = {
    {.name = "help",
     .letter = 'h',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_parsed, help),
     .help = "print this help and exit"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_parsed, quiet),
     .help = "no progress and no notes, only results and errors"},
    {.name = "verbose",
     .letter = 'v',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_parsed, verbose),
     .help = "also say what the library is doing"},
};
const size_t cli_common_option_count = sizeof cli_common_options / sizeof cli_common_options[0];

/* Where an option was found: in the command's table or among the common ones. */
typedef struct {
    const cli_option *option;
    unsigned char *target; /* where its value goes */
    bool *given;           /* or NULL */
} found_option;

static bool complain(const cli_parsed *parsed, const char *what)
{
    cli_error("%s; see 'dcam help %s'", what, parsed->command->name);
    return false;
}

/* ---- nearest name ----------------------------------------------------- */

/* Longer names are never near anything: bounds the table of the distance. */
#define NEAREST_MAX 40

/* Levenshtein's distance: how many letters to insert, drop or replace. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > NEAREST_MAX || b_length > NEAREST_MAX) return SIZE_MAX;
    size_t row[NEAREST_MAX + 1];
    for (size_t j = 0; j <= b_length; j++) row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *cli_nearest(const char *typed, const char *const *names, size_t count)
{
    /* A third of the letters may be wrong, else the guess is noise; but the beginning of a name is
     * always a fair guess, because abbreviations are what people try first. */
    size_t length = strlen(typed), limit = length / 3 > 0 ? length / 3 : 1, best = SIZE_MAX;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(typed, names[i]);
        if (distance > limit && !(length >= 2 && strncmp(typed, names[i], length) == 0)) continue;
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

/* ---- finding an option ------------------------------------------------ */

static bool find_name(cli_parsed *parsed, const char *name, size_t length, char letter, found_option *out)
{
    const cli_command *command = parsed->command;
    for (size_t i = 0; i < command->option_count + cli_common_option_count; i++) {
        bool own = i < command->option_count;
        const cli_option *option =
            own ? &command->options[i] : &cli_common_options[i - command->option_count];
        bool same = name ? strlen(option->name) == length && memcmp(option->name, name, length) == 0
                         : option->letter == letter;
        if (!same) continue;
        out->option = option;
        out->target = (own ? (unsigned char *)parsed->values : (unsigned char *)parsed) + option->offset;
        out->given = own ? &parsed->given[i] : NULL;
        return true;
    }
    return false;
}

static bool complain_unknown(const cli_parsed *parsed, const char *argument, const char *name, size_t length)
{
    const cli_command *command = parsed->command;
    const char *names[CLI_MAX_OPTIONS + 8];
    size_t count = 0;
    for (size_t i = 0; i < command->option_count; i++) names[count++] = command->options[i].name;
    for (size_t i = 0; i < cli_common_option_count; i++) names[count++] = cli_common_options[i].name;
    char typed[NEAREST_MAX + 2] = "";
    if (length <= NEAREST_MAX) memcpy(typed, name, length);
    const char *nearest = length > NEAREST_MAX ? NULL : cli_nearest(typed, names, count);
    int shown = name[length] == '=' ? (int)(length + 2) : (int)strlen(argument);
    if (access(argument, F_OK) == 0) /* what a shell made of *.jpg */
        cli_error("unknown option %s; if the file of that name is meant, write ./%s, or -- before it", argument, argument);
    else if (nearest)
        cli_error("unknown option %.*s; did you mean --%s? See 'dcam help %s'", shown, argument, nearest,
                  command->name);
    else
        cli_error("unknown option %.*s; see 'dcam help %s'", shown, argument, command->name);
    return false;
}

/* ---- values ----------------------------------------------------------- */

static bool in_choices(const char *choices, const char *text, const char **canonical, int *index)
{
    size_t length = strlen(text);
    int position = 0;
    for (const char *at = choices; at; position++) {
        const char *bar = strchr(at, '|');
        size_t item = bar ? (size_t)(bar - at) : strlen(at);
        if (item == length && memcmp(at, text, item) == 0) {
            *canonical = text;
            *index = position;
            return true;
        }
        at = bar ? bar + 1 : NULL;
    }
    return false;
}

/* Plain decimal digits only: strtol alone would take blanks and signs. */
static bool read_whole(const char *text, long long *out, const char **end)
{
    if (!(text[0] >= '0' && text[0] <= '9') && !(text[0] == '-' && text[1] >= '0' && text[1] <= '9'))
        return false;
    errno = 0;
    char *stop;
    long long value = strtoll(text, &stop, 10);
    if (errno == ERANGE) value = value < 0 ? LLONG_MIN : LLONG_MAX;
    *out = value;
    *end = stop;
    return true;
}

/* Decimal only: strtod alone would take "nan", "inf" and hexadecimal. */
static bool read_number(const char *text, double *out)
{
    if (text[0] == '\0' || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    char *stop;
    *out = strtod(text, &stop);
    return *stop == '\0';
}

static bool read_size(const char *text, int *width, int *height)
{
    long long w, h;
    const char *end;
    if (!read_whole(text, &w, &end)) return false;
    h = w;
    if (*end == 'x' && !read_whole(end + 1, &h, &end)) return false;
    if (*end != '\0' || w < 0 || h < 0 || w > INT_MAX || h > INT_MAX) return false;
    *width = (int)w;
    *height = (int)h;
    return true;
}

static bool read_bytes(const char *text, size_t *out)
{
    long long value;
    const char *end;
    if (!read_whole(text, &value, &end) || value < 0) return false;
    unsigned shift = 0;
    switch (*end) {
    case '\0':
        break;
    case 'K':
        shift = 10;
        break;
    case 'M':
        shift = 20;
        break;
    case 'G':
        shift = 30;
        break;
    default:
        return false;
    }
    if (*end != '\0' && end[1] != '\0') return false;
    if ((unsigned long long)value > (SIZE_MAX >> 1) >> shift) return false;
    *out = (size_t)value << shift;
    return true;
}

static bool complain_range(const cli_parsed *parsed, const cli_option *option, const char *text,
                           const char *wanted)
{
    cli_error("option --%s: '%s' is not %s from %.10g to %.10g; see 'dcam help %s'", option->name, text,
              wanted, option->min, option->max, parsed->command->name);
    return false;
}

static bool complain_value(const cli_parsed *parsed, const cli_option *option, const char *text,
                           const char *wanted)
{
    cli_error("option --%s: '%s' is not %s; see 'dcam help %s'", option->name, text, wanted,
              parsed->command->name);
    return false;
}

/* Fits the seed of a generator: any unsigned 64-bit number. */
static bool read_seed(const char *text, uint64_t *out)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    *out = value;
    return errno == 0;
}

static bool set_value(const cli_parsed *parsed, const found_option *found, const char *text)
{
    const cli_option *option = found->option;
    const char *end, *canonical;
    long long whole;
    double number;
    int index, size[2];
    size_t bytes;
    uint64_t seed;
    switch (option->kind) {
    case CLI_FLAG:
        assert(0);
        break;
    case CLI_TEXT:
    case CLI_FILE:
    case CLI_FOLDER:
        if (text[0] == '\0') return complain_value(parsed, option, text, "a value: it is empty");
        memcpy(found->target, &text, sizeof text);
        break;
    case CLI_FILES: {
        cli_list *list = (cli_list *)(void *)found->target;
        if (text[0] == '\0') return complain_value(parsed, option, text, "a value: it is empty");
        if (list->count == CLI_MAX_LIST) return complain_value(parsed, option, text, "one of at most 64");
        list->items[list->count++] = text;
        break;
    }
    case CLI_CHOICE:
    case CLI_CHOICE_INDEX:
        if (!in_choices(option->choices, text, &canonical, &index)) {
            cli_error("option --%s: '%s' is not one of %s; see 'dcam help %s'", option->name, text,
                      option->choices, parsed->command->name);
            return false;
        }
        if (option->kind == CLI_CHOICE)
            memcpy(found->target, &canonical, sizeof canonical);
        else
            memcpy(found->target, &index, sizeof index);
        break;
    case CLI_INT:
        if (!read_whole(text, &whole, &end) || *end != '\0' || (double)whole < option->min ||
            (double)whole > option->max)
            return complain_range(parsed, option, text, "a whole number");
        index = (int)whole;
        memcpy(found->target, &index, sizeof index);
        break;
    case CLI_NUMBER:
        if (!read_number(text, &number) || !(number >= option->min && number <= option->max))
            return complain_range(parsed, option, text, "a number");
        memcpy(found->target, &number, sizeof number);
        break;
    case CLI_SEED:
        if (!read_seed(text, &seed))
            return complain_value(parsed, option, text, "a whole number from 0 to 18446744073709551615");
        memcpy(found->target, &seed, sizeof seed);
        break;
    case CLI_SIZE:
        if (!read_size(text, &size[0], &size[1]))
            return complain_value(parsed, option, text, "a size like 256 or 320x256 (width x height)");
        for (int i = 0; i < 2; i++)
            if (size[i] < option->min || size[i] > option->max || size[i] % 32 != 0)
                return complain_range(parsed, option, text, "made of multiples of 32");
        memcpy(found->target, size, sizeof size);
        break;
    case CLI_BYTES:
        if (!read_bytes(text, &bytes) || (double)bytes < option->min)
            return complain_value(parsed, option, text,
                                  option->min > 0 ? "a number like 512M or 2G, above 0"
                                                  : "a number of bytes like 512M, 2G or 0");
        memcpy(found->target, &bytes, sizeof bytes);
        break;
    }
    return true;
}

/* ---- the command line -------------------------------------------------- */

/* Handles arguments[*at], an option; moves *at to its last argument. */
static bool parse_option(cli_parsed *parsed, int count, char **arguments, int *at)
{
    const char *argument = arguments[*at];
    const char *value = NULL;
    found_option found;
    if (argument[1] == '-') {
        const char *name = argument + 2;
        size_t length = strcspn(name, "=");
        if (!find_name(parsed, name, length, 0, &found))
            return complain_unknown(parsed, argument, name, length);
        if (name[length] == '=') value = name + length + 1;
    } else {
        if (!find_name(parsed, NULL, 0, argument[1], &found))
            return complain_unknown(parsed, argument, argument + 1, strlen(argument + 1));
        if (argument[2] != '\0') value = argument + 2;
    }
    const cli_option *option = found.option;
    if (found.given) *found.given = true;
    if (option->kind == CLI_FLAG) {
        if (value) {
            cli_error("option --%s takes no value, '%s' gives it one; see 'dcam help %s'", option->name,
                      argument, parsed->command->name);
            return false;
        }
        *(bool *)found.target = true;
        return true;
    }
    if (!value) {
        /* A following option is a forgotten value; a value that begins with two dashes needs the = form. */
        if (*at + 1 >= count || strncmp(arguments[*at + 1], "--", 2) == 0) {
            cli_error("option --%s needs a value (%s); see 'dcam help %s'", option->name,
                      option->choices ? option->choices : option->value_name, parsed->command->name);
            return false;
        }
        value = arguments[++*at];
    }
    return set_value(parsed, &found, value);
}

static bool check_complete(const cli_parsed *parsed)
{
    const cli_command *command = parsed->command;
    if (parsed->operand_count > command->max_operands) {
        cli_error("'%s' is one argument too many; see 'dcam help %s'",
                  parsed->operands[command->max_operands], command->name);
        return false;
    }
    if (parsed->operand_count < command->min_operands) {
        cli_error("%s needs %s; see 'dcam help %s'", command->name, command->operands, command->name);
        return false;
    }
    for (size_t i = 0; i < parsed->operand_count; i++)
        if (parsed->operands[i][0] == '\0') return complain(parsed, "an argument is empty");
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (!option->required || parsed->given[i]) continue;
        cli_error("%s needs --%s %s: %s; see 'dcam help %s'", command->name, option->name,
                  option->choices ? option->choices : option->value_name, option->help, command->name);
        return false;
    }
    return true;
}

bool cli_parse(const cli_command *command, int count, char **arguments, cli_parsed *parsed)
{
    assert(command->option_count <= CLI_MAX_OPTIONS);
    parsed->command = command;
    bool options_end = false;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        if (options_end || argument[0] != '-' || argument[1] == '\0') {
            parsed->operands[parsed->operand_count++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            options_end = true;
        } else if (!parse_option(parsed, count, arguments, &i)) {
            return false;
        } else if (parsed->help) {
            return true;
        }
    }
    return check_complete(parsed);
}

bool cli_given(const cli_parsed *parsed, const char *name)
{
    for (size_t i = 0; i < parsed->command->option_count; i++)
        if (strcmp(parsed->command->options[i].name, name) == 0) return parsed->given[i];
    assert(false && "option is not in the table of this command");
    return false;
}
