/* options.h - one table of options per command. Parsing, help texts, the man
 * page and the shell completions are all made from these tables, so that they
 * cannot disagree. */
#ifndef DCAM_CLI_OPTIONS_H
#define DCAM_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than any command has; the limit of cli_parsed.given. */
#define CLI_MAX_OPTIONS 48

/* What an option's value is and the C type at its offset. */
typedef enum {
    CLI_FLAG,         /* bool; no value */
    CLI_TEXT,         /* const char * */
    CLI_FILE,         /* const char *; completed as a file */
    CLI_FILES,        /* cli_list; as CLI_FILE, but may be given several times */
    CLI_FOLDER,       /* const char *; completed as a folder */
    CLI_CHOICE,       /* const char *; one of choices */
    CLI_CHOICE_INDEX, /* int or enum; the position in choices */
    CLI_INT,          /* int in min..max */
    CLI_NUMBER,       /* double in min..max */
    CLI_SEED,         /* uint64_t */
    CLI_SIZE,         /* two ints, width then height, each in min..max and a multiple of 32 */
    CLI_BYTES         /* size_t, at least min; 512M, 2G, 0 */
} cli_kind;

/* The values of an option that may be given several times. */
#define CLI_MAX_LIST 64
typedef struct {
    const char *items[CLI_MAX_LIST];
    size_t count;
} cli_list;

typedef struct {
    const char *name; /* without dashes */
    char letter;      /* short form, or 0 */
    cli_kind kind;
    size_t offset;          /* into the command's values */
    const char *value_name; /* "FILE" in the help; NULL for flags and choices */
    const char *choices;    /* "a|b|c" */
    double min, max;        /* of CLI_INT, CLI_NUMBER, CLI_SIZE; of CLI_BYTES min alone */
    bool required;
    const char *help; /* a phrase, without a full stop; names the default */
} cli_option;

typedef struct cli_command cli_command;

/* What parsing leaves for a command's run function. */
typedef struct {
    const cli_command *command;
    const char **operands;
    size_t operand_count;
    void *values;                /* the command's struct, zeroed before parsing */
    bool given[CLI_MAX_OPTIONS]; /* by position in the command's table */
    bool help, quiet, verbose;   /* the options every command has */
} cli_parsed;

struct cli_command {
    const char *name;     /* "train", "teacher import" */
    const char *operands; /* as shown in the usage line: "DATASET"; NULL: none */
    size_t min_operands, max_operands;
    const char *summary;     /* a phrase for the list of commands */
    const char *description; /* paragraphs separated by an empty line */
    const char *example;     /* one command line per line */
    const cli_option *options;
    size_t option_count;
    size_t values_size;
    int (*run)(const cli_parsed *parsed); /* gives the exit code */
};

/* The options every command has (--help, --quiet, --verbose); offsets are into cli_parsed. */
extern const cli_option cli_common_options[];
extern const size_t cli_common_option_count;

/* Parses what follows the command's name. False after printing one line that
 * says what is wrong. parsed->values and parsed->operands are the caller's to
 * give (operands: room for count); --help ends parsing without further checks. */
bool cli_parse(const cli_command *command, int count, char **arguments, cli_parsed *parsed);

/* Whether the option was on the command line. name must be in the table. */
bool cli_given(const cli_parsed *parsed, const char *name);

/* The nearest of names to what was typed, or NULL when none is near. */
const char *cli_nearest(const char *typed, const char *const *names, size_t count);

#endif
