/* page.c - the page: head, summary table, then the sections of the classes and the models. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/inside.h"
#include "report/svg.h"

dcam_status dcam_report_create(const char *folder, dcam_report **out)
{
    char *path = NULL;
    dcam_report *r = NULL;
    DCAM_TRY(dcam_make_folders(folder));
    DCAM_TRY(dcam_path_join(folder, DCAM_REPORT_PAGE, &path));
    dcam_status status = dcam_alloc_zero(1, sizeof *r, &r);
    if (status == DCAM_OK) status = dcam_writer_open(path, &r->writer);
    dcam_free(path);
    if (status != DCAM_OK) dcam_report_destroy(r);
    else *out = r;
    return status;
}

void dcam_report_destroy(dcam_report *r)
{
    if (!r) return;
    dcam_writer_abort(r->writer);
    dcam_html_clear(&r->classes);
    dcam_html_clear(&r->models);
    dcam_free(r);
}

/* ---- a class ---- */

static void put_curves(dcam_html *t, const dcam_curves *image, const dcam_curves *pixel)
{
    const dcam_chart roc = {.title = "ROC", .x_label = "false positive rate", .y_label = "true positive rate",
                            .description = "true against false positive rate, of images and of pixels",
                            .x_high = 1, .y_high = 1, .limit = NAN,
                            .lines = {{"images", image->roc.points, image->roc.count}, {"pixels", pixel->roc.points, pixel->roc.count}}};
    const dcam_chart precision = {.title = "Precision and recall", .x_label = "recall", .y_label = "precision",
                                  .description = "precision against recall, of images and of pixels",
                                  .x_high = 1, .y_high = 1, .limit = NAN,
                                  .lines = {{"images", image->precision.points, image->precision.count},
                                            {"pixels", pixel->precision.points, pixel->precision.count}}};
    const dcam_chart pro = {.title = "PRO", .x_label = "false positive rate of pixels", .y_label = "region overlap",
                            .description = "mean overlap with the true regions against the false positive rate of pixels",
                            .x_high = 1, .y_high = 1, .limit = 0.3, .limit_name = "AUPRO ends",
                            .lines = {{"regions", pixel->pro.points, pixel->pro.count}}};
    if (image->roc.count > 0) dcam_chart_write(t, &roc);
    if (image->roc.count > 0) dcam_chart_write(t, &precision);
    if (pixel->pro.count > 0) dcam_chart_write(t, &pro);
}

void dcam_report_class_begin(dcam_report *r, const dcam_report_class *c)
{
    dcam_html *t = &r->classes;
    dcam_html_format(t, "<section aria-labelledby=\"class%zu\">\n<h2 id=\"class%zu\">", r->class_count, r->class_count);
    dcam_html_escape(t, c->name);
    dcam_html_format(t, "</h2>\n<p class=\"dim\">%zu images, %zu of them defective; threshold %.4g</p>\n<div class=\"charts\">\n", c->images,
                     c->defective, c->threshold);
    dcam_histograms_write(t, c->scores, c->labels, c->images, c->threshold,
                          c->from_threshold ? "image score, from the threshold of the class taken" : "raw image score");
    put_curves(t, &c->image, &c->pixel);
    dcam_html_put(t, "</div>\n");
    r->class_count++;
    r->group_open = false;
}

void dcam_report_class_end(dcam_report *r)
{
    if (r->group_open) dcam_html_put(&r->classes, "</div>\n");
    dcam_html_put(&r->classes, "</section>\n");
    r->group_open = false;
}

/* ---- summary ---- */

static const char *const headings[] = {"AUROC", "AP", "F1-max", "AUROC", "AP", "F1-max", "AUPRO", "PRO resc.", "false alarms", "misses"};
enum { METRICS = sizeof headings / sizeof *headings };
_Static_assert(sizeof(dcam_metrics) == METRICS * sizeof(double), "a heading for each metric");

static void put_cells(dcam_html *t, const dcam_metrics *all, const dcam_metrics *low, const dcam_metrics *high)
{
    double value[METRICS], from[METRICS], to[METRICS];
    memcpy(value, all, sizeof value);
    memcpy(from, low, sizeof from);
    memcpy(to, high, sizeof to);
    for (int m = 0; m < METRICS; m++) {
        dcam_html_put(t, "<td>");
        dcam_html_number(t, "%.4f", value[m]);
        if (!isnan(from[m]) && !isnan(to[m])) dcam_html_format(t, "<small>%.3f\xe2\x80\x93%.3f</small>", from[m], to[m]);
        dcam_html_put(t, "</td>");
    }
    dcam_html_put(t, "</tr>\n");
}

static void put_table(dcam_html *t, const dcam_evaluation *e)
{
    dcam_html_put(t, "<h2 id=\"summary\">Summary</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"summary\">\n<table>\n"
                     "<thead><tr><th rowspan=\"2\" scope=\"col\">class</th><th rowspan=\"2\" scope=\"col\">images</th>"
                     "<th rowspan=\"2\" scope=\"col\">defective</th><th colspan=\"3\" scope=\"colgroup\">image</th>"
                     "<th colspan=\"5\" scope=\"colgroup\">pixel</th><th colspan=\"2\" scope=\"colgroup\">verdicts</th></tr>\n<tr>");
    for (int m = 0; m < METRICS; m++) dcam_html_format(t, "<th scope=\"col\">%s</th>", headings[m]);
    dcam_html_put(t, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < e->class_count; i++) {
        const dcam_class_result *c = &e->classes[i];
        dcam_html_put(t, "<tr><th scope=\"row\">");
        dcam_html_escape(t, c->name);
        dcam_html_format(t, "</th><td>%zu</td><td>%zu</td>", c->images, c->defective);
        put_cells(t, &c->metrics, &c->low, &c->high);
    }
    dcam_html_put(t, "<tr class=\"mean\"><th scope=\"row\">mean</th><td></td><td></td>");
    put_cells(t, &e->mean, &e->mean_low, &e->mean_high);
    dcam_html_put(t, "</tbody></table></div>\n<p class=\"note\">");
    if (e->resamples > 0)
        dcam_html_format(t, "Small figures: 95 %% intervals, from %d resamples of the images; how far a figure could move with other test images "
                            "of the same kind. ", e->resamples);
    dcam_html_put(t, "A dash: not defined (no masks, or one kind of image only). PRO resc. is what some papers print; it flatters.</p>\n");
}

static void put_navigation(dcam_html *t, const dcam_evaluation *e)
{
    dcam_html_put(t, "<nav aria-label=\"Sections\"><ul><li><a href=\"#summary\">Summary</a></li>");
    for (size_t i = 0; i < e->class_count; i++) {
        dcam_html_format(t, "<li><a href=\"#class%zu\">", i);
        dcam_html_escape(t, e->classes[i].name);
        dcam_html_put(t, "</a></li>");
    }
    dcam_html_put(t, "<li><a href=\"#training\">Training</a></li></ul></nav>\n");
}

static void put_head(dcam_html *t, const dcam_report_summary *s)
{
    const dcam_evaluation *e = s->evaluation;
    dcam_html_put(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src 'unsafe-inline'\">\n"
                     "<meta name=\"generator\" content=\"dcam " DCAM_VERSION "\">\n<title>Evaluation of ");
    dcam_html_escape(t, s->model);
    dcam_html_put(t, "</title>\n<style>\n");
    dcam_html_put(t, dcam_report_style);
    dcam_html_put(t, "</style>\n</head>\n<body>\n<header>\n<h1>Evaluation</h1>\n<p>Model <span class=\"path\">");
    dcam_html_escape(t, s->model);
    dcam_html_put(t, "</span> on the test images of <span class=\"path\">");
    dcam_html_escape(t, s->dataset);
    dcam_html_format(t, "</span>.</p>\n<p class=\"dim\">%zu classes, %.1f s", e->class_count, e->seconds);
    if (s->inferred) dcam_html_put(t, ", each image scored as the class that the model takes it for");
    if (!isnan(e->class_inferred_right)) dcam_html_format(t, "; class recognised without being told: %.1f %% of the images", 100 * e->class_inferred_right);
    if (e->failed > 0) dcam_html_format(t, "; <strong class=\"wrong\">%zu images could not be read and are not in the figures</strong>", e->failed);
    dcam_html_put(t, ".</p>\n</header>\n");
    put_navigation(t, e);
    dcam_html_put(t, "<main>\n");
    put_table(t, e);
}

static void put_legend(dcam_html *t, size_t left_out)
{
    dcam_html_put(t, "<p class=\"note\">Pictures, from the left: the photograph with the true defect outlined in cyan, where there is a mask; the "
                     "anomaly map from the median of normal pixels upwards; the photograph under the map on the scale of the overlays, which begins where "
                     "hardly any normal pixel is, with the regions at or above the threshold outlined in white if the image is. A score of 0.5 is the threshold. The "
                     "colours of a class mean the same in all its pictures.");
    if (left_out > 0)
        dcam_html_format(t, " %zu pictures were left out: the page holds %zu MiB of them at most.", left_out, DCAM_REPORT_MAX_PICTURE_BYTES >> 20);
    dcam_html_put(t, "</p>\n");
}

static dcam_status write_text(dcam_report *r, const dcam_html *t)
{
    return t->count > 0 ? dcam_writer_write(r->writer, t->bytes, t->count) : DCAM_OK;
}

dcam_status dcam_report_finish(dcam_report *r, const dcam_report_summary *s)
{
    static const char end[] = "</main>\n</body>\n</html>\n";
    dcam_html head = {0};
    put_head(&head, s);
    put_legend(&head, r->left_out);
    dcam_status status = head.status;
    if (status == DCAM_OK) status = r->classes.status;
    if (status == DCAM_OK) status = r->models.status;
    if (status == DCAM_OK) status = write_text(r, &head);
    if (status == DCAM_OK) status = write_text(r, &r->classes);
    if (status == DCAM_OK) status = write_text(r, &r->models);
    if (status == DCAM_OK) status = dcam_writer_write(r->writer, end, sizeof end - 1);
    if (status == DCAM_OK) {
        dcam_writer *writer = r->writer;
        r->writer = NULL;
        status = dcam_writer_commit(writer);
    }
    dcam_html_clear(&head);
    return status;
}
