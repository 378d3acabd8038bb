/* cmd_calibrate.c - dcam calibrate: new thresholds without retraining. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"

typedef struct {
    dcam_calibrate_options library;
    bool json;
} calibrate_values;

#define AT(member) offsetof(calibrate_values, library.member)

static const cli_option options[] = {
    CLI_OPTION_MODEL(calibrate_values, library.model, "the model file to read, and to replace unless --output is given"),
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = AT(output),
     .value_name = "FILE",
     .help = "writes the new model here and leaves the old one as it is"},
    CLI_OPTION_FALSE_ALARM_RATE(calibrate_values, library.false_alarm_rate),
    {.name = "f1",
     .kind = CLI_FLAG,
     .offset = AT(f1),
     .help = "the threshold of the best F1 on labelled test images instead"},
    {.name = "int8",
     .kind = CLI_FLAG,
     .offset = AT(int8),
     .help = "measures what --precision int8 needs; thresholds stay unless a rate, --f1 or a precision is given"},
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(calibrate_values, json),
     .help = "prints one JSON object a line, one line a class"},
    CLI_OPTION_CLASSES(calibrate_values, library.classes),
    CLI_OPTION_PRECISION(calibrate_values, library.precision),
    CLI_OPTION_THREADS(calibrate_values, library.threads),
};

typedef struct {
    bool json, out_of_memory;
} calibrate_state;

static void on_class(void *user, const dcam_class_threshold *r)
{
    calibrate_state *state = user;
    if (!state->json) {
        printf("%s: threshold %.6g -> %.6g  (%zu images, %s)\n", cli_printable(r->class_name),
               r->old_threshold, r->threshold, r->images, r->rule);
        return;
    }
    json_t *line =
        json_pack("{s:o, s:o, s:o, s:I, s:o}", "class", cli_json_text(r->class_name), "old_threshold",
                  cli_json_number(r->old_threshold), "threshold", cli_json_number(r->threshold), "images",
                  (json_int_t)r->images, "rule", cli_json_text(r->rule));
    if (!cli_json_print(line, true)) state->out_of_memory = true;
}

static int run(const cli_parsed *parsed)
{
    calibrate_values values = *(const calibrate_values *)parsed->values;
    calibrate_state state = {.json = values.json};
    values.library.dataset = parsed->operands[0];
    if (values.library.f1 && cli_given(parsed, "false-alarm-rate")) {
        cli_error("--f1 and --false-alarm-rate both choose the threshold; give one of them");
        return CLI_EXIT_USAGE;
    }
    int code = cli_check_writable(values.library.output ? values.library.output : values.library.model);
    if (code != 0) return code;
    size_t failed = 0;
    dcam_status status = dcam_calibrate(&values.library, on_class, &state, &failed);
    if (status != DCAM_OK) return cli_fail(status);
    if (state.out_of_memory) return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    if (failed == 0) return 0;
    cli_error("images that could not be read: %zu; each is named above, and the model is calibrated without them", failed);
    return dcam_status_exit_code(DCAM_ERROR_IMAGE);
}

const cli_command cli_calibrate = {
    .name = "calibrate",
    .operands = "DATASET",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "set new thresholds, without retraining",
    .description =
        "Scores the normal training images of DATASET with the model and sets each class's threshold so that "
        "the wanted part of normal images lies above it; with --f1 the threshold that gives the best F1 on the "
        "labelled test images. Normal images that the model learned from are left out: of its training only the "
        "validation part counts. Prints the old and the new threshold of each class.",
    .example = "dcam calibrate photographs -m model.safetensors --false-alarm-rate 0.005",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(calibrate_values),
    .run = run,
};
