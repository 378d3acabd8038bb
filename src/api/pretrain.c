/* pretrain.c - dcam_pretrain: options, the run, and the teacher file; and a sheet of the pictures it learns from. */
#include <stdio.h>
#include <string.h>

#include "api/detector.h"
#include "base/disk.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/places.h"
#include "base/status.h"
#include "image/image.h"
#include "net/check.h"
#include "pretrain/picture.h"
#include "pretrain/pretrainer.h"
#include "weights/unfinished.h"

#define SHEET_PICTURES 3 /* of each class */
#define SHEET_GAP 4
#define SHEET_MAX 100    /* rows, columns */

static bool pass_on(void *user, const dcam_pretrainer_progress *p)
{
    const dcam_pretrain_options *o = user;
    const dcam_pretrain_progress out = {p->step, p->steps, p->loss, p->accuracy, p->images_per_second, p->seconds_left};
    return o->progress(o->user, &out);
}

static dcam_status convert_options(const dcam_pretrain_options *o, dcam_pretrainer_options *out)
{
    dcam_pretrainer_options p = dcam_pretrainer_defaults();
    DCAM_TRY(dcam_check_threads(o->threads));
    DCAM_TRY(dcam_resolve_training_precision(o->precision, &p.precision));
    if (o->classes != 0) p.classes = o->classes;
    if (o->size != 0) p.side = o->size;
    if (o->steps != 0) p.steps = o->steps;
    if (o->batch != 0) p.batch = o->batch;
    if (o->learning_rate != 0) p.learning_rate = o->learning_rate;
    if (o->weight_decay != 0) p.weight_decay = o->weight_decay < 0 ? 0 : o->weight_decay;
    if (o->falling != 0) p.falling = o->falling < 0 ? 0 : o->falling;
    if (o->checkpoint_steps != 0) p.checkpoint_steps = o->checkpoint_steps;
    p.seed = o->seed;
    p.max_bytes = dcam_machine_memory();
    p.checkpoint = o->checkpoint;
    p.resume = o->resume;
    if (o->progress) {
        p.progress = pass_on;
        p.user = (void *)(uintptr_t)o;
    }
    DCAM_TRY(dcam_pretrainer_check(&p));
    *out = p;
    return DCAM_OK;
}

/* The checkpoint of the plateau's end, where the run comes by it; else *out stays NULL. */
static dcam_status plateau_of(const dcam_pretrainer_options *p, char **out)
{
    const int end = dcam_pretrainer_plateau_end(p);
    return p->checkpoint && end > 0 && end < p->steps ? dcam_format_string(out, "%s.plateau", p->checkpoint) : DCAM_OK;
}

/* A checkpoint is written beside the one before. The one of the plateau's end stays. */
static dcam_status check_disk(const dcam_pretrainer_options *p, const char *output, const char *plateau)
{
    size_t teacher, checkpoint, more = 1;
    dcam_path_kind kind;
    dcam_pretrainer_file_bytes(p, &teacher, &checkpoint);
    if (p->checkpoint) {
        DCAM_TRY(dcam_path_look(p->checkpoint, &kind));
        more += kind == DCAM_PATH_ABSENT;
    }
    if (plateau) {
        DCAM_TRY(dcam_path_look(plateau, &kind));
        more += kind == DCAM_PATH_ABSENT;
    }
    const dcam_disk_need needs[] = {{output, teacher}, {p->checkpoint, more * checkpoint}};
    return dcam_disk_check(needs, p->checkpoint ? 2 : 1);
}

static dcam_status check_files(const dcam_pretrainer_options *p, const char *output, const char *plateau)
{
    const char *const paths[] = {output, p->checkpoint, plateau};
    const dcam_place written[] = {{"teacher", output}, {"checkpoint", p->checkpoint}, {"checkpoint of the plateau's end", plateau}};
    DCAM_TRY(dcam_check_places(written, 3, NULL, 0));
    for (int i = 0; i < 3; i++)
        if (paths[i]) DCAM_TRY(dcam_check_writable(paths[i]));
    if (p->checkpoint && !p->resume) DCAM_TRY(dcam_refuse_unfinished(p->checkpoint, DCAM_RUN_PRETRAINING));
    if (plateau && !p->resume) DCAM_TRY(dcam_refuse_gone_on(plateau));
    return check_disk(p, output, plateau);
}

/* Now rather than in hours. */
static dcam_status check_before(const dcam_pretrainer_options *p, const char *output)
{
    char *plateau = NULL;
    DCAM_TRY(plateau_of(p, &plateau));
    const dcam_status status = check_files(p, output, plateau);
    dcam_free(plateau);
    return status == DCAM_OK ? net_check_before_training(p->precision) : status;
}

dcam_status dcam_pretrain(const dcam_pretrain_options *o)
{
    if (!o || !o->output) return dcam_fail(DCAM_ERROR_USAGE, "pretrain: needs a file to write the teacher to");
    dcam_pretrainer_options p;
    dcam_trunk_weights *trunk = NULL;
    char *record = NULL, source[160];
    DCAM_TRY(convert_options(o, &p));
    const int threads = dcam_swap_threads(o->threads);
    dcam_status status = check_before(&p, o->output);
    if (status == DCAM_OK) status = dcam_pretrainer_run(&p, &trunk, &record);
    dcam_set_threads(threads);
    snprintf(source, sizeof source, DCAM_PRETRAIN_SOURCE "drawn pictures only, seed %llu, %d classes, %d steps of %d",
             (unsigned long long)p.seed, p.classes, p.steps, p.batch);
    if (status == DCAM_OK) status = dcam_teacher_save_compact(trunk, source, record, o->output);
    dcam_free(record);
    dcam_trunk_weights_destroy(trunk);
    return status;
}

static void place(const dcam_image *sheet, const uint8_t *rgb, int side, int left, int top)
{
    const size_t row = 3 * (size_t)side;
    for (int y = 0; y < side; y++)
        memcpy(sheet->pixels + 3 * ((size_t)(top + y) * (size_t)sheet->width + (size_t)left), rgb + (size_t)y * row, row);
}

dcam_status dcam_pretrain_sheet(const dcam_pretrain_options *o, int rows, int columns, const char *png_path)
{
    if (!o || !png_path || rows < 1 || rows > SHEET_MAX || columns < 1 || columns > SHEET_MAX)
        return dcam_fail(DCAM_ERROR_USAGE, "a sheet of pictures: needs a file and 1 to %d rows and columns", SHEET_MAX);
    const int side = o->size == 0 ? dcam_pretrainer_defaults().side : o->size;
    dcam_painter *painter = NULL;
    uint8_t *rgb = NULL;
    dcam_image sheet = {.channels = 3};
    DCAM_TRY(dcam_check_writable(png_path));
    DCAM_TRY(dcam_painter_create(o->seed, rows * columns, side, &painter));
    const int step = SHEET_PICTURES * side + SHEET_GAP; /* of a side that the painter takes */
    sheet.width = columns * step - SHEET_GAP;
    sheet.height = rows * (side + SHEET_GAP) - SHEET_GAP;
    dcam_status status = dcam_alloc((size_t)side, 3 * (size_t)side, &rgb);
    if (status == DCAM_OK) status = dcam_alloc_zero(3 * (size_t)sheet.width, (size_t)sheet.height, &sheet.pixels);
    for (int i = 0; i < rows * columns && status == DCAM_OK; i++)
        for (int k = 0; k < SHEET_PICTURES; k++) {
            dcam_painter_draw(painter, i, (uint64_t)k, rgb);
            place(&sheet, rgb, side, i % columns * step + k * side, i / columns * (side + SHEET_GAP));
        }
    if (status == DCAM_OK) status = dcam_png_write(png_path, &sheet);
    dcam_image_clear(&sheet);
    dcam_free(rgb);
    dcam_painter_destroy(painter);
    return status;
}
