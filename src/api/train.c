/* train.c - dcam_train: options to the trainer's, teacher and data set opened, the student trained, the model put
 * together, calibrated on the images that the student has not learned from, and written. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/detector.h"
#include "api/normal_images.h"
#include "base/disk.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/places.h"
#include "detect/memory.h"
#include "distill/data_identity.h"
#include "distill/trainer.h"
#include "net/check.h"
#include "weights/unfinished.h"

#define DEFAULT_CACHE_BYTES ((size_t)1 << 30)
#define SCORING_BATCH 8
/* Of a class's numbers in the model's metadata, its name and the sums of its tensors. */
#define CLASS_TEXT 2048

/* ---- options ------------------------------------------------------------ */

/* Index of text in names; text NULL: *out stays. */
static dcam_status choose(const char *option, const char *text, const char *const *names, int count, int *out)
{
    char known[128] = "";
    size_t used = 0;
    if (!text) return DCAM_OK;
    for (int i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return DCAM_OK;
        }
        if (used < sizeof known) used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return dcam_fail(DCAM_ERROR_USAGE, "%s '%s' is not known; there are %s", option, text, known);
}

static dcam_status choose_network(const dcam_train_options *o, dcam_trainer_options *t)
{
    static const char *const attention[] = {"none", "channel", "spatial", "cbam"}, *const at_detection[] = {"drop", "keep"};
    static const char *const reads[] = {"attended", "raw", "both"}, *const schedule[] = {"constant", "cosine"};
    int value = (int)t->attention;
    DCAM_TRY(choose("attention", o->attention, attention, 4, &value));
    t->attention = (dcam_attention_kind)value;
    value = t->attention_at_detection;
    DCAM_TRY(choose("attention at detection", o->attention_at_detection, at_detection, 2, &value));
    t->attention_at_detection = value == 1;
    value = (int)t->reads;
    DCAM_TRY(choose("what the losses read", o->loss_reads, reads, 3, &value));
    t->reads = (dcam_loss_reads)value;
    value = (int)t->schedule;
    DCAM_TRY(choose("schedule", o->schedule, schedule, 2, &value));
    t->schedule = (dcam_schedule)value;
    return DCAM_OK;
}

static dcam_status choose_loss_and_map(const dcam_train_options *o, dcam_trainer_options *t)
{
    static const char *const scale[] = {"mean", "sum"}, *const map[] = {"sum", "product", "standard"};
    int value = (int)t->loss.kd_scale;
    DCAM_TRY(choose("kd scale", o->kd_scale, scale, 2, &value));
    t->loss.kd_scale = (dcam_kd_scale)value;
    value = (int)t->map.kind;
    DCAM_TRY(choose("map", o->map, map, 3, &value));
    t->map.kind = (dcam_map_kind)value;
    if (o->loss) DCAM_TRY(dcam_loss_parse(o->loss, t->loss.weight));
    if (o->kd_temperature != 0) t->loss.kd_temperature = o->kd_temperature;
    t->map.kd_weight = o->map_kd_weight;
    t->map.kd_temperature = o->map_kd_weight != 0 ? t->loss.kd_temperature : 1; /* its range is another */
    if (o->smoothing != 0) t->map.smoothing = o->smoothing < 0 ? 0 : o->smoothing;
    if (o->top_percent != 0) t->map.top_percent = o->top_percent;
    return DCAM_OK;
}

static bool pass_on(void *user, const dcam_trainer_progress *p);

/* What the trainer's callback needs to tell the caller's. */
typedef struct {
    const dcam_train_options *options;
    const char *class_name;   /* in one-class mode */
    bool stop;                /* the caller has answered so */
    dcam_train_progress last; /* the last news of this model's training */
} progress_context;

/* What a run may hold: what this process can have (beyond it the system would end the run without a word, hours later), or
 * less where the caller says so. */
static size_t memory_limit(const dcam_train_options *o)
{
    const size_t machine = dcam_machine_memory();
    return o->max_memory > 0 && (machine == 0 || o->max_memory < machine) ? o->max_memory : machine;
}

/* Everything but checkpoint, which differs by class. */
static dcam_status convert_options(const dcam_train_options *o, progress_context *context, dcam_trainer_options *out)
{
    static const char *const methods[] = {"hybrid", "dcam", "stfpm"};
    dcam_trainer_options t;
    if ((int)o->method < 0 || o->method > DCAM_METHOD_STFPM)
        return dcam_fail(DCAM_ERROR_USAGE, "method %d is not known; there are hybrid, dcam and stfpm", (int)o->method);
    DCAM_TRY(dcam_trainer_preset(methods[o->method], &t));
    DCAM_TRY(choose_network(o, &t));
    DCAM_TRY(choose_loss_and_map(o, &t));
    DCAM_TRY(dcam_resolve_training_precision(o->precision, &t.precision));
    if (o->width != 0) t.width = o->width;
    if (o->height != 0) t.height = o->height;
    if (o->epochs != 0) t.epochs = o->epochs;
    if (o->batch != 0) t.batch = o->batch;
    if (o->learning_rate != 0) t.learning_rate = o->learning_rate;
    if (o->momentum != 0) t.momentum = o->momentum;
    if (o->weight_decay != 0) t.weight_decay = o->weight_decay < 0 ? 0 : o->weight_decay;
    if (o->validation_fraction != 0) t.validation_fraction = o->validation_fraction;
    t.seed = o->seed;
    t.threads = o->threads;
    t.cache_bytes = o->cache_bytes == 0 ? DEFAULT_CACHE_BYTES : o->cache_bytes == SIZE_MAX ? 0 : o->cache_bytes;
    t.resume = o->resume;
    t.checkpoint = o->checkpoint;
    t.progress = o->progress ? pass_on : NULL;
    t.user = context;
    t.max_bytes = memory_limit(o);
    DCAM_TRY(dcam_check_false_alarm_rate(o->false_alarm_rate));
    DCAM_TRY(dcam_trainer_check(&t));
    *out = t;
    return DCAM_OK;
}

static bool pass_on(void *user, const dcam_trainer_progress *p)
{
    progress_context *c = user;
    const dcam_train_progress out = {.class_name = c->class_name,
                                     .epoch = p->epoch,
                                     .epochs = p->epochs,
                                     .step = p->step,
                                     .steps = p->steps,
                                     .loss = p->loss,
                                     .validation = p->validation,
                                     .epoch_done = p->epoch_done,
                                     .best = p->best,
                                     .images_per_second = p->images_per_second,
                                     .seconds_left = p->seconds_left};
    const bool answer = c->options->progress(c->options->user, &out);
    c->last = out;
    c->stop = c->stop || answer;
    return answer;
}

/* After each image that the finished training's model is calibrated with. */
static bool tell_calibration(void *user, size_t done, size_t total)
{
    progress_context *c = user;
    dcam_train_progress news = c->last;
    (void)total;
    news.class_name = c->class_name;
    news.step = done < INT_MAX ? (int)done : INT_MAX;
    news.steps = 0;
    news.epoch_done = news.best = false;
    news.seconds_left = 0;
    const bool answer = c->options->progress(c->options->user, &news);
    c->stop = c->stop || answer;
    return answer;
}

/* Of the memory; the trainer knows nothing of it. */
static dcam_status convert_memory(const dcam_train_options *o, const dcam_trainer_options *t, dcam_memory_options *out)
{
    const dcam_memory_options m = {.prototypes = o->memory_prototypes, .weight = o->memory_weight, .seed = o->seed};
    if (o->method != DCAM_METHOD_HYBRID && (m.prototypes != 0 || m.weight != 0))
        return dcam_fail(DCAM_ERROR_USAGE, "options of the memory need method hybrid; %s has none", t->method);
    if (o->method == DCAM_METHOD_HYBRID && t->map.kind != DCAM_MAP_STANDARD)
        return dcam_fail(DCAM_ERROR_USAGE, "method hybrid needs the standardised map (--map standard); for %s take method dcam",
                         dcam_map_kind_name(t->map.kind));
    DCAM_TRY(dcam_memory_options_check(&m, dcam_architecture_find(NULL)));
    *out = m;
    return DCAM_OK;
}

/* ---- one model ---------------------------------------------------------- */

/* Moves what the training gave into a model. */
static dcam_status make_model(dcam_training_result *r, const dcam_trunk_weights *teacher, const char *description,
                              const dcam_trainer_options *t, dcam_model **out)
{
    dcam_model *m;
    DCAM_TRY(dcam_model_create(&m));
    m->architecture = teacher->architecture;
    m->preprocessing = dcam_preprocessing_default(t->width, t->height);
    m->map = t->map;
    m->student = r->student;
    r->student = NULL;
    /* A block that was not trained, or that detection drops, has no place in the file. */
    m->attention_at_detection = t->attention_at_detection && t->attention != DCAM_ATTENTION_NONE;
    m->attention = m->attention_at_detection ? (int)t->attention : DCAM_ATTENTION_NONE;
    for (int k = 0; k < DCAM_STAGES && m->attention_at_detection; k++) {
        m->attention_values[k] = r->attention_values[k];
        m->attention_count[k] = r->attention_count[k];
        r->attention_values[k] = NULL;
    }
    m->training_record = r->record;
    r->record = NULL;
    dcam_status status = dcam_trunk_weights_copy(teacher, &m->teacher);
    if (status == DCAM_OK) status = dcam_copy_string(t->method, &m->method);
    if (status == DCAM_OK) status = dcam_copy_string(description, &m->teacher_description);
    if (status != DCAM_OK) {
        dcam_model_destroy(m);
        return status;
    }
    *out = m;
    return DCAM_OK;
}

static dcam_status calibrated_without_some(const char *path, const dcam_trainer_options *t)
{
    return dcam_fail(DCAM_ERROR_IO, "%s is written, but images that were trained on could not be read once more for its calibration "
                     "(a warning names each); when they can, %s", path,
                     t->checkpoint ? "run the same again with --resume" : "run dcam calibrate, or train anew");
}

static dcam_status stopped_at_the_end(const dcam_trainer_options *t)
{
    if (!t->checkpoint)
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped while the trained model was calibrated; no model is written, and no checkpoint "
                         "is kept to go on from");
    return dcam_fail(DCAM_ERROR_CANCELLED, "%s: stopped while the trained model was calibrated; run the same again with --resume to "
                     "calibrate it", t->checkpoint);
}

/* The planned memory is that of the training: images are scored together as far as they were learned from together. */
static int scoring_batch(const dcam_trainer_options *t, size_t train_count)
{
    const int learned = train_count < (size_t)t->batch ? (int)train_count : t->batch;
    return learned < SCORING_BATCH ? learned : SCORING_BATCH;
}

/* Memory, calibration and ranges of a model that has been trained. */
static dcam_status finish_model(dcam_model *model, dcam_memory_options memory, const dcam_dataset *dataset,
                                const dcam_training_result *r, const dcam_trainer_options *t, const dcam_train_options *o,
                                const dcam_reading *reading)
{
    const dcam_scorer_options scorer = {.batch = scoring_batch(t, r->train_count)};
    memory.batch = scorer.batch;
    if (o->method == DCAM_METHOD_HYBRID)
        DCAM_TRY(dcam_remember_from(model, &memory, dataset, r->train, r->train_count, reading));
    DCAM_TRY(dcam_calibrate_from(model, &scorer, dataset, r->validation, r->validation_count, o->false_alarm_rate, reading));
    /* Seconds, and int8 is there when it is wanted. */
    return dcam_measure_ranges_from(model, dataset, r->validation, r->validation_count, NULL, reading);
}

static dcam_status train_model(const dcam_dataset *dataset, const dcam_trunk_weights *teacher, const char *description,
                               const dcam_trainer_options *t, const dcam_train_options *o, const char *path)
{
    dcam_memory_options memory;
    dcam_training_result result = {0};
    dcam_model *model = NULL;
    progress_context *context = t->user;
    dcam_reading reading = {.stop = o->progress ? tell_calibration : NULL, .user = context};
    DCAM_TRY(convert_memory(o, t, &memory));
    if (memory.weight == 0 && teacher->no_photographs) memory.weight = DCAM_DEFAULT_MEMORY_WEIGHT_NO_PHOTOGRAPHS;
    DCAM_TRY(dcam_alloc_zero(dataset->sample_count, sizeof *reading.left_out, &reading.left_out));
    /* What was trained in an earlier run gives no news in this one. */
    context->last = (dcam_train_progress){.epoch = t->epochs, .epochs = t->epochs, .loss = (double)NAN, .validation = (double)NAN};
    dcam_status status = dcam_trainer_run(dataset, teacher, description, t, &result);
    if (status == DCAM_OK) status = make_model(&result, teacher, description, t, &model);
    if (status == DCAM_OK) {
        status = finish_model(model, memory, dataset, &result, t, o, &reading);
        if (status == DCAM_ERROR_CANCELLED) status = stopped_at_the_end(t);
    }
    if (status == DCAM_OK) status = dcam_model_save(model, path);
    /* Hours of training are not thrown away for it, and not passed over either: all images were read before. */
    if (status == DCAM_OK && dcam_left_out_count(dataset, reading.left_out) > 0) status = calibrated_without_some(path, t);
    dcam_model_destroy(model);
    dcam_training_result_clear(&result);
    dcam_free(reading.left_out);
    return status;
}

/* ---- one model a class -------------------------------------------------- */

/* The part of dataset that is one class; points into it. Free samples only. */
static dcam_status class_view(const dcam_dataset *dataset, size_t class_index, dcam_dataset *out)
{
    dcam_dataset view = *dataset;
    size_t first = 0, count = 0;
    for (size_t i = 0; i < dataset->sample_count; i++) {
        if (dataset->samples[i].class_index != (int)class_index) continue;
        if (count++ == 0) first = i;
    }
    view.class_names += class_index;
    view.class_has_masks += class_index;
    view.class_count = 1;
    view.sample_count = count;
    DCAM_TRY(dcam_alloc(count, sizeof *view.samples, &view.samples));
    for (size_t i = 0; i < count; i++) {
        view.samples[i] = dataset->samples[first + i];
        view.samples[i].class_index = 0;
    }
    *out = view;
    return DCAM_OK;
}

/* FOLDER/CLASS.safetensors and, where one is kept, CHECKPOINT.CLASS (else NULL). */
static dcam_status class_paths(const dcam_train_options *o, const char *name, char **model, char **checkpoint)
{
    char *path, *state = NULL;
    DCAM_TRY(dcam_format_string(&path, "%s/%s.safetensors", o->output, name));
    const dcam_status status = o->checkpoint ? dcam_format_string(&state, "%s.%s", o->checkpoint, name) : DCAM_OK;
    if (status != DCAM_OK) {
        dcam_free(path);
        return status;
    }
    *model = path;
    *checkpoint = state;
    return DCAM_OK;
}

static dcam_status stopped_between(const dcam_train_options *o, const char *last)
{
    return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after class %s, whose model is written; %s", last,
                     o->checkpoint ? "to go on with the others, run the same again with --resume" : "the others are not trained");
}

/* Of a run of many classes: those not begun when it stopped have no checkpoint yet. */
static dcam_status resumes_class(const dcam_trainer_options *t, const char *checkpoint, bool *out)
{
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    if (t->resume) DCAM_TRY(dcam_path_look(checkpoint, &kind));
    *out = kind != DCAM_PATH_ABSENT;
    return DCAM_OK;
}

static dcam_status train_class(const dcam_dataset *dataset, size_t class_index, const dcam_trunk_weights *teacher,
                               const char *description, dcam_trainer_options t, const dcam_train_options *o)
{
    char *path, *checkpoint;
    dcam_dataset view;
    DCAM_TRY(class_view(dataset, class_index, &view));
    dcam_status status = class_paths(o, dataset->class_names[class_index], &path, &checkpoint);
    if (status == DCAM_OK) {
        t.checkpoint = checkpoint;
        status = resumes_class(&t, checkpoint, &t.resume);
        if (status == DCAM_OK) status = train_model(&view, teacher, description, &t, o, path);
        dcam_free(checkpoint);
        dcam_free(path);
    }
    dcam_free(view.samples);
    return status;
}

/* ---- what is tried before the training, which may take hours ------------- */

static dcam_status check_against_inputs(const dcam_train_options *o, const dcam_dataset *dataset, const dcam_place *written, size_t count)
{
    const dcam_place teacher = {"teacher", o->teacher};
    DCAM_TRY(dcam_check_places(written, count, &teacher, 1));
    return dcam_dataset_check_places(dataset, o->dataset, written, count);
}

/* No model or checkpoint takes the place of another, or of what is trained from. */
static dcam_status check_apart(const dcam_train_options *o, const dcam_dataset *dataset)
{
    const dcam_place alone[] = {{"model", o->output}, {"checkpoint", o->checkpoint}};
    if (!o->one_class) return check_against_inputs(o, dataset, alone, 2);
    const size_t n = dataset->class_count;
    char **paths;
    dcam_place *written = NULL;
    DCAM_TRY(dcam_alloc_zero(n, 2 * sizeof *paths, &paths));
    dcam_status status = dcam_alloc_zero(n, 2 * sizeof *written, &written);
    for (size_t i = 0; status == DCAM_OK && i < n; i++) {
        status = class_paths(o, dataset->class_names[i], &paths[2 * i], &paths[2 * i + 1]);
        written[2 * i] = (dcam_place){"model", paths[2 * i]};
        written[2 * i + 1] = (dcam_place){"checkpoint", paths[2 * i + 1]};
    }
    if (status == DCAM_OK) status = check_against_inputs(o, dataset, written, 2 * n);
    for (size_t i = 0; i < 2 * n; i++) dcam_free(paths[i]);
    dcam_free(written);
    dcam_free(paths);
    return status;
}

static dcam_status check_checkpoint(const dcam_train_options *o, const char *checkpoint)
{
    DCAM_TRY(dcam_check_writable(checkpoint));
    return o->resume ? DCAM_OK : dcam_refuse_unfinished(checkpoint, DCAM_RUN_TRAINING);
}

static dcam_status check_class_places(const dcam_train_options *o, const dcam_dataset *dataset)
{
    bool resumable = !o->resume;
    DCAM_TRY(dcam_make_folders(o->output));
    for (size_t i = 0; i < dataset->class_count; i++) {
        char *model, *checkpoint;
        DCAM_TRY(class_paths(o, dataset->class_names[i], &model, &checkpoint));
        dcam_status status = dcam_check_writable(model);
        if (status == DCAM_OK && checkpoint) status = check_checkpoint(o, checkpoint);
        dcam_path_kind kind = DCAM_PATH_ABSENT;
        if (status == DCAM_OK && checkpoint) status = dcam_path_look(checkpoint, &kind);
        resumable = resumable || kind != DCAM_PATH_ABSENT;
        dcam_free(checkpoint);
        dcam_free(model);
        DCAM_TRY(status);
    }
    if (resumable) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA, "%s.CLASS: no class has such a checkpoint to resume from; leave out --resume to start anew",
                     o->checkpoint);
}

static dcam_status check_places(const dcam_train_options *o, const dcam_dataset *dataset)
{
    if (o->one_class) return check_class_places(o, dataset);
    DCAM_TRY(dcam_check_writable(o->output));
    return o->checkpoint ? check_checkpoint(o, o->checkpoint) : DCAM_OK;
}

/* Prototypes of all classes, at most: patches of layer 2 of the images that are learned from, were none of them copies. */
static dcam_status count_prototypes(const dcam_dataset *dataset, const dcam_trainer_options *t, const dcam_memory_options *memory,
                                    size_t *out)
{
    const size_t patches = (size_t)(t->width / 8) * (size_t)(t->height / 8);
    const size_t wanted = (size_t)(memory->prototypes ? memory->prototypes : DCAM_DEFAULT_MEMORY_PROTOTYPES);
    uint32_t *train, *validation;
    size_t train_count, validation_count, total = 0;
    DCAM_TRY(dcam_dataset_split(dataset, NULL, t->validation_fraction, t->seed, &train, &train_count, &validation, &validation_count));
    for (size_t i = 0, end; i < train_count; i = end) { /* sorted, as a class's samples lie together */
        const int class_index = dataset->samples[train[i]].class_index;
        for (end = i; end < train_count && dataset->samples[train[end]].class_index == class_index;) end++;
        const size_t images = end - i < DCAM_MEMORY_POOL ? end - i : DCAM_MEMORY_POOL;
        const size_t places = DCAM_MEMORY_POOL / images < patches ? DCAM_MEMORY_POOL / images : patches;
        total += images * places < wanted ? images * places : wanted;
    }
    dcam_free(validation);
    dcam_free(train);
    *out = total;
    return DCAM_OK;
}

/* A model's calibration and memory, at most, without the text of its classes. */
static dcam_status calibration_bytes(const dcam_dataset *dataset, const dcam_trainer_options *t, const dcam_memory_options *memory,
                                     bool hybrid, size_t *out)
{
    const int *channels = dcam_architecture_find(NULL)->stage_channels;
    size_t values = dataset->sample_count + dataset->class_count * (size_t)channels[2], prototypes;
    if (hybrid) {
        DCAM_TRY(count_prototypes(dataset, t, memory, &prototypes));
        values += DCAM_DEFAULT_MEMORY_DIMENSIONS * (prototypes + (size_t)channels[1] + (size_t)channels[2]);
    }
    *out = values * sizeof(float);
    return DCAM_OK;
}

/* That the model will be no larger than its file may be and that the disk has room, now rather than in hours. A checkpoint is
 * written beside the one before. */
static dcam_status check_files(const dcam_train_options *o, const dcam_trainer_options *t, const dcam_memory_options *memory,
                               const dcam_dataset *dataset, const dcam_trunk_weights *teacher)
{
    size_t student, checkpoint, calibration;
    char *model = NULL;
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    const size_t models = o->one_class ? dataset->class_count : 1, trunk = teacher->value_count * sizeof(float);
    DCAM_TRY(calibration_bytes(dataset, t, memory, o->method == DCAM_METHOD_HYBRID, &calibration));
    dcam_trainer_file_bytes(teacher->architecture, t, &student, &checkpoint);
    /* A class's own is far below that. The student has as many values as the teacher, and a few more. */
    if (!o->one_class && 2 * trunk + calibration > DCAM_MAX_WEIGHTS_BYTES)
        return dcam_fail(DCAM_ERROR_USAGE, "the model of %zu classes would be larger than %zu MiB, the limit of a file; keep fewer "
                         "prototypes of each (--memory-prototypes), or a model for each (--one-class)", dataset->class_count,
                         DCAM_MAX_WEIGHTS_BYTES >> 20);
    if (o->checkpoint) DCAM_TRY(dcam_path_look(o->checkpoint, &kind));
    DCAM_TRY(o->one_class ? dcam_path_join(o->output, "model", &model) : dcam_copy_string(o->output, &model));
    const dcam_disk_need needs[] = {
        {model, models * (student + trunk) + calibration + dataset->class_count * CLASS_TEXT},
        {o->checkpoint, (kind == DCAM_PATH_ABSENT ? models + 1 : models) * checkpoint}};
    const dcam_status status = dcam_disk_check(needs, o->checkpoint ? 2 : 1);
    dcam_free(model);
    return status;
}

/* Names that the model file takes, and images enough in every class; the run itself, which reads the files, finds copies. */
static dcam_status check_classes(const dcam_dataset *dataset, const dcam_trainer_options *t)
{
    uint32_t *train, *validation;
    size_t train_count, validation_count;
    if (dataset->class_count > DCAM_MAX_CLASSES)
        return dcam_fail(DCAM_ERROR_DATA, "%s: %zu classes, more than the limit of %d; name some with --classes",
                         dataset->root, dataset->class_count, DCAM_MAX_CLASSES);
    for (size_t i = 0; i < dataset->class_count; i++) {
        const dcam_status status = dcam_class_name_check(dataset->class_names[i]);
        if (status != DCAM_OK) return dcam_fail_prefix(status, "%s", dataset->root);
    }
    DCAM_TRY(dcam_dataset_split(dataset, NULL, t->validation_fraction, t->seed, &train, &train_count, &validation, &validation_count));
    dcam_free(validation);
    dcam_free(train);
    return DCAM_OK;
}

/* As its own run will plan it. */
static dcam_status check_class_memory(const dcam_train_options *o, dcam_trainer_options t, const dcam_dataset *dataset, size_t class_index,
                                      const dcam_architecture *a)
{
    uint32_t *train = NULL, *validation = NULL;
    size_t train_count, validation_count, planned;
    char *path, *checkpoint;
    dcam_dataset view;
    dcam_data_identity data = {.kinds = NULL};
    dcam_photograph largest = {.path = NULL};
    DCAM_TRY(class_view(dataset, class_index, &view));
    dcam_status status = class_paths(o, dataset->class_names[class_index], &path, &checkpoint);
    if (status == DCAM_OK) {
        status = resumes_class(&t, checkpoint, &t.resume);
        if (status == DCAM_OK) status = dcam_data_identity_of(&view, &data);
        if (status == DCAM_OK)
            status = dcam_dataset_split(&view, data.kinds, t.validation_fraction, t.seed, &train, &train_count, &validation, &validation_count);
        if (status == DCAM_OK) status = dcam_dataset_find_largest(&view, train, train_count, &largest);
        if (status == DCAM_OK) status = dcam_dataset_find_largest(&view, validation, validation_count, &largest);
        if (status == DCAM_OK)
            status = dcam_trainer_check_memory(a, &t, train_count + validation_count, &largest, &planned);
        if (status != DCAM_OK) status = dcam_fail_prefix(status, "class %s", dataset->class_names[class_index]);
        dcam_free(validation);
        dcam_free(train);
        dcam_data_identity_clear(&data);
        dcam_free(checkpoint);
        dcam_free(path);
    }
    dcam_free(view.samples);
    return status;
}

/* Of all classes before the first is trained: the last may be the largest. */
static dcam_status check_memory(const dcam_train_options *o, const dcam_trainer_options *t, const dcam_dataset *dataset,
                                const dcam_architecture *a)
{
    dcam_status status = DCAM_OK;
    for (size_t i = 0; status == DCAM_OK && o->one_class && i < dataset->class_count; i++)
        status = check_class_memory(o, *t, dataset, i, a);
    return status;
}

/* ---- the call ----------------------------------------------------------- */

static dcam_status train(const dcam_train_options *o)
{
    dcam_trainer_options t;
    progress_context context = {.options = o};
    char description[256];
    dcam_trunk_weights *teacher = NULL;
    dcam_dataset *dataset = NULL;
    dcam_memory_options memory;
    DCAM_TRY(convert_options(o, &context, &t));
    DCAM_TRY(convert_memory(o, &t, &memory)); /* refused now rather than after the training */
    dcam_status status = dcam_dataset_open(o->dataset, o->classes, &dataset);
    if (status == DCAM_OK) status = check_classes(dataset, &t);
    if (status == DCAM_OK) status = check_apart(o, dataset);
    /* The teacher looks in f32. */
    if (status == DCAM_OK) status = net_check_before_detection(DCAM_NET_F32);
    if (status == DCAM_OK) status = net_check_before_training(t.precision);
    if (status == DCAM_OK) status = check_places(o, dataset);
    if (status == DCAM_OK) status = dcam_teacher_open(o->teacher, &teacher, description);
    if (status == DCAM_OK) status = check_files(o, &t, &memory, dataset, teacher);
    if (status == DCAM_OK) status = check_memory(o, &t, dataset, teacher->architecture);
    if (status == DCAM_OK) dcam_log(DCAM_LOG_INFO, "teacher: %s", description);
    if (status == DCAM_OK && !o->one_class)
        status = train_model(dataset, teacher, description, &t, o, o->output);
    for (size_t i = 0; status == DCAM_OK && o->one_class && i < dataset->class_count; i++) {
        if (context.stop) { /* with the last class's last epoch */
            status = stopped_between(o, context.class_name);
            break;
        }
        context.class_name = dataset->class_names[i];
        status = train_class(dataset, i, teacher, description, t, o);
    }
    dcam_trunk_weights_destroy(teacher);
    dcam_dataset_destroy(dataset);
    return status;
}

dcam_status dcam_train(const dcam_train_options *o)
{
    if (!o || !o->dataset || !o->output) return dcam_fail(DCAM_ERROR_USAGE, "train: needs a data set and an output");
    const int threads = dcam_swap_threads(o->threads);
    const dcam_status status = train(o);
    dcam_set_threads(threads);
    return status;
}
