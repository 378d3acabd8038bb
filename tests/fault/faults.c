/* faults.c - one command of the tool with each of its calls to the system failing in turn, through shim.c:
 *   faults TOOL SHIM COMMAND [STEP [KIND]]
 * After every run: it ended by itself and in time; the exit code fits the fault; a fault that can be waited out (EINTR, a
 * short read or write) changes nothing; exit 0 means that every output is whole and right; otherwise there is an error
 * line, and under each final name lies what was there before or the whole new file; nothing else stays behind. Killed
 * at a call: the same, but for a temporary file. What is made to be gone on with (a fetch, a training) is gone on with
 * after each failure and then comes to the right end. STEP 1 tries every call, 2 every other, "stacks" every call but of
 * allocations each chain of calls that leads to one, the first, second and last time, 0 (as without) a sample. A command
 * that failed holds no more memory at its end than one that did not. */
#include "process.h"

#include <sys/prctl.h>

#include "base/memory.h"
#include "base/sha256.h"
#include "weights/trunk.h"

#define MAX_FILES 256
/* Of the sample of allocations. */
#define ALLOCATION_PARTS 8
#define TRAINING "train data --teacher teacher --size 32 --epochs 2 --batch 2 --threads 1"
#define PRETRAINING "pretrain --checkpoint-steps 1 --steps 2 --batch 2 --size 32 --classes 4 --threads 1 -q"
/* Of a kind, which the sample takes all of. */
#define FEW_CALLS 3
/* Of the source, what a fetch has got before it was stopped. */
#define PART_BYTES 100000

typedef struct {
    const char *name, *words;
    const char *old[3];     /* files in o/ that are there before */
    const char *given;      /* a file of the root that lies in o/ too, under the same name */
    const char *begun;      /* what is killed when its second checkpoint is about to get its name, `checkpoint` */
    int code;               /* without a fault: 0, or 2 of what is refused, as it would write over what is given */
    bool times;             /* outputs hold seconds: "whole" means that info can read them */
    bool figures;           /* what is printed is measured: only the words are compared */
    bool goes_on;           /* after a failure the same command comes to the right end */
    int few_writes;         /* the writes of one loop: only each such one is tried */
    bool counts_bad_images; /* an image that cannot be read is told and left out: other figures, as many lines */
} scenario;

static const scenario scenarios[] = {
    {.name = "synth", .words = "synth -o o/ds --seed 3 --size 64 --classes 1 --train 1 --test-good 1 --test-defective 1"},
    {.name = "import", .words = "teacher import source -o o/teacher", .old = {"teacher"}},
    {.name = "train",
     .words = TRAINING " -o o/m --checkpoint o/c",
     .old = {"m", "c"}, .times = true},
    {.name = "pretrain",
     .words = PRETRAINING " -o o/t --checkpoint o/c", .old = {"t", "c"}, .times = true},
    {.name = "resume",
     .words = TRAINING " -o o/m --checkpoint o/checkpoint --resume", .old = {"m"}, .given = "checkpoint",
     .begun = TRAINING " -o m0 --checkpoint checkpoint", .times = true, .goes_on = true},
    {.name = "repretrain",
     .words = PRETRAINING " -o o/t --checkpoint o/checkpoint --resume", .old = {"t"}, .given = "checkpoint",
     .begun = PRETRAINING " -o t0 --checkpoint checkpoint", .times = true, .goes_on = true},
    {.name = "calibrate", .words = "calibrate data -m o/model --threads 1 --false-alarm-rate 0.4", .given = "model"},
    {.name = "int8", .words = "calibrate data -m o/model --int8 --threads 1", .given = "model"},
    {.name = "drift", .words = "eval data -m model --drift --json --threads 1"},
    {.name = "fetch", .words = "teacher fetch -o o/teacher --url http://127.0.0.1:PORT/file --sha256 SUM -q", .old = {"teacher"},
     .goes_on = true, .few_writes = 200},
    {.name = "refetch", .words = "teacher fetch -o o/teacher --url http://127.0.0.1:PORT/plain --sha256 SUM -q",
     .given = "teacher.part", .goes_on = true, .few_writes = 200},
    {.name = "eval", .words = "eval data -m model --json --csv o/csv --threads 1", .old = {"csv"},
     .counts_bad_images = true},
    {.name = "detect", .words = "detect data/weave/test -m model -o o/overlays --map-npy o/maps --json --threads 1 --batch 1"},
    {.name = "export", .words = "export -m model --to onnx -o o/onnx", .old = {"onnx"}},
    {.name = "tensors", .words = "export -m model --to safetensors -o o/tensors", .old = {"tensors"}},
    {.name = "report", .words = "eval data -m model --report o/page --threads 1 -q", .counts_bad_images = true, .times = true},
    {.name = "over-photograph", .words = "detect o/photo.png -m model -o o --threads 1", .given = "photo.png", .code = 2},
    {.name = "over-model", .words = "detect photo.png -m o/photo.npy --map-npy o --threads 1", .given = "photo.npy", .code = 2},
    {.name = "over-models", .words = "eval data -m o --csv o/weave.safetensors --resamples 0 --threads 1",
     .given = "weave.safetensors", .code = 2},
    {.name = "info", .words = "info model --json"},
    {.name = "help", .words = "help train"},
    {.name = "doctor", .words = "doctor --json --size 32 --folder o --threads 1", .figures = true},
    {.name = "bench", .words = "bench -m model --seconds 0.01 --batch 1 --json --threads 1", .figures = true},
};

static const struct {
    const char *kind, *errors[6];
} faults[] = {
    {"open", {"EIO", "EINTR", "EMFILE", "EACCES"}},
    {"read", {"EIO", "EINTR", "short"}},
    {"write", {"EIO", "ENOSPC", "EINTR", "short", "kill", "kill-after"}},
    {"print", {"EIO", "ENOSPC", "EINTR", "short", "kill"}},
    {"fsync", {"EIO", "ENOSPC", "EINTR", "kill", "kill-after"}},
    {"rename", {"EIO", "ENOSPC", "EINTR", "kill", "kill-after"}},
    {"close", {"EIO", "ENOSPC", "EINTR", "kill"}},
    {"create", {"EIO", "ENOSPC", "EROFS", "EMFILE", "EINTR", "kill-after"}},
    {"mkdir", {"ENOSPC", "EACCES", "kill-after"}},
    {"stat", {"EIO", "EACCES"}},
    {"opendir", {"EACCES", "EMFILE"}},
    {"readdir", {"EIO"}},
    {"truncate", {"EIO", "EINTR"}},
    {"mmap", {"ENOMEM"}},
    {"alloc", {"ENOMEM", "ENOMEM:from"}},
};

typedef struct {
    char *path;
    uint64_t sum, tensors;
    int lines;
} known_file;

static const scenario *now_running;
static char words[PATH_BYTES]; /* of now_running, with port and sum of what is fetched */
static known_file wanted[MAX_FILES];
static size_t wanted_count;
static char *wanted_text;
static uint64_t old_sum, given_sum, model_sum;
static const char old_text[] = "what was there before";
static long runs, absorbed, blocks_left;
/* Of STACKS. */
static long *to_try;
static size_t to_try_count;

static const char *name_in_outputs(const char *path) { return path + strlen(root) + strlen("/o/"); }

static uint64_t file_sum(const char *path)
{
    size_t n;
    char *bytes = read_file(path, &n);
    if (!bytes) return 0;
    const uint64_t sum = sum_of(bytes, n);
    free(bytes);
    return sum;
}

/* Of the bytes behind the header of a safetensors file. */
static uint64_t tensors_of(const char *path)
{
    size_t n;
    uint64_t length = 0;
    char *bytes = read_file(path, &n);
    if (!bytes) die(path);
    if (n > 8) memcpy(&length, bytes, 8);
    const uint64_t sum = n > 8 && length < n - 8 ? sum_of(bytes + 8 + length, n - 8 - (size_t)length) : 0;
    free(bytes);
    return sum;
}

/* Both in the root. */
static void copy_file(const char *from, const char *folder, const char *name)
{
    char path[PATH_BYTES];
    size_t n;
    at_root(path, from);
    char *bytes = read_file(path, &n);
    if (!bytes) die(path);
    snprintf(path, sizeof path, "%.2000s/%.100s%.100s", root, folder, name);
    write_file(path, bytes, n);
    free(bytes);
}

static void reset_outputs(void)
{
    char path[PATH_BYTES];
    at_root(path, "o");
    remove_tree(path);
    if (mkdir(path, 0777) != 0) die(path);
    for (int i = 0; i < 3 && now_running->old[i]; i++) {
        snprintf(path, sizeof path, "%.2000s/o/%.100s", root, now_running->old[i]);
        write_file(path, old_text, sizeof old_text);
    }
    if (now_running->given) copy_file(now_running->given, "o/", now_running->given);
}

/* What was printed, without the times; of `figures`, without any number. */
static char *printed(void)
{
    static const char *const keys[] = {"\"milliseconds\":", "\"seconds\":"};
    static const char of_numbers[] = "0123456789.e+-";
    char path[PATH_BYTES];
    size_t n;
    at_root(path, "out");
    char *text = read_file(path, &n), *to = text;
    if (!text) die(path);
    for (const char *from = text; *from;) {
        bool time = now_running->figures && *from >= '0' && *from <= '9';
        if (time) from += strspn(from, of_numbers);
        for (int k = 0; k < 2 && !time; k++) {
            if (strncmp(from, keys[k], strlen(keys[k])) != 0) continue;
            from += strlen(keys[k]);
            from += strspn(from, " ");
            from += strspn(from, of_numbers);
            time = true;
        }
        if (!time) *to++ = *from++;
    }
    *to = '\0';
    return text;
}

static bool is_old(const char *name, uint64_t sum)
{
    for (int i = 0; i < 3 && now_running->old[i]; i++)
        if (strcmp(now_running->old[i], name) == 0 && sum == old_sum) return true;
    return now_running->given && strcmp(now_running->given, name) == 0 && sum == given_sum;
}

static int line_count(const char *path)
{
    size_t n;
    int lines = 0;
    char *text = read_file(path, &n);
    for (size_t i = 0; text && i < n; i++) lines += text[i] == '\n';
    const bool whole = text && n > 0 && text[n - 1] == '\n';
    free(text);
    return whole ? lines : -1;
}

/* Whose tensors hold how long it took. */
static bool is_checkpoint(const char *path)
{
    const char *name = name_in_outputs(path);
    return strcmp(name, "c") == 0 || strcmp(name, "checkpoint") == 0;
}

/* A page that is whole ends as pages do. */
static bool is_page(const char *path)
{
    static const char end[] = "</html>\n";
    size_t n;
    char *text = read_file(path, &n);
    const bool whole = text && n > sizeof end && strcmp(text + n + 1 - sizeof end, end) == 0;
    free(text);
    return whole;
}

static bool is_new(const char *path, uint64_t sum, int code)
{
    char look[PATH_BYTES];
    for (size_t i = 0; i < wanted_count; i++) {
        if (strcmp(wanted[i].path, path) != 0) continue;
        if (now_running->counts_bad_images && code == 3 && line_count(path) == wanted[i].lines) return true;
        if (!now_running->times) return wanted[i].sum == sum;
        if (strstr(path, ".html")) return is_page(path);
        if (code == 0 && !is_checkpoint(path) && tensors_of(path) != wanted[i].tensors) return false;
        snprintf(look, sizeof look, "info %.3000s --json", path);
        return sum != old_sum && run_tool(look, NULL).code == 0;
    }
    return false;
}

/* What a fetch keeps, to go on from: the beginning of the file. */
static bool is_part(const char *path)
{
    char from[PATH_BYTES];
    size_t count, all;
    if (!strstr(path, "/o/teacher.part")) return false;
    at_root(from, "source");
    char *bytes = read_file(path, &count), *source = read_file(from, &all);
    const bool same = bytes && source && count <= all && memcmp(bytes, source, count) == 0;
    free(source);
    free(bytes);
    return same;
}

/* NAME.XXXXXX and synth's NAME.partial-XXXXXX: what a process that was killed leaves. */
static bool is_temporary(const char *path)
{
    if (strstr(path, ".partial-")) return true;
    const char *dot = strrchr(path, '.');
    return dot && strlen(dot) == 7 && strspn(dot + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 6;
}

/* Only the cleaning up of a whole data set needs memory. */
static bool may_stay(const char *path, const char *fault, bool killed)
{
    if (killed) return is_temporary(path);
    return strstr(fault, "ENOMEM:from") && strcmp(now_running->name, "synth") == 0 && strstr(path, ".partial-");
}

static void check_files(const char *fault, int code, bool killed)
{
    char *list[MAX_FILES], folder[PATH_BYTES];
    size_t fresh = 0;
    bool seen[3] = {false};
    at_root(folder, "o");
    const size_t count = list_files(folder, list, 0, MAX_FILES);
    for (size_t i = 0; i < count; i++) {
        const uint64_t sum = file_sum(list[i]);
        const bool new = is_new(list[i], sum, code);
        fresh += new;
        for (int k = 0; k < 3 && now_running->old[k]; k++) seen[k] |= strcmp(name_in_outputs(list[i]), now_running->old[k]) == 0;
        const bool kept = code != 0 && (is_old(name_in_outputs(list[i]), sum) || is_part(list[i]));
        if (!new && !kept && !may_stay(list[i], fault, killed))
            COMPLAIN("%s %s: %s is neither the old file nor a whole new one", now_running->name, fault, name_in_outputs(list[i]));
        free(list[i]);
    }
    for (int k = 0; k < 3 && now_running->old[k]; k++)
        if (!seen[k]) COMPLAIN("%s %s: %s was there before and is gone", now_running->name, fault, now_running->old[k]);
    if (code == 0 && fresh != wanted_count)
        COMPLAIN("%s %s: exit 0, but %zu of %zu files are as they should be", now_running->name, fault, fresh, wanted_count);
}

static bool code_fits(const char *error, int code)
{
    if (code == now_running->code) return true; /* a call that does not matter; the outputs are compared */
    if (strcmp(error, "EINTR") == 0 || strcmp(error, "short") == 0) return false;
    if (strncmp(error, "kill", 4) == 0) return code == 128 + SIGKILL;
    if (strcmp(error, "EIO") == 0 || strcmp(error, "EACCES") == 0 || strcmp(error, "EROFS") == 0) return code == 3;
    return code == 5;
}

/* What was kept is enough to come to the right end. */
static void check_going_on(const char *fault, bool killed)
{
    char what[160], path[PATH_BYTES];
    size_t n;
    snprintf(what, sizeof what, "%s, then once more", fault);
    const outcome o = run_tool(words, NULL);
    at_root(path, "err");
    char *said = read_file(path, &n);
    if (o.code != 0) COMPLAIN("%s %s: exit code %d; %.300s", now_running->name, what, o.code, said ? said : "");
    else check_files(what, 0, killed);
    free(said);
}

static void check(const char *fault, const char *error, outcome o)
{
    char path[PATH_BYTES];
    size_t n;
    const bool killed = strncmp(error, "kill", 4) == 0;
    runs++;
    absorbed += o.code == now_running->code;
    at_root(path, "err");
    char *said = read_file(path, &n);
    if (o.how == ENDED_HUNG) COMPLAIN("%s %s: hangs", now_running->name, fault);
    else if (o.how == ENDED_OUTSIDE) COMPLAIN("%s %s: killed from outside, not by this driver", now_running->name, fault);
    else if (!code_fits(error, o.code)) COMPLAIN("%s %s: exit code %d; %.300s", now_running->name, fault, o.code, said ? said : "");
    if (!killed && o.code != 0 && o.code < 128 && (!said || !strstr(said, "dcam: ")))
        COMPLAIN("%s %s: exit code %d without an error line", now_running->name, fault, o.code);
    free(said);
    if (o.code == now_running->code && !killed) {
        char *text = printed();
        if (strcmp(text, wanted_text) != 0) COMPLAIN("%s %s: ended as it should, but the output is not what it should be", now_running->name, fault);
        free(text);
    }
    check_files(fault, o.code, killed);
    if (o.code != 0 && now_running->goes_on) check_going_on(fault, killed);
}

/* A command that failed, too, gives back what one that did not fail gives back. */
static void check_leaks(const char *fault, outcome o)
{
    if (o.code >= 128) return;
    const long left = calls_of("held");
    if (left > blocks_left) COMPLAIN("%s %s: exit code %d, %ld blocks of memory are not given back, %ld are by right", now_running->name, fault, o.code, left, blocks_left);
}

static void try_fault(const char *kind, const char *error, long n)
{
    char fault[128], plain[32];
    const char *colon = strchr(error, ':');
    snprintf(plain, sizeof plain, "%.*s", colon ? (int)(colon - error) : 31, error);
    snprintf(fault, sizeof fault, "%s:%ld:%s", kind, n, error);
    reset_outputs();
    const outcome o = wait_for(begin(words, fault, true), 1e9);
    check_leaks(fault, o);
    check(fault, plain, o);
}

/* Each step-th call; step 0: a sample, as minutes are too long for every build - all of a few, else the first and the last,
 * and of allocations some early ones, where most is decided, and some evenly between. */
static void try_all(const char *kind, const char *error, long calls, long step)
{
    const bool memory = strcmp(kind, "alloc") == 0;
    if (step == STACKS && memory) {
        for (size_t i = 0; i < to_try_count; i++) try_fault(kind, error, to_try[i]);
        return;
    }
    if (step == STACKS || (step == 0 && !memory && calls <= FEW_CALLS)) step = 1;
    if (step == 1 && strcmp(kind, "write") == 0 && now_running->few_writes > 0) step = now_running->few_writes;
    for (long n = 1; n <= calls; n = step ? n + step : memory ? 3 * n + 1 : calls + 1) try_fault(kind, error, n);
    if (step) return;
    const int parts = memory ? ALLOCATION_PARTS : 1;
    for (int i = 1; i <= parts && calls > 2; i++) try_fault(kind, error, calls * i / parts);
}

static void learn_what_is_right(void)
{
    char folder[PATH_BYTES], *list[MAX_FILES];
    reset_outputs();
    const outcome o = wait_for(begin(words, NULL, true), 1e9);
    if (o.code != now_running->code) COMPLAIN("%s: exit code %d without any fault", now_running->name, o.code);
    blocks_left = calls_of("held");
    printf("%s: %ld blocks are held at the end\n", now_running->name, blocks_left);
    at_root(folder, "o");
    wanted_count = list_files(folder, list, 0, MAX_FILES);
    for (size_t i = 0; i < wanted_count; i++) wanted[i] = (known_file){list[i], file_sum(list[i]), tensors_of(list[i]), line_count(list[i])};
    wanted_text = printed();
}

/* One more run without a fault, in which the shim looks who asks for memory. */
static void choose_allocations(void)
{
    static char file[PATH_BYTES];
    size_t different;
    at_root(file, "stacks");
    stacks = file;
    reset_outputs();
    if (wait_for(begin(words, NULL, true), 1e9).code != now_running->code) COMPLAIN("%s: fails when it is looked at", now_running->name);
    to_try = calls_of_stacks(&to_try_count, &different);
    stacks = NULL;
    printf("%s: %zu chains of calls ask for memory, of which %zu allocations are tried\n", now_running->name, different, to_try_count);
}

static void run_scenario(const scenario *s, long step, const char *only)
{
    char path[PATH_BYTES];
    long counts[sizeof faults / sizeof faults[0]];
    now_running = s;
    old_sum = sum_of(old_text, sizeof old_text);
    at_root(path, s->given ? s->given : "model");
    given_sum = file_sum(path);
    at_root(path, "model");
    model_sum = file_sum(path);
    learn_what_is_right();
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) counts[i] = calls_of(faults[i].kind);
    if (calls_of("mmap") != 0) COMPLAIN("%s: a file is mapped, and could be changed by others while it is read", s->name);
    if (step == STACKS) choose_allocations();
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (only && strcmp(only, faults[i].kind) != 0) continue;
        const double start = now();
        const long before = runs, fine = absorbed;
        for (int e = 0; e < 6 && faults[i].errors[e]; e++) try_all(faults[i].kind, faults[i].errors[e], counts[i], step);
        if (counts[i] > 0)
            printf("%s %s: %ld calls, %ld runs with a fault, %ld of them ended well, %.1f s\n", s->name, faults[i].kind, counts[i],
                   runs - before, absorbed - fine, now() - start);
        fflush(stdout);
    }
    if (file_sum(path) != model_sum) COMPLAIN("%s: the model that was only read is not what it was", s->name);
}

/* Weights as torchvision would write them, for the import. */
static void make_source(void)
{
    char path[PATH_BYTES];
    dcam_trunk_weights *w;
    dcam_tensor_writer *writer;
    at_root(path, "source");
    if (dcam_trunk_weights_random(dcam_architecture_find(NULL), 5, &w) != DCAM_OK || dcam_tensor_writer_create(&writer) != DCAM_OK ||
        dcam_trunk_weights_add(w, "", writer) != DCAM_OK || dcam_tensor_writer_save(writer, path) != DCAM_OK)
        exit(1);
    dcam_tensor_writer_destroy(writer);
    dcam_trunk_weights_destroy(w);
}

static void make_checkpoint(const char *begun)
{
    char path[PATH_BYTES];
    const outcome o = run_tool(begun, "rename:2:kill");
    at_root(path, "checkpoint");
    if (o.how != ENDED_BY_PLAN || access(path, F_OK) != 0) die("a checkpoint of a run that was killed");
}

/* Serves the source from this machine; the program that does it lies beside this one. */
static pid_t start_server(int *port)
{
    char program[PATH_BYTES], path[PATH_BYTES], *said = NULL;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    size_t n;
    if (length < 0) die("/proc/self/exe");
    program[length] = '\0';
    snprintf(strrchr(program, '/'), 32, "/cli_http_server");
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(root) != 0 || !freopen("served", "w", stdout)) _exit(96);
        execl(program, program, "serve", "source", "0", (char *)NULL);
        _exit(95);
    }
    at_root(path, "served");
    for (int i = 0; i < 5000 && !(said && strchr(said, '\n')); i++) {
        free(said);
        pause_seconds(LOOK_SECONDS);
        said = read_file(path, &n);
    }
    if (!said || sscanf(said, "%d", port) != 1) die(program);
    free(said);
    return child;
}

/* The beginning of the source, and the scenario's words with port and sum. */
static pid_t prepare_fetch(const char *pattern)
{
    char path[PATH_BYTES], sum[DCAM_SHA256_HEX];
    size_t n;
    int port;
    const pid_t server = start_server(&port);
    at_root(path, "source");
    char *bytes = read_file(path, &n);
    if (!bytes || n < PART_BYTES) die(path);
    dcam_sha256_of(bytes, n, sum);
    at_root(path, "teacher.part");
    write_file(path, bytes, PART_BYTES);
    free(bytes);
    const char *at_port = strstr(pattern, "PORT"), *at_sum = strstr(pattern, "SUM");
    snprintf(words, sizeof words, "%.*s%d%.*s%s%s", (int)(at_port - pattern), pattern, port, (int)(at_sum - at_port - 4), at_port + 4, sum,
             at_sum + 3);
    return server;
}

int main(int count, char **arguments)
{
    const scenario *chosen = NULL;
    pid_t server = 0;
    if (count < 4) return 2;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        if (strcmp(scenarios[i].name, arguments[3]) == 0) chosen = &scenarios[i];
    if (!chosen) return 2;
    shim = arguments[2];
    make_inputs(arguments[1]);
    make_source();
    copy_file("data/weave/test/good/000.png", "", "photo.png");
    copy_file("model", "", "photo.npy");
    copy_file("model", "", "weave.safetensors");
    snprintf(words, sizeof words, "%s", chosen->words);
    if (strstr(words, "PORT")) server = prepare_fetch(chosen->words);
    if (chosen->begun) make_checkpoint(chosen->begun);
    run_scenario(chosen, step_named(count > 4 ? arguments[4] : NULL), count > 5 ? arguments[5] : NULL);
    if (runs == 0) COMPLAIN("%s: no call was counted: is the shim loaded?", chosen->name);
    printf("%s: %ld runs, %d failures\n", chosen->name, runs, failures);
    if (server > 0) kill(server, SIGKILL);
    remove_tree(root);
    return failures > 0;
}
