/* tensors.h - named tensors read from a weights file, whatever its format: safetensors
 * (https://huggingface.co/docs/safetensors) or torchvision's .pth (zip + pickle, read by a restricted
 * interpreter that executes nothing). */
#ifndef DCAM_WEIGHTS_TENSORS_H
#define DCAM_WEIGHTS_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"

#define DCAM_MAX_RANK 8
#define DCAM_MAX_WEIGHTS_BYTES ((size_t)2 * 1024 * 1024 * 1024)
#define DCAM_MAX_HEADER_BYTES ((size_t)16 * 1024 * 1024)
#define DCAM_MAX_TENSORS 65536
/* Texts beside the tensors; a model file has about twenty. */
#define DCAM_MAX_METADATA 4096

typedef enum { DCAM_F32, DCAM_F16, DCAM_BF16, DCAM_I64, DCAM_I32, DCAM_I8, DCAM_U8, DCAM_F64 } dcam_dtype;
size_t dcam_dtype_bytes(dcam_dtype type);

typedef struct {
    const char *name;
    dcam_dtype type;
    int rank;
    size_t shape[DCAM_MAX_RANK];
    size_t count;      /* elements */
    const void *data;  /* little endian, C order; may be unaligned */
} dcam_tensor;

typedef struct dcam_tensors dcam_tensors;

/* Chooses the reader by content. Every message names the file and the tensor. */
DCAM_MUST_CHECK dcam_status dcam_tensors_open(const char *path, dcam_tensors **out);
/* From memory (copied); name is for messages. */
DCAM_MUST_CHECK dcam_status dcam_safetensors_parse(const uint8_t *bytes, size_t count, const char *name, dcam_tensors **out);
DCAM_MUST_CHECK dcam_status dcam_pth_parse(const uint8_t *bytes, size_t count, const char *name, dcam_tensors **out);
void dcam_tensors_destroy(dcam_tensors *tensors);

size_t dcam_tensors_count(const dcam_tensors *tensors);
const dcam_tensor *dcam_tensors_at(const dcam_tensors *tensors, size_t i);
/* NULL if absent. */
const dcam_tensor *dcam_tensors_find(const dcam_tensors *tensors, const char *name);
/* __metadata__ of a safetensors file; NULL if absent. */
const char *dcam_tensors_metadata(const dcam_tensors *tensors, const char *key);
size_t dcam_tensors_metadata_count(const dcam_tensors *tensors);
const char *dcam_tensors_metadata_key(const dcam_tensors *tensors, size_t i);
const char *dcam_tensors_metadata_value(const dcam_tensors *tensors, size_t i);
const char *dcam_tensors_path(const dcam_tensors *tensors);

/* The tensor with exactly this shape as f32 (f16, bf16, f64 converted) into out[count]; missing, misshapen
 * and non-finite values are errors that name file, tensor, what was wanted and what was found. */
DCAM_MUST_CHECK dcam_status dcam_tensors_read_f32(const dcam_tensors *tensors, const char *name, int rank,
                                                  const size_t *shape, float *out);

/* Writing: collected, then written in one atomic go, tensors in the order added, header padded with spaces
 * to a multiple of 8. */
typedef struct dcam_tensor_writer dcam_tensor_writer;
DCAM_MUST_CHECK dcam_status dcam_tensor_writer_create(dcam_tensor_writer **out);
/* data is borrowed until the file is written; name is copied. */
DCAM_MUST_CHECK dcam_status dcam_tensor_writer_add(dcam_tensor_writer *w, const char *name, dcam_dtype type, int rank,
                                                   const size_t *shape, const void *data);
DCAM_MUST_CHECK dcam_status dcam_tensor_writer_metadata(dcam_tensor_writer *w, const char *key, const char *value);
DCAM_MUST_CHECK dcam_status dcam_tensor_writer_save(dcam_tensor_writer *w, const char *path);
/* The same into a file of the caller's, who commits it; path is for messages. */
DCAM_MUST_CHECK dcam_status dcam_tensor_writer_put(dcam_tensor_writer *w, const char *path, dcam_writer *file);
void dcam_tensor_writer_destroy(dcam_tensor_writer *w);

/* bf16 <-> f32, round to nearest even. */
static inline uint16_t dcam_bf16_from_f32(float f)
{
    union { float f; uint32_t u; } v = {f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((v.u >> 16) | 0x40u);
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}
static inline float dcam_f32_from_bf16(uint16_t b)
{
    union { uint32_t u; float f; } v = {(uint32_t)b << 16};
    return v.f;
}

#endif
