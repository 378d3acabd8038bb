/* cmd_detect.c - dcam detect: a verdict on each image, as a line or a JSON
 * object, with overlays and raw maps where asked for. A bad image is counted
 * and the rest goes on; an output that cannot be written ends the run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/paths.h"
#include "base/cores.h"
#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"
#include "overlays.h"

typedef struct {
    dcam_detector_options library;
    const char *model, *overlays, *maps;
    bool json, fail_on_anomaly;
} detect_values;

#define AT(member) offsetof(detect_values, member)

static const cli_option options[] = {
    CLI_OPTION_MODEL(detect_values, model, "the model file"),
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = AT(json),
     .help = "prints one JSON object a line, one line an image"},
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FOLDER,
     .offset = AT(overlays),
     .value_name = "DIR",
     .help = "writes each photograph with its heat map and regions as PNG, under its relative path"},
    {.name = "map-npy",
     .kind = CLI_FOLDER,
     .offset = AT(maps),
     .value_name = "DIR",
     .help = "writes each raw anomaly map as float32 .npy at the model's input size"},
    {.name = "class",
     .kind = CLI_TEXT,
     .offset = AT(library.class_name),
     .value_name = "NAME",
     .help = "every image is of this class (default: recognised by the model)"},
    {.name = "fail-on-anomaly",
     .kind = CLI_FLAG,
     .offset = AT(fail_on_anomaly),
     .help = "ends with code 1 when an image is anomalous"},
    {.name = "batch",
     .kind = CLI_INT,
     .offset = AT(library.batch),
     .value_name = "N",
     .min = 1,
     .max = 1024,
     .help = "images that each thread takes and runs together (default: 1)"},
    CLI_OPTION_PRECISION(detect_values, library.precision),
    CLI_OPTION_THREADS(detect_values, library.threads),
};

typedef struct {
    const detect_values *values;
    dcam_detector *detector;
    cli_names *names;
    cli_overlays *overlays; /* with --output */
    double start;
    size_t images, anomalous;
    int code; /* of an output that could not be written, which ended the run */
} detect_state;

static void print_line(const char *path, const dcam_detection *d)
{
    printf("%-7s  %.4f  %s%s  %s", d->anomalous ? "ANOMALY" : "ok", d->score, cli_printable(d->class_name),
           strcmp(d->class_source, "inferred") == 0 ? "?" : "", cli_printable(path));
    if (d->region_count > 0) {
        const dcam_region *first = &d->regions[0];
        printf("  %zu region%s, strongest %dx%d at %d,%d", d->region_count, d->region_count == 1 ? "" : "s",
               first->width, first->height, first->x, first->y);
    }
    putchar('\n');
}

/* NULL without memory: a verdict with parts missing is none. */
static json_t *make_json(const char *path, const dcam_detection *d, const char *map)
{
    json_t *root = json_object(), *regions = json_array();
    bool whole = root && regions;
    for (size_t i = 0; i < d->region_count; i++) {
        const dcam_region *r = &d->regions[i];
        json_t *region = json_pack("{s:i, s:i, s:i, s:i, s:o, s:o}", "x", r->x, "y", r->y, "width", r->width, "height",
                                   r->height, "area", cli_json_number(r->area), "peak", cli_json_number(r->peak));
        whole &= json_array_append_new(regions, region) == 0;
    }
    whole &= json_object_set_new(root, "path", cli_json_text(path)) == 0;
    whole &= json_object_set_new(root, "class", cli_json_text(d->class_name)) == 0;
    whole &= json_object_set_new(root, "class_source", cli_json_text(d->class_source)) == 0;
    whole &= json_object_set_new(root, "score", cli_json_number(d->score)) == 0;
    whole &= json_object_set_new(root, "raw", cli_json_number(d->raw)) == 0;
    whole &= json_object_set_new(root, "threshold", cli_json_number(d->threshold)) == 0;
    whole &= json_object_set_new(root, "anomalous", json_boolean(d->anomalous)) == 0;
    whole &= json_object_set_new(root, "regions", regions) == 0;
    whole &= json_object_set_new(root, "map", cli_json_text(map)) == 0;
    whole &= json_object_set_new(root, "milliseconds", cli_json_number(d->milliseconds)) == 0;
    if (whole) return root;
    json_decref(root);
    return NULL;
}

/* Overlay and map of one image. *map is the map's path, the caller's to free, or NULL. */
static int write_pictures(const detect_state *state, const char *path, const dcam_detection *detection,
                          char **map)
{
    const detect_values *values = state->values;
    char *overlay = NULL;
    int code = 0;
    if (values->overlays) code = cli_names_make(state->names, values->overlays, path, ".png", &overlay);
    if (code == 0 && overlay) code = cli_overlays_add(state->overlays, path, detection, overlay);
    free(overlay);
    if (code == 0 && values->maps) code = cli_names_make(state->names, values->maps, path, ".npy", map);
    if (code == 0 && *map) {
        dcam_status status = dcam_map_write_npy(detection, *map);
        if (status != DCAM_OK) code = cli_fail(status);
    }
    return code;
}

static bool on_result(void *user, const char *path, const dcam_detection *detection, const char *error)
{
    detect_state *state = user;
    char *map = NULL;
    state->images++;
    if (!detection) {
        if (!state->values->json)
            cli_error("%s", error);
        else if (!cli_json_print(
                     json_pack("{s:o, s:o}", "path", cli_json_text(path), "error", cli_json_text(error)),
                     true))
            state->code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else {
        if (detection->anomalous) state->anomalous++;
        state->code = write_pictures(state, path, detection, &map);
        if (state->code == 0 && !state->values->json)
            print_line(path, detection);
        else if (state->code == 0 && !cli_json_print(make_json(path, detection, map), true))
            state->code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    free(map);
    /* Each line at once: a reader at the other end of a pipe may be waiting for it. */
    if (state->code == 0) state->code = cli_finish(0);
    return state->code != 0 || cli_interrupted();
}

static int conclude(const detect_state *state, dcam_status status, size_t failed)
{
    if (state->code != 0) return state->code;
    if (status == DCAM_ERROR_CANCELLED && cli_interrupted()) {
        cli_error("interrupted after %zu images", state->images);
        return cli_interrupt_code();
    }
    if (status != DCAM_OK) return cli_fail(status);
    double seconds = cli_seconds() - state->start;
    cli_note("images: %zu, anomalous: %zu, %.1f s", state->images, state->anomalous, seconds);
    if (failed > 0) {
        cli_error("%zu of %zu images could not be read; each is named above", failed, state->images);
        return CLI_EXIT_DATA;
    }
    return state->values->fail_on_anomaly && state->anomalous > 0 ? CLI_EXIT_ANOMALY : 0;
}

static int drawing_threads(const detect_values *values)
{
    return values->library.threads > 0 ? values->library.threads : dcam_available_cores();
}

/* No overlay or map may take the place of a photograph or of the model. */
static int protect_inputs(const cli_parsed *parsed, const detect_values *values, cli_names *names)
{
    dcam_names images;
    if (!values->overlays && !values->maps) return 0;
    const dcam_status status = dcam_paths_expand(parsed->operands, parsed->operand_count, &images);
    if (status != DCAM_OK) return cli_fail(status);
    const char *const *paths = (const char *const *)images.names;
    int code = cli_names_protect(names, paths, images.count, values->model);
    if (code == 0 && values->overlays) code = cli_names_check_images(names, values->overlays, paths, images.count, ".png");
    if (code == 0 && values->maps) code = cli_names_check_images(names, values->maps, paths, images.count, ".npy");
    dcam_names_clear(&images);
    return code;
}

static int run(const cli_parsed *parsed)
{
    const detect_values *values = parsed->values;
    detect_state state = {.values = values};
    size_t failed = 0;
    int code = cli_names_create(parsed->operands, parsed->operand_count, &state.names);
    if (code != 0) return code;
    if (values->overlays) code = cli_names_check_folder(state.names, values->overlays);
    if (code == 0) code = protect_inputs(parsed, values, state.names);
    if (code == 0 && values->overlays) code = cli_make_folders(values->overlays);
    if (code == 0 && values->overlays) code = cli_names_check_folder(state.names, values->overlays);
    if (code == 0 && values->maps) code = cli_make_folders(values->maps);
    if (code != 0) goto cleanup;
    dcam_status status = dcam_detector_open(values->model, &values->library, &state.detector);
    if (status != DCAM_OK) {
        code = cli_fail(status);
        goto cleanup;
    }
    if (values->overlays) code = cli_overlays_create(state.detector, drawing_threads(values), &state.overlays);
    if (code != 0) goto cleanup;
    cli_catch_interrupts("\nstopping; Ctrl-C again ends at once\n");
    state.start = cli_seconds();
    status = dcam_detect_paths(state.detector, parsed->operands, parsed->operand_count, on_result, &state,
                               &failed);
    const int drawn = cli_overlays_finish(state.overlays, state.code != 0);
    if (state.code == 0) state.code = drawn;
    code = conclude(&state, status, failed);
cleanup:
    dcam_detector_close(state.detector);
    cli_names_destroy(state.names);
    return code;
}

const cli_command cli_detect = {
    .name = "detect",
    .operands = "PATH...",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .summary = "find defects in images, mark them",
    .description =
        "Scores images: files, or folders with all images below them that do not begin with a dot. One line an image: the verdict, the "
        "score (0 "
        "to 1; 0.5 is the threshold), the class (with ? where the model recognised it), the path, and the "
        "strongest "
        "region in pixels of the photograph.\n\n"
        "Overlays and maps are named after the image's path below the deepest folder that holds all PATHs, "
        "so that "
        "images of one name in different folders stay apart; an image that is not PNG keeps its ending "
        "(bolt.jpg.png). The colours of all overlays of a class mean the same.\n\n"
        "An image that cannot be read is reported, the others are still scored, and the exit code is 3, also "
        "where "
        "--fail-on-anomaly would have given 1: a missing verdict is the more urgent news.",
    .example = "dcam detect incoming/ -m model.safetensors -o overlays --fail-on-anomaly",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(detect_values),
    .run = run,
};
