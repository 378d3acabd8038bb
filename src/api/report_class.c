/* report_class.c - what of a class goes into the report: the worst misses and the worst false alarms first, for these
 * teach most, then examples of what was found and of what passed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/evaluation.h"
#include "base/memory.h"
#include "detect/calibration.h"

/* Of each group of pictures; together DCAM_REPORT_PICTURES. */
#define WRONG 5
#define RIGHT 3
_Static_assert(2 * WRONG + 2 * RIGHT == DCAM_REPORT_PICTURES, "the pictures of a class");

typedef struct {
    const dcam_class_calibration *classes; /* of the model */
    const dcam_preprocessing *p;
    const dcam_class_scores *s;
    const char *root;         /* of the data set; paths are shown from there */
    uint32_t *order;          /* images by rising score */
    bool (*stop)(void *user);
    void *user;
} gallery;

typedef struct {
    const char *heading, *verdict;
    bool defective, anomalous;
    bool highest_first;
    int most;
} group;

static const group groups[] = {
    {"Worst misses: defective, yet below the threshold", "<span class=\"verdict wrong\">missed</span>", true, false, false, WRONG},
    {"Worst false alarms: good, yet above the threshold", "<span class=\"verdict wrong\">false alarm</span>", false, true, true, WRONG},
    {"Defects found, the clearest first", "<span class=\"verdict right\">found</span>", true, true, true, RIGHT},
    {"Good images that passed, the nearest to the threshold first", "<span class=\"verdict right\">passed</span>", false, false, true, RIGHT},
};

static const char *below(const char *root, const char *path)
{
    const size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

/* A raw value on the scale of the class's maps. */
static float on_scale(const gallery *g, const dcam_class_calibration *c, double raw)
{
    return g->s->from_threshold ? dcam_from_threshold(c, dcam_calibrated_width(c), raw) : (float)raw;
}

static dcam_status add_picture(dcam_report *report, const gallery *g, size_t i, const char *verdict)
{
    const dcam_sample *sample = g->s->samples[i];
    const dcam_verdict *v = &g->s->verdicts[i];
    const dcam_class_calibration *c = &g->classes[v->class_index];
    const double threshold = g->s->from_threshold ? 0 : v->threshold;
    dcam_image photo = {0}, mask = {0};
    DCAM_TRY(dcam_image_load(sample->path, &photo));
    dcam_status status = sample->mask_path ? dcam_mask_load(sample->mask_path, &mask) : DCAM_OK;
    if (status == DCAM_OK) {
        const dcam_report_picture picture = {
            .path = below(g->root, sample->path), .label = sample->label, .verdict = verdict, .score = v->score, .raw = (double)v->raw,
            .photo = &photo, .mask = mask.pixels ? &mask : NULL, .map = g->s->maps + i * g->s->pixels, .map_width = g->p->width,
            .map_height = g->p->height, .map_median = on_scale(g, c, (double)c->pixel_median),
            .map_low = on_scale(g, c, (double)c->map_low), .map_high = on_scale(g, c, (double)c->map_high),
            .threshold = v->anomalous ? threshold : (double)INFINITY};
        status = dcam_report_picture_add(report, &picture);
    }
    dcam_image_clear(&mask);
    dcam_image_clear(&photo);
    return status;
}

static dcam_status add_group(dcam_report *report, const gallery *g, const group *wanted)
{
    int added = 0;
    for (size_t k = 0; k < g->s->images && added < wanted->most; k++) {
        const size_t i = g->order[wanted->highest_first ? g->s->images - 1 - k : k];
        if (g->s->samples[i]->defective != wanted->defective || g->s->verdicts[i].anomalous != wanted->anomalous) continue;
        if (g->stop(g->user)) return dcam_fail(DCAM_ERROR_CANCELLED, "stopped while the report was made");
        if (added++ == 0) dcam_report_group(report, wanted->heading);
        const dcam_status status = add_picture(report, g, i, wanted->verdict);
        /* It was there when it was scored; the figures stand without it. */
        if (status == DCAM_ERROR_IO || status == DCAM_ERROR_IMAGE)
            dcam_log(DCAM_LOG_WARNING, "left out of the report: %s", dcam_error_message());
        else if (status != DCAM_OK) return status;
    }
    return DCAM_OK;
}

typedef struct {
    double score;
    uint32_t image;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

/* By calibrated score: with classes inferred, thresholds are several. */
static dcam_status sort_images(const dcam_class_scores *s, uint32_t **out)
{
    ranked *sorted = NULL;
    uint32_t *order = NULL;
    dcam_status status = dcam_alloc(s->images, sizeof *sorted, &sorted);
    if (status == DCAM_OK) status = dcam_alloc(s->images, sizeof *order, &order);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < s->images; i++) sorted[i] = (ranked){s->verdicts[i].score, (uint32_t)i};
        if (s->images > 0) qsort(sorted, s->images, sizeof *sorted, compare_ranked);
        for (size_t i = 0; i < s->images; i++) order[i] = sorted[i].image;
        *out = order;
    }
    dcam_free(sorted);
    return status;
}

static dcam_status curves_of(const gallery *g, dcam_report_class *c)
{
    const dcam_class_scores *s = g->s;
    DCAM_TRY(dcam_image_curves(s->scores, s->labels, s->images, &c->image));
    if (s->defective == 0 || s->normal == 0 || !s->has_masks) return DCAM_OK;
    return dcam_pixel_curves(s->maps, s->masks, s->labels, (int)s->images, g->p->height, g->p->width, &c->pixel);
}

dcam_status dcam_report_of_class(dcam_report *report, const dcam_detector *d, int model_class, const dcam_dataset *dataset,
                                 const char *name, const dcam_class_scores *s, bool (*stop)(void *user), void *user)
{
    gallery g = {.classes = d->model->classes, .p = &d->model->preprocessing, .s = s, .root = dataset->root,
                 .stop = stop, .user = user};
    dcam_report_class c = {.name = name, .scores = s->scores, .labels = s->labels, .images = s->images,
                           .defective = s->defective, .from_threshold = s->from_threshold,
                           .threshold = s->from_threshold ? 0 : g.classes[model_class].threshold};
    dcam_status status = sort_images(s, &g.order);
    if (status == DCAM_OK) status = curves_of(&g, &c);
    if (status == DCAM_OK) dcam_report_class_begin(report, &c);
    for (size_t k = 0; status == DCAM_OK && k < sizeof groups / sizeof *groups; k++) status = add_group(report, &g, &groups[k]);
    if (status == DCAM_OK) dcam_report_class_end(report);
    dcam_curves_clear(&c.pixel);
    dcam_curves_clear(&c.image);
    dcam_free(g.order);
    return status;
}
