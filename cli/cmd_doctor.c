/* cmd_doctor.c - dcam doctor: what this machine is, and whether dcam computes rightly on it. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "dcam.h"
#include "output.h"

typedef struct {
    dcam_doctor_options library;
    bool json;
} doctor_values;

#define AT(member) offsetof(doctor_values, library.member)

static const cli_option options[] = {
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(doctor_values, json),
     .help = "prints one JSON object, with every check"},
    {.name = "size",
     .kind = CLI_SIZE,
     .offset = AT(width),
     .value_name = "SIZE",
     .min = 32,
     .max = 2048,
     .help = "input of the network whose kernels are checked: one number for a square, or WIDTHxHEIGHT; multiples of "
             "32 (default: 256)"},
    {.name = "folder",
     .kind = CLI_FOLDER,
     .offset = AT(folder),
     .value_name = "DIR",
     .help = "whose free space is told (default: the present folder)"},
    CLI_OPTION_THREADS(doctor_values, library.threads),
};

_Static_assert(offsetof(dcam_doctor_options, height) == offsetof(dcam_doctor_options, width) + sizeof(int),
               "CLI_SIZE writes width and height as neighbours");

typedef struct {
    json_t *checks; /* with --json */
    bool verbose, out_of_memory;
} doctor_state;

static void on_check(void *user, const dcam_doctor_check *c)
{
    doctor_state *state = user;
    if (state->checks) {
        json_t *check = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b}", "pass", c->pass, "precision",
                                  c->precision, "part", c->part, "shape", c->shape, "kernel", c->kernel, "error",
                                  cli_json_number(c->error), "allowed", cli_json_number(c->bound), "milliseconds",
                                  cli_json_number(c->milliseconds), "right", c->right);
        if (json_array_append_new(state->checks, check) != 0) state->out_of_memory = true;
    } else if (state->verbose || !c->right) {
        printf("%-6s %-9s %-5s %-17s %-38s %-28s %8.1e of %.1e\n", c->right ? "right" : "WRONG", c->pass, c->precision,
               c->part, c->shape, c->kernel, c->error, c->bound);
    }
}

/* ---- as text --------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return cli_printable(text ? text : "-");
}

static double gibibytes(const json_t *object, const char *key)
{
    return (double)json_integer_value(json_object_get(object, key)) / (1024.0 * 1024.0 * 1024.0);
}

static bool is_true(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

static void print_processor(const json_t *p)
{
    printf("%-11s %s; %d cores for this process, %d threads\n", "processor", text_of(p, "name"),
           (int)json_integer_value(json_object_get(p, "cores")), (int)json_integer_value(json_object_get(p, "threads")));
    printf("%-11s oneDNN uses %s, dcam's own kernels %s; SHA-256 %s\n", "", text_of(p, "onednn_isa"),
           text_of(p, "own_isa"), is_true(p, "sha_instructions") ? "by the processor's instructions" : "in portable C");
    if (json_is_string(json_object_get(p, "amx_refused")))
        printf("%-11s the system refuses its matrix tiles (AMX): %s\n", "", text_of(p, "amx_refused"));
}

static void print_memory(const json_t *m)
{
    printf("%-11s %.1f GiB", "memory", gibibytes(m, "machine_bytes"));
    if (json_is_integer(json_object_get(m, "limit_bytes")))
        printf("; limit of the control group %.1f GiB", gibibytes(m, "limit_bytes"));
    putchar('\n');
}

static void print_precision(const json_t *p)
{
    printf("%-11s auto is %s in detection: %s\n", "precision", text_of(p, "auto"), text_of(p, "reason"));
    printf("%-11s detection: f32%s, int8; training: f32%s\n", "", is_true(p, "detection_bf16") ? ", bf16" : "",
           is_true(p, "training_bf16") ? ", bf16" : "");
}

static void print_libraries(const json_t *all)
{
    size_t i;
    json_t *library;
    printf("%-11s", "libraries");
    json_array_foreach(all, i, library)
    {
        printf("%s%s %s", i ? ", " : " ", text_of(library, "name"), text_of(library, "version"));
        if (json_object_get(library, "threads")) printf(" (%s)", text_of(library, "threads"));
    }
    putchar('\n');
}

static void print_machine(const json_t *machine)
{
    const json_t *limits = json_object_get(machine, "limits"), *disk = json_object_get(machine, "disk");
    printf("%-11s %s\n", "dcam", text_of(machine, "dcam"));
    print_processor(json_object_get(machine, "processor"));
    print_memory(json_object_get(machine, "memory"));
    print_precision(json_object_get(machine, "precision"));
    print_libraries(json_object_get(machine, "libraries"));
    printf("%-11s images %.0f megapixels, %.0f a side, files of %.0f GiB; %.0f open files\n", "limits",
           (double)json_integer_value(json_object_get(limits, "image_pixels")) / (1024.0 * 1024.0),
           (double)json_integer_value(json_object_get(limits, "image_side")), gibibytes(limits, "image_file_bytes"),
           (double)json_integer_value(json_object_get(limits, "open_files")));
    if (json_is_integer(json_object_get(disk, "free_bytes")))
        printf("%-11s %s: %.1f GiB free%s\n", "disk", text_of(disk, "folder"), gibibytes(disk, "free_bytes"),
               is_true(disk, "read_only") ? ", read-only" : "");
    else printf("%-11s %s: cannot be looked at; its free space is not known\n", "disk", text_of(disk, "folder"));
}

static int out_of_memory(void)
{
    cli_error("out of memory to print the findings; free some and run again");
    return dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

static int print_json(json_t *machine, json_t *checks, size_t wrong)
{
    if (json_object_set(machine, "checks", checks) != 0 ||
        json_object_set_new(machine, "wrong", json_integer((json_int_t)wrong)) != 0) {
        json_decref(machine);
        return out_of_memory();
    }
    return cli_json_print(machine, false) ? 0 : dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

static int print(char *text, doctor_state *state, size_t checks, size_t wrong)
{
    json_t *machine = state->out_of_memory ? NULL : cli_json_parse(text);
    if (!machine) return out_of_memory();
    if (state->checks) return print_json(machine, state->checks, wrong);
    print_machine(machine);
    json_decref(machine);
    if (wrong == 0) printf("%-11s %zu checked against plain C, all right\n", "kernels", checks);
    else printf("%-11s %zu of %zu are WRONG, listed above: do not trust scores or models of this machine\n", "kernels", wrong, checks);
    return 0;
}

static int run(const cli_parsed *parsed)
{
    doctor_values *values = parsed->values;
    doctor_state state = {.checks = values->json ? json_array() : NULL, .verbose = parsed->verbose};
    size_t checks = 0, wrong = 0;
    char *machine = NULL;
    if (values->json && !state.checks) return out_of_memory();
    values->library.on_check = on_check;
    values->library.user = &state;
    const dcam_status status = dcam_doctor(&values->library, &checks, &wrong, &machine);
    int code = status == DCAM_OK ? print(machine, &state, checks, wrong) : cli_fail(status);
    json_decref(state.checks);
    dcam_free_text(machine);
    if (code == 0 && wrong > 0) {
        cli_error("this machine computes wrongly: %zu of %zu kernels differ from plain C; another version of oneDNN, or "
                  "--threads 1, may help, else the processor or its memory is at fault", wrong, checks);
        code = dcam_status_exit_code(DCAM_ERROR_KERNEL);
    }
    return code;
}

const cli_command cli_doctor = {
    .name = "doctor",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "check that this machine computes rightly",
    .description =
        "Runs every kernel that detection and training use here (oneDNN's and dcam's own, in each precision) once, and "
        "compares it with plain C. Also tells the processor, its memory or the container's limit, which precision auto "
        "chooses and why, the libraries, limits and free disk space. Nothing is written.\n\n"
        "Exit code 6 if a kernel is wrong. serve, train and pretrain make a short form of the check whenever they start. "
        "--verbose lists every check.",
    .example = "dcam doctor\ndcam doctor --json",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(doctor_values),
    .run = run,
};
