/* teacher.c - trunk weights in files: reading them under torchvision's names (batch norm separate or folded), adding
 * them to a file being written, and opening and importing teachers. A file is believed only after every tensor of
 * the trunk was found with its shape and finite values, and nothing unknown beside them. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "weights/store.h"
#include "weights/trunk.h"

/* Prefix + module path + ".running_mean" fits with room. */
#define NAME_BYTES 256
/* Of a teacher's file, in what a model tells of it. */
#define DESCRIBED_NAME_BYTES 180

/* One tensor of a convolution and its batch norm. */
typedef struct {
    char name[NAME_BYTES]; /* without the prefix */
    int rank;
    size_t shape[4];
    float *values;
} part;

static void set_part(part *p, const char *module, const char *leaf, int out_channels, float *values)
{
    snprintf(p->name, sizeof p->name, "%s.%s", module, leaf);
    p->rank = 1;
    p->shape[0] = (size_t)out_channels;
    p->values = values;
}

/* The tensors of convolution i as torchvision names them. Returns the count: 2 folded, else 5. */
static int list_parts(const dcam_trunk_weights *w, int i, part out[5])
{
    const dcam_convolution_shape *s = &w->shapes[i];
    const dcam_convolution_weights *c = &w->convolutions[i];
    set_part(&out[0], s->name, "weight", s->out_channels, c->weight);
    out[0].rank = 4;
    out[0].shape[1] = (size_t)s->in_channels;
    out[0].shape[2] = out[0].shape[3] = (size_t)s->kernel;
    if (w->folded) {
        set_part(&out[1], s->name, "bias", s->out_channels, c->bias);
        return 2;
    }
    set_part(&out[1], s->norm_name, "weight", s->out_channels, c->gamma);
    set_part(&out[2], s->norm_name, "bias", s->out_channels, c->beta);
    set_part(&out[3], s->norm_name, "running_mean", s->out_channels, c->running_mean);
    set_part(&out[4], s->norm_name, "running_var", s->out_channels, c->running_variance);
    return 5;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What a whole ResNet has and the trunk does not need. */
static bool is_ignored(const char *name)
{
    return strncmp(name, "layer4.", 7) == 0 || strncmp(name, "fc.", 3) == 0 || ends_with(name, ".num_batches_tracked");
}

static bool is_expected(const dcam_trunk_weights *w, const char *name)
{
    part parts[5];
    for (int i = 0; i < w->convolution_count; i++) {
        int n = list_parts(w, i, parts);
        for (int k = 0; k < n; k++)
            if (strcmp(parts[k].name, name) == 0) return true;
    }
    return false;
}

static dcam_status refuse_extra(const dcam_tensors *tensors, const char *prefix, const dcam_trunk_weights *w)
{
    for (size_t i = 0; i < dcam_tensors_count(tensors); i++) {
        const char *name = dcam_tensors_at(tensors, i)->name;
        if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
        name += strlen(prefix);
        if (is_ignored(name) || is_expected(w, name)) continue;
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s does not belong to a %s%s; a torchvision state dict of it "
                                             "is wanted",
                         dcam_tensors_path(tensors), dcam_tensors_at(tensors, i)->name, w->architecture->name,
                         w->folded ? " with folded batch norm (conv1.bias is there)" : "");
    }
    return DCAM_OK;
}

/* Says what is wrong with the file as a whole before a single tensor is blamed. */
static dcam_status check_first_layer(const dcam_tensors *tensors, const char *prefix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sconv1.weight", prefix);
    if (dcam_tensors_find(tensors, name)) return DCAM_OK;
    const char *hint = "a torchvision ResNet state dict is wanted";
    if (dcam_tensors_find(tensors, "student.conv1.weight"))
        hint = "this is a model file of dcam, where weights of a plain network are wanted";
    else if (dcam_tensors_find(tensors, "module.conv1.weight"))
        hint = "its names begin with module. (DataParallel); save model.module.state_dict()";
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s is missing; %s", dcam_tensors_path(tensors), name, hint);
}

static dcam_status read_convolution(const dcam_tensors *tensors, const char *prefix, dcam_trunk_weights *w, int i)
{
    part parts[5];
    char name[2 * NAME_BYTES];
    int n = list_parts(w, i, parts);
    for (int k = 0; k < n; k++) {
        snprintf(name, sizeof name, "%.224s%.255s", prefix, parts[k].name);
        DCAM_TRY(dcam_tensors_read_f32(tensors, name, parts[k].rank, parts[k].shape, parts[k].values));
    }
    if (w->folded) return DCAM_OK;
    for (int c = 0; c < w->shapes[i].out_channels; c++)
        if (w->convolutions[i].running_variance[c] < 0)
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s holds a variance below 0 (element %d)",
                             dcam_tensors_path(tensors), name, c);
    return DCAM_OK;
}

dcam_status dcam_trunk_weights_read(const dcam_tensors *tensors, const char *prefix, const dcam_architecture *a,
                                    dcam_trunk_weights **out)
{
    dcam_trunk_weights *w = NULL;
    char name[NAME_BYTES];
    if (strlen(prefix) > NAME_BYTES - 32) return dcam_fail(DCAM_ERROR_USAGE, "the prefix %.40s... is too long", prefix);
    DCAM_TRY(check_first_layer(tensors, prefix));
    snprintf(name, sizeof name, "%sconv1.bias", prefix);
    DCAM_TRY(dcam_trunk_weights_create(a, dcam_tensors_find(tensors, name) != NULL, &w));
    dcam_status status = DCAM_OK;
    for (int i = 0; i < w->convolution_count && status == DCAM_OK; i++)
        status = read_convolution(tensors, prefix, w, i);
    if (status == DCAM_OK) status = refuse_extra(tensors, prefix, w);
    if (status != DCAM_OK) {
        dcam_trunk_weights_destroy(w);
        return status;
    }
    *out = w;
    return DCAM_OK;
}

dcam_status dcam_trunk_weights_add(const dcam_trunk_weights *w, const char *prefix, dcam_tensor_writer *writer)
{
    part parts[5];
    char name[2 * NAME_BYTES];
    for (int i = 0; i < w->convolution_count; i++) {
        int n = list_parts(w, i, parts);
        for (int k = 0; k < n; k++) {
            snprintf(name, sizeof name, "%.224s%.255s", prefix, parts[k].name);
            DCAM_TRY(dcam_tensor_writer_add(writer, name, DCAM_F32, parts[k].rank, parts[k].shape, parts[k].values));
        }
    }
    return DCAM_OK;
}

static dcam_status add_teacher_metadata(dcam_tensor_writer *writer, const dcam_trunk_weights *w, const char *source)
{
    const char *const metadata[][2] = {{"format", "pt"},
                                       {"dcam", "teacher"},
                                       {"arch", w->architecture->name},
                                       {"layers", "conv1..layer3"},
                                       {"batchnorm", "folded into conv weight and bias (eval mode, eps 1e-5)"},
                                       {"source", source}};
    for (size_t i = 0; i < sizeof metadata / sizeof metadata[0]; i++)
        DCAM_TRY(dcam_tensor_writer_metadata(writer, metadata[i][0], metadata[i][1]));
    return DCAM_OK;
}

/* Kernels as bf16, biases as f32: a bias is one number for thousands of products. kernels: room for all of them. */
static dcam_status add_compact(const dcam_trunk_weights *w, uint16_t *kernels, dcam_tensor_writer *writer)
{
    part parts[5];
    for (int i = 0; i < w->convolution_count; i++) {
        const size_t count = w->shapes[i].weight_count;
        (void)list_parts(w, i, parts);
        for (size_t k = 0; k < count; k++) kernels[k] = dcam_bf16_from_f32(parts[0].values[k]);
        DCAM_TRY(dcam_tensor_writer_add(writer, parts[0].name, DCAM_BF16, parts[0].rank, parts[0].shape, kernels));
        DCAM_TRY(dcam_tensor_writer_add(writer, parts[1].name, DCAM_F32, parts[1].rank, parts[1].shape, parts[1].values));
        kernels += count;
    }
    return DCAM_OK;
}

dcam_status dcam_teacher_save_compact(const dcam_trunk_weights *weights, const char *source, const char *record, const char *path)
{
    dcam_trunk_weights *w = NULL;
    dcam_tensor_writer *writer = NULL;
    uint16_t *kernels = NULL;
    dcam_status status = dcam_trunk_weights_fold(weights, &w);
    if (status == DCAM_OK) status = dcam_alloc(w->value_count, sizeof *kernels, &kernels);
    if (status == DCAM_OK) status = dcam_tensor_writer_create(&writer);
    if (status == DCAM_OK) status = add_teacher_metadata(writer, w, source);
    if (status == DCAM_OK) status = dcam_tensor_writer_metadata(writer, "record", record);
    if (status == DCAM_OK) status = add_compact(w, kernels, writer);
    if (status == DCAM_OK) status = dcam_tensor_writer_save(writer, path);
    dcam_tensor_writer_destroy(writer);
    dcam_free(kernels);
    dcam_trunk_weights_destroy(w);
    return status;
}

/* "NAME sha256:DIGITS". A file's name may be of any bytes, the text in a model only plain UTF-8 (detect/model.c): what is no
 * UTF-8 or a control becomes U+FFFD. The name is shortened, between two characters, so that the digits always fit. */
static void describe(const char *path, const char digits[DCAM_SHA256_HEX], char description[256])
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t used = 0;
    while (*name) {
        uint32_t code;
        const size_t n = dcam_utf8_character(name, &code);
        const bool plain = n > 0 && !dcam_utf8_is_control(code);
        const char *text = plain ? name : DCAM_UTF8_REPLACEMENT;
        const size_t bytes = plain ? n : strlen(DCAM_UTF8_REPLACEMENT);
        if (used + bytes > DESCRIBED_NAME_BYTES) break;
        memcpy(description + used, text, bytes);
        used += bytes;
        name += n ? n : 1;
    }
    snprintf(description + used, 256 - used, " sha256:%s", digits);
}

/* What the files of `dcam pretrain` and `dcam teacher import` say of their source; of other files NULL. */
static const char *stated_source(const dcam_tensors *tensors)
{
    const char *kind = dcam_tensors_metadata(tensors, "dcam");
    return kind && strcmp(kind, "teacher") == 0 ? dcam_tensors_metadata(tensors, "source") : NULL;
}

static bool made_without_photographs(const dcam_tensors *tensors)
{
    static const char *const sources[] = {DCAM_PRETRAIN_SOURCE, DCAM_EMBEDDED_TEACHER " ", "random:"};
    const char *source = stated_source(tensors);
    if (!source) return false;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        if (strncmp(source, sources[i], strlen(sources[i])) == 0) return true;
    return false;
}

/* Checks and folds. */
static dcam_status read_folded(const char *path, const dcam_tensors *tensors, dcam_trunk_weights **out)
{
    dcam_trunk_weights *read = NULL;
    DCAM_TRY(dcam_trunk_weights_read(tensors, "", dcam_architecture_find(NULL), &read));
    const dcam_status status = dcam_trunk_weights_fold(read, out);
    dcam_trunk_weights_destroy(read);
    if (status == DCAM_OK) (*out)->no_photographs = made_without_photographs(tensors);
    return status == DCAM_ERROR_WEIGHTS ? dcam_fail_prefix(status, "%s", path) : status;
}

/* The file is read once: digits are those of the very bytes that the weights come from. wanted: what they must be, or
 * NULL; others are no weights to look at. *source: as stated_source, from dcam_alloc; may be NULL. */
static dcam_status open_summed(const char *path, const char *wanted, dcam_trunk_weights **out,
                               char digits[DCAM_SHA256_HEX], char **source)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    dcam_tensors *tensors = NULL;
    DCAM_TRY(dcam_file_read(path, DCAM_MAX_WEIGHTS_BYTES, &bytes, &count));
    dcam_sha256_of(bytes, count, digits);
    if (wanted && strcmp(digits, wanted) != 0) {
        dcam_free(bytes);
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: its SHA-256 is %s, not %s", path, digits, wanted);
    }
    dcam_status status = dcam_tensors_take(path, bytes, count, &tensors);
    if (status == DCAM_OK && source && stated_source(tensors)) status = dcam_copy_string(stated_source(tensors), source);
    if (status == DCAM_OK) status = read_folded(path, tensors, out);
    if (status != DCAM_OK && source) {
        dcam_free(*source);
        *source = NULL;
    }
    dcam_tensors_destroy(tensors);
    return status;
}

static dcam_status open_file(const char *path, dcam_trunk_weights **out, char description[256], char **source)
{
    char digits[DCAM_SHA256_HEX];
    DCAM_TRY(open_summed(path, NULL, out, digits, source));
    describe(path, digits, description);
    return DCAM_OK;
}

static dcam_status open_embedded(dcam_trunk_weights **out, char description[256])
{
    size_t count;
    const uint8_t *bytes = dcam_embedded_teacher(&count);
    dcam_tensors *tensors = NULL;
    dcam_status status = dcam_safetensors_parse(bytes, count, DCAM_EMBEDDED_TEACHER, &tensors);
    if (status == DCAM_OK) status = read_folded(DCAM_EMBEDDED_TEACHER, tensors, out);
    char digits[DCAM_SHA256_HEX];
    dcam_sha256_of(bytes, count, digits);
    if (status == DCAM_OK) describe(DCAM_EMBEDDED_TEACHER, digits, description);
    dcam_tensors_destroy(tensors);
    return status;
}

/* Decimal digits only, up to 2^64 - 1. */
static bool read_seed(const char *text, uint64_t *out)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    unsigned long long n = strtoull(text, NULL, 10);
    if (errno != 0) return false;
    *out = n;
    return true;
}

static dcam_status open_teacher(const char *name, dcam_trunk_weights **out, char description[256], char **source)
{
    uint64_t seed;
    if (!name || strcmp(name, DCAM_EMBEDDED_TEACHER) == 0) return open_embedded(out, description);
    if (strcmp(name, "random") != 0 && strncmp(name, "random:", 7) != 0)
        return open_file(name, out, description, source);
    if (name[6] != ':' || !read_seed(name + 7, &seed))
        return dcam_fail(DCAM_ERROR_USAGE, "teacher %.60s: a random teacher is given as random:SEED, SEED a whole "
                                           "number, as in random:1",
                         name);
    DCAM_TRY(dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), seed, out));
    (*out)->no_photographs = true;
    snprintf(description, 256, "random:%llu", (unsigned long long)seed);
    return DCAM_OK;
}

dcam_status dcam_teacher_open(const char *name, dcam_trunk_weights **out, char description[256])
{
    return open_teacher(name, out, description, NULL);
}

/* Takes w. */
static dcam_status save_teacher(dcam_trunk_weights *w, const char *source, const char *to)
{
    dcam_tensor_writer *writer = NULL;
    dcam_status status = dcam_tensor_writer_create(&writer);
    if (status == DCAM_OK) status = add_teacher_metadata(writer, w, source);
    if (status == DCAM_OK) status = dcam_trunk_weights_add(w, "", writer);
    if (status == DCAM_OK) status = dcam_tensor_writer_save(writer, to);
    dcam_tensor_writer_destroy(writer);
    dcam_trunk_weights_destroy(w);
    return status;
}

dcam_status dcam_teacher_import_file(const char *from, const char *to)
{
    char description[256], *source = NULL;
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(open_teacher(from, &w, description, &source));
    /* Of a teacher file where its weights came from, not that it was copied: the memory's weight hangs on it. */
    const dcam_status status = save_teacher(w, source ? source : description, to);
    dcam_free(source);
    return status;
}

dcam_status dcam_teacher_import_summed(const char *from, const char *sha256, const char *to, bool *is_other)
{
    char description[256], digits[DCAM_SHA256_HEX] = "", *source = NULL;
    dcam_trunk_weights *w = NULL;
    dcam_status status = open_summed(from, sha256, &w, digits, &source);
    *is_other = digits[0] != '\0' && strcmp(digits, sha256) != 0;
    if (status != DCAM_OK) return status;
    describe(from, digits, description);
    status = save_teacher(w, source ? source : description, to);
    dcam_free(source);
    return status;
}
