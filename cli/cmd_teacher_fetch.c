/* cmd_teacher_fetch.c - dcam teacher fetch: the published ImageNet weights, checked by their SHA-256 and imported. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "dcam.h"
#include "fetch.h"
#include "files.h"
#include "output.h"
#include "weights/trunk.h"

/* torchvision's ResNet18_Weights.IMAGENET1K_V1. Its file's name holds the first eight digits of the hash. */
#define OFFICIAL_URL "https://download.pytorch.org/models/resnet18-f37072fd.pth"
#define OFFICIAL_SHA256 "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"
#define SHA256_DIGITS 64
#define STALL_SECONDS 60

typedef struct {
    const char *output, *url, *sha256, *proxy;
    int stall;
} fetch_values;

#define AT(member) offsetof(fetch_values, member)

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = AT(output),
     .value_name = "FILE",
     .required = true,
     .help = "the teacher file to write (safetensors)"},
    {.name = "url",
     .kind = CLI_TEXT,
     .offset = AT(url),
     .value_name = "URL",
     .help = "a mirror to fetch from (default: torchvision's own address)"},
    {.name = "sha256",
     .kind = CLI_TEXT,
     .offset = AT(sha256),
     .value_name = "HEX",
     .help = "what the file must hash to (default: that of torchvision's ResNet-18, IMAGENET1K_V1)"},
    {.name = "proxy",
     .kind = CLI_TEXT,
     .offset = AT(proxy),
     .value_name = "URL",
     .help = "proxy to go through (default: none; the environment is not asked)"},
    {.name = "stall",
     .kind = CLI_INT,
     .offset = AT(stall),
     .value_name = "SECONDS",
     .min = 1,
     .max = 3600,
     .help = "gives up after so long below 1 kB/s (default: 60)"},
};

/* 64 hex digits in lower case. */
static bool read_hash(const char *text, char out[SHA256_DIGITS + 1])
{
    if (strlen(text) != SHA256_DIGITS) return false;
    for (size_t i = 0; i <= SHA256_DIGITS; i++) {
        const char c = text[i];
        out[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
        if (i < SHA256_DIGITS && !strchr("0123456789abcdef", out[i])) return false;
    }
    return true;
}

static int fetch_and_import(const fetch_values *values, const char *wanted, const char *part)
{
    const cli_fetch_job job = {.url = values->url ? values->url : OFFICIAL_URL, .part = part, .proxy = values->proxy,
                               .stall_seconds = values->stall ? values->stall : STALL_SECONDS};
    cli_note("fetching %s", job.url);
    cli_catch_interrupts("\nstopping; Ctrl-C again ends at once\n");
    int code = cli_fetch(&job);
    if (code != 0) return code;
    bool is_other;
    const dcam_status status = dcam_teacher_import_summed(part, wanted, values->output, &is_other);
    /* Another file: going on from there would never mend it. */
    if (status == DCAM_OK || is_other) unlink(part);
    if (is_other) {
        cli_error("%s: %s; it was deleted: run again, and if that does not help, do not trust this address", job.url,
                  dcam_error_message());
        return dcam_status_exit_code(status);
    }
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(values->output));
    return 0;
}

static int run(const cli_parsed *parsed)
{
    const fetch_values *values = parsed->values;
    char wanted[SHA256_DIGITS + 1];
    if (!read_hash(values->sha256 ? values->sha256 : OFFICIAL_SHA256, wanted)) {
        cli_error("--sha256 %s: must be 64 hexadecimal digits", values->sha256);
        return CLI_EXIT_USAGE;
    }
    int code = cli_check_writable(values->output);
    if (code != 0) return code;
    const size_t length = strlen(values->output);
    char *part = malloc(length + sizeof ".part");
    if (!part) {
        cli_error("%s: out of memory", values->output);
        return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    memcpy(part, values->output, length);
    memcpy(part + length, ".part", sizeof ".part");
    code = fetch_and_import(values, wanted, part);
    free(part);
    return code;
}

const cli_command cli_teacher_fetch = {
    .name = "teacher fetch",
    .summary = "fetch the published ImageNet weights, check them, write a teacher file",
    .description = "Fetches torchvision's ResNet-18 weights (45 MB), checks their SHA-256 and imports them as 'dcam teacher import' does. "
                   "The only command that uses the network. A fetch that was stopped goes on from FILE.part when the same command is run "
                   "again. The weights were trained on ImageNet, whose images have their own terms: whether you may use them is yours to "
                   "decide.",
    .example = "dcam teacher fetch -o resnet18.safetensors\ndcam teacher fetch -o resnet18.safetensors --url https://mirror.example/resnet18.pth",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(fetch_values),
    .run = run,
};
