/* fuzz.h - one target for each reader of bytes from outside. A target takes any bytes and must come back: no crash, no
 * leak, no hang, no memory beyond the readers' limits. Linked with libFuzzer (DCAM_FUZZ, clang), or with replay.c, which
 * goes through the seeds and a fixed number of changes of each in every `make test`. */
#ifndef DCAM_TESTS_FUZZ_H
#define DCAM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Inputs that the subject took as sound. A target that counts none does not reach what it is for; replay.c fails it. */
long fuzz_accepted __attribute__((weak));

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#endif
