/* The exports where anything may fail: memory at every single allocation, jansson's among them, and a disk that gives
 * other bytes back than were written; in each case an older file of that name stays, and nothing else is left. And what the graph has and has not, model
 * by model. What it computes is compared with dcam by tools/onnx_check.py. */
#define _GNU_SOURCE /* memmem */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "allocations.h"
#include "base/file.h"
#include "data/tree.h"
#include "edited_tensors.h"
#include "export/export.h"
#include "json_allocations.h"
#include "tiny_model.h"

static char root[256], out_path[4096], other[4096];
static dcam_model *model;
static dcam_tensors *model_file;

/* ---- a disk that gives another file back ---- */

static const char *instead; /* NULL: an honest one */

dcam_status __real_dcam_tensors_open(const char *path, dcam_tensors **out);
dcam_status __wrap_dcam_tensors_open(const char *path, dcam_tensors **out);
dcam_status __wrap_dcam_tensors_open(const char *path, dcam_tensors **out)
{
    return __real_dcam_tensors_open(instead ? instead : path, out);
}

dcam_status __real_dcam_file_read(const char *path, size_t limit, uint8_t **out, size_t *count);
dcam_status __wrap_dcam_file_read(const char *path, size_t limit, uint8_t **out, size_t *count);
dcam_status __wrap_dcam_file_read(const char *path, size_t limit, uint8_t **out, size_t *count)
{
    return __real_dcam_file_read(instead ? instead : path, limit, out, count);
}

/* A thousand files are written and read back, and none of them has to outlive a loss of power. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return 0;
}

static int start(void **state)
{
    char model_path[4096];
    (void)state;
    tree_create(root);
    tree_path(root, "model", model_path);
    tree_path(root, "out", out_path);
    tree_path(root, "other", other);
    model = tiny_model(DCAM_ATTENTION_CBAM, true);
    OK(dcam_model_save(model, model_path));
    OK(dcam_tensors_open(model_path, &model_file));
    return 0;
}

static int end(void **state)
{
    (void)state;
    dcam_tensors_destroy(model_file);
    dcam_model_destroy(model);
    tree_remove(root);
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

static dcam_status export_onnx(const dcam_model *m)
{
    const dcam_onnx_options options = {.class_index = -1};
    return dcam_export_onnx(m, model_file, &options, out_path);
}

static dcam_status export_tensors(void) { return dcam_export_safetensors(model, model_file, out_path); }

/* ---- the file that was there before ---- */

static const char old_text[] = "an export of yesterday";

static void put_old_file(void) { OK(dcam_file_write(out_path, old_text, sizeof old_text)); }

static bool has_old_text(void)
{
    uint8_t *bytes;
    size_t count;
    OK(dcam_file_read(out_path, DCAM_MAX_PROTO_BYTES, &bytes, &count));
    const bool same = count == sizeof old_text && memcmp(bytes, old_text, count) == 0;
    dcam_free(bytes);
    return same;
}

/* Nor has a temporary file stayed. */
static void only_one_file_is_there(bool new)
{
    dcam_names names;
    size_t ours = 0;
    assert_int_equal(has_old_text(), !new);
    OK(dcam_folder_list(root, &names));
    for (size_t i = 0; i < names.count; i++) ours += strncmp(names.names[i], "out", 3) == 0;
    assert_int_equal(ours, 1);
    dcam_names_clear(&names);
}

static void memory_runs_out_while_it_writes_onnx(void **state)
{
    (void)state;
    put_old_file();
    EVERY_ALLOCATION(a, export_onnx(model)) {
        only_one_file_is_there(a.passed);
        put_old_file();
    }
}

static void memory_runs_out_while_it_writes_tensors(void **state)
{
    (void)state;
    put_old_file();
    EVERY_ALLOCATION(a, export_tensors()) {
        only_one_file_is_there(a.passed);
        put_old_file();
    }
}

/* ---- what was written is read back ---- */

static void the_old_file_stays(dcam_status status, dcam_status wanted, const char *says)
{
    instead = NULL;
    if (status != wanted || !strstr(dcam_error_message(), says))
        fail_msg("%s \"%s\", wanted \"%s\"", dcam_status_name(status), dcam_error_message(), says);
    only_one_file_is_there(false);
}

static void other_bytes_of_onnx_are_seen(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t count;
    OK(export_onnx(model));
    OK(dcam_file_read(out_path, DCAM_MAX_PROTO_BYTES, &bytes, &count));
    put_old_file();
    bytes[count / 2] ^= 1;
    OK(dcam_file_write(other, bytes, count));
    instead = other;
    the_old_file_stays(export_onnx(model), DCAM_ERROR_IO, "reads back other bytes");
    OK(dcam_file_write(other, bytes, count - 1));
    instead = other;
    the_old_file_stays(export_onnx(model), DCAM_ERROR_IO, "reads back other bytes");
    instead = "/nowhere/file";
    the_old_file_stays(export_onnx(model), DCAM_ERROR_IO, "/nowhere/file");
    dcam_free(bytes);
}

static void other_tensors_are_seen(void **state)
{
    (void)state;
    static const char *const tensors[] = {"teacher.conv1.weight", "student.bn1.weight"};
    static const float zeros[TINY_CHANNELS * 3 * 7 * 7];
    char from[4096];
    OK(export_tensors());
    tree_path(root, "from", from);
    assert_int_equal(rename(out_path, from), 0);
    put_old_file();
    for (int i = 0; i < 2; i++) {
        tensor_edit e = {.tensor = tensors[i]};
        edit_tensors(from, other, &e);
        instead = other;
        the_old_file_stays(export_tensors(), DCAM_ERROR_WEIGHTS, tensors[i]);
        e = (tensor_edit){.tensor = tensors[i], .data = zeros, .rank = i ? 1 : 4, .shape = {TINY_CHANNELS, 3, 7, 7}};
        edit_tensors(from, other, &e);
        instead = other;
        the_old_file_stays(export_tensors(), DCAM_ERROR_IO, i ? "other values of student.*" : "other values of teacher.*");
    }
    /* A teacher without batch norm, as it lies in the model's own file. */
    dcam_tensor_writer *w;
    OK(dcam_tensor_writer_create(&w));
    OK(dcam_trunk_weights_add(model->teacher, "teacher.", w));
    OK(dcam_tensor_writer_save(w, other));
    dcam_tensor_writer_destroy(w);
    instead = other;
    the_old_file_stays(export_tensors(), DCAM_ERROR_IO, "other values of teacher.*");
    instead = "/nowhere/file";
    the_old_file_stays(export_tensors(), DCAM_ERROR_IO, "/nowhere/file");
}

static void a_folder_that_is_not_there(void **state)
{
    (void)state;
    const dcam_onnx_options options = {.class_index = -1};
    assert_int_equal(dcam_export_onnx(model, model_file, &options, "/nowhere/file"), DCAM_ERROR_IO);
    assert_int_equal(dcam_export_safetensors(model, model_file, "/nowhere/file"), DCAM_ERROR_IO);
}

/* ---- what is in it ---- */

/* The metadata of the model go along, but for what says that this is a model file; with a teacher whose batch norm is
 * not folded its values are as they were. */
static void tensors_hold_the_model(void **state)
{
    (void)state;
    dcam_tensors *t;
    dcam_trunk_weights *teacher, *kept = model->teacher;
    float centres[TINY_CLASSES * TINY_CHANNELS];
    OK(dcam_trunk_weights_random(&tiny, 8, &model->teacher));
    OK(export_tensors());
    OK(dcam_tensors_open(out_path, &t));
    OK(dcam_trunk_weights_read(t, "teacher.", &tiny, &teacher));
    assert_memory_equal(teacher->values, model->teacher->values, teacher->value_count * sizeof(float));
    OK(dcam_tensors_read_f32(t, "centres", 2, (size_t[]){TINY_CLASSES, TINY_CHANNELS}, centres));
    assert_memory_equal(centres + TINY_CHANNELS, model->classes[1].centre, TINY_CHANNELS * sizeof(float));
    assert_string_equal(dcam_tensors_metadata(t, "training"), "{\"epochs\": 3}");
    assert_string_equal(dcam_tensors_metadata(t, "format"), "pt");
    assert_null(dcam_tensors_metadata(t, "dcam"));
    assert_null(dcam_tensors_metadata(t, "format_version"));
    assert_non_null(dcam_tensors_find(t, "memory.1.prototypes"));
    assert_non_null(dcam_tensors_find(t, "attention.layer2.kernel"));
    dcam_trunk_weights_destroy(model->teacher);
    model->teacher = kept;
    dcam_trunk_weights_destroy(teacher);
    dcam_tensors_destroy(t);
    remove(out_path);
}

static bool graph_has(const dcam_model *m, const char *name)
{
    uint8_t *bytes;
    size_t count;
    OK(export_onnx(m));
    OK(dcam_file_read(out_path, DCAM_MAX_PROTO_BYTES, &bytes, &count));
    const bool has = memmem(bytes, count, name, strlen(name));
    dcam_free(bytes);
    remove(out_path);
    return has;
}

static void the_graph_has_what_the_model_has(void **state)
{
    (void)state;
    static const struct {
        dcam_attention_kind kind;
        bool channel, spatial;
    } kinds[] = {{DCAM_ATTENTION_NONE, false, false}, {DCAM_ATTENTION_CHANNEL, true, false},
                 {DCAM_ATTENTION_SPATIAL, false, true}, {DCAM_ATTENTION_CBAM, true, true}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        dcam_model *m = tiny_model(kinds[i].kind, false);
        assert_int_equal(graph_has(m, "attention.layer3.w2"), kinds[i].channel);
        assert_int_equal(graph_has(m, "attention.layer3.kernel"), kinds[i].spatial);
        m->attention_at_detection = false;
        assert_false(graph_has(m, "attention."));
        dcam_model_destroy(m);
    }
    dcam_model *m = tiny_model(DCAM_ATTENTION_NONE, false);
    assert_true(graph_has(m, "kd2.teacher.scaled"));
    assert_true(graph_has(m, "kd2.is_small")); /* which of two formulas */
    m->map.kd_temperature = 0; /* none, which is 1 */
    assert_false(graph_has(m, "kd2.teacher.scaled"));
    assert_true(graph_has(m, "kd2.teacher.log"));
    m->map.kd_weight = 0;
    assert_false(graph_has(m, "kd2."));
    assert_true(graph_has(m, "map1.class_mean"));
    m->map.kind = DCAM_MAP_PRODUCT;
    assert_false(graph_has(m, "map1.class_mean"));
    assert_true(graph_has(m, "map.smoothed_down"));
    m->map.smoothing = 0;
    assert_false(graph_has(m, "map.smoothed_down"));
    assert_false(graph_has(m, "memory."));
    assert_true(graph_has(m, "score.largest"));
    m->map.top_percent = 0;
    assert_false(graph_has(m, "score.largest"));
    dcam_model_destroy(m);
}

/* The least part of the pixels is still one. */
static void at_least_one_pixel_counts(void **state)
{
    (void)state;
    static const struct {
        double percent;
        int64_t pixels;
    } parts[] = {{1e-6, 1}, {10, 102}, {100, 1024}};
    dcam_model *m = tiny_model(DCAM_ATTENTION_NONE, false);
    for (int i = 0; i < 3; i++) {
        onnx_graph g = {0}, wanted = {0};
        const dcam_onnx_options options = {.class_index = 0};
        m->map.top_percent = parts[i].percent;
        OK(dcam_detector_graph(&g, m, m->teacher, &options));
        onnx_integers(&wanted, onnx_name("score.count"), 1, &parts[i].pixels);
        assert_non_null(
            memmem(g.initializers.bytes, g.initializers.count, wanted.initializers.bytes, wanted.initializers.count));
        onnx_clear(&wanted);
        onnx_clear(&g);
    }
    dcam_model_destroy(m);
}

/* Prototypes beyond all memory are counted before they are touched. */
static void too_many_prototypes_are_told(void **state)
{
    (void)state;
    const size_t count = model->classes[1].prototype_count;
    model->classes[1].prototype_count = SIZE_MAX / TINY_DIMENSIONS;
    put_old_file();
    const dcam_status status = export_onnx(model);
    model->classes[1].prototype_count = count;
    the_old_file_stays(status, DCAM_ERROR_MEMORY, "too many prototypes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_writes_onnx, count_json, count_json_no_more),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_writes_tensors, count_json, count_json_no_more),
        cmocka_unit_test(other_bytes_of_onnx_are_seen),
        cmocka_unit_test(other_tensors_are_seen),
        cmocka_unit_test(a_folder_that_is_not_there),
        cmocka_unit_test(tensors_hold_the_model),
        cmocka_unit_test(the_graph_has_what_the_model_has),
        cmocka_unit_test(at_least_one_pixel_counts),
        cmocka_unit_test(too_many_prototypes_are_told),
    };
    return cmocka_run_group_tests(tests, start, end);
}
