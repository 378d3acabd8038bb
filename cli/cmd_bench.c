/* cmd_bench.c - dcam bench: how fast a model runs on this machine. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "output.h"

typedef struct {
    dcam_bench_options library;
    bool json;
} bench_values;

#define AT(member) offsetof(bench_values, library.member)

static const cli_option options[] = {
    CLI_OPTION_MODEL(bench_values, library.model, "the model file"),
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(bench_values, json),
     .help = "prints one JSON object instead of the table"},
    {.name = "batch",
     .kind = CLI_INT,
     .offset = AT(batch),
     .value_name = "N",
     .min = 1,
     .max = 1024,
     .help = "images that run together (default: 1, then 8)"},
    {.name = "seconds",
     .kind = CLI_NUMBER,
     .offset = AT(seconds),
     .value_name = "S",
     .min = 0.01,
     .max = 3600,
     .help = "how long each stage is measured (default: 3)"},
    CLI_OPTION_PRECISION(bench_values, library.precision),
    CLI_OPTION_THREADS(bench_values, library.threads),
};

typedef struct {
    json_t *results; /* with --json */
    bool out_of_memory, head_printed;
} bench_state;

static void on_result(void *user, const dcam_bench_result *r)
{
    bench_state *state = user;
    if (state->results) {
        json_t *one =
            json_pack("{s:s, s:s, s:i, s:i, s:I, s:{s:o, s:o, s:o}, s:o}", "stage", r->stage, "precision",
                      r->precision, "batch", r->batch, "threads", r->threads, "images", (json_int_t)r->images,
                      "ms_per_image", "p50", cli_json_number(r->p50), "p95", cli_json_number(r->p95), "p99",
                      cli_json_number(r->p99), "images_per_second", cli_json_number(r->images_per_second));
        if (json_array_append_new(state->results, one) != 0) state->out_of_memory = true;
        return;
    }
    if (!state->head_printed) {
        printf("%-12s %-9s %5s %7s %8s   %s\n", "", "", "", "", "", "milliseconds an image");
        printf("%-12s %-9s %5s %7s %8s %8s %8s %8s %10s\n", "stage", "precision", "batch", "threads",
               "images", "p50", "p95", "p99", "images/s");
    }
    state->head_printed = true;
    printf("%-12s %-9s %5d %7d %8zu %8.2f %8.2f %8.2f %10.1f\n", r->stage, r->precision, r->batch, r->threads,
           r->images, r->p50, r->p95, r->p99, r->images_per_second);
    fflush(stdout);
}

static int run(const cli_parsed *parsed)
{
    const bench_values *values = parsed->values;
    bench_state state = {.results = values->json ? json_array() : NULL};
    char *machine = NULL;
    int code = 0;
    if (values->json && !state.results) {
        cli_error("out of memory for the JSON output; free some and run again");
        return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    dcam_status status = dcam_bench(&values->library, on_result, &state, &machine);
    if (status != DCAM_OK) {
        code = cli_fail(status);
    } else if (state.results) {
        json_t *facts = cli_json_parse(machine);
        json_t *root = json_pack("{s:o, s:o, s:O}", "machine", facts, "model", cli_json_text(values->library.model),
                                 "results", state.results);
        if (state.out_of_memory) {
            json_decref(root);
            root = NULL;
        }
        if (!cli_json_print(root, false)) code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else {
        printf("machine: %s\n", machine);
    }
    json_decref(state.results);
    dcam_free_text(machine);
    return code;
}

const cli_command cli_bench = {
    .name = "bench",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "measure how fast a model runs here",
    .description = "Measures each stage by itself and the whole: decode (the image file), resize, network "
                   "(normalised tensor "
                   "in, full-size anomaly map out), map, end_to_end. Milliseconds an image as the median and "
                   "the 95th and 99th "
                   "percentile, and images a second.",
    .example = "dcam bench -m model.safetensors --batch 1",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(bench_values),
    .run = run,
};
