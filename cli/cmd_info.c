/* cmd_info.c - dcam info: what a model or teacher file holds. The library
 * gives it as JSON; without --json the same is laid out as indented lines. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "dcam.h"
#include "output.h"
#include "weights/json_text.h"

typedef struct {
    bool json;
} info_values;

static const cli_option options[] = {
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(info_values, json),
     .help = "prints one JSON object, with the losses of every epoch"},
};

/* Deeper nesting is printed as JSON. */
#define MAX_DEPTH 6

static void print_scalar(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        cli_print(json_string_value(value));
        putchar('\n');
        break;
    case JSON_INTEGER:
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
        break;
    case JSON_REAL:
        printf("%.8g\n", json_real_value(value));
        break;
    case JSON_TRUE:
        puts("yes");
        break;
    case JSON_FALSE:
        puts("no");
        break;
    default:
        puts("-");
        break;
    }
}

static bool is_scalar(const json_t *value) { return !json_is_object(value) && !json_is_array(value); }

static void print_value(const json_t *value, int depth);

static void print_member(const char *key, const json_t *value, int depth)
{
    printf("%*s", 2 * depth, "");
    cli_print(key);
    putchar(':');
    if (strcmp(key, "epochs") == 0 && json_is_array(value)) {
        /* The history of a long training would bury the rest. */
        printf(" %zu, each with its losses in --json\n", json_array_size(value));
    } else if (is_scalar(value)) {
        putchar(' ');
        print_scalar(value);
    } else {
        print_value(value, depth + 1);
    }
}

static bool out_of_memory; /* something could not be printed */

/* After a key and its colon: short lists of plain values go on the same line. */
static void print_value(const json_t *value, int depth)
{
    const char *key;
    json_t *member;
    size_t index;
    bool plain = json_is_array(value);
    json_array_foreach(value, index, member) plain = plain && is_scalar(member);
    if (plain || depth > MAX_DEPTH) {
        char *text = NULL;
        if (dcam_json_print(value, JSON_REAL_PRECISION(8) | JSON_ENCODE_ANY, &text) != DCAM_OK) out_of_memory = true;
        if (text) cli_make_printable(text);
        printf(" %s\n", text ? text : "-");
        dcam_free_text(text);
    } else if (json_is_array(value)) {
        putchar('\n');
        json_array_foreach(value, index, member)
        {
            char number[32];
            snprintf(number, sizeof number, "%zu", index + 1);
            print_member(number, member, depth);
        }
    } else {
        putchar('\n');
        json_object_foreach((json_t *)value, key, member) print_member(key, member, depth);
    }
}

static int say_out_of_memory(const char *path)
{
    cli_error("%s: out of memory to print all of it; free some and run again", path);
    return dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

static int run(const cli_parsed *parsed)
{
    const info_values *values = parsed->values;
    char *text = NULL;
    dcam_status status = dcam_file_info(parsed->operands[0], &text);
    if (status != DCAM_OK) return cli_fail(status);
    if (values->json) {
        puts(text);
        dcam_free_text(text);
        return 0;
    }
    json_t *facts = cli_json_parse(text);
    dcam_free_text(text);
    if (!facts) return say_out_of_memory(parsed->operands[0]); /* the library's text is valid JSON */
    const char *key;
    json_t *member;
    json_object_foreach(facts, key, member) print_member(key, member, 0);
    json_decref(facts);
    return out_of_memory ? say_out_of_memory(parsed->operands[0]) : 0;
}

const cli_command cli_info = {
    .name = "info",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "show what a model or teacher file holds",
    .description =
        "Prints what a model or teacher file holds: method, classes with their thresholds, sizes, and how "
        "it was trained.",
    .example = "dcam info model.safetensors",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(info_values),
    .run = run,
};
