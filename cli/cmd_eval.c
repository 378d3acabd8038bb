/* cmd_eval.c - dcam eval: the metrics of a model on a data set, per class and
 * their mean, as a table, JSON or CSV. Undefined is "-", null or an empty
 * cell, never 0. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/paths.h"
#include "base/file.h"
#include "commands.h"
#include "dcam.h"
#include "eval_drift.h"
#include "files.h"
#include "output.h"

typedef struct {
    dcam_evaluate_options library;
    const char *csv;
    bool json, drift;
    const char *class_name;
    double significance;
} eval_values;

#define AT(member) offsetof(eval_values, library.member)

static const cli_option options[] = {
    CLI_OPTION_MODEL(eval_values, library.model, "a model file, or the folder that train --one-class wrote"),
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(eval_values, json),
     .help = "prints one JSON object instead of the table"},
    {.name = "csv",
     .kind = CLI_FILE,
     .offset = offsetof(eval_values, csv),
     .value_name = "FILE",
     .help = "also writes the table as a CSV file"},
    {.name = "report",
     .kind = CLI_FOLDER,
     .offset = AT(report),
     .value_name = "DIR",
     .help = "also writes DIR/index.html: curves, histograms and pictures in one page that stands alone"},
    {.name = "drift",
     .kind = CLI_FLAG,
     .offset = offsetof(eval_values, drift),
     .help = "instead of the metrics: whether new normal images still fit the calibration"},
    {.name = "class",
     .kind = CLI_TEXT,
     .offset = offsetof(eval_values, class_name),
     .value_name = "NAME",
     .help = "with --drift: what class the images of a plain folder are (default: the folder's name)"},
    {.name = "significance",
     .kind = CLI_NUMBER,
     .offset = offsetof(eval_values, significance),
     .value_name = "P",
     .min = 1e-6,
     .max = 0.5,
     .help = "with --drift: the chance of a false report that is accepted (default: 0.01)"},
    CLI_OPTION_CLASSES(eval_values, library.classes),
    {.name = "infer-class",
     .kind = CLI_FLAG,
     .offset = AT(infer_class),
     .help = "scores each image as the class the model takes it for, not as the one the data set names"},
    {.name = "resamples",
     .kind = CLI_INT,
     .offset = AT(resamples),
     .value_name = "N",
     .max = 100000,
     .help = "resamples of the images for the 95 % intervals, 40 or more, 0 for none (default: 1000)"},
    {.name = "seed", .kind = CLI_SEED, .offset = AT(seed), .value_name = "N", .help = "of the resamples (default: 0)"},
    CLI_OPTION_PRECISION(eval_values, library.precision),
    CLI_OPTION_THREADS(eval_values, library.threads),
};

/* The one list of metrics: JSON key and CSV column, heading of the table. */
static const struct {
    const char *key, *heading;
    size_t offset;
} metrics[] = {
    {"image_auroc", "AUROC", offsetof(dcam_metrics, image_auroc)},
    {"image_ap", "AP", offsetof(dcam_metrics, image_ap)},
    {"image_f1max", "F1-max", offsetof(dcam_metrics, image_f1max)},
    {"pixel_auroc", "AUROC", offsetof(dcam_metrics, pixel_auroc)},
    {"pixel_ap", "AP", offsetof(dcam_metrics, pixel_ap)},
    {"pixel_f1max", "F1-max", offsetof(dcam_metrics, pixel_f1max)},
    {"aupro", "AUPRO", offsetof(dcam_metrics, aupro)},
    {"pro_rescaled", "PRO-resc", offsetof(dcam_metrics, pro_rescaled)},
    {"false_alarm_rate", "alarms", offsetof(dcam_metrics, false_alarm_rate)},
    {"miss_rate", "misses", offsetof(dcam_metrics, miss_rate)},
};

static double metric(const dcam_metrics *all, size_t index)
{
    double value;
    memcpy(&value, (const char *)all + metrics[index].offset, sizeof value);
    return value;
}

/* ---- table -------------------------------------------------------------- */

static void print_metrics(const dcam_metrics *all)
{
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) {
        double value = metric(all, i);
        if (isnan(value))
            printf("%9s", "-");
        else
            printf("%9.4f", value);
    }
    putchar('\n');
}

/* Whole hundredths that hold the interval: low rounded down, high up. A hair keeps 0.29 * 100 from being 28. */
static void print_intervals(const dcam_metrics *low, const dcam_metrics *high)
{
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) {
        const double from = floor(100 * metric(low, i) + 1e-9), to = ceil(100 * metric(high, i) - 1e-9);
        char text[16] = "-";
        if (!isnan(from) && !isnan(to)) snprintf(text, sizeof text, "%.0f-%.0f%%", from, to);
        printf("%9s", text);
    }
    putchar('\n');
}

static void print_class_intervals(const dcam_evaluation *e, int width, const dcam_metrics *low, const dcam_metrics *high)
{
    if (e->resamples == 0) return;
    printf("%-*s %8s %9s", width, "", "", "95 % in");
    print_intervals(low, high);
}

static void print_table(const dcam_evaluation *e)
{
    int width = 5;
    for (size_t i = 0; i < e->class_count; i++)
        if (cli_columns(e->classes[i].name) > width) width = cli_columns(e->classes[i].name);
    if (width > 40) width = 40;
    printf("%-*s %18s|%-27s|%-44s|%-18s\n", width, "", "", " image", " pixel", " verdicts");
    printf("%-*s %8s %9s", width, "class", "images", "defective");
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) printf("%9s", metrics[i].heading);
    putchar('\n');
    for (size_t i = 0; i < e->class_count; i++) {
        const dcam_class_result *c = &e->classes[i];
        cli_print_padded(c->name, width);
        printf(" %8zu %9zu", c->images, c->defective);
        print_metrics(&c->metrics);
        print_class_intervals(e, width, &c->low, &c->high);
    }
    printf("%-*s %8s %9s", width, "mean", "", "");
    print_metrics(&e->mean);
    print_class_intervals(e, width, &e->mean_low, &e->mean_high);
}

/* ---- JSON --------------------------------------------------------------- */

/* Adds the metrics to object; takes nothing. False without memory. */
static bool add_metrics(json_t *object, const dcam_metrics *all)
{
    bool whole = true;
    for (size_t i = 0; i < CLI_COUNT(metrics); i++)
        whole &= json_object_set_new(object, metrics[i].key, cli_json_number(metric(all, i))) == 0;
    return whole;
}

/* {"image_auroc": [low, high] or null, ...}; NULL without memory. */
static json_t *make_intervals(const dcam_metrics *low, const dcam_metrics *high)
{
    json_t *object = json_object();
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) {
        const double from = metric(low, i), to = metric(high, i);
        json_t *interval = isnan(from) || isnan(to) ? json_null() : json_pack("[f,f]", from, to);
        if (json_object_set_new(object, metrics[i].key, interval) == 0) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

/* NULL without memory: a figure that is missing must not look like one that is not defined. */
static json_t *make_json(const eval_values *values, const dcam_evaluation *e)
{
    json_t *root = json_object(), *classes = json_object(), *mean = json_object();
    bool whole = root && classes && mean;
    for (size_t i = 0; i < e->class_count; i++) {
        json_t *one = json_object();
        whole &= json_object_set_new(one, "images", json_integer((json_int_t)e->classes[i].images)) == 0;
        whole &= json_object_set_new(one, "defective", json_integer((json_int_t)e->classes[i].defective)) == 0;
        whole &= add_metrics(one, &e->classes[i].metrics);
        if (e->resamples > 0)
            whole &= json_object_set_new(one, "intervals", make_intervals(&e->classes[i].low, &e->classes[i].high)) == 0;
        json_t *name = cli_json_text(e->classes[i].name);
        whole &= json_object_set_new(classes, json_string_value(name), one) == 0;
        json_decref(name);
    }
    whole &= add_metrics(mean, &e->mean);
    if (e->resamples > 0)
        whole &= json_object_set_new(mean, "intervals", make_intervals(&e->mean_low, &e->mean_high)) == 0;
    whole &= json_object_set_new(root, "model", cli_json_text(values->library.model)) == 0;
    whole &= json_object_set_new(root, "dataset", cli_json_text(values->library.dataset)) == 0;
    whole &= json_object_set_new(root, "classes", classes) == 0;
    whole &= json_object_set_new(root, "mean", mean) == 0;
    whole &= json_object_set_new(root, "resamples", json_integer(e->resamples)) == 0;
    whole &= json_object_set_new(root, "seconds", cli_json_number(e->seconds)) == 0;
    if (whole) return root;
    json_decref(root);
    return NULL;
}

/* ---- CSV ---------------------------------------------------------------- */

/* Quoted as RFC 4180 wants it. */
static dcam_status put_text(dcam_writer *csv, const char *text)
{
    DCAM_TRY(dcam_writer_write(csv, "\"", 1));
    for (; *text; text++) DCAM_TRY(dcam_writer_write(csv, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1));
    return dcam_writer_write(csv, "\"", 1);
}

static dcam_status put_number(dcam_writer *csv, double value)
{
    return isnan(value) ? dcam_writer_write(csv, ",", 1) : dcam_writer_printf(csv, ",%.12g", value);
}

static dcam_status put_metrics(dcam_writer *csv, const dcam_evaluation *e, const dcam_metrics *all, const dcam_metrics *low,
                               const dcam_metrics *high)
{
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) DCAM_TRY(put_number(csv, metric(all, i)));
    for (size_t i = 0; e->resamples > 0 && i < CLI_COUNT(metrics); i++) {
        DCAM_TRY(put_number(csv, metric(low, i)));
        DCAM_TRY(put_number(csv, metric(high, i)));
    }
    return dcam_writer_write(csv, "\n", 1);
}

static dcam_status put_csv(dcam_writer *csv, const dcam_evaluation *e)
{
    DCAM_TRY(dcam_writer_printf(csv, "class,images,defective"));
    for (size_t i = 0; i < CLI_COUNT(metrics); i++) DCAM_TRY(dcam_writer_printf(csv, ",%s", metrics[i].key));
    for (size_t i = 0; e->resamples > 0 && i < CLI_COUNT(metrics); i++)
        DCAM_TRY(dcam_writer_printf(csv, ",%s_low,%s_high", metrics[i].key, metrics[i].key));
    DCAM_TRY(dcam_writer_write(csv, "\n", 1));
    for (size_t i = 0; i < e->class_count; i++) {
        const dcam_class_result *c = &e->classes[i];
        DCAM_TRY(put_text(csv, c->name));
        DCAM_TRY(dcam_writer_printf(csv, ",%zu,%zu", c->images, c->defective));
        DCAM_TRY(put_metrics(csv, e, &c->metrics, &c->low, &c->high));
    }
    /* Without quotes: a class of that name would have them. */
    DCAM_TRY(dcam_writer_printf(csv, "mean,,"));
    return put_metrics(csv, e, &e->mean, &e->mean_low, &e->mean_high);
}

static dcam_status write_csv(const char *path, const dcam_evaluation *e)
{
    dcam_writer *csv;
    DCAM_TRY(dcam_writer_open(path, &csv));
    const dcam_status status = put_csv(csv, e);
    if (status == DCAM_OK) return dcam_writer_commit(csv);
    dcam_writer_abort(csv);
    return status;
}

/* ---- the run ------------------------------------------------------------ */

typedef struct {
    double start, last_line;
} eval_state;

/* Lines for a log file, without a terminal: no more than one in this many seconds. */
#define LINE_INTERVAL 10.0

static bool on_progress(void *user, size_t done, size_t total, const char *error)
{
    eval_state *state = user;
    double elapsed = cli_seconds() - state->start;
    double rate = elapsed > 0 ? (double)done / elapsed : 0;
    double left = rate > 0 ? (double)(total - done) / rate : NAN;
    if (error) cli_error("%s", error);
    if (cli_has_bar()) {
        cli_bar(total ? (double)done / (double)total : 0, "%s, %s left  %zu of %zu images  %.1f images/s",
                cli_clock(elapsed), cli_clock(left), done, total, rate);
    } else if (elapsed - state->last_line >= LINE_INTERVAL) {
        state->last_line = elapsed;
        cli_note("%zu of %zu images  %.1f images/s  elapsed %s  left %s", done, total, rate,
                 cli_clock(elapsed), cli_clock(left));
    }
    return cli_interrupted();
}

/* Writes every result; gives the exit code. */
static int report(const eval_values *values, const dcam_evaluation *e)
{
    if (values->json) {
        if (!cli_json_print(make_json(values, e), false)) return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else {
        print_table(e);
        if (!isnan(e->class_inferred_right))
            cli_note("class recognised without being told: %.1f %% of the images",
                     100 * e->class_inferred_right);
        cli_note("%.1f s", e->seconds);
        if (values->library.report) cli_note("wrote %s/index.html", values->library.report);
    }
    const dcam_status status = values->csv ? write_csv(values->csv, e) : DCAM_OK;
    if (status != DCAM_OK) return cli_fail(status);
    if (e->failed == 0) return 0;
    cli_error("images that could not be read: %zu; they are not in the figures, and each is named above",
              e->failed);
    return CLI_EXIT_DATA;
}

/* What has no meaning together is told, not passed over. */
static bool options_agree(const cli_parsed *parsed, bool drift)
{
    static const char *const of_metrics[] = {"csv", "report", "infer-class", "resamples", "seed"}, *const of_drift[] = {"class", "significance"};
    for (size_t i = 0; i < CLI_COUNT(of_metrics); i++)
        if (drift && cli_given(parsed, of_metrics[i])) {
            cli_error("--%s has no meaning with --drift; leave one out", of_metrics[i]);
            return false;
        }
    for (size_t i = 0; i < CLI_COUNT(of_drift); i++)
        if (!drift && cli_given(parsed, of_drift[i])) {
            cli_error("--%s is for --drift; add that or leave it out", of_drift[i]);
            return false;
        }
    return true;
}

static int run_drift(const eval_values *values)
{
    const dcam_evaluate_options *o = &values->library;
    const dcam_drift_options drift = {.dataset = o->dataset, .model = o->model, .classes = o->classes, .class_name = values->class_name,
                                      .significance = values->significance, .threads = o->threads, .precision = o->precision,
                                      .progress = o->progress, .user = o->user};
    cli_catch_interrupts("\nstopping; Ctrl-C again ends at once\n");
    return cli_eval_drift(&drift, values->json);
}

static int run(const cli_parsed *parsed)
{
    eval_values values = *(const eval_values *)parsed->values;
    eval_state state = {.start = cli_seconds()};
    dcam_evaluation evaluation = {0};
    values.library.dataset = parsed->operands[0];
    values.library.progress = on_progress;
    values.library.user = &state;
    if (!options_agree(parsed, values.drift)) return CLI_EXIT_USAGE;
    if (values.drift) return run_drift(&values);
    if (cli_given(parsed, "resamples") && values.library.resamples == 0) values.library.resamples = -1;
    dcam_status status = values.csv ? dcam_evaluate_check_table(&values.library, values.csv) : DCAM_OK;
    if (status != DCAM_OK) return cli_fail(status);
    int code = values.csv ? cli_check_writable(values.csv) : 0;
    if (code != 0) return code;
    cli_catch_interrupts("\nstopping; Ctrl-C again ends at once\n");
    status = dcam_evaluate(&values.library, &evaluation);
    cli_bar_clear();
    if (status == DCAM_ERROR_CANCELLED && cli_interrupted()) {
        cli_error("interrupted; nothing was written");
        code = cli_interrupt_code();
    } else {
        code = status == DCAM_OK ? report(&values, &evaluation) : cli_fail(status);
    }
    if (status == DCAM_OK) dcam_evaluation_clear(&evaluation);
    return code;
}

const cli_command cli_eval = {
    .name = "eval",
    .operands = "DATASET",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "measure a model on labelled test images",
    .description =
        "Scores the test images of DATASET and prints the metrics per class and their mean: AUROC, AP and "
        "F1-max of "
        "images and of pixels, AUPRO to 30 per cent false positives, the rescaled PRO that some papers print "
        "(PRO-resc: it flatters), and the false alarms and misses of the verdicts at the model's own "
        "thresholds. "
        "Fractions from 0 to 1; '-' where a metric is not defined (no masks, or one kind of image only). The "
        "line below each gives 95 per cent intervals, in per cent: how far the figures could move with other "
        "test images of the same kind.\n\n"
        "With --drift, DATASET holds new normal images (the good test images of a data set, or a plain folder), "
        "and the command says whether their scores still fit the calibration that the model keeps.\n\n"
        "Ends with code 3 when an image could not be read; the figures are then of the others.",
    .example = "dcam eval photographs -m model.safetensors --csv figures.csv",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(eval_values),
    .run = run,
};
