/* eval_drift.c - dcam eval --drift: whether new normal images still fit the calibration, as a table or JSON, with one
 * sentence that says it. */
#include "eval_drift.h"

#include <math.h>
#include <string.h>

#include "output.h"

/* NULL without memory: what is missing must not look like what is not defined. */
static json_t *make_json(const dcam_drift_options *options, const dcam_drift *d)
{
    json_t *root = json_object(), *classes = json_object();
    bool whole = root && classes;
    for (size_t i = 0; i < d->class_count; i++) {
        const dcam_drift_class *c = &d->classes[i];
        json_t *one = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:b, s:I, s:o, s:f, s:f, s:b, s:s}", "images", (json_int_t)c->images,
                                "calibration_images", (json_int_t)c->calibration_images, "median", c->median,
                                "calibration_median", c->calibration_median, "ks_statistic", c->ks_statistic, "ks_p", c->ks_p,
                                "ks_exact", c->ks_exact, "false_alarms", (json_int_t)c->alarms, "false_alarm_rate_wanted",
                                cli_json_number(c->false_alarm_rate), "false_alarms_p", c->alarms_p, "p", c->p, "drifted", c->drifted, "verdict", c->verdict);
        json_t *name = cli_json_text(c->name);
        whole &= json_object_set_new(classes, json_string_value(name), one) == 0;
        json_decref(name);
    }
    whole &= json_object_set_new(root, "model", cli_json_text(options->model)) == 0;
    whole &= json_object_set_new(root, "dataset", cli_json_text(options->dataset)) == 0;
    whole &= json_object_set_new(root, "classes", classes) == 0;
    whole &= json_object_set_new(root, "significance", cli_json_number(d->significance)) == 0;
    whole &= json_object_set_new(root, "p", cli_json_number(d->p)) == 0;
    whole &= json_object_set_new(root, "drifted", json_boolean(d->drifted > 0)) == 0;
    whole &= json_object_set_new(root, "seconds", cli_json_number(d->seconds)) == 0;
    if (whole) return root;
    json_decref(root);
    return NULL;
}

static void print_table(const dcam_drift *d)
{
    int width = 5;
    for (size_t i = 0; i < d->class_count; i++)
        if (cli_columns(d->classes[i].name) > width) width = cli_columns(d->classes[i].name);
    if (width > 40) width = 40;
    printf("%-*s %7s %11s %10s %10s %6s %9s %13s %9s %9s  %s\n", width, "class", "images", "calibration", "median", "was", "KS", "p of KS",
           "false alarms", "p of them", "corrected", "verdict");
    for (size_t i = 0; i < d->class_count; i++) {
        const dcam_drift_class *c = &d->classes[i];
        char alarms[48];
        snprintf(alarms, sizeof alarms, "%zu of %zu", c->alarms, c->images);
        cli_print_padded(c->name, width);
        printf(" %7zu %11zu %10.4g %10.4g %6.3f %9.2g %13s %9.2g %9.2g  %s\n", c->images, c->calibration_images, c->median,
               c->calibration_median, c->ks_statistic, c->ks_p, alarms, c->alarms_p, c->p, c->verdict);
    }
}

static void print_sentence(const dcam_drift *d)
{
    if (d->drifted > 0)
        printf("The new images no longer fit the calibration in %zu of %zu classes (a chance of at most %g if nothing had changed): look at what "
               "changed, then calibrate again.\n", d->drifted, d->class_count, d->significance);
    else if (d->undecided == d->class_count)
        printf("There are too few images to tell whether they fit the calibration.\n");
    else
        printf("Nothing speaks against the calibration in %zu of %zu classes%s.\n", d->class_count - d->undecided, d->class_count,
               d->undecided > 0 ? "; of the others there are too few images to tell" : "");
}

int cli_eval_drift(const dcam_drift_options *options, bool json)
{
    dcam_drift d;
    const dcam_status status = dcam_check_drift(options, &d);
    int code = 0;
    cli_bar_clear();
    if (status == DCAM_ERROR_CANCELLED && cli_interrupted()) {
        cli_error("interrupted; nothing was written");
        return cli_interrupt_code();
    }
    if (status != DCAM_OK) return cli_fail(status);
    if (json) {
        if (!cli_json_print(make_json(options, &d), false)) code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else {
        print_table(&d);
        print_sentence(&d);
    }
    if (d.failed > 0) {
        cli_error("images that could not be read: %zu; they are not in the figures, and each is named above", d.failed);
        if (code == 0) code = CLI_EXIT_DATA;
    }
    dcam_drift_clear(&d);
    return code;
}
