/* The trunk: torchvision's names and shapes (golden lists), folding, the random starts, reading and writing state
 * dicts with batch norm separate and folded, and what is wrong with files by name. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "formula.h"
#include "weights/formula_weights.h"

static char folder[] = "/tmp/dcam-test-trunk-XXXXXX";

static char *in_folder(const char *name)
{
    char *path;
    assert_int_equal(dcam_path_join(folder, name, &path), DCAM_OK);
    return path;
}

static void assert_said(const char *wanted)
{
    if (!strstr(dcam_error_message(), wanted)) fail_msg("\"%s\" is not in: %s", wanted, dcam_error_message());
}

/* ---- the table ---------------------------------------------------------- */

static void names_and_shapes_are_torchvisions(void **state)
{
    (void)state;
    static const char *const names[] = {"resnet18", "resnet34"};
    for (int a = 0; a < 2; a++) {
        char file[512], line[256], *path = in_folder("names.safetensors");
        const dcam_architecture *architecture = dcam_architecture_find(names[a]);
        dcam_trunk_weights *w;
        dcam_tensor_writer *writer;
        dcam_tensors *t;
        assert_string_equal(architecture->name, names[a]);
        assert_int_equal(dcam_trunk_weights_create(architecture, false, &w), DCAM_OK);
        assert_int_equal(dcam_tensor_writer_create(&writer), DCAM_OK);
        assert_int_equal(dcam_trunk_weights_add(w, "student.", writer), DCAM_OK);
        assert_int_equal(dcam_tensor_writer_save(writer, path), DCAM_OK);
        assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);

        snprintf(file, sizeof file, DCAM_TEST_GOLDEN "/weights/%s.txt", names[a]);
        FILE *f = fopen(file, "r");
        assert_non_null(f);
        size_t lines = 0, values = 0;
        while (fgets(line, sizeof line, f)) {
            char name[320], *rest = strchr(line, ' '), *end;
            assert_non_null(rest);
            *rest++ = '\0';
            snprintf(name, sizeof name, "student.%s", line);
            const dcam_tensor *x = dcam_tensors_find(t, name);
            if (!x) fail_msg("%s: no %s", names[a], name);
            int rank = 0;
            for (unsigned long n = strtoul(rest, &end, 10); end != rest; n = strtoul(rest = end, &end, 10)) {
                assert_true(rank < x->rank);
                assert_int_equal(x->shape[rank++], n);
            }
            assert_int_equal(rank, x->rank);
            values += x->count;
            lines++;
        }
        fclose(f);
        assert_int_equal(lines, dcam_tensors_count(t));
        assert_int_equal(values, w->value_count);
        dcam_tensors_destroy(t);
        dcam_tensor_writer_destroy(writer);
        dcam_trunk_weights_destroy(w);
        dcam_free(path);
    }
    assert_ptr_equal(dcam_architecture_find(NULL), dcam_architecture_find("resnet18"));
    assert_null(dcam_architecture_find("resnet50"));
}

static void geometry(void **state)
{
    (void)state;
    dcam_convolution_shape s[DCAM_MAX_CONVOLUTIONS];
    assert_int_equal(dcam_architecture_convolutions(dcam_architecture_find(NULL), s), 15);
    assert_true(s[0].kernel == 7 && s[0].stride == 2 && s[0].padding == 3 && s[0].weight_count == 9408);
    assert_string_equal(s[5].name, "layer2.0.conv1");
    assert_true(s[5].kernel == 3 && s[5].stride == 2 && s[5].padding == 1 && s[5].in_channels == 64);
    assert_string_equal(s[7].name, "layer2.0.downsample.0");
    assert_string_equal(s[7].norm_name, "layer2.0.downsample.1");
    assert_true(s[7].kernel == 1 && s[7].stride == 2 && s[7].padding == 0 && s[7].out_channels == 128);
    assert_true(s[6].stride == 1 && s[8].stride == 1);
}

static void one_flat_array(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        dcam_trunk_weights *w, *copy;
        assert_int_equal(dcam_trunk_weights_create(dcam_architecture_find(NULL), folded, &w), DCAM_OK);
        /* Every value belongs to exactly one part: write 1 through the pointers and count. */
        for (int i = 0; i < w->convolution_count; i++) {
            const dcam_convolution_weights *c = &w->convolutions[i];
            float *parts[] = {c->bias, c->gamma, c->beta, c->running_mean, c->running_variance};
            for (size_t k = 0; k < w->shapes[i].weight_count; k++) c->weight[k] += 1;
            for (int p = 0; p < 5; p++) {
                assert_int_equal(parts[p] != NULL, folded ? p == 0 : p > 0);
                for (int k = 0; k < w->shapes[i].out_channels && parts[p]; k++) parts[p][k] += 1;
            }
            if (!folded) assert_true(c->beta < w->values + w->trainable_count);
            if (!folded) assert_true(c->running_mean >= w->values + w->trainable_count);
        }
        for (size_t k = 0; k < w->value_count; k++) assert_true(w->values[k] == 1);
        if (folded) assert_int_equal(w->value_count, 2780544);
        if (folded) assert_int_equal(w->trainable_count, w->value_count);
        assert_int_equal(dcam_trunk_weights_copy(w, &copy), DCAM_OK);
        assert_memory_equal(copy->values, w->values, w->value_count * sizeof(float));
        assert_true(copy->values != w->values);
        dcam_trunk_weights_destroy(copy);
        dcam_trunk_weights_destroy(w);
    }
}

/* ---- folding and random starts ------------------------------------------- */

static void folding(void **state)
{
    (void)state;
    dcam_trunk_weights *w = formula_weights(false), *f, *again;
    assert_int_equal(dcam_trunk_weights_fold(w, &f), DCAM_OK);
    assert_true(f->folded);
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_weights *c = &w->convolutions[i], *g = &f->convolutions[i];
        size_t channels = (size_t)w->shapes[i].out_channels, each = w->shapes[i].weight_count / channels;
        for (size_t o = 0; o < channels; o++) {
            /* What batch norm makes of any convolution output x must equal a x + b with the folded a and b. */
            for (int x = -3; x <= 3; x += 3) {
                double norm = ((double)x - (double)c->running_mean[o]) / sqrt((double)c->running_variance[o] + 1e-5) *
                                  (double)c->gamma[o] + (double)c->beta[o];
                double weight = (double)c->weight[o * each];
                double scale = weight != 0 ? (double)g->weight[o * each] / weight : 0;
                if (weight != 0) assert_true(fabs(scale * x + (double)g->bias[o] - norm) < 1e-6 * (1 + fabs(norm)));
            }
            for (size_t k = 1; k < each; k++)
                assert_true(fabs((double)g->weight[o * each + k] * (double)c->weight[o * each] -
                                 (double)g->weight[o * each] * (double)c->weight[o * each + k]) < 1e-6);
        }
    }
    assert_int_equal(dcam_trunk_weights_fold(f, &again), DCAM_OK);
    assert_memory_equal(again->values, f->values, f->value_count * sizeof(float));
    dcam_trunk_weights_destroy(again);
    dcam_trunk_weights_destroy(f);
    f = NULL;
    w->convolutions[3].gamma[5] = 3e38f;
    w->convolutions[3].running_variance[5] = 0;
    assert_int_equal(dcam_trunk_weights_fold(w, &f), DCAM_ERROR_WEIGHTS);
    assert_null(f);
    assert_said("folding layer1.1.bn1 into layer1.1.conv1");
    dcam_trunk_weights_destroy(w);
}

static void student_start(void **state)
{
    (void)state;
    dcam_trunk_weights *a, *b, *other;
    assert_int_equal(dcam_trunk_weights_random(dcam_architecture_find(NULL), 7, &a), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(dcam_architecture_find(NULL), 7, &b), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(dcam_architecture_find(NULL), 8, &other), DCAM_OK);
    assert_memory_equal(a->values, b->values, a->value_count * sizeof(float));
    assert_memory_not_equal(a->values, other->values, 64);
    for (int i = 0; i < a->convolution_count; i++) {
        const dcam_convolution_shape *s = &a->shapes[i];
        double mean = 0, square = 0, n = (double)s->weight_count;
        double wanted = 2.0 / ((double)s->out_channels * s->kernel * s->kernel);
        for (size_t k = 0; k < s->weight_count; k++) {
            mean += (double)a->convolutions[i].weight[k] / n;
            square += (double)a->convolutions[i].weight[k] * (double)a->convolutions[i].weight[k] / n;
        }
        /* Five standard deviations of the estimates: sigma / sqrt n and sigma^2 sqrt(2 / n). */
        assert_true(fabs(mean) < 5 * sqrt(wanted / n));
        assert_true(fabs(square / wanted - 1) < 5 * sqrt(2 / n));
        for (int c = 0; c < s->out_channels; c++) {
            assert_true(a->convolutions[i].gamma[c] == 1 && a->convolutions[i].beta[c] == 0);
            assert_true(a->convolutions[i].running_mean[c] == 0 && a->convolutions[i].running_variance[c] == 1);
        }
    }
    dcam_trunk_weights_destroy(a);
    dcam_trunk_weights_destroy(b);
    dcam_trunk_weights_destroy(other);
}

/* x: C,n,n -> relu or not (conv x + bias): C',m,m from malloc. The plainest of loops. */
static float *forward(const dcam_trunk_weights *w, int i, const float *x, int n, int *m)
{
    const dcam_convolution_shape *s = &w->shapes[i];
    const float *weight = w->convolutions[i].weight;
    *m = (n + 2 * s->padding - s->kernel) / s->stride + 1;
    float *y = malloc(sizeof *y * (size_t)(s->out_channels * *m * *m));
    if (!y) abort();
    for (int o = 0; o < s->out_channels; o++)
        for (int r = 0; r < *m; r++)
            for (int q = 0; q < *m; q++) {
                float sum = w->convolutions[i].bias[o];
                for (int c = 0; c < s->in_channels; c++)
                    for (int ky = 0; ky < s->kernel; ky++)
                        for (int kx = 0; kx < s->kernel; kx++) {
                            int yy = r * s->stride + ky - s->padding, xx = q * s->stride + kx - s->padding;
                            if (yy >= 0 && yy < n && xx >= 0 && xx < n)
                                sum += weight[((o * s->in_channels + c) * s->kernel + ky) * s->kernel + kx] *
                                       x[(c * n + yy) * n + xx];
                        }
                y[(o * *m + r) * *m + q] = sum;
            }
    return y;
}

static double deviation(const float *x, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) mean += (double)x[i] / n;
    for (int i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
    return sqrt(square);
}

static void rectify(float *x, int n)
{
    for (int k = 0; k < n; k++) x[k] = fmaxf(x[k], 0);
}

/* 3x3, stride 2, padding 1, of 64 channels that are rectified: x is given back. */
static float *pool(float *x, int *n)
{
    const int m = *n / 2;
    float *y = calloc((size_t)(64 * m * m), sizeof *y);
    if (!y) abort();
    for (int c = 0; c < 64; c++)
        for (int k = 0; k < *n * *n; k++)
            for (int r = k / *n / 2; r <= (k / *n + 1) / 2 && r < m; r++)
                for (int q = k % *n / 2; q <= (k % *n + 1) / 2 && q < m; q++) {
                    float *top = &y[(c * m + r) * m + q];
                    *top = fmaxf(*top, x[c * *n * *n + k]);
                }
    free(x);
    *n = m;
    return y;
}

/* Layer i of a random teacher on x, and what is promised of its answer to what it has not seen. */
static float *random_layer(const dcam_trunk_weights *w, int i, const float *x, int n, int *m)
{
    const dcam_convolution_shape *s = &w->shapes[i];
    float *y = forward(w, i, x, n, m);
    const int plane = *m * *m, each = (int)s->weight_count / s->out_channels;
    double share = 0;
    assert_in_range((int)(100 * deviation(y, s->out_channels * plane)), 75, 125);
    for (int k = 0; k < s->out_channels * plane; k++) share += (double)(y[k] > 0) / (s->out_channels * plane);
    assert_in_range((int)(100 * share), 45, 55);
    for (int o = 0; i > 0 && o < s->out_channels; o++) {
        double sum = 0;
        for (int k = 0; k < each; k++) sum += (double)w->convolutions[i].weight[o * each + k];
        assert_true(fabs(sum) < 1e-6 * each);
    }
    return y;
}

/* On a picture it never saw (stripes, a disc, a little noise) every layer of a random teacher answers at about unit
 * scale, half of it positive, and the filters after the first have no mean. */
static void random_teacher(void **state)
{
    (void)state;
    enum { N = 64 };
    dcam_trunk_weights *a, *b, *other;
    const dcam_architecture *r18 = dcam_architecture_find(NULL);
    size_t held = dcam_memory_held();
    assert_int_equal(dcam_trunk_weights_random_teacher(r18, 1, &a), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random_teacher(r18, 1, &b), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random_teacher(r18, 2, &other), DCAM_OK);
    assert_true(a->folded);
    assert_memory_equal(a->values, b->values, a->value_count * sizeof(float));
    assert_memory_not_equal(a->values, other->values, 64);
    for (size_t k = 0; k < a->value_count; k++) assert_true(isfinite(a->values[k]));
    static float picture[3 * N * N];
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < N; y++)
            for (int x = 0; x < N; x++)
                picture[(c * N + y) * N + x] = sinf(0.35f * (float)(x + c)) +
                    ((x - 30) * (x - 30) + (y - 30) * (y - 30) < 400 ? 1.2f : -0.5f) +
                    0.2f * formula_value((uint32_t)c, (uint32_t)(y * N + x));
    int n = N;
    float *x = random_layer(a, 0, picture, N, &n);
    rectify(x, 64 * n * n);
    x = pool(x, &n);
    for (int i = 1; i < a->convolution_count;) {
        const int channels = a->shapes[i].out_channels;
        int m;
        float *y = random_layer(a, i, x, n, &m);
        rectify(y, channels * m * m);
        float *z = random_layer(a, i + 1, y, m, &m);
        i += 2;
        if (i < a->convolution_count && a->shapes[i].kernel == 1) {
            free(y);
            y = x;
            x = random_layer(a, i++, y, n, &m);
        }
        for (int k = 0; k < channels * m * m; k++) x[k] += z[k];
        rectify(x, channels * m * m);
        free(y);
        free(z);
        n = m;
    }
    free(x);
    dcam_trunk_weights_destroy(a);
    dcam_trunk_weights_destroy(b);
    dcam_trunk_weights_destroy(other);
    assert_int_equal(dcam_memory_held(), held);
}

/* ---- state dicts --------------------------------------------------------- */

static dcam_status read_built(const built *b, dcam_trunk_weights **out)
{
    buffer file = build_pth(b->tensors, b->count);
    dcam_tensors *t;
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_OK);
    free(file.bytes);
    dcam_status status = dcam_trunk_weights_read(t, "", dcam_architecture_find(NULL), out);
    dcam_tensors_destroy(t);
    return status;
}

static void read_both_kinds(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    for (int folded = 0; folded < 2; folded++) {
        dcam_trunk_weights *w = formula_weights(folded), *read;
        built b = build(w);
        assert_int_equal(read_built(&b, &read), DCAM_OK);
        assert_int_equal(read->folded, folded);
        assert_memory_equal(read->values, w->values, w->value_count * sizeof(float));
        dcam_trunk_weights_destroy(read);
        dcam_trunk_weights_destroy(w);
    }
    assert_int_equal(dcam_memory_held(), held);
}

static size_t index_of(const built *b, const char *name)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->tensors[i].name, name) == 0) return i;
    fail_msg("no %s", name);
    return 0;
}

static void refuse(const built *b, const char *wanted)
{
    dcam_trunk_weights *read = NULL;
    assert_int_equal(read_built(b, &read), DCAM_ERROR_WEIGHTS);
    assert_null(read);
    assert_said("x.pth: ");
    assert_said(wanted);
}

static void faults_are_named(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    dcam_trunk_weights *w = formula_weights(false);
    const built good = build(w);
    built b = good;
    b.tensors[index_of(&b, "layer2.0.bn2.running_mean")] = b.tensors[--b.count];
    refuse(&b, "tensor layer2.0.bn2.running_mean [128] is missing");
    b = good;
    add(&b, "layer1.2.conv1", "weight", 1, (size_t[]){4}, w->values);
    refuse(&b, "tensor layer1.2.conv1.weight does not belong to a resnet18");
    b = good;
    add(&b, "layer1.0.conv1", "bias", 1, (size_t[]){64}, w->values);
    refuse(&b, "tensor layer1.0.conv1.bias does not belong");
    b = good;
    add(&b, "conv1", "bias", 1, (size_t[]){64}, w->values);
    refuse(&b, "tensor layer1.0.conv1.bias [64] is missing");
    b = good;
    b.tensors[index_of(&b, "layer3.0.downsample.0.weight")].shape[1] = 64;
    refuse(&b, "tensor layer3.0.downsample.0.weight has the shape [256,64,1,1]; [256,128,1,1] is wanted");
    b = good;
    snprintf(b.tensors[0].name, sizeof b.tensors[0].name, "module.conv1.weight");
    refuse(&b, "DataParallel");
    snprintf(b.tensors[0].name, sizeof b.tensors[0].name, "student.conv1.weight");
    refuse(&b, "model file of dcam");
    snprintf(b.tensors[0].name, sizeof b.tensors[0].name, "stem.weight");
    refuse(&b, "tensor conv1.weight is missing");
    w->convolutions[14].beta[255] = NAN;
    refuse(&good, "tensor layer3.1.bn2.bias holds a value that is not finite (element 255)");
    w->convolutions[14].beta[255] = 0;
    w->convolutions[7].weight[100] = INFINITY;
    refuse(&good, "tensor layer2.0.downsample.0.weight holds a value that is not finite (element 100)");
    w->convolutions[7].weight[100] = 0;
    w->convolutions[0].running_variance[1] = -1e-3f;
    refuse(&good, "tensor bn1.running_var holds a variance below 0 (element 1)");
    dcam_trunk_weights_destroy(w);
    assert_int_equal(dcam_memory_held(), held);
}

static void prefixes_in_a_model_file(void **state)
{
    (void)state;
    char *path = in_folder("model.safetensors");
    dcam_trunk_weights *teacher = formula_weights(true), *student = formula_weights(false), *read = NULL;
    dcam_tensor_writer *writer;
    dcam_tensors *t;
    float extra = 1;
    assert_int_equal(dcam_tensor_writer_create(&writer), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_add(teacher, "teacher.", writer), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_add(student, "student.", writer), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(writer, "attention.0.weight", DCAM_F32, 0, NULL, &extra), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(writer, path), DCAM_OK);
    assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);
    const dcam_architecture *a = dcam_architecture_find(NULL);
    assert_int_equal(dcam_trunk_weights_read(t, "teacher.", a, &read), DCAM_OK);
    assert_true(read->folded);
    assert_memory_equal(read->values, teacher->values, teacher->value_count * sizeof(float));
    dcam_trunk_weights_destroy(read);
    assert_int_equal(dcam_trunk_weights_read(t, "student.", a, &read), DCAM_OK);
    assert_false(read->folded);
    assert_memory_equal(read->values, student->values, student->value_count * sizeof(float));
    dcam_trunk_weights_destroy(read);
    read = NULL;
    assert_int_equal(dcam_trunk_weights_read(t, "pupil.", a, &read), DCAM_ERROR_WEIGHTS);
    assert_said("tensor pupil.conv1.weight is missing");
    assert_null(read);
    dcam_tensors_destroy(t);
    dcam_tensor_writer_destroy(writer);
    dcam_trunk_weights_destroy(teacher);
    dcam_trunk_weights_destroy(student);
    dcam_free(path);
}

static void every_allocation_fails(void **state)
{
    (void)state;
    dcam_trunk_weights *w = NULL;
    EVERY_ALLOCATION(a, dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), 1, &w)) {
        assert_true(a.passed ? a.n == 6 : w == NULL);
        dcam_trunk_weights_destroy(w);
        w = NULL;
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"names.safetensors", "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = in_folder(names[i]);
        unlink(path);
        dcam_free(path);
    }
    return rmdir(folder); /* fails if a temporary file was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_shapes_are_torchvisions),
        cmocka_unit_test(geometry),
        cmocka_unit_test(one_flat_array),
        cmocka_unit_test(folding),
        cmocka_unit_test(student_start),
        cmocka_unit_test(random_teacher),
        cmocka_unit_test(read_both_kinds),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(prefixes_in_a_model_file),
        cmocka_unit_test(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
