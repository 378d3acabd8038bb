/* Training: ten steps against PyTorch (training.bin); whole runs on small synthetic sets: the same bits with and
 * without a cache; what is refused; what a run holds; what its record tells. Stopping: test_trainer_stops.c. */
#include "distill/trainer_case.h"

#include "allocations.h"
#include "distill/learner.h"
#include "distill/progress.h"
#include "net/net_case.h"

/* ---- ten steps ---- */

enum { STEPS = 10, BATCH = 4, SIDE = 64 };
#define BF16_BOUND 2e-3
#define BF16_MAPS_BOUND 6e-3

static void start_attention(dcam_learner *l)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        const int c = l->shapes.channels[k], hidden = c / 8;
        const size_t half = (size_t)(c * hidden);
        if (l->attention_count[k] == 0) continue;
        assert_int_equal(l->attention_count[k], 2 * half);
        formula_fill(3000 + 2 * (uint32_t)k, (float)(1 / sqrt(c)), 0, l->attention[k], half);
        formula_fill(3001 + 2 * (uint32_t)k, (float)(1 / sqrt(hidden)), 0, l->attention[k] + half, half);
    }
}

static void fill_records(const dcam_map_layout *layout, uint16_t *records)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t count = layout->count[k];
        float *values;
        OK(dcam_alloc(BATCH, count * sizeof *values, &values));
        formula_fill(2000 + (uint32_t)k, 1, 0.5f, values, BATCH * count);
        for (size_t b = 0; b < BATCH; b++)
            for (size_t i = 0; i < count; i++)
                records[b * layout->total + layout->offset[k] + i] = dcam_bf16_from_f32(values[b * count + i]);
        dcam_free(values);
    }
}

static double variance_norm(const dcam_trunk_weights *w)
{
    double sum = 0;
    for (int i = 0; i < w->convolution_count; i++)
        for (int c = 0; c < w->shapes[i].out_channels; c++) {
            const double v = (double)w->convolutions[i].running_variance[c];
            sum += v * v;
        }
    return sqrt(sum);
}

static void follow_pytorch(const char *method, const dcam_loss_kind *kinds, int kind_count, dcam_net_precision precision,
                           double first,
                           double bound)
{
    dcam_trainer_options o;
    dcam_trunk_weights *student;
    dcam_learner *l;
    float *input;
    uint16_t *records;
    char name[64];
    double *want[1 + DCAM_LOSS_KINDS], worst = 0;
    OK(dcam_trainer_preset(method, &o));
    o.width = o.height = SIDE;
    o.batch = BATCH;
    o.precision = precision;
    OK(dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &student));
    case_weights(student);
    OK(dcam_learner_create(student, &o, &l));
    start_attention(l);
    OK(dcam_alloc(BATCH * 3 * SIDE * SIDE, sizeof *input, &input));
    formula_fill(1, 2, 0, input, BATCH * 3 * SIDE * SIDE);
    OK(dcam_alloc(BATCH, l->layout.total * sizeof *records, &records));
    fill_records(&l->layout, records);
    for (int k = 0; k <= kind_count; k++) {
        snprintf(name, sizeof name, "%s.%s", method, k == 0 ? "loss" : dcam_loss_name(kinds[k - 1]));
        want[k] = golden_read("training.bin", name, STEPS);
    }
    snprintf(name, sizeof name, "%s.rate", method);
    double *rate = golden_read("training.bin", name, 1);
    for (int i = 0; i < STEPS; i++) {
        double loss, terms[DCAM_LOSS_KINDS];
        OK(dcam_learner_step(l, input, records, BATCH, *rate, &loss, terms));
        worst = fmax(worst, relative(loss, want[0][i]));
        for (int k = 1; k <= kind_count; k++) worst = fmax(worst, relative(terms[kinds[k - 1]], want[k][i]));
        if (i == 0) assert_true(worst < first);
    }
    snprintf(name, sizeof name, "%s.variance", method);
    double *variance = golden_read("training.bin", name, 1);
    const double drift = relative(variance_norm(student), *variance);
    printf("%s: losses within %.2g, running variances %.2g of PyTorch's\n", method, worst, drift);
    assert_true(worst < bound);
    assert_true(drift < (first > 1e-5 ? bound : 1e-3));
    free(variance);
    free(rate);
    for (int k = 0; k <= kind_count; k++) free(want[k]);
    dcam_free(records);
    dcam_free(input);
    dcam_learner_destroy(l);
}

static void pytorch(void **state)
{
    (void)state;
    follow_pytorch("dcam", (const dcam_loss_kind[]){DCAM_LOSS_CD, DCAM_LOSS_KD}, 2, DCAM_NET_F32, 1e-5, 1e-3);
    follow_pytorch("stfpm", (const dcam_loss_kind[]){DCAM_LOSS_L2}, 1, DCAM_NET_F32, 1e-5, 1e-3);
}

/* With bf16 products on the way back alone the first loss is f32's, so it has f32's bound. */
static void pytorch_bf16(void **state)
{
    (void)state;
    const bool maps = dcam_nn_bf16_maps();
    if (!maps && !dcam_nn_bf16_products()) skip();
    const double first = maps ? BF16_MAPS_BOUND : 1e-5, bound = maps ? BF16_MAPS_BOUND : BF16_BOUND;
    follow_pytorch("dcam", (const dcam_loss_kind[]){DCAM_LOSS_CD, DCAM_LOSS_KD}, 2, DCAM_NET_BF16, first, bound);
    follow_pytorch("stfpm", (const dcam_loss_kind[]){DCAM_LOSS_L2}, 1, DCAM_NET_BF16, first, bound);
}

/* ---- whole runs ---- */

static void learns_and_tells(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_trainer_options o = small_run();
    o.progress = watch;
    o.user = &w;
    o.epochs = 6;
    dcam_training_result r = train(&o);
    assert_int_equal(r.train_count, 14);
    assert_int_equal(r.validation_count, 2);
    assert_int_equal(w.calls, 6 * (4 + 1));
    assert_int_equal(w.epochs_done, 6);
    assert_true(w.saw_best);
    assert_true(w.last_left == 0);
    assert_true(r.attention_count[0] > 0);
    json_t *record = parse(r.record);
    assert_int_equal(json_array_size(json_object_get(record, "epochs")), 6);
    assert_true(epoch_number(record, 5, "loss") < 0.9 * epoch_number(record, 0, "loss"));
    const double sum = epoch_number(record, 2, "cd") + epoch_number(record, 2, "kd");
    assert_true(relative(sum, epoch_number(record, 2, "loss")) < 1e-9);
    double lowest = INFINITY;
    for (size_t i = 0; i < 6; i++) lowest = fmin(lowest, epoch_number(record, i, "validation"));
    assert_true(lowest == r.best_validation);
    assert_true(epoch_number(record, (size_t)r.best_epoch - 1, "validation") == lowest);
    json_decref(record);
    dcam_training_result again = train(&o);
    assert_same(&r, &again);
    o.seed++;
    dcam_training_result other = train(&o);
    assert_memory_not_equal(r.student->values, other.student->values, 1000 * sizeof(float));
    dcam_training_result_clear(&other);
    dcam_training_result_clear(&again);
    dcam_training_result_clear(&r);
}

static void caches_change_nothing(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    dcam_training_result full = train(&o);
    /* Off; images and some of the teacher's maps (14336 bytes each); some images only. */
    const size_t caps[] = {0, 16 * (3 * 32 * 32 + 128) + 100000, 20000};
    for (size_t i = 0; i < 3; i++) {
        o.cache_bytes = caps[i];
        dcam_training_result r = train(&o);
        assert_same(&full, &r);
        dcam_training_result_clear(&r);
    }
    dcam_training_result_clear(&full);
}

static void options_are_checked(void **state)
{
    (void)state;
    const dcam_trainer_options fine = small_run();
    dcam_trainer_options o;
    OK(dcam_trainer_check(&fine));
#define REFUSED(change, part)                                                                    \
    do {                                                                                         \
        o = fine;                                                                                \
        change;                                                                                  \
        refuse(&o, DCAM_ERROR_USAGE, part);                                                      \
    } while (0)
    REFUSED(o.width = 100, "width must be a multiple of 32, not 100; 96 and 128 are near");
    REFUSED(o.height = 8192, "height must be from 32 to 4096");
    REFUSED(o.epochs = 0, "epochs must be from 1");
    REFUSED(o.batch = -1, "the batch must be from 1");
    REFUSED(o.learning_rate = 0, "learning rate must be above 0");
    REFUSED(o.learning_rate = (double)NAN, "learning rate");
    REFUSED(o.momentum = 1, "momentum");
    REFUSED(o.loss.kd_temperature = 1e-39, "temperature"); /* its inverse is no float */
    REFUSED(o.weight_decay = -1, "weight decay");
    REFUSED(o.validation_fraction = 1, "validation part");
    REFUSED(o.loss.weight[DCAM_LOSS_CD] = -1, "loss's weight");
    REFUSED(o.loss.weight[DCAM_LOSS_CD] = o.loss.weight[DCAM_LOSS_KD] = 0, "nothing would be learned");
    REFUSED(o.loss.kd_temperature = 0, "temperature of kd");
    REFUSED((o.loss.weight[DCAM_LOSS_KD] = 0, o.loss.kd_temperature = -1), "temperature of kd");
    REFUSED(o.map.smoothing = 100, "smoothing");
    REFUSED(o.resume = true, "name the checkpoint");
    REFUSED(o.batch = 1, "batch norm too few");
    REFUSED((o.attention = DCAM_ATTENTION_NONE, o.attention_at_detection = true), "attention is none");
    REFUSED((o.reads = DCAM_READS_RAW, o.attention_at_detection = true), "read the raw maps");
#undef REFUSED
    assert_int_equal(dcam_trainer_preset("pca", &o), DCAM_ERROR_USAGE);
}

/* Everything that has another path through the learner or the validation runs and gives finite numbers. */
static void every_way_runs(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    o.width = 64;
    o.epochs = 1;
    o.attention = DCAM_ATTENTION_CBAM;
    o.attention_at_detection = true;
    o.reads = DCAM_READS_BOTH;
    o.map.kind = DCAM_MAP_STANDARD;
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) o.loss.weight[k] = 0.5;
    dcam_training_result r = train(&o);
    assert_true(isfinite(r.best_validation));
    dcam_training_result_clear(&r);
    o.attention_at_detection = false;
    o.reads = DCAM_READS_RAW;
    o.batch = 100; /* more than there are */
    o.threads = 0;
    r = train(&o);
    assert_true(isfinite(r.best_validation));
    dcam_training_result_clear(&r);
}

static void memory_is_as_planned(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    size_t planned;
    o.width = o.height = 128;
    o.batch = 8;
    o.epochs = 2;
    size_t larger;
    const size_t photograph = 3 * 128 * 128;
    const int cores = dcam_available_cores(), decoders = cores < 4 ? cores : 4;
    OK(dcam_trainer_plan_bytes(teacher->architecture, &o, 16, photograph, &planned));
    OK(dcam_trainer_plan_bytes(teacher->architecture, &o, 16, photograph + 1000000, &larger));
    assert_int_equal(larger - planned, 1000000 * decoders);
    const size_t held = dcam_memory_held();
    dcam_memory_reset_peak();
    dcam_training_result r = train(&o);
    const double most = (double)(dcam_memory_peak() - held), part = most / (double)planned;
    printf("planned %.1f MiB, held %.1f MiB: %.3f\n", (double)planned / 1048576, most / 1048576, part);
    assert_true(part > 0.9 && part <= 1.02);
    dcam_training_result_clear(&r);
    o.max_bytes = planned / 2;
    refuse(&o, DCAM_ERROR_MEMORY, "--batch");
    /* What may start may go on: that its checkpoint will be read is planned from the start. */
    size_t started, resumed;
    o.checkpoint = "checkpoint";
    o.cache_bytes = 0;
    OK(dcam_trainer_plan_bytes(teacher->architecture, &o, 16, photograph, &started));
    o.resume = true;
    OK(dcam_trainer_plan_bytes(teacher->architecture, &o, 16, photograph, &resumed));
    assert_int_equal(started, resumed);
}

/* The longest training's record fits the header of a model file, beside what else is there. */
static void record_of_many_epochs(void **state)
{
    (void)state;
    enum { EPOCHS = DCAM_MAX_EPOCHS, BEST = 77777 };
    const dcam_trainer_options o = {.method = "dcam", .loss = {.weight = {1, 1, 1, 1, 1}}, .epochs = EPOCHS};
    const dcam_dataset nothing = {.class_count = 0};
    const dcam_data_identity data = {.marks = NULL};
    const train_identity identity = {"resnet18", "random:1", "none"};
    const train_facts facts = {.dataset = &nothing, .identity = &identity, .data = &data, .threads = 1};
    train_progress progress = {.epoch = EPOCHS, .best_epoch = BEST};
    char *text;
    size_t bytes = 0;
    json_error_t error;
    OK(dcam_alloc(EPOCHS, sizeof *progress.history, &progress.history));
    for (int i = 0; i < EPOCHS; i++)
        progress.history[i] = (train_epoch){1.0 / (i + 3), {3.1 / (i + 1), 1e-9 / (i + 3), 1.0 / 7, 1.0 / 9, 1.0 / 11}, 1.0 / 13, 1e-3 / 3};
    OK(train_record_write(&o, &facts, &progress, &text));
    for (const char *c = text; *c; c++) bytes += *c == '"' ? 2 : 1; /* as JSON in JSON */
    printf("the record of %d epochs: %zu bytes\n", EPOCHS, bytes);
    assert_true(bytes < DCAM_MAX_HEADER_BYTES / 4);
    json_t *record = json_loads(text, 0, &error), *epochs = json_object_get(record, "epochs");
    assert_int_equal(json_array_size(epochs), EPOCHS);
    static const int kept[] = {0, BEST - 1, EPOCHS - 1};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const json_t *loss = json_object_get(json_array_get(epochs, (size_t)kept[i]), "loss");
        assert_true(json_real_value(loss) == progress.history[kept[i]].loss);
    }
    assert_true(json_is_null(json_array_get(epochs, BEST)));
    json_decref(record);
    dcam_free(text);
    dcam_free(progress.history);
}

static void memory_failures(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    dcam_training_result r = {0};
    o.epochs = 1;
    SOME_ALLOCATIONS(a, 400, dcam_trainer_run(dataset, teacher, "random:1", &o, &r)) {
        assert_true(a.n > 30 || !a.passed);
        if (a.passed) dcam_training_result_clear(&r);
    }
}

/* ---- what a later calibration may use ---- */

static void unseen_images(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    uint32_t *some;
    size_t count, known, copies;
    o.epochs = 1;
    dcam_training_result r = train(&o);
    OK(dcam_unseen_images(dataset, r.record, &some, &count, &known, &copies));
    assert_int_equal(known, 2);
    assert_int_equal(count, r.validation_count);
    assert_memory_equal(some, r.validation, count * sizeof *some);
    dcam_free(some);
    /* One class of the two: still recognised. */
    dcam_dataset *one;
    OK(dcam_dataset_open(dataset->root, dataset->class_names[1], &one));
    OK(dcam_unseen_images(one, r.record, &some, &count, &known, &copies));
    assert_int_equal(known, 1);
    assert_int_equal(count, 1);
    assert_string_equal(one->samples[some[0]].path, dataset->samples[r.validation[1]].path);
    dcam_free(some);
    dcam_dataset_destroy(one);
    /* Neither a copy of a learned image nor a new one beside them changes what is known of the others. */
    char path[4096], name[600], copy[600];
    uint8_t *bytes;
    size_t size;
    OK(dcam_file_read(dataset->samples[r.train[0]].path, 1 << 20, &bytes, &size));
    snprintf(copy, sizeof copy, "data/%s/train/good/copy.png", dataset->class_names[1]);
    tree_bytes(root, copy, bytes, size);
    snprintf(name, sizeof name, "data/%s/train/good/zzz.png", dataset->class_names[0]);
    tree_bytes(root, name, bytes, size - 1);
    dcam_free(bytes);
    OK(dcam_dataset_open(dataset->root, NULL, &one));
    OK(dcam_unseen_images(one, r.record, &some, &count, &known, &copies));
    assert_int_equal(known, 2);
    assert_int_equal(count, r.validation_count + 1);
    bool found = false;
    for (size_t i = 0; i < count; i++) found = found || strstr(one->samples[some[i]].path, "zzz.png");
    assert_true(found);
    dcam_free(some);
    OK(dcam_new_images(one, 0, r.record, &some, &count, &known));
    assert_int_equal(known, 8);
    assert_int_equal(count, 1);
    assert_non_null(strstr(one->samples[some[0]].path, "zzz.png"));
    dcam_free(some);
    OK(dcam_new_images(one, 1, r.record, &some, &count, &known));
    assert_int_equal(known, 9);
    assert_int_equal(count, 0);
    dcam_free(some);
    /* A class's folder alone, so that all paths are others. */
    dcam_dataset *folder;
    snprintf(path, sizeof path, "%s/%s", dataset->root, dataset->class_names[1]);
    OK(dcam_dataset_open(path, NULL, &folder));
    OK(dcam_unseen_images(folder, r.record, &some, &count, &known, &copies));
    assert_int_equal(known, 1);
    assert_int_equal(count, 1);
    dcam_free(some);
    dcam_dataset_destroy(folder);
    /* No record, or one of something else. */
    const char *const nothing[] = {NULL, "{}", "no JSON", "{\"data\": {\"learned\": \"0123456789abc\", \"validated\": 7}}"};
    for (size_t i = 0; i < 4; i++) {
        OK(dcam_unseen_images(one, nothing[i], &some, &count, &known, &copies));
        assert_int_equal(known, 0);
        assert_int_equal(count, 9 + 9);
        dcam_free(some);
    }
    dcam_dataset_destroy(one);
    tree_path(root, name, path);
    remove(path);
    tree_path(root, copy, path);
    remove(path);
    dcam_training_result_clear(&r);
}

/* Written before copies were told apart: a content in both parts was learned from. Of the others each content counts once. */
static void unseen_copies(void **state)
{
    (void)state;
    char path[4096], record[256], name[64];
    uint32_t *some;
    size_t count, known, copies;
    dcam_content_mark marks[5];
    char ignored[DCAM_SHA256_HEX];
    dcam_dataset *d;
    static const char *const contents[] = {"both", "both", "validated", "validated", "new"};
    static const uint32_t all[] = {0, 1, 2, 3, 4};
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "copies/c/train/good/%d.png", i);
        tree_file(root, name, contents[i]);
    }
    tree_path(root, "copies", path);
    OK(dcam_dataset_open(path, NULL, &d));
    OK(dcam_dataset_fingerprint(d, all, 5, ignored, marks));
    snprintf(record, sizeof record, "{\"data\": {\"learned\": \"%.12s\", \"validated\": \"%.12s%.12s\"}}", marks[0], marks[1],
             marks[2]);
    OK(dcam_unseen_images(d, record, &some, &count, &known, &copies));
    assert_int_equal(count, 2);
    assert_int_equal(some[0], 2);
    assert_int_equal(some[1], 4);
    assert_int_equal(known, 1);
    assert_int_equal(copies, 1);
    dcam_free(some);
    OK(dcam_new_images(d, 0, record, &some, &count, &known));
    assert_int_equal(count, 1);
    assert_int_equal(some[0], 4);
    assert_int_equal(known, 4);
    dcam_free(some);
    dcam_dataset_destroy(d);
}

/* The identity of data without copies is that of before copies were told apart, so that its checkpoints are gone on from. */
static void identity_tells_copies(void **state)
{
    (void)state;
    char path[4096], plain[DCAM_SHA256_HEX], with[DCAM_SHA256_HEX];
    for (int round = 0; round < 2; round++) {
        dcam_dataset *d;
        dcam_data_identity identity;
        dcam_sha256 hash;
        tree_file(root, "identity/c/train/good/0.png", "one");
        tree_file(root, "identity/c/train/good/1.png", round ? "one" : "two");
        tree_path(root, "identity", path);
        OK(dcam_dataset_open(path, NULL, &d));
        OK(dcam_data_identity_of(d, &identity));
        dcam_sha256_init(&hash);
        dcam_sha256_update(&hash, "c", 2);
        dcam_sha256_update(&hash, identity.classes[0], DCAM_SHA256_HEX);
        dcam_sha256_final_hex(&hash, plain);
        memcpy(with, identity.all, sizeof with);
        assert_int_equal(strcmp(plain, with) == 0, round == 0);
        dcam_data_identity_clear(&identity);
        dcam_dataset_destroy(d);
    }
}

static void bad_image_ends_the_run(void **state)
{
    (void)state;
    dcam_dataset *spoilt;
    dcam_training_result r = {0};
    dcam_trainer_options o = small_run();
    char name[600], path[4096];
    snprintf(name, sizeof name, "data/%s/train/good/000bad.png", dataset->class_names[0]);
    tree_bytes(root, name, "no image", 8);
    OK(dcam_dataset_open(dataset->root, NULL, &spoilt));
    assert_int_equal(dcam_trainer_run(spoilt, teacher, "random:1", &o, &r), DCAM_ERROR_IMAGE);
    assert_non_null(strstr(dcam_error_message(), "000bad.png"));
    dcam_dataset_destroy(spoilt);
    tree_path(root, name, path);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorch),
        cmocka_unit_test(pytorch_bf16),
        cmocka_unit_test(learns_and_tells),
        cmocka_unit_test(caches_change_nothing),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(every_way_runs),
        cmocka_unit_test(memory_is_as_planned),
        cmocka_unit_test(record_of_many_epochs), cmocka_unit_test(memory_failures),
        cmocka_unit_test(unseen_images),
        cmocka_unit_test(unseen_copies),
        cmocka_unit_test(identity_tells_copies),
        cmocka_unit_test(bad_image_ends_the_run),
    };
    return cmocka_run_group_tests(tests, start, end);
}
