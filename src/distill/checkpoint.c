/* checkpoint.c - a run on disk: one safetensors file with the student, the attention, the optimiser's velocity, the
 * best epoch so far, the history and the place in the epoch, so that a run that was stopped goes on to the same bits.
 * The order of the images needs no place in it: it is a pure function of seed and epoch. Written atomically; on
 * reading, everything is checked before anything is changed. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "distill/progress.h"
#include "weights/unfinished.h"

#define FORMAT "dcam-checkpoint-1"
#define HINT "give the same again; " DCAM_START_ANEW

/* images, loss, terms, seconds of the present epoch. */
#define SUMS (3 + DCAM_LOSS_KINDS)

static dcam_status add_values(dcam_tensor_writer *w, const char *name, dcam_dtype type, size_t count, const void *data)
{
    return count == 0 ? DCAM_OK : dcam_tensor_writer_add(w, name, type, 1, &count, data);
}

static dcam_status add_number(dcam_tensor_writer *w, const char *key, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return dcam_tensor_writer_metadata(w, key, text);
}

static dcam_status add_metadata(dcam_tensor_writer *w, const dcam_trainer_options *options, const train_identity *identity,
                                const train_progress *progress)
{
    train_option described[TRAIN_OPTIONS];
    train_options_describe(options, described);
    DCAM_TRY(dcam_tensor_writer_metadata(w, "format", FORMAT));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "dcam_version", DCAM_VERSION));
    for (int i = 0; i < TRAIN_OPTIONS; i++) {
        DCAM_TRY(dcam_tensor_writer_metadata(w, described[i].name, described[i].value));
    }
    DCAM_TRY(dcam_tensor_writer_metadata(w, "architecture", identity->architecture));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "teacher", identity->teacher));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "data", identity->data));
    DCAM_TRY(add_number(w, "epochs_done", progress->epoch));
    DCAM_TRY(add_number(w, "steps_done", progress->step));
    return add_number(w, "best_epoch", progress->best_epoch);
}

dcam_status train_checkpoint_save(const char *path, const dcam_trainer_options *options, const train_identity *identity,
                                  const dcam_learner *learner, const train_progress *progress)
{
    const size_t trained = learner->student->trainable_count + learner->attention_total;
    double sums[SUMS] = {progress->images, progress->loss, progress->seconds};
    dcam_tensor_writer *w = NULL;
    memcpy(sums + 3, progress->terms, sizeof progress->terms);
    dcam_status status = dcam_tensor_writer_create(&w);
    if (status == DCAM_OK) status = add_metadata(w, options, identity, progress);
    if (status == DCAM_OK) status = dcam_trunk_weights_add(learner->student, "student.", w);
    if (status == DCAM_OK) status = add_values(w, "attention", DCAM_F32, learner->attention_total, learner->attention_values);
    if (status == DCAM_OK) status = add_values(w, "velocity", DCAM_F32, trained, learner->velocity);
    if (status == DCAM_OK) status = add_values(w, "sums", DCAM_F64, SUMS, sums);
    if (status == DCAM_OK) {
        status = add_values(w, "history", DCAM_F64, (size_t)progress->epoch * TRAIN_EPOCH_VALUES, progress->history);
    }
    if (status == DCAM_OK && progress->best_epoch > 0) {
        status = dcam_trunk_weights_add(progress->best, "best.", w);
        if (status == DCAM_OK) {
            status = add_values(w, "best_attention", DCAM_F32, learner->attention_total, progress->best_attention);
        }
    }
    if (status == DCAM_OK) status = dcam_tensor_writer_save(w, path);
    dcam_tensor_writer_destroy(w);
    return status;
}

/* ---- reading ---- */

static dcam_status compare(const dcam_tensors *file, const char *key, const char *shown, const char *mine)
{
    const char *theirs = dcam_tensors_metadata(file, key);
    if (theirs && strcmp(theirs, mine) == 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA, "%s: made with %s %s, this run has %s: " HINT, dcam_tensors_path(file), shown,
                     theirs ? theirs : "(not stated)", mine);
}

/* Its digits, if it has any: the same file under another name is the same teacher. */
static const char *identity_of_teacher(const char *description)
{
    const char *digits = description ? strstr(description, " sha256:") : NULL;
    return digits ? digits : description;
}

static dcam_status compare_teacher(const dcam_tensors *file, const char *mine)
{
    const char *theirs = identity_of_teacher(dcam_tensors_metadata(file, "teacher"));
    if (theirs && strcmp(theirs, identity_of_teacher(mine)) == 0) return DCAM_OK;
    return compare(file, "teacher", "the teacher", mine);
}

/* Older files have 4e+01 where newer ones have 40. */
static bool same_number(const char *a, const char *b)
{
    char *end_a, *end_b;
    if (!a) return false;
    const double x = dcam_strtod(a, &end_a), y = dcam_strtod(b, &end_b);
    return end_a != a && end_b != b && *end_a == '\0' && *end_b == '\0' && x == y;
}

static dcam_status check_identity(const dcam_tensors *file, const dcam_trainer_options *options,
                                  const train_identity *identity)
{
    train_option described[TRAIN_OPTIONS];
    const char *format = dcam_tensors_metadata(file, "format");
    if (!format || strcmp(format, FORMAT) != 0) {
        return dcam_fail(DCAM_ERROR_DATA, "%s: not a checkpoint of this version of dcam (%s); " DCAM_START_ANEW,
                         dcam_tensors_path(file), FORMAT);
    }
    train_options_describe(options, described);
    for (int i = 0; i < TRAIN_OPTIONS; i++) {
        if (!described[i].is_text && same_number(dcam_tensors_metadata(file, described[i].name), described[i].value)) continue;
        DCAM_TRY(compare(file, described[i].name, described[i].name, described[i].value));
    }
    DCAM_TRY(compare(file, "architecture", "a student", identity->architecture));
    DCAM_TRY(compare_teacher(file, identity->teacher));
    return compare(file, "data", "images of fingerprint", identity->data);
}

static dcam_status damaged(const dcam_tensors *file, const char *what)
{
    return dcam_fail(DCAM_ERROR_DATA, "%s: damaged checkpoint: %s; " DCAM_START_ANEW, dcam_tensors_path(file), what);
}

static dcam_status read_number(const dcam_tensors *file, const char *key, int high, int *out)
{
    const char *text = dcam_tensors_metadata(file, key);
    char *end = NULL;
    const long value = text ? strtol(text, &end, 10) : -1;
    if (!text || end == text || *end != '\0' || value < 0 || value > high) return damaged(file, key);
    *out = (int)value;
    return DCAM_OK;
}

/* Doubles are not converted: they must come back to the bit. */
static dcam_status read_doubles(const dcam_tensors *file, const char *name, size_t count, double *out)
{
    if (count == 0) return DCAM_OK;
    const dcam_tensor *t = dcam_tensors_find(file, name);
    if (!t || t->type != DCAM_F64 || t->count != count) return damaged(file, name);
    memcpy(out, t->data, count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(out[i])) return damaged(file, name);
    }
    return DCAM_OK;
}

static dcam_status read_floats(const dcam_tensors *file, const char *name, size_t count, float **out)
{
    DCAM_TRY(dcam_alloc(count, sizeof **out, out));
    return count == 0 ? DCAM_OK : dcam_tensors_read_f32(file, name, 1, &count, *out);
}

/* What a file holds, before it replaces anything. */
typedef struct {
    int epoch, step, best_epoch;
    double sums[SUMS];
    double *history;
    float *attention, *velocity, *best_attention;
    dcam_trunk_weights *student, *best;
} content;

static dcam_status read_content(const dcam_tensors *file, const dcam_trainer_options *options, const dcam_learner *learner,
                                content *c)
{
    const dcam_architecture *a = learner->student->architecture;
    DCAM_TRY(read_number(file, "epochs_done", options->epochs, &c->epoch));
    DCAM_TRY(read_number(file, "steps_done", INT_MAX, &c->step));
    DCAM_TRY(read_number(file, "best_epoch", c->epoch, &c->best_epoch));
    if ((c->best_epoch == 0) != (c->epoch == 0)) return damaged(file, "best_epoch");
    DCAM_TRY(read_doubles(file, "sums", SUMS, c->sums));
    DCAM_TRY(dcam_alloc((size_t)c->epoch, TRAIN_EPOCH_VALUES * sizeof(double), &c->history));
    DCAM_TRY(read_doubles(file, "history", (size_t)c->epoch * TRAIN_EPOCH_VALUES, c->history));
    DCAM_TRY(read_floats(file, "attention", learner->attention_total, &c->attention));
    DCAM_TRY(read_floats(file, "velocity", learner->student->trainable_count + learner->attention_total, &c->velocity));
    DCAM_TRY(dcam_trunk_weights_read(file, "student.", a, &c->student));
    if (c->student->folded) return damaged(file, "the student's batch norm is folded");
    if (c->best_epoch == 0) return DCAM_OK;
    DCAM_TRY(read_floats(file, "best_attention", learner->attention_total, &c->best_attention));
    DCAM_TRY(dcam_trunk_weights_read(file, "best.", a, &c->best));
    return c->best->folded ? damaged(file, "the best student's batch norm is folded") : DCAM_OK;
}

static void apply(const content *c, dcam_learner *learner, train_progress *progress)
{
    const size_t trained = learner->student->trainable_count + learner->attention_total;
    memcpy(learner->student->values, c->student->values, c->student->value_count * sizeof(float));
    memcpy(learner->attention_values, c->attention, learner->attention_total * sizeof(float));
    memcpy(learner->velocity, c->velocity, trained * sizeof(float));
    progress->epoch = c->epoch;
    progress->step = c->step;
    progress->best_epoch = c->best_epoch;
    progress->images = c->sums[0];
    progress->loss = c->sums[1];
    progress->seconds = c->sums[2];
    memcpy(progress->terms, c->sums + 3, sizeof progress->terms);
    memcpy(progress->history, c->history, (size_t)c->epoch * sizeof *progress->history);
    if (c->best_epoch == 0) return;
    memcpy(progress->best->values, c->best->values, c->best->value_count * sizeof(float));
    memcpy(progress->best_attention, c->best_attention, learner->attention_total * sizeof(float));
}

dcam_status train_checkpoint_load(const char *path, const dcam_trainer_options *options, const train_identity *identity,
                                  dcam_learner *learner, train_progress *progress)
{
    dcam_tensors *file = NULL;
    content c = {0};
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_ABSENT) {
        return dcam_fail(DCAM_ERROR_DATA, "%s: there is no such checkpoint to resume from; leave out --resume to start anew", path);
    }
    dcam_status status = dcam_tensors_open(path, &file);
    if (status == DCAM_OK) status = check_identity(file, options, identity);
    if (status == DCAM_OK) status = read_content(file, options, learner, &c);
    if (status == DCAM_OK) apply(&c, learner, progress);
    dcam_trunk_weights_destroy(c.best);
    dcam_trunk_weights_destroy(c.student);
    dcam_free(c.best_attention);
    dcam_free(c.velocity);
    dcam_free(c.attention);
    dcam_free(c.history);
    dcam_tensors_destroy(file);
    return status;
}
