/* report.h - the evaluation as one HTML page that stands alone: style, curves and pictures are in it, nothing is fetched,
 * no script runs. Written as DIR/index.html, whole or not at all.
 *
 * Order of calls: create; per class begin, pictures, end; models; finish. What a caller gives is borrowed for the call. */
#ifndef DCAM_REPORT_REPORT_H
#define DCAM_REPORT_REPORT_H

#include "image/image.h"
#include "metrics/curves.h"

/* Pictures are scaled so that the longer side has this many pixels. */
#define DCAM_REPORT_SIDE 224
/* Of a class, three views each: see dcam_report_group. */
#define DCAM_REPORT_PICTURES 16
/* Encoded pictures of a page, before base64 adds a third: a browser still opens that at once. Beyond it pictures are left
 * out, and the page says so. */
#define DCAM_REPORT_MAX_PICTURE_BYTES ((size_t)24 << 20)

/* The file in the report's folder. */
#define DCAM_REPORT_PAGE "index.html"

typedef struct dcam_report dcam_report;

/* Makes the folder, and the file under a temporary name, so that a place that cannot be written is told now. */
DCAM_MUST_CHECK dcam_status dcam_report_create(const char *folder, dcam_report **out);
void dcam_report_destroy(dcam_report *report); /* NULL-safe; removes what was not finished */

typedef struct {
    const char *name;
    const float *scores;       /* of each image, raw or from_threshold */
    const uint8_t *labels;
    size_t images, defective;
    double threshold;          /* on the scale of the scores */
    bool from_threshold;       /* scores are counted from the threshold of the class that each image was taken for */
    dcam_curves image, pixel;  /* without points where not defined */
} dcam_report_class;
void dcam_report_class_begin(dcam_report *report, const dcam_report_class *c);
void dcam_report_class_end(dcam_report *report);

/* A heading above the pictures that follow. */
void dcam_report_group(dcam_report *report, const char *heading);

typedef struct {
    const char *path, *label;  /* of any bytes */
    const char *verdict;       /* ours */
    double score, raw;
    const dcam_image *photo;   /* RGB, any size */
    const dcam_image *mask;    /* of the photograph's size, or NULL */
    const float *map;          /* map_height x map_width */
    int map_width, map_height;
    float map_median;          /* of normal pixels, on the scale of the map: where the colours of the map alone begin */
    float map_low, map_high;   /* the scale of overlays */
    double threshold;          /* what of the map is outlined; INFINITY: nothing */
} dcam_report_picture;
DCAM_MUST_CHECK dcam_status dcam_report_picture_add(dcam_report *report, const dcam_report_picture *picture);

/* What `dcam info` says of a model, as JSON text: its training curves and record. name: of the class in a one-class
 * training, else NULL. */
DCAM_MUST_CHECK dcam_status dcam_report_model(dcam_report *report, const char *name, const char *json);

typedef struct {
    const char *model, *dataset;
    const dcam_evaluation *evaluation;
    bool inferred;             /* each image scored as the class it was taken for */
} dcam_report_summary;
/* Writes the page. Gives the first failure of the calls before, too. */
DCAM_MUST_CHECK dcam_status dcam_report_finish(dcam_report *report, const dcam_report_summary *summary);

#endif
