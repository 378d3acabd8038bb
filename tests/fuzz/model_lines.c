/* model_lines.c - lines of text to the tensors and metadata of a model file. */
#include "model_lines.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "detect/model_format.h"
#include "weights/store.h"

/* Of all tensors of an input; more takes time and shows nothing new. */
#define MAX_VALUES ((size_t)1 << 18)

static dcam_trunk_weights *teacher, *student;

dcam_status __wrap_dcam_trunk_weights_read(const dcam_tensors *tensors, const char *prefix, const dcam_architecture *a,
                                           dcam_trunk_weights **out);
dcam_status __wrap_dcam_trunk_weights_read(const dcam_tensors *tensors, const char *prefix, const dcam_architecture *a,
                                           dcam_trunk_weights **out)
{
    (void)tensors, (void)a;
    *out = prefix[0] == 't' ? teacher : student;
    return DCAM_OK;
}

void __wrap_dcam_trunk_weights_destroy(dcam_trunk_weights *w);
void __wrap_dcam_trunk_weights_destroy(dcam_trunk_weights *w) { (void)w; }

static dcam_status add_tensor(dcam_tensors *s, char *line, size_t *left)
{
    char *end;
    const size_t name = strcspn(line, " ");
    dcam_tensor t = {.type = DCAM_F32, .count = 1};
    float *values;
    char *at = line + name;
    while (t.rank < 4 && *at == ' ' && at[1] >= '0' && at[1] <= '9') {
        t.shape[t.rank] = strtoull(at, &at, 10);
        if (!dcam_size_mul(t.count, t.shape[t.rank++], &t.count)) return DCAM_ERROR_DATA;
    }
    if (t.count > *left) return DCAM_ERROR_DATA;
    at += strspn(at, " :");
    const double first = strtod(at, &end), step = strtod(end, NULL);
    *left -= t.count;
    DCAM_TRY(dcam_alloc(t.count, sizeof *values, &values));
    /* What does not fit becomes infinity; the conversion itself would not be defined. */
    for (size_t i = 0; i < t.count; i++) {
        const double v = first + (double)i * step;
        values[i] = fabs(v) <= 3.4e38 ? (float)v : isnan(v) ? NAN : INFINITY;
    }
    t.data = values;
    const dcam_status status = dcam_store_keep(s, values);
    if (status != DCAM_OK) {
        dcam_free(values);
        return status;
    }
    return dcam_store_add(s, line, name, &t);
}

static dcam_status fill(dcam_tensors *s, char *text)
{
    size_t left = MAX_VALUES;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *equals = strchr(line, '=');
        if (line[0] == '@') {
            DCAM_TRY(add_tensor(s, line + 1, &left));
        } else if (equals) {
            *equals = '\0';
            DCAM_TRY(dcam_store_add_metadata(s, line, equals + 1));
        }
    }
    return dcam_store_finish(s);
}

void fuzz_model_lines(const uint8_t *bytes, size_t count, void (*use)(const dcam_model *model))
{
    dcam_tensors *s;
    dcam_model *m;
    if (!teacher && (dcam_trunk_weights_create(dcam_architecture_find(NULL), true, &teacher) != DCAM_OK ||
                     dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &student) != DCAM_OK))
        abort();
    const size_t before = dcam_memory_held();
    char *text = malloc(count + 1);
    if (!text) return;
    if (count > 0) memcpy(text, bytes, count);
    text[count] = '\0';
    if (dcam_store_create("fuzz", &s) == DCAM_OK) {
        if (fill(s, text) == DCAM_OK && dcam_model_read(s, "fuzz", &m) == DCAM_OK) {
            use(m);
            dcam_model_destroy(m);
        }
        dcam_tensors_destroy(s);
    }
    free(text);
    if (dcam_memory_held() != before) abort();
}
