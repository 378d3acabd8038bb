/* record.c - the training record: what a model was made from and how, as JSON text that the model file keeps. It
 * names no paths: they tell nothing elsewhere and may be private. */
#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "distill/progress.h"
#include "nn/nn.h"
#include "weights/json_text.h"

/* The header of a model file, which holds the record, may have 16 MiB. */
#define MOST_MARKS 500000
#define MOST_EPOCHS 10000

/* jansson's functions give an error for any NULL part, so only the last need be looked at. */
static json_t *options_json(const dcam_trainer_options *options)
{
    train_option described[TRAIN_OPTIONS];
    dcam_json_error error;
    json_t *object = json_object();
    train_options_describe(options, described);
    for (int i = 0; i < TRAIN_OPTIONS; i++) {
        const train_option *o = &described[i];
        json_t *value = o->is_text ? json_string(o->value) : dcam_json_parse(o->value, strlen(o->value), &error);
        if (json_object_set_new(object, o->name, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *epoch_json(const dcam_trainer_options *options, const train_epoch *epoch)
{
    json_t *object = json_pack("{s:f}", "loss", epoch->loss);
    bool failed = !object;
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        if (!(options->loss.weight[k] > 0)) continue;
        failed |= json_object_set_new(object, dcam_loss_name((dcam_loss_kind)k), json_real(epoch->terms[k])) != 0;
    }
    failed |= json_object_set_new(object, "validation", json_real(epoch->validation)) != 0;
    failed |= json_object_set_new(object, "seconds", json_real(epoch->seconds)) != 0;
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* An entry an epoch; where they are more than fit, null for most: every so many are kept, the best and the last. */
static json_t *history_json(const dcam_trainer_options *options, const train_progress *progress)
{
    const int every = (progress->epoch + MOST_EPOCHS - 1) / MOST_EPOCHS;
    json_t *array = json_array();
    for (int i = 0; i < progress->epoch; i++) {
        const bool kept = i % every == 0 || i + 1 == progress->best_epoch || i + 1 == progress->epoch;
        if (json_array_append_new(array, kept ? epoch_json(options, &progress->history[i]) : json_null()) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* The marks of some images, one after the other: data_identity.c finds them again. NULL: no memory. */
static json_t *marks_json(const train_facts *facts, const uint32_t *images, size_t count)
{
    char *text;
    if (dcam_alloc(count, DCAM_CONTENT_MARK, &text) != DCAM_OK) return NULL;
    for (size_t i = 0; i < count; i++) memcpy(text + i * DCAM_CONTENT_MARK, facts->data->marks[images[i]], DCAM_CONTENT_MARK);
    json_t *json = json_stringn(text, count * DCAM_CONTENT_MARK);
    dcam_free(text);
    return json;
}

static json_t *classes_json(const train_facts *facts)
{
    json_t *object = json_object();
    for (size_t i = 0; i < facts->dataset->class_count; i++) {
        json_t *entry = json_pack("{s:s}", "fingerprint", facts->data->classes[i]);
        /* A name that is not UTF-8 was refused before the training. */
        if (json_object_set_new(object, facts->dataset->class_names[i], entry) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

dcam_status train_record_write(const dcam_trainer_options *options, const train_facts *facts, const train_progress *progress,
                               char **out)
{
    char engine[160];
    double seconds = 0;
    for (int i = 0; i < progress->epoch; i++) seconds += progress->history[i].seconds;
    const bool few = facts->train_count + facts->validation_count <= MOST_MARKS;
    json_t *learned = few ? marks_json(facts, facts->train, facts->train_count) : json_null();
    json_t *validated = few ? marks_json(facts, facts->validation, facts->validation_count) : json_null();
    json_t *record = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:o, s:I, s:I, s:o, s:o}, s:i, s:f, s:f, s:i, s:I, s:o}", "dcam_version", DCAM_VERSION,
        "engine", dcam_nn_describe(engine, sizeof engine), "architecture", facts->identity->architecture, "teacher",
        facts->identity->teacher, "options", options_json(options), "data", "fingerprint", facts->identity->data, "classes",
        classes_json(facts), "train_images", (json_int_t)facts->train_count, "validation_images",
        (json_int_t)facts->validation_count, "learned", learned, "validated", validated, "best_epoch", progress->best_epoch, "best_validation",
        progress->history[progress->best_epoch - 1].validation, "seconds", seconds, "threads", facts->threads,
        "planned_bytes", (json_int_t)facts->planned_bytes, "epochs", history_json(options, progress));
    return dcam_json_text(record, "the training record", out);
}
