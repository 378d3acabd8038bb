/* trainer.c - a run: epochs of steps, and after each epoch the validation and the checkpoint. The order of an epoch's
 * images and every learning rate are pure functions of options, data and place, so that a run that goes on from a
 * checkpoint repeats what it would have done. Must not know how a step is taken: that is learner.c. */
#include "distill/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bf16.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "base/parallel.h"
#include "base/random.h"
#include "distill/memory_plan.h"
#include "distill/progress.h"
#include "distill/sgd.h"
#include "distill/validation.h"
#include "weights/unfinished.h"

/* Apart from other uses of the seed; the epoch is added. */
#define STREAM_ORDER UINT64_C(0x6f72646572000000) /* "order" */
/* What an image of the validation costs beside one of a step, until the first validation was timed. */
#define VALIDATION_COST (1.0 / 3)
#define PI 3.14159265358979323846

typedef struct {
    const dcam_dataset *dataset;
    const dcam_trainer_options *options; /* the caller's */
    dcam_trainer_options learning;       /* the same with the batch that is run */
    uint32_t *train, *validation_set, *order;
    size_t train_count, validation_count;
    dcam_data_identity data;
    train_identity identity;
    size_t planned;
    dcam_preprocessing preprocessing;
    dcam_cache *images, *maps;
    dcam_teacher_maps *teacher;
    dcam_learner *learner;
    dcam_validation *validation;
    float *input;                        /* batch x 3 x height x width */
    uint16_t *records;                   /* batch x layout.total */
    train_progress progress;
    bool kept;                           /* the checkpoint is of this run, or was gone on from; it holds: */
    int kept_epoch, kept_step;           /* as progress.epoch and step */
    int steps;                           /* of an epoch */
    double rate;                         /* images a second, of this epoch's steps so far or the last one's */
    double validation_seconds;           /* of the last one; 0 before */
} run;

/* ---- before the first step ---- */

static void warn_of_copies(const dcam_dataset *d, const dcam_copy_kind *kinds, int class_index)
{
    size_t images = 0, copies = 0, elsewhere = 0;
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        if (s->class_index != class_index || s->split != DCAM_SPLIT_TRAIN || s->defective) continue;
        images++;
        copies += kinds[i] == DCAM_COPY_OF_ITS_CLASS;
        elsewhere += kinds[i] == DCAM_IN_ANOTHER_CLASS;
    }
    if (copies > 0)
        dcam_log(DCAM_LOG_WARNING, "class \"%s\": %zu of %zu images are copies of others; each image counts once, and the training goes "
                 "on as if its copies were not there", d->class_names[class_index], copies, images);
    if (elsewhere > 0)
        dcam_log(DCAM_LOG_WARNING, "class \"%s\": %zu of %zu images are in another class too; they are learned from and take no part in "
                 "the validation", d->class_names[class_index], elsewhere, images);
}

static dcam_status find_data(run *r)
{
    const dcam_trainer_options *o = r->options;
    DCAM_TRY(dcam_data_identity_of(r->dataset, &r->data));
    r->identity.data = r->data.all;
    DCAM_TRY(dcam_dataset_split(r->dataset, r->data.kinds, o->validation_fraction, o->seed, &r->train, &r->train_count,
                                &r->validation_set, &r->validation_count));
    if (r->train_count == 0) return dcam_fail(DCAM_ERROR_DATA, "%s: no class to learn from", r->dataset->root);
    for (size_t i = 0; i < r->dataset->class_count; i++) warn_of_copies(r->dataset, r->data.kinds, (int)i);
    r->learning.batch = train_batch_of(o, r->train_count);
    const size_t batch = (size_t)r->learning.batch;
    r->steps = (int)((r->train_count + batch - 1) / batch);
    return DCAM_OK;
}

/* Says what the run will hold, and refuses it if that is too much. */
static dcam_status plan_memory(run *r, const dcam_architecture *a)
{
    const dcam_trainer_options *o = r->options;
    const double mib = 1024.0 * 1024.0;
    dcam_photograph largest = {.path = NULL};
    DCAM_TRY(dcam_dataset_find_largest(r->dataset, r->train, r->train_count, &largest));
    DCAM_TRY(dcam_dataset_find_largest(r->dataset, r->validation_set, r->validation_count, &largest));
    DCAM_TRY(dcam_trainer_check_memory(a, o, r->train_count + r->validation_count, &largest, &r->planned));
    dcam_log(DCAM_LOG_INFO, "training on %zu images, %zu kept for validation, %dx%d, %d a step; memory: %.0f MiB at most",
             r->train_count, r->validation_count, o->width, o->height, r->learning.batch, (double)r->planned / mib);
    return DCAM_OK;
}

static dcam_status create_caches(run *r, const dcam_architecture *a)
{
    const train_caches c = train_caches_of(a, r->options, r->train_count + r->validation_count, r->dataset->sample_count);
    DCAM_TRY(dcam_cache_create(c.image_record, r->dataset->sample_count, c.images, &r->images));
    return dcam_cache_create(c.map_record, r->dataset->sample_count, c.maps, &r->maps);
}

static dcam_status create_progress(run *r, const dcam_architecture *a)
{
    train_progress *p = &r->progress;
    DCAM_TRY(dcam_alloc_zero((size_t)r->options->epochs, sizeof *p->history, &p->history));
    DCAM_TRY(dcam_alloc_zero(r->learner->attention_total, sizeof *p->best_attention, &p->best_attention));
    return dcam_trunk_weights_create(a, false, &p->best);
}

static dcam_status create_parts(run *r, const dcam_trunk_weights *teacher)
{
    const dcam_trainer_options *o = r->options;
    const dcam_architecture *a = teacher->architecture;
    const size_t batch = (size_t)r->learning.batch, pixels = (size_t)o->height * (size_t)o->width;
    const dcam_net_options net = {.height = o->height, .width = o->width, .batch = 1};
    dcam_trunk_weights *student;
    r->preprocessing = dcam_preprocessing_default(o->width, o->height);
    DCAM_TRY(create_caches(r, a));
    DCAM_TRY(dcam_teacher_maps_create(teacher, &net, r->maps, &r->teacher));
    DCAM_TRY(dcam_trunk_weights_random(a, o->seed, &student));
    DCAM_TRY(dcam_learner_create(student, &r->learning, &r->learner));
    DCAM_TRY(create_progress(r, a));
    DCAM_TRY(dcam_alloc(batch, 3 * pixels * sizeof *r->input, &r->input));
    DCAM_TRY(dcam_alloc(batch, r->learner->layout.total * sizeof *r->records, &r->records));
    DCAM_TRY(dcam_alloc(r->train_count, sizeof *r->order, &r->order));
    const dcam_validation_data data = {.dataset = r->dataset, .indices = r->validation_set, .count = r->validation_count,
                                       .images = r->images, .teacher = r->teacher, .preprocessing = r->preprocessing};
    return dcam_validation_create(&data, o, a, &r->validation);
}

static void clear_run(run *r)
{
    dcam_validation_destroy(r->validation);
    dcam_free(r->order);
    dcam_free(r->records);
    dcam_free(r->input);
    dcam_trunk_weights_destroy(r->progress.best);
    dcam_free(r->progress.best_attention);
    dcam_free(r->progress.history);
    dcam_learner_destroy(r->learner);
    dcam_teacher_maps_destroy(r->teacher);
    dcam_cache_destroy(r->maps);
    dcam_cache_destroy(r->images);
    dcam_data_identity_clear(&r->data);
    dcam_free(r->validation_set);
    dcam_free(r->train);
}

/* ---- news, and stopping ---- */

/* Seconds to the end, at the pace of now. */
static double seconds_left(const run *r)
{
    const train_progress *p = &r->progress;
    const double epochs = r->options->epochs - p->epoch, train = (double)r->train_count;
    if (!(r->rate > 0)) return 0;
    const double validation = r->validation_seconds > 0 ? r->validation_seconds
                                                        : VALIDATION_COST * (double)r->validation_count / r->rate;
    return (epochs * train - p->images) / r->rate + epochs * validation;
}

static bool tell(const run *r, dcam_trainer_progress *news)
{
    const train_progress *p = &r->progress;
    if (!r->options->progress) return false;
    news->epochs = r->options->epochs;
    news->steps = r->steps;
    news->validation = p->epoch > 0 ? p->history[p->epoch - 1].validation : (double)NAN;
    news->images_per_second = r->rate;
    news->seconds_left = seconds_left(r);
    return r->options->progress(r->options->user, news);
}

static bool tell_step(const run *r)
{
    const train_progress *p = &r->progress;
    dcam_trainer_progress news = {.epoch = p->epoch + 1, .step = p->step, .loss = p->loss / p->images};
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) news.terms[k] = p->terms[k] / p->images;
    return tell(r, &news);
}

static bool tell_epoch(const run *r)
{
    const train_progress *p = &r->progress;
    const train_epoch *e = &p->history[p->epoch - 1];
    dcam_trainer_progress news = {.epoch = p->epoch, .step = r->steps, .loss = e->loss, .epoch_done = true,
                                  .best = p->best_epoch == p->epoch};
    memcpy(news.terms, e->terms, sizeof news.terms);
    return tell(r, &news);
}

/* After "epoch 3, step 2: the loss left the finite numbers; ". */
static dcam_status not_finite_because(const run *r, int step, const char *what, const char *cause)
{
    char said[512], kept[48];
    const dcam_status status = dcam_fail(DCAM_ERROR_NUMERIC, "epoch %d, step %d: %s finite numbers; %s", r->progress.epoch + 1, step,
                                         what, cause);
    if (!r->kept) return status;
    if (r->kept_step == 0) snprintf(kept, sizeof kept, "epoch %d", r->kept_epoch);
    else snprintf(kept, sizeof kept, "step %d of epoch %d", r->kept_step, r->kept_epoch + 1);
    snprintf(said, sizeof said, "%s", dcam_error_message());
    return dcam_fail(status, "%s; the checkpoint %s holds the state after %s", said, r->options->checkpoint, kept);
}

static dcam_status not_finite(const run *r, int step, const char *what)
{
    char cause[128];
    dcam_snprintf(cause, sizeof cause, "try a lower learning rate (--lr, now %g)%s", r->options->learning_rate,
             r->options->precision == DCAM_NET_BF16 ? " or --precision f32 instead of bf16" : "");
    return not_finite_because(r, step, what, cause);
}

/* Of the loss of these images. The pictures themselves are bytes. */
static dcam_status loss_not_finite(const run *r, int images)
{
    const size_t count = (size_t)images * r->learner->layout.total;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(dcam_f32_from_bf16(r->records[i])))
            return not_finite_because(r, r->progress.step + 1, "the loss left the",
                                      "the teacher's maps are not finite: its weights are too large, take another one (--teacher)");
    return not_finite(r, r->progress.step + 1, "the loss left the");
}

static void note_kept(run *r)
{
    r->kept = true;
    r->kept_epoch = r->progress.epoch;
    r->kept_step = r->progress.step;
}

/* A checkpoint that cannot be gone on from must not take the place of one that can. */
static dcam_status save(run *r)
{
    const dcam_learner *l = r->learner;
    if (!r->options->checkpoint) return DCAM_OK;
    if (!dcam_values_are_finite(l->student->values, l->student->value_count) ||
        !dcam_values_are_finite(l->attention_values, l->attention_total))
        return not_finite(r, r->progress.step, "the weights left the");
    DCAM_TRY(train_checkpoint_save(r->options->checkpoint, r->options, &r->identity, r->learner, &r->progress));
    note_kept(r);
    return DCAM_OK;
}

/* What the callback asked for. The checkpoint is written by now. */
static dcam_status stopped(const run *r)
{
    const train_progress *p = &r->progress;
    const dcam_trainer_options *o = r->options;
    if (!o->checkpoint) {
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after epoch %d of %d; nothing was kept: with a checkpoint "
                         "(--checkpoint FILE) a training can be resumed", p->epoch, o->epochs);
    }
    return dcam_fail(DCAM_ERROR_CANCELLED, "%s: stopped after epoch %d of %d and %d steps; to go on from here, run the same "
                     "again with --resume", o->checkpoint, p->epoch, o->epochs, p->step);
}

/* ---- steps and epochs ---- */

/* Of the step that comes next. */
static double learning_rate(const run *r)
{
    const dcam_trainer_options *o = r->options;
    const double done = (double)r->progress.epoch * r->steps + r->progress.step, all = (double)o->epochs * r->steps;
    return o->schedule == DCAM_SCHEDULE_COSINE ? o->learning_rate * 0.5 * (1 + cos(PI * done / all)) : o->learning_rate;
}

static dcam_status learn(run *r, const dcam_batch *batch)
{
    train_progress *p = &r->progress;
    double loss, terms[DCAM_LOSS_KINDS];
    dcam_normalise(&r->preprocessing, batch->rgb, batch->count, r->input);
    DCAM_TRY(dcam_teacher_maps_get(r->teacher, r->input, batch->samples, batch->count, r->records));
    DCAM_TRY(dcam_learner_step(r->learner, r->input, r->records, batch->count, learning_rate(r), &loss, terms));
    if (!isfinite(loss)) return loss_not_finite(r, batch->count);
    p->step++;
    p->images += batch->count;
    p->loss += loss * batch->count;
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) p->terms[k] += terms[k] * batch->count;
    return DCAM_OK;
}

static dcam_status next_step(run *r, dcam_loader *loader)
{
    train_progress *p = &r->progress;
    const double start = dcam_seconds();
    dcam_batch batch;
    DCAM_TRY(dcam_loader_next(loader, &batch));
    DCAM_TRY(learn(r, &batch));
    p->seconds += dcam_seconds() - start;
    if (p->seconds > 0) r->rate = p->images / p->seconds;
    if (!tell_step(r)) return DCAM_OK;
    DCAM_TRY(save(r));
    return stopped(r);
}

/* The steps of this epoch that are not done yet. */
static dcam_status run_steps(run *r)
{
    dcam_random random = dcam_random_make(r->options->seed, STREAM_ORDER + (uint64_t)r->progress.epoch);
    const dcam_loader_options options = {.width = r->options->width, .height = r->options->height,
                                         .batch = r->learning.batch, .images = r->images};
    const size_t done = (size_t)r->progress.step * (size_t)r->learning.batch;
    dcam_loader *loader;
    if (r->progress.step >= r->steps) return DCAM_OK; /* stopped between the last step and the validation */
    memcpy(r->order, r->train, r->train_count * sizeof *r->order);
    dcam_random_shuffle(&random, r->order, r->train_count);
    DCAM_TRY(dcam_loader_create(r->dataset, r->order + done, r->train_count - done, &options, &loader));
    dcam_status status = DCAM_OK;
    while (status == DCAM_OK && r->progress.step < r->steps) status = next_step(r, loader);
    dcam_loader_destroy(loader);
    return status;
}

static dcam_status validate(run *r, double *out)
{
    const dcam_status status = dcam_validation_run(r->validation, r->learner, out);
    /* Folding batch norm is where values that grew too large are met first. */
    if (status == DCAM_ERROR_WEIGHTS || (status == DCAM_OK && !isfinite(*out))) return not_finite(r, r->steps, "the student's values left the");
    return status;
}

static void keep_best(run *r)
{
    train_progress *p = &r->progress;
    const dcam_learner *l = r->learner;
    p->best_epoch = p->epoch;
    memcpy(p->best->values, l->student->values, p->best->value_count * sizeof *p->best->values);
    memcpy(p->best_attention, l->attention_values, l->attention_total * sizeof *p->best_attention);
}

static dcam_status finish_epoch(run *r)
{
    train_progress *p = &r->progress;
    train_epoch *e = &p->history[p->epoch];
    const double start = dcam_seconds();
    DCAM_TRY(validate(r, &e->validation));
    r->validation_seconds = dcam_seconds() - start;
    e->loss = p->loss / p->images;
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) e->terms[k] = p->terms[k] / p->images;
    e->seconds = p->seconds + r->validation_seconds;
    p->epoch++;
    p->step = 0;
    p->images = p->loss = p->seconds = 0;
    memset(p->terms, 0, sizeof p->terms);
    if (p->best_epoch == 0 || e->validation < p->history[p->best_epoch - 1].validation) keep_best(r);
    DCAM_TRY(save(r));
    /* After the last epoch there is nothing left to stop. */
    return tell_epoch(r) && p->epoch < r->options->epochs ? stopped(r) : DCAM_OK;
}

static dcam_status run_epochs(run *r)
{
    const dcam_trainer_options *o = r->options;
    if (o->resume) {
        DCAM_TRY(train_checkpoint_load(o->checkpoint, o, &r->identity, r->learner, &r->progress));
        note_kept(r);
        if (r->progress.step > r->steps) {
            return dcam_fail(DCAM_ERROR_DATA, "%s: damaged checkpoint: %d steps of %d; " DCAM_START_ANEW,
                             o->checkpoint, r->progress.step, r->steps);
        }
        if (r->progress.seconds > 0) r->rate = r->progress.images / r->progress.seconds;
        dcam_log(DCAM_LOG_INFO, "%s: going on after epoch %d and %d of %d steps", o->checkpoint, r->progress.epoch,
                 r->progress.step, r->steps);
    }
    while (r->progress.epoch < o->epochs) {
        DCAM_TRY(run_steps(r));
        DCAM_TRY(finish_epoch(r));
    }
    return DCAM_OK;
}

/* ---- the result ---- */

void dcam_training_result_clear(dcam_training_result *result)
{
    if (!result) return;
    dcam_trunk_weights_destroy(result->student);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(result->attention_values[k]);
    dcam_free(result->record);
    dcam_free(result->train);
    dcam_free(result->validation);
    *result = (dcam_training_result){0};
}

static dcam_status write_record(const run *r, char **out)
{
    const train_facts facts = {.dataset = r->dataset, .identity = &r->identity, .data = &r->data,
                               .train = r->train, .validation = r->validation_set,
                               .train_count = r->train_count, .validation_count = r->validation_count,
                               .threads = dcam_threads(), .planned_bytes = r->planned};
    return train_record_write(r->options, &facts, &r->progress, out);
}

/* Moves what the run found into the result. */
static dcam_status take_result(run *r, dcam_training_result *out)
{
    train_progress *p = &r->progress;
    dcam_training_result found = {.best_epoch = p->best_epoch, .best_validation = p->history[p->best_epoch - 1].validation};
    const float *values = p->best_attention;
    dcam_status status = write_record(r, &found.record);
    for (int k = 0; k < DCAM_STAGES && status == DCAM_OK; k++) {
        const size_t count = r->learner->attention_count[k];
        found.attention_count[k] = count;
        status = dcam_alloc(count, sizeof *values, &found.attention_values[k]);
        if (status == DCAM_OK) memcpy(found.attention_values[k], values, count * sizeof *values);
        values += count;
    }
    if (status != DCAM_OK) {
        dcam_training_result_clear(&found);
        return status;
    }
    found.student = p->best;
    found.train = r->train;
    found.train_count = r->train_count;
    found.validation = r->validation_set;
    found.validation_count = r->validation_count;
    p->best = NULL;
    r->train = r->validation_set = NULL;
    *out = found;
    return DCAM_OK;
}

dcam_status dcam_trainer_run(const dcam_dataset *dataset, const dcam_trunk_weights *teacher,
                             const char *teacher_description, const dcam_trainer_options *options,
                             dcam_training_result *out)
{
    run r = {.dataset = dataset, .options = options, .learning = *options,
             .identity = {.architecture = teacher->architecture->name, .teacher = teacher_description}};
    const int threads = dcam_threads();
    DCAM_TRY(dcam_trainer_check(options));
    if (options->threads > 0) dcam_set_threads(options->threads);
    dcam_status status = find_data(&r);
    if (status == DCAM_OK) status = plan_memory(&r, teacher->architecture);
    if (status == DCAM_OK) status = create_parts(&r, teacher);
    if (status == DCAM_OK) status = run_epochs(&r);
    if (status == DCAM_OK) status = take_result(&r, out);
    clear_run(&r);
    dcam_set_threads(threads);
    return status;
}
