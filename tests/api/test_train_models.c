/* dcam_train: options in words and numbers, places and data that are refused before the training, progress, and the
 * models that come out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "comma_locale.h"
#include "data/tree.h"
#include "dcam.h"
#include "detect/memory.h"
#include "detect/model.h"
#include "nn/nn.h"

static char root[256], data[4096], model[4096], checkpoint[4096];

static dcam_train_options small_run(void)
{
    return (dcam_train_options){.dataset = data, .output = model, .teacher = "random:1", .width = 32, .height = 32,
                                .epochs = 1, .batch = 4, .threads = 1};
}

static void train(const dcam_train_options *o)
{
    if (dcam_train(o) != DCAM_OK) fail_msg("%s", dcam_error_message());
}

static void refuse(const dcam_train_options *o, dcam_status status, const char *part)
{
    const size_t held = dcam_memory_held();
    const dcam_status got = dcam_train(o);
    if (got != status || !strstr(dcam_error_message(), part))
        fail_msg("%s with '%s' was wanted; %s: %s", dcam_status_name(status), part, dcam_status_name(got), dcam_error_message());
    assert_false(dcam_path_exists(model));
    assert_int_equal(dcam_memory_held(), held);
}

#define REFUSED(change, status, part)          \
    do {                                       \
        dcam_train_options o = small_run();    \
        change;                                \
        refuse(&o, status, part);              \
    } while (0)

static void refused_options(void **state)
{
    (void)state;
    assert_int_equal(dcam_train(NULL), DCAM_ERROR_USAGE);
    REFUSED(o.output = NULL, DCAM_ERROR_USAGE, "needs");
    REFUSED(o.method = (dcam_method)7, DCAM_ERROR_USAGE, "hybrid, dcam and stfpm");
    REFUSED(o.map = "sum", DCAM_ERROR_USAGE, "needs the standardised map");
    REFUSED(o.memory_prototypes = -1, DCAM_ERROR_USAGE, "prototypes a class");
    REFUSED(o.memory_weight = (double)NAN, DCAM_ERROR_USAGE, "weight of the memory");
    REFUSED((o.method = DCAM_METHOD_DCAM, o.memory_prototypes = 5), DCAM_ERROR_USAGE, "need method hybrid");
    REFUSED(o.attention = "self", DCAM_ERROR_USAGE, "attention 'self' is not known; there are none, channel, spatial, cbam");
    REFUSED(o.attention_at_detection = "maybe", DCAM_ERROR_USAGE, "there are drop, keep");
    REFUSED(o.loss_reads = "all", DCAM_ERROR_USAGE, "there are attended, raw, both");
    REFUSED(o.loss = "cosine=1", DCAM_ERROR_USAGE, "loss 'cosine' is not known");
    REFUSED(o.kd_scale = "max", DCAM_ERROR_USAGE, "there are mean, sum");
    REFUSED(o.map = "max", DCAM_ERROR_USAGE, "there are sum, product, standard");
    REFUSED(o.schedule = "step", DCAM_ERROR_USAGE, "there are constant, cosine");
    REFUSED(o.precision = (dcam_precision)9, DCAM_ERROR_USAGE, "precision");
    REFUSED(o.precision = DCAM_PRECISION_INT8, DCAM_ERROR_USAGE, "int8 is for detection");
    REFUSED(o.width = 50, DCAM_ERROR_USAGE, "multiple of 32");
    REFUSED(o.batch = -1, DCAM_ERROR_USAGE, "batch");
    REFUSED(o.threads = -1, DCAM_ERROR_USAGE, "threads");
    REFUSED(o.learning_rate = (double)NAN, DCAM_ERROR_USAGE, "learning rate");
    REFUSED(o.false_alarm_rate = (double)NAN, DCAM_ERROR_USAGE, "false-alarm rate");
    REFUSED(o.false_alarm_rate = 1, DCAM_ERROR_USAGE, "false-alarm rate");
    REFUSED(o.false_alarm_rate = 1e-300, DCAM_ERROR_USAGE, "false-alarm rate"); /* no model file takes its thresholds */
    REFUSED(o.resume = true, DCAM_ERROR_USAGE, "name the checkpoint");
    REFUSED((o.method = DCAM_METHOD_STFPM, o.attention_at_detection = "keep"), DCAM_ERROR_USAGE, "attention is none");
    REFUSED((o.width = o.height = 4096, o.batch = 4096, o.cache_bytes = SIZE_MAX - 1), DCAM_ERROR_MEMORY, "MiB");
}

static void refused_places(void **state)
{
    (void)state;
    char nowhere[4096];
    snprintf(nowhere, sizeof nowhere, "%.200s/nowhere/m", root);
    REFUSED(o.dataset = nowhere, DCAM_ERROR_DATA, "nowhere");
    REFUSED(o.output = nowhere, DCAM_ERROR_IO, "nowhere/m");
    REFUSED(o.output = data, DCAM_ERROR_IO, "is a folder");
    REFUSED(o.output = "", DCAM_ERROR_USAGE, "is empty");
    REFUSED((o.output = "", o.one_class = true), DCAM_ERROR_USAGE, "is empty");
    REFUSED(o.checkpoint = "", DCAM_ERROR_USAGE, "is empty");
    REFUSED(o.checkpoint = nowhere, DCAM_ERROR_IO, "nowhere/m");
    REFUSED(o.teacher = nowhere, DCAM_ERROR_IO, "nowhere/m");
    REFUSED(o.teacher = "random:x", DCAM_ERROR_USAGE, "random:SEED");
    REFUSED(o.classes = "bolt", DCAM_ERROR_DATA, "bolt");
    REFUSED((o.checkpoint = checkpoint, o.resume = true), DCAM_ERROR_DATA, "no such checkpoint");
    REFUSED((o.output = root, o.one_class = true, o.checkpoint = checkpoint, o.resume = true), DCAM_ERROR_DATA,
            "no class has such a checkpoint");
    REFUSED((o.output = root, o.one_class = true, o.checkpoint = nowhere), DCAM_ERROR_IO, "nowhere/m.");
}

typedef struct {
    int calls, done;
    const char *class_name;
    bool stop, stop_at_end; /* at any news; at the end of an epoch */
    int calibrating;        /* news of the calibration */
    int stop_calibrating;   /* at so many of them */
    const char *from, *to;  /* a file that gets another name at the end of an epoch */
} seen;

static bool watch(void *user, const dcam_train_progress *p)
{
    seen *s = user;
    if (p->steps == 0) {
        assert_int_equal(p->epoch, p->epochs);
        assert_false(p->epoch_done);
        return ++s->calibrating == s->stop_calibrating;
    }
    s->calls++;
    s->done += p->epoch_done;
    s->class_name = p->class_name;
    if (s->from && p->epoch_done) assert_int_equal(rename(s->from, s->to), 0);
    return s->stop || (s->stop_at_end && p->epoch_done);
}

static void one_model(void **state)
{
    (void)state;
    seen s = {0};
    dcam_train_options o = small_run();
    dcam_model *m;
    o.method = DCAM_METHOD_DCAM;
    o.progress = watch;
    o.user = &s;
    o.epochs = 2;
    o.loss = "cd=1,kd=0.5";
    o.kd_temperature = 2;
    o.map_kd_weight = 0.25;
    o.smoothing = 1.5;
    o.top_percent = 2;
    o.width = 64;
    o.attention_at_detection = "keep";
    train(&o);
    assert_int_equal(s.done, 2);
    assert_null(s.class_name);
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(m->class_count, 2);
    assert_int_equal(m->preprocessing.width, 64);
    assert_int_equal(m->preprocessing.height, 32);
    assert_true(m->attention_at_detection);
    assert_true(m->map.kind == DCAM_MAP_SUM && m->map.smoothing == 1.5 && m->map.top_percent == 2);
    assert_true(m->map.kd_weight == 0.25 && m->map.kd_temperature == 2);
    assert_non_null(strstr(m->training_record, "\"loss\":\"cd=1,kd=0.5\""));
    assert_string_equal(m->teacher_description, "random:1");
    for (size_t c = 0; c < 2; c++) assert_int_equal(m->classes[c].score_count, 1); /* 20 % of 4, at least 1 */
    dcam_model_destroy(m);
    remove(model);
}

/* The least temperature of the losses that there is, and less. */
static void a_low_temperature(void **state)
{
    (void)state;
    dcam_train_options low = small_run();
    dcam_model *m;
    low.method = DCAM_METHOD_DCAM;
    low.kd_temperature = 0.001;
    train(&low);
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_non_null(strstr(m->training_record, "\"kd_temperature\":0.001"));
    assert_true(m->map.kd_weight == 0 && m->map.kd_temperature == 1);
    dcam_model_destroy(m);
    remove(model);
    REFUSED((o.method = DCAM_METHOD_DCAM, o.kd_temperature = 0.0005), DCAM_ERROR_USAGE, "at least 0.001");
    REFUSED((o.method = DCAM_METHOD_DCAM, o.kd_temperature = 0.0005, o.map_kd_weight = 0.1), DCAM_ERROR_USAGE, "at least 0.001");
    REFUSED((o.method = DCAM_METHOD_STFPM, o.kd_temperature = -1), DCAM_ERROR_USAGE, "temperature of kd");
}

/* A program whose decimals have commas reads its options, writes its record and reads it again as any other does. */
static void in_a_comma_locale(void **state)
{
    (void)state;
    dcam_train_options o = small_run();
    dcam_model *m;
    char *facts;
    o.method = DCAM_METHOD_DCAM;
    o.loss = "cd=0.75,kd=0.25";
    o.learning_rate = 0.0625;
    comma_locale_begin(",");
    train(&o);
    comma_locale_end(",");
    comma_locale_begin("\xd9\xab"); /* that of Persian, of two bytes */
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(dcam_file_info(model, &facts), DCAM_OK);
    comma_locale_end("\xd9\xab");
    assert_non_null(strstr(m->training_record, "\"loss\":\"cd=0.75,kd=0.25\""));
    assert_non_null(strstr(m->training_record, "\"learning_rate\":0.0625"));
    assert_non_null(strstr(facts, "0.0625"));
    assert_null(strstr(facts, "\xd9\xab"));
    dcam_free_text(facts);
    dcam_model_destroy(m);
    remove(model);
}

/* The default: every class has its prototypes, as many as asked for. */
static void with_a_memory(void **state)
{
    (void)state;
    dcam_train_options o = small_run();
    dcam_model *m;
    o.memory_prototypes = 9;
    o.memory_weight = 3.5;
    train(&o);
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_string_equal(m->method, "hybrid");
    assert_int_equal(m->memory.dimensions, 64);
    assert_true(m->memory.weight == 3.5 && m->map.kind == DCAM_MAP_STANDARD);
    for (size_t c = 0; c < 2; c++) assert_int_equal(m->classes[c].prototype_count, 9);
    dcam_model_destroy(m);
    o.memory_weight = 0; /* its teacher is a random one */
    train(&o);
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_true(m->memory.weight == DCAM_DEFAULT_MEMORY_WEIGHT_NO_PHOTOGRAPHS);
    assert_non_null(strstr(m->training_record, dcam_nn_bf16_maps() ? "\"precision\":\"bf16\"" : "\"precision\":\"f32\""));
    dcam_model_destroy(m);
    remove(model);
}

/* Stopped in the first class, and gone on with: every class has its model then. */
static void model_a_class(void **state)
{
    (void)state;
    char folder[4096], path[4096];
    seen s = {.stop = true};
    dcam_train_options o = small_run();
    snprintf(folder, sizeof folder, "%.200s/each", root);
    o.output = folder;
    o.one_class = true;
    o.checkpoint = checkpoint;
    o.method = DCAM_METHOD_STFPM;
    o.progress = watch;
    o.user = &s;
    assert_int_equal(dcam_train(&o), DCAM_ERROR_CANCELLED);
    assert_int_equal(s.calls, 1);
    snprintf(path, sizeof path, "%.250s.", checkpoint);
    assert_non_null(strstr(dcam_error_message(), path));
    s = (seen){0};
    o.resume = true;
    train(&o);
    assert_int_equal(s.done, 2);
    assert_non_null(s.class_name);
    dcam_names names;
    assert_int_equal(dcam_folder_list(folder, &names), DCAM_OK);
    assert_int_equal(names.count, 2);
    for (size_t i = 0; i < names.count; i++) {
        dcam_model *m;
        snprintf(path, sizeof path, "%.210s/%.200s", folder, names.names[i]);
        if (dcam_model_load(path, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
        assert_int_equal(m->class_count, 1);
        assert_int_equal(strncmp(m->classes[0].name, names.names[i], strlen(m->classes[0].name)), 0);
        assert_int_equal(m->map.kind, DCAM_MAP_PRODUCT);
        assert_string_equal(m->method, "stfpm");
        dcam_model_destroy(m);
    }
    dcam_names_clear(&names);
}

/* Asked with the last epoch's end: the training is done and its model is written; of several, the next is not begun. */
static void stopped_at_the_end(void **state)
{
    (void)state;
    char folder[4096], path[4096];
    seen s = {.stop_at_end = true};
    dcam_train_options o = small_run();
    dcam_names names;
    o.method = DCAM_METHOD_STFPM;
    o.progress = watch;
    o.user = &s;
    train(&o);
    assert_int_equal(s.done, 1);
    assert_true(dcam_path_exists(model));
    remove(model);
    snprintf(folder, sizeof folder, "%.200s/some", root);
    o.output = folder;
    o.one_class = true;
    s = (seen){.stop_at_end = true};
    assert_int_equal(dcam_train(&o), DCAM_ERROR_CANCELLED);
    assert_int_equal(s.done, 1);
    assert_non_null(strstr(dcam_error_message(), "whose model is written; the others are not trained"));
    assert_int_equal(dcam_folder_list(folder, &names), DCAM_OK);
    assert_int_equal(names.count, 1);
    snprintf(path, sizeof path, "%.210s/%.200s", folder, names.names[0]);
    remove(path);
    dcam_names_clear(&names);
    snprintf(path, sizeof path, "%.200s/other", root);
    o.checkpoint = path;
    s = (seen){.stop_at_end = true};
    assert_int_equal(dcam_train(&o), DCAM_ERROR_CANCELLED);
    assert_non_null(strstr(dcam_error_message(), "with --resume"));
    /* The first class's checkpoint is whole, and gives its model without a step. */
    s = (seen){0};
    o.resume = true;
    train(&o);
    assert_int_equal(s.done, 1);
    assert_int_equal(dcam_folder_list(folder, &names), DCAM_OK);
    assert_int_equal(names.count, 2);
    dcam_names_clear(&names);
}

/* The training's last phase stops too, wherever it is: no model then, and the checkpoint gives it without a step. */
static void stopped_in_the_calibration(void **state)
{
    (void)state;
    seen s = {0};
    dcam_train_options o = small_run();
    dcam_model *whole, *resumed;
    char kept[4096];
    snprintf(kept, sizeof kept, "%.200s/late", root);
    o.progress = watch;
    o.user = &s;
    o.checkpoint = kept;
    train(&o);
    const int all = s.calibrating;
    assert_true(all > 0);
    assert_int_equal(dcam_model_load(model, &whole), DCAM_OK);
    const int places[] = {1, all / 2, all}; /* memory, calibration, ranges */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        remove(model);
        remove(kept);
        o.resume = false;
        s = (seen){.stop_calibrating = places[i]};
        refuse(&o, DCAM_ERROR_CANCELLED, "with --resume to calibrate it");
        assert_int_equal(s.calibrating, places[i]);
        assert_int_equal(s.done, 1);
        s = (seen){0};
        o.resume = true;
        train(&o);
        assert_int_equal(s.calls, 0);
        assert_int_equal(s.calibrating, all);
        assert_int_equal(dcam_model_load(model, &resumed), DCAM_OK);
        assert_int_equal(resumed->class_count, whole->class_count);
        for (size_t k = 0; k < whole->class_count; k++) {
            assert_true(resumed->classes[k].threshold == whole->classes[k].threshold);
            assert_int_equal(resumed->classes[k].prototype_count, whole->classes[k].prototype_count);
        }
        assert_memory_equal(resumed->student_ranges, whole->student_ranges,
                            (size_t)whole->student->convolution_count * sizeof(float));
        dcam_model_destroy(resumed);
    }
    dcam_model_destroy(whole);
    remove(model);
    remove(kept);
    o.checkpoint = NULL;
    o.resume = false;
    s = (seen){.stop_calibrating = 1};
    refuse(&o, DCAM_ERROR_CANCELLED, "no model is written");
}

/* A white picture of one bit a pixel, whose file is small. */
static void write_large(const char *path, int side)
{
    const size_t row = ((size_t)side + 7) / 8;
    char *pixels;
    dcam_writer *w;
    assert_int_equal(dcam_alloc_zero(row, (size_t)side, &pixels), DCAM_OK);
    pixels[0] = path[strlen(path) - 5]; /* no two the same */
    assert_int_equal(dcam_writer_open(path, &w), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "P4\n%d %d\n", side, side), DCAM_OK);
    assert_int_equal(dcam_writer_write(w, pixels, row * (size_t)side), DCAM_OK);
    assert_int_equal(dcam_writer_commit(w), DCAM_OK);
    dcam_free(pixels);
}

/* MiB that a training would hold. */
static double needed(const dcam_train_options *o)
{
    double mib = 0;
    assert_int_equal(dcam_train(o), DCAM_ERROR_MEMORY);
    if (sscanf(dcam_error_message(), "this training would hold %lf MiB", &mib) != 1) fail_msg("%s", dcam_error_message());
    return mib;
}

/* The plan counts photographs as large as they are, and is kept. */
static void memory_of_large_photographs(void **state)
{
    (void)state;
    enum { SIDE = 4000 };
    const double mib = 1024 * 1024, decoded = 3.0 * SIDE * SIDE / mib;
    const int cores = dcam_available_cores(), at_once = cores < 4 ? cores : 4;
    char folder[4096], path[4096];
    dcam_train_options o = small_run();
    double small = 0;
    snprintf(folder, sizeof folder, "%.200s/large", root);
    assert_int_equal(dcam_make_folders(folder), DCAM_OK);
    o.dataset = folder;
    o.method = DCAM_METHOD_STFPM;
    o.cache_bytes = SIZE_MAX;
    for (int large = 0; large < 2; large++) {
        for (int i = 0; i < 8; i++) {
            snprintf(path, sizeof path, "%.210s/%d.pbm", folder, i);
            write_large(path, large && i < 5 ? SIDE : 32);
        }
        o.max_memory = 1 << 20;
        const double plan = needed(&o);
        if (!large) small = plan;
        if (!large) continue;
        assert_non_null(strstr(dcam_error_message(), "pbm (4000 x 4000)"));
        assert_true(plan - small > at_once * decoded - 1);
        o.max_memory = 0;
        const size_t held = dcam_memory_held();
        dcam_memory_reset_peak();
        train(&o);
        const double most = (double)(dcam_memory_peak() - held) / mib;
        printf("planned %.0f MiB, held %.0f\n", plan, most);
        assert_true(most < plan + 1);
    }
    remove(model);
}

/* What comes after the last epoch (memory of patches, calibration, ranges) holds no more than was planned: with a batch of 1
 * images are not scored eight at a time. */
static void memory_after_the_training(void **state)
{
    (void)state;
    dcam_train_options o = small_run();
    o.width = o.height = 384;
    o.batch = 1;
    o.cache_bytes = SIZE_MAX;
    o.max_memory = 1;
    const double plan = needed(&o);
    o.max_memory = 0;
    const size_t held = dcam_memory_held();
    dcam_memory_reset_peak();
    train(&o);
    const double most = (double)(dcam_memory_peak() - held) / (1024 * 1024);
    printf("planned %.0f MiB, held %.0f\n", plan, most);
    assert_true(most < plan + 1);
    remove(model);
}

/* MiB that the error says a class would hold; name: of the class. */
static double refused_class(const dcam_train_options *o, char name[64])
{
    double needed = 0;
    assert_int_equal(dcam_train(o), DCAM_ERROR_MEMORY);
    if (sscanf(dcam_error_message(), "class %63[^:]: this training would hold %lf MiB", name, &needed) != 2)
        fail_msg("%s", dcam_error_message());
    return needed;
}

/* Adds to the data set's last class, so that it is much larger than the other: its first image, each time a byte changed, since
 * copies would count once. None is decoded. */
static void make_uneven(const char *folder)
{
    char good[4096], path[4200];
    dcam_names classes, images;
    uint8_t *bytes;
    size_t count;
    const dcam_synth_options synth = {.folder = folder, .seed = 5, .size = 64, .classes = 2, .train = 4, .test_good = 1,
                                      .test_defective = 1};
    assert_int_equal(dcam_synth(&synth), DCAM_OK);
    assert_int_equal(dcam_folder_list(folder, &classes), DCAM_OK);
    snprintf(good, sizeof good, "%.1000s/%.100s/train/good", folder, classes.names[classes.count - 1]);
    assert_int_equal(dcam_folder_list(good, &images), DCAM_OK);
    snprintf(path, sizeof path, "%.2000s/%.200s", good, images.names[0]);
    assert_int_equal(dcam_file_read(path, 1 << 20, &bytes, &count), DCAM_OK);
    for (int i = 0; i < 60; i++) {
        snprintf(path, sizeof path, "%.2000s/more%d.png", good, i);
        bytes[count - 1] = (uint8_t)i;
        assert_int_equal(dcam_file_write(path, bytes, count), DCAM_OK);
    }
    dcam_free(bytes);
    dcam_names_clear(&images);
    dcam_names_clear(&classes);
}

/* One class is small, the other large: with a limit between the two nothing is trained, and the large one is named. */
static void memory_of_all_classes_first(void **state)
{
    (void)state;
    char uneven[4096], folder[4096], small[64], large[64];
    seen s = {0};
    dcam_names models;
    dcam_train_options o = small_run();
    snprintf(uneven, sizeof uneven, "%.200s/uneven", root);
    snprintf(folder, sizeof folder, "%.200s/limited", root);
    make_uneven(uneven);
    o.dataset = uneven;
    o.output = folder;
    o.one_class = true;
    o.batch = 64;
    o.progress = watch;
    o.user = &s;
    o.max_memory = 1;
    const double least = refused_class(&o, small);
    o.max_memory = (size_t)(least + 1) << 20;
    assert_true(refused_class(&o, large) > least + 1);
    assert_string_not_equal(small, large);
    assert_int_equal(s.calls, 0);
    assert_int_equal(dcam_folder_list(folder, &models), DCAM_OK);
    assert_int_equal(models.count, 0);
    dcam_names_clear(&models);
}

static dcam_model *load_model(void)
{
    dcam_model *m;
    if (dcam_model_load(model, &m) != DCAM_OK) fail_msg("%s", dcam_error_message());
    return m;
}

/* A disk that fails between the training and the calibration: the model is kept, the lack is told, and it can be mended. */
static void an_image_vanishes(void **state)
{
    (void)state;
    char image[4096], aside[4096];
    tree_path(root, "data/weave/train/good/001.png", image);
    tree_path(root, "aside", aside);
    seen s = {0};
    dcam_train_options o = small_run();
    o.progress = watch;
    o.user = &s;
    o.validation_fraction = 0.5; /* another image of each kind is left */
    train(&o);
    dcam_model *whole = load_model();
    for (int kept = 0; kept < 2; kept++) {
        remove(model);
        o.checkpoint = kept ? checkpoint : NULL;
        s = (seen){.from = image, .to = aside};
        assert_int_equal(dcam_train(&o), DCAM_ERROR_IO);
        assert_non_null(strstr(dcam_error_message(), "model is written, but images that were trained on could not be read"));
        assert_non_null(strstr(dcam_error_message(), kept ? "again with --resume" : "run dcam calibrate"));
        dcam_model_destroy(load_model());
        assert_int_equal(rename(aside, image), 0);
    }
    s = (seen){0};
    o.resume = true;
    train(&o);
    dcam_model *mended = load_model();
    assert_int_equal(mended->class_count, whole->class_count);
    for (size_t i = 0; i < whole->class_count; i++) {
        const dcam_class_calibration *a = &whole->classes[i], *b = &mended->classes[i];
        assert_int_equal(a->score_count, b->score_count);
        assert_memory_equal(a->scores, b->scores, a->score_count * sizeof *a->scores);
        assert_int_equal(a->prototype_count, b->prototype_count);
        assert_true(a->threshold == b->threshold && a->memory_mean == b->memory_mean);
    }
    dcam_model_destroy(mended);
    dcam_model_destroy(whole);
    remove(model);
    remove(checkpoint);
}

static int start(void **state)
{
    (void)state;
    tree_create(root);
    tree_path(root, "data", data);
    tree_path(root, "model", model);
    tree_path(root, "state", checkpoint);
    const dcam_synth_options synth = {.folder = data, .seed = 4, .size = 64, .classes = 2, .train = 4, .test_good = 1,
                                      .test_defective = 1};
    return dcam_synth(&synth) == DCAM_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused_options), cmocka_unit_test(refused_places),
                                       cmocka_unit_test(one_model),
        cmocka_unit_test(a_low_temperature), cmocka_unit_test(in_a_comma_locale), cmocka_unit_test(with_a_memory), cmocka_unit_test(model_a_class),
        cmocka_unit_test(stopped_at_the_end), cmocka_unit_test(stopped_in_the_calibration), cmocka_unit_test(memory_of_all_classes_first),
        cmocka_unit_test(memory_of_large_photographs), cmocka_unit_test(memory_after_the_training),
        cmocka_unit_test(an_image_vanishes)};
    return cmocka_run_group_tests(tests, start, end);
}
