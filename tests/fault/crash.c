/* crash.c - a training that is killed and goes on gives, bit for bit, what an undisturbed one gives:
 *   crash TOOL SHIM TRIALS [SEED [VARIANT]]
 * TRIALS times SIGKILL comes at random moments, again and again in one training, until it is done. Then the writers are
 * killed at their steps: each checkpoint's and the model's temporary file, writes, sync, close, rename, and the sync of the
 * folder. This is done with one and two threads, f32 and bf16, both kinds of method. Compared is all of the model but what
 * tells of times: tensors, their names and shapes, metadata with the calibration, and of the record the epochs' losses.
 * VARIANT: one of the four of the long check alone, 0 to 3, with all its steps, so that it can be had in pieces. */
#include "process.h"

#include "base/memory.h"
#include "weights/json_text.h"

#define OPTIONS "train pairs -o m --checkpoint c --teacher teacher --size 64 --epochs 3 --batch 3 --seed 4 -q"
#define MAX_KILLS 50
/* Kills by others in one training, after which it counts as failed. */
#define MAX_OUTSIDE 3
/* So many trials are a short check: fewer variants and steps then, too. */
#define FEW 5
#define ALL (-1L)
#define MOST_STEPS 4096
/* What the sum of a model is that cannot be read. 0: there is none. */
#define UNREADABLE 1

/* A call of the writers, as the shim counts it. */
typedef struct {
    char kind[16];
    long n;
    int renamed; /* files that have their final name before it: the first checkpoint, the second, ..., the model */
    bool chosen; /* no write, or the first, the middle or the last write of its file */
    bool middle;
} step;

/* Each pair of its three choices comes together once. The first two are the short check's. */
static struct variant {
    const char *threads, *precision, *method;
    char words[512];
    uint64_t wanted; /* the model's sum */
    double seconds;  /* of processor time */
    long kills;
    step *steps;
    size_t count;
    int files;       /* that are renamed: the checkpoints, and the model */
} variants[] = {{.threads = "2", .precision = "bf16", .method = "dcam"},
                {.threads = "1", .precision = "bf16", .method = "hybrid"},
                {.threads = "1", .precision = "f32", .method = "dcam"},
                {.threads = "2", .precision = "f32", .method = "hybrid"}};
typedef struct variant variant;

static long kills, resumes, outside;

/* ---- what a model is ---- */

/* Times, and what a run planned to hold, which is more where it was resumed. */
static void leave_out_times(json_t *value)
{
    const char *key;
    json_t *part;
    void *next;
    size_t i;
    if (json_is_object(value)) {
        json_object_del(value, "seconds");
        json_object_del(value, "planned_bytes");
        json_object_foreach_safe(value, next, key, part) leave_out_times(part);
    }
    json_array_foreach(value, i, part) leave_out_times(part);
}

/* Without times, and without the sum over a text that holds times. */
static uint64_t sum_of_header(const char *text, size_t count)
{
    dcam_json_error error;
    json_t *header = dcam_json_parse(text, count, &error), *metadata = json_object_get(header, "__metadata__");
    const char *training = json_string_value(json_object_get(metadata, "training"));
    json_t *record = training ? dcam_json_parse(training, strlen(training), &error) : NULL;
    uint64_t sum = UNREADABLE;
    char *plain = NULL;
    leave_out_times(record);
    json_object_del(metadata, "sha256");
    if (record && json_object_set(metadata, "training", record) == 0 &&
        dcam_json_print(header, JSON_COMPACT | JSON_SORT_KEYS, &plain) == DCAM_OK)
        sum = sum_of(plain, strlen(plain));
    dcam_free(plain);
    json_decref(record);
    json_decref(header);
    return sum;
}

static uint64_t sum_of_model(const char *bytes, size_t count)
{
    uint64_t length = 0;
    if (count > 8) memcpy(&length, bytes, 8);
    if (count <= 8 || length >= count - 8) return UNREADABLE;
    const uint64_t header = sum_of_header(bytes + 8, (size_t)length);
    if (header == UNREADABLE) return UNREADABLE;
    return (header ^ sum_of(bytes + 8 + length, count - 8 - (size_t)length)) | 2; /* neither 0 nor UNREADABLE */
}

static uint64_t model(void)
{
    char path[PATH_BYTES];
    size_t count;
    at_root(path, "m");
    char *bytes = read_file(path, &count);
    if (!bytes) return 0;
    const uint64_t sum = sum_of_model(bytes, count);
    free(bytes);
    return sum;
}

/* The comparison itself: another digit in any of these is another model, but not in a time. */
static void check_comparison(const variant *v)
{
    static const char *const keys[] = {"threshold\\\":", "map_high\\\":", "stage_deviation\\\":", "pixel_median\\\":",
                                       "best_epoch\\\":", "loss\\\":", "validation\\\":", "seconds\\\":"};
    char path[PATH_BYTES];
    size_t count;
    at_root(path, "m");
    char *bytes = read_file(path, &count);
    for (size_t i = 0; bytes && i < sizeof keys / sizeof *keys; i++) {
        char *at = strstr(bytes + 8, keys[i]);
        if (at) at = strpbrk(at, "123456789");
        if (!at) {
            COMPLAIN("the model says nothing of %s", keys[i]);
            continue;
        }
        const char was = *at;
        *at = was == '9' ? '8' : (char)(was + 1);
        if ((sum_of_model(bytes, count) == v->wanted) != (strncmp(keys[i], "seconds", 7) == 0))
            COMPLAIN("the comparison sees %s wrongly", keys[i]);
        *at = was;
    }
    if (bytes) bytes[count - 1] ^= 1;
    if (!bytes || sum_of_model(bytes, count) == v->wanted) COMPLAIN("the comparison does not see the tensors");
    free(bytes);
}

/* ---- running ---- */

static bool is_there(const char *name)
{
    char path[PATH_BYTES];
    at_root(path, name);
    return access(path, F_OK) == 0;
}

/* The command to go on with: a run that was killed before its first checkpoint begins anew. */
static const char *words(const variant *v)
{
    static char resume[sizeof v->words + 16];
    if (!is_there("c")) return v->words;
    resumes++;
    snprintf(resume, sizeof resume, "%s --resume", v->words);
    return resume;
}

static void clear(void)
{
    char folder[PATH_BYTES], *list[256];
    at_root(folder, "");
    const size_t count = list_files(folder, list, 0, 256);
    for (size_t i = 0; i < count; i++) {
        const char *name = strrchr(list[i], '/') + 1;
        if (strcmp(name, "m") == 0 || strcmp(name, "c") == 0 || strncmp(name, "m.", 2) == 0 || strncmp(name, "c.", 2) == 0) remove(list[i]);
        free(list[i]);
    }
}

static void complain_with_err(const char *what, outcome o)
{
    static const char *const how[] = {"ended", "killed as planned", "hung, and was killed", "killed from outside, not by this driver"};
    char path[PATH_BYTES];
    size_t n;
    at_root(path, "err");
    char *said = read_file(path, &n);
    COMPLAIN("%s: %s, exit code %d after %.1f s; %s", what, how[o.how], o.code, o.seconds, said ? said : "");
    free(said);
}

/* Undisturbed by us. What a third party kills (a machine without memory does) is told, counted, and gone on with, as
 * after our own kills. */
static outcome go_on(const variant *v, const char *what)
{
    for (int i = 0;; i++) {
        const outcome o = run_tool(words(v), NULL);
        if (o.how != ENDED_OUTSIDE || i == MAX_OUTSIDE) return o;
        outside++;
        printf("%s: killed from outside after %.1f s, not by this driver; gone on with\n", what, o.seconds);
    }
}

/* After a kill: the checkpoint, if there is one, can be read; a model that is there is the wanted one; a training that goes
 * on ends with the wanted one. */
static void finish(const variant *v, const char *what)
{
    if (is_there("c")) {
        const outcome o = run_tool("info c --json", NULL);
        if (o.code != 0) complain_with_err(what, o);
    }
    const uint64_t left = model();
    if (left != 0 && left != v->wanted) COMPLAIN("%s: left a model that is not the one of an undisturbed run", what);
    const outcome o = go_on(v, what);
    if (o.code != 0) complain_with_err(what, o);
    else if (model() != v->wanted) COMPLAIN("%s: the model is not the one of an undisturbed run", what);
}

/* ---- at the writers' steps ---- */

/* Of the writes first to last - 1, all of one file. */
static void choose_writes(step *steps, size_t first, size_t last)
{
    size_t writes = 0, seen = 0;
    for (size_t i = first; i < last; i++) writes += strcmp(steps[i].kind, "write") == 0;
    for (size_t i = first; i < last; i++) {
        if (strcmp(steps[i].kind, "write") != 0) continue;
        steps[i].middle = seen == writes / 2;
        steps[i].chosen = seen == 0 || seen + 1 == writes || steps[i].middle;
        seen++;
    }
}

/* As the last run's trace tells. */
static void read_steps(variant *v)
{
    FILE *f = fopen(trace, "r");
    size_t file = 0;
    int renamed = 0;
    v->steps = calloc(MOST_STEPS, sizeof *v->steps);
    if (!f || !v->steps) die(trace);
    step *s = v->steps;
    while (v->count < MOST_STEPS && fscanf(f, "%15s %ld", s->kind, &s->n) == 2) {
        if (strcmp(s->kind, "create") == 0) {
            choose_writes(v->steps, file, v->count);
            file = v->count;
        }
        s->renamed = renamed;
        renamed += strcmp(s->kind, "rename") == 0;
        s->chosen = true;
        s++;
        v->count++;
    }
    choose_writes(v->steps, file, v->count);
    v->files = renamed;
    fclose(f);
}

/* Undisturbed, twice: the steps, the time, and the model, which must be the same without a checkpoint and the shim. */
static void prepare(variant *v)
{
    static const char bare[] = "train pairs -o m --teacher teacher --size 64 --epochs 3 --batch 3 --seed 4 -q";
    char path[PATH_BYTES], other[512];
    snprintf(v->words, sizeof v->words, OPTIONS " --threads %s --precision %s --method %s", v->threads, v->precision, v->method);
    at_root(path, "trace");
    trace = path;
    clear();
    outcome o = wait_for(begin(v->words, NULL, true), 1e9);
    if (o.code == 5 && strcmp(v->precision, "bf16") == 0) {
        printf("no bf16 on this machine: f32 instead\n");
        v->precision = "f32";
        snprintf(v->words, sizeof v->words, OPTIONS " --threads %s --precision f32 --method %s", v->threads, v->method);
        o = wait_for(begin(v->words, NULL, true), 1e9);
    }
    if (o.code != 0) complain_with_err(v->words, o);
    v->seconds = o.computed;
    v->wanted = model();
    if (v->wanted <= UNREADABLE) COMPLAIN("%s: the model cannot be read", v->words);
    else check_comparison(v);
    read_steps(v);
    if (v->files != 4 || v->count < 40) COMPLAIN("%s: %d files with %zu steps: is the shim loaded?", v->words, v->files, v->count);
    trace = NULL;
    clear();
    snprintf(other, sizeof other, "%s --threads %s --precision %s --method %s", bare, v->threads, v->precision, v->method);
    o = run_tool(other, NULL);
    if (o.code != 0) complain_with_err(other, o);
    else if (model() != v->wanted) COMPLAIN("%s: two undisturbed runs give two models", v->words);
}

static void kill_at(variant *v, const step *s, const char *when)
{
    char fault[64], what[640];
    const bool done = strcmp(when, "kill-after") == 0 && strcmp(s->kind, "rename") == 0;
    clear();
    snprintf(fault, sizeof fault, "%s:%ld:%s", s->kind, s->n, when);
    snprintf(what, sizeof what, "%s, %s", v->words, fault);
    const outcome o = run_tool(v->words, fault);
    if (o.how != ENDED_BY_PLAN) {
        complain_with_err(what, o);
        return;
    }
    kills++;
    v->kills++;
    const int whole = s->renamed + done;
    if (is_there("c") != (whole > 0)) COMPLAIN("%s: %d files were renamed, the checkpoint %s", what, whole, whole > 0 ? "is gone" : "is there");
    if (is_there("m") != (whole == v->files)) COMPLAIN("%s: %d files of %d were renamed, but the model", what, whole, v->files);
    finish(v, what);
}

/* Between two writes nothing happens: after one is before the next. */
static void kill_around(variant *v, const step *s)
{
    kill_at(v, s, "kill");
    if (strcmp(s->kind, "write") != 0) kill_at(v, s, "kill-after");
}

/* The chosen steps; the other writes are shared out among the variants, so that each is tried with one. */
static void kill_at_each_step(size_t k, size_t variant_count)
{
    variant *v = &variants[k];
    const long before = kills;
    for (size_t i = 0; i < v->count; i++)
        if (v->steps[i].chosen || i % variant_count == k) kill_around(v, &v->steps[i]);
    printf("%s threads, %s, %s: killed at %ld steps of the writers, which are %zu calls; %d failures\n", v->threads, v->precision,
           v->method, kills - before, v->count, failures);
    fflush(stdout);
}

/* From the first checkpoint's rename to the second's: before the folder's sync, the middle one of the writes, the sync, the
 * close and the rename, and after it. */
static void kill_at_few_steps(variant *v)
{
    const long before = kills;
    for (size_t i = 0; i < v->count; i++) {
        const step *s = &v->steps[i];
        const bool second = s->renamed == 1 && i > 0 && strcmp(s->kind, "create") != 0;
        if (!second || (strcmp(s->kind, "write") == 0 && !s->middle)) continue;
        kill_at(v, s, "kill");
        if (strcmp(s->kind, "rename") == 0) kill_at(v, s, "kill-after");
    }
    printf("killed at %ld steps of the second checkpoint, %d failures\n", kills - before, failures);
    if (kills - before < 6) COMPLAIN("too few steps of the second checkpoint were found");
}

/* ---- at random ---- */

static double random_part(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) / 9007199254740992.0;
}

static void kill_at_random(variant *v, long trial, uint64_t *state)
{
    char what[640];
    clear();
    snprintf(what, sizeof what, "trial %ld, %s", trial, v->words);
    for (int i = 0; i < MAX_KILLS; i++) {
        const outcome o = wait_for(begin(words(v), NULL, false), v->seconds * 1.1 * random_part(state));
        if (o.code == 0) break;
        if (o.how == ENDED_OUTSIDE) outside++;
        else if (o.how != ENDED_BY_PLAN) {
            complain_with_err(what, o);
            return;
        } else {
            kills++;
            v->kills++;
        }
        if (random_part(state) < 0.4) break;
    }
    finish(v, what);
}

int main(int count, char **arguments)
{
    if (count < 4) return 2;
    const long trials = strtol(arguments[3], NULL, 10);
    const long only = count > 5 ? strtol(arguments[5], NULL, 10) : ALL;
    const bool is_long = trials > FEW || only != ALL;
    const size_t variant_count = is_long ? sizeof variants / sizeof *variants : 2;
    if (only != ALL && (only < 0 || only >= (long)variant_count)) return 2;
    uint64_t state = count > 4 ? strtoull(arguments[4], NULL, 10) * 2654435761u + 1 : 88172645463325252u;
    shim = arguments[2];
    /* Threads that wait for each other on a loaded machine would take most of its time. */
    if (setenv("OMP_WAIT_POLICY", "passive", 0) != 0) die("setenv");
    make_root(arguments[1]);
    if (run_tool("synth -o pairs --seed 5 --size 64 --classes 2 --train 5 --test-good 1 --test-defective 1 -q", NULL).code != 0) die("pairs");
    for (size_t k = 0; k < variant_count; k++)
        if (only == ALL || (long)k == only) prepare(&variants[k]);
    for (long t = 1; failures == 0 && t <= trials; t++) {
        kill_at_random(&variants[only == ALL ? (size_t)t % variant_count : (size_t)only], t, &state);
        if (t % 20 == 0 || t == trials)
            printf("%ld trainings killed at random, %ld times in all; resumed %ld times, %ld times killed by others, %d failures\n",
                   t, kills, resumes, outside, failures);
        fflush(stdout);
    }
    if (!is_long) kill_at_few_steps(&variants[0]);
    for (size_t k = 0; k < variant_count; k++)
        if (is_long && (only == ALL || (long)k == only)) kill_at_each_step(k, variant_count);
    if (resumes == 0) COMPLAIN("no training was ever resumed: all were killed before their first checkpoint");
    for (size_t k = 0; k < variant_count; k++) {
        if (variants[k].steps)
            printf("%s threads, %s, %s: %ld kills\n", variants[k].threads, variants[k].precision, variants[k].method, variants[k].kills);
        free(variants[k].steps);
    }
    if (kills == 0) COMPLAIN("nothing was killed: is the shim loaded?");
    printf("%d failures\n", failures);
    remove_tree(root);
    return failures > 0;
}
