/* model_lines.h - a model file behind its container, as lines of text, so that changes meet the JSON itself and not its
 * escaped form in a header; the header is safetensors' target.
 *   KEY=TEXT                     metadata
 *   @NAME SIDE ... : FIRST STEP  a tensor; its values rise from FIRST by STEP
 * The two trunks, eleven megabytes each, are always there and sound: the linker puts functions of model_lines.c in the
 * place of those that read and destroy them (--wrap). */
#ifndef DCAM_TESTS_MODEL_LINES_H
#define DCAM_TESTS_MODEL_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "detect/model.h"

/* Reads a model from the bytes and, if they are one, gives it to use. Aborts where memory is held afterwards that was not
 * before; the first call keeps the trunks for good. */
void fuzz_model_lines(const uint8_t *bytes, size_t count, void (*use)(const dcam_model *model));

#endif
