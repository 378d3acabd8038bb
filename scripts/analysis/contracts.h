/* contracts.h - included first by the analysers (scripts/check-analysis), which see one file at a time and would think
 * that a failure may be DCAM_OK. The file that defines a function is analysed without its line here. */
#include "base/file.h"
#include "base/status.h"
#include "image/decode.h"

#ifndef ANALYSED_status
#define dcam_fail(status, ...) ((void)dcam_fail((status), __VA_ARGS__), (status))
#define dcam_fail_prefix(status, ...) ((void)dcam_fail_prefix((status), __VA_ARGS__), (status))
#endif
#ifndef ANALYSED_file
#define dcam_system_failure(doing, path) ((void)dcam_system_failure((doing), (path)), DCAM_ERROR_IO)
#endif
#ifndef ANALYSED_decode
#define dcam_damaged(file, kind, reason) ((void)dcam_damaged((file), (kind), (reason)), DCAM_ERROR_IMAGE)
#define dcam_no_memory(file) ((void)dcam_no_memory(file), DCAM_ERROR_MEMORY)
#endif
