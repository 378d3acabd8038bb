/* doctor.c - dcam_doctor: facts about the machine and the libraries as JSON, and the check of all kernels (net/check.h).
 * It reads, and writes nothing. */
#define _DEFAULT_SOURCE /* strsep */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "api/detector.h"
#include "base/amx.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "image/image.h"
#include "net/check.h"
#include "nn/nn.h"
#include "weights/json_text.h"

#define DEFAULT_SIDE 256
/* Of a result of a million values: enough to meet every lane and border many times, and done in a second or two. */
#define SAMPLES 1000
#define MAX_LIBRARIES 8

/* ---- facts --------------------------------------------------------------- */

/* The first "model name" of /proc/cpuinfo; "unknown" elsewhere. */
static const char *processor_name(char *text, size_t capacity)
{
    if (!dcam_system_text("/proc/cpuinfo", text, capacity)) return "unknown";
    for (char *line; (line = strsep(&text, "\n"));) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", strlen("model name")) == 0) return colon + 1 + strspn(colon + 1, " ");
    }
    return "unknown";
}

static json_t *describe_processor(void)
{
    char text[4096]; /* of which the first processor's name is in the first lines */
    return json_pack("{s:s, s:s, s:s, s:s?, s:b, s:i, s:i}", "name", processor_name(text, sizeof text), "onednn_isa",
                     dcam_nn_library_isa(), "own_isa", dcam_nn_own_isa(), "amx_refused", dcam_amx_refusal(), "sha_instructions", dcam_sha256_accelerated(),
                     "cores", dcam_available_cores(), "threads", dcam_threads());
}

/* null for 0: not known, or no limit. */
static json_t *bytes_or_null(size_t bytes) { return bytes ? json_integer((json_int_t)bytes) : json_null(); }

static json_t *describe_memory(void)
{
    return json_pack("{s:o, s:o, s:o}", "machine_bytes", bytes_or_null(dcam_physical_memory()), "limit_bytes",
                     bytes_or_null(dcam_memory_limit()), "usable_bytes", bytes_or_null(dcam_machine_memory()));
}

static json_t *describe_precision(void)
{
    const bool bf16 = dcam_nn_fast_bf16();
    return json_pack("{s:s, s:s, s:b, s:b, s:b}", "auto", bf16 ? "bf16" : "f32", "reason",
                     bf16 ? "the processor multiplies bf16 (AVX512-BF16 or AMX) faster than f32"
                          : "the processor has no instructions for bf16 (AVX512-BF16, AMX) that oneDNN may use",
                     "detection_bf16", bf16, "detection_int8", true, "training_bf16", dcam_nn_bf16_products() || dcam_nn_bf16_maps());
}

static json_t *describe_libraries(void)
{
    char version[48];
    dcam_image_library codecs[MAX_LIBRARIES];
    json_t *all = json_pack("[{s:s, s:s, s:s}, {s:s, s:s}]", "name", "oneDNN", "version",
                            dcam_nn_library_version(version, sizeof version), "threads", dcam_nn_library_threading(),
                            "name", "jansson", "version", jansson_version_str());
    const int count = dcam_image_libraries(codecs, MAX_LIBRARIES);
    for (int i = 0; all && i < count; i++)
        if (json_array_append_new(all, json_pack("{s:s, s:s}", "name", codecs[i].name, "version", codecs[i].version)) != 0) {
            json_decref(all);
            return NULL;
        }
    return all;
}

static json_t *describe_limits(void)
{
    struct rlimit files;
    const bool known = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY;
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "open_files",
                     known ? json_integer((json_int_t)files.rlim_cur) : json_null(), "image_side", (json_int_t)DCAM_MAX_IMAGE_SIDE, "image_pixels", (json_int_t)DCAM_MAX_IMAGE_PIXELS,
                     "image_file_bytes", (json_int_t)DCAM_MAX_IMAGE_FILE_BYTES, "weights_file_bytes",
                     (json_int_t)DCAM_MAX_WEIGHTS_BYTES, "classes", (json_int_t)DCAM_MAX_CLASSES, "input_side",
                     (json_int_t)DCAM_MAX_INPUT_SIDE);
}

static json_t *describe_disk(const char *folder)
{
    struct statvfs disk;
    const bool known = statvfs(folder, &disk) == 0;
    const uint64_t free_bytes = known ? (uint64_t)disk.f_bavail * disk.f_frsize : 0;
    return json_pack("{s:o, s:o, s:b}", "folder", dcam_json_any_text(folder), "free_bytes",
                     known ? json_integer((json_int_t)free_bytes) : json_null(), "read_only",
                     known && (disk.f_flag & ST_RDONLY) != 0);
}

static dcam_status describe_machine(const char *folder, char **out)
{
    json_t *machine = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "dcam", dcam_version(), "processor",
                                describe_processor(), "memory", describe_memory(), "precision", describe_precision(),
                                "libraries", describe_libraries(), "limits", describe_limits(), "disk",
                                describe_disk(folder));
    return dcam_json_text(machine, "the description of the machine", out);
}

/* ---- kernels ------------------------------------------------------------- */

static void pass_on(void *user, const net_check_result *r)
{
    const dcam_doctor_options *o = user;
    const dcam_doctor_check check = {.pass = r->pass, .precision = r->precision, .part = r->part, .shape = r->shape,
                                     .kernel = r->kernel, .error = r->error, .bound = r->bound,
                                     .milliseconds = 1e3 * r->seconds, .right = r->right};
    o->on_check(o->user, &check);
}

static dcam_status check_kernels(net_check *check)
{
    DCAM_TRY(net_check_detection(check, DCAM_NET_F32));
    if (dcam_nn_fast_bf16()) DCAM_TRY(net_check_detection(check, DCAM_NET_BF16));
    DCAM_TRY(net_check_detection(check, DCAM_NET_INT8));
    DCAM_TRY(net_check_training(check, DCAM_NET_F32));
    if (dcam_nn_bf16_products() || dcam_nn_bf16_maps()) DCAM_TRY(net_check_training(check, DCAM_NET_BF16));
    return DCAM_OK;
}

dcam_status dcam_check_kernels(dcam_net_precision precision) { return net_check_before_detection(precision); }

dcam_status dcam_doctor(const dcam_doctor_options *options, size_t *checks, size_t *wrong, char **machine)
{
    dcam_doctor_options o = options ? *options : (dcam_doctor_options){0};
    if (!checks || !wrong || !machine) return dcam_fail(DCAM_ERROR_USAGE, "doctor: nowhere to put the findings");
    DCAM_TRY(dcam_check_threads(o.threads));
    if (o.width > DCAM_MAX_INPUT_SIDE || o.height > DCAM_MAX_INPUT_SIDE)
        return dcam_fail(DCAM_ERROR_USAGE, "an input of %d x %d; at most %d a side", o.width, o.height, DCAM_MAX_INPUT_SIDE);
    net_check check = {.width = o.width ? o.width : DEFAULT_SIDE, .height = o.height ? o.height : DEFAULT_SIDE,
                       .samples = SAMPLES, .see = o.on_check ? pass_on : NULL, .user = &o};
    const int threads = dcam_swap_threads(o.threads);
    dcam_status status = check_kernels(&check);
    if (status == DCAM_OK) status = describe_machine(o.folder ? o.folder : ".", machine);
    dcam_set_threads(threads);
    DCAM_TRY(status);
    *checks = check.checks;
    *wrong = check.wrong;
    return DCAM_OK;
}
