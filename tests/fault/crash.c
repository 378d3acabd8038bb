/* crash.c - a training that is killed and goes on gives, bit for bit, what an undisturbed one gives:
 *   crash TOOL SHIM TRIALS [SEED]
 * TRIALS times SIGKILL comes at random moments, again and again in one training, until it is done. Then the writers are
 * killed before and after each step: temporary file, writes, sync, close, rename. Compared are the tensors of the model: student, calibration, the choice of the best epoch. The record beside them holds times. */
#include "process.h"

#define OPTIONS "train data -o m --checkpoint c --teacher teacher --size 32 --epochs 3 --batch 2 --seed 4 --threads 1 -q"
#define MAX_KILLS 50
/* Kills by others in one training, after which it counts as failed. */
#define MAX_OUTSIDE 3
/* So many trials are a short check: fewer steps then, too. */
#define FEW 5

static uint64_t wanted;
static double whole_seconds; /* of processor time */
static long kills, resumes, outside;

/* Of the bytes behind the header: all tensors. 0: no such file. */
static uint64_t tensors_of(const char *name)
{
    char path[PATH_BYTES];
    size_t n;
    uint64_t length = 0;
    at_root(path, name);
    char *bytes = read_file(path, &n);
    if (!bytes) return 0;
    if (n > 8) memcpy(&length, bytes, 8);
    const uint64_t sum = length < n - 8 ? sum_of(bytes + 8 + length, n - 8 - (size_t)length) : 1;
    free(bytes);
    return sum;
}

static bool is_there(const char *name)
{
    char path[PATH_BYTES];
    at_root(path, name);
    return access(path, F_OK) == 0;
}

/* The command to go on with: a run that was killed before its first checkpoint begins anew. */
static const char *words(void)
{
    if (!is_there("c")) return OPTIONS;
    resumes++;
    return OPTIONS " --resume";
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
static outcome go_on(const char *what)
{
    for (int i = 0;; i++) {
        const outcome o = run_tool(words(), NULL);
        if (o.how != ENDED_OUTSIDE || i == MAX_OUTSIDE) return o;
        outside++;
        printf("%s: killed from outside after %.1f s, not by this driver; gone on with\n", what, o.seconds);
    }
}

/* After a kill: the checkpoint, if there is one, can be read; a training that goes on ends with the wanted tensors. */
static void finish(const char *what)
{
    if (is_there("c")) {
        const outcome o = run_tool("info c --json", NULL);
        if (o.code != 0) complain_with_err(what, o);
    }
    const outcome o = go_on(what);
    if (o.code != 0) complain_with_err(what, o);
    else if (tensors_of("m") != wanted) COMPLAIN("%s: the model is not the one of an undisturbed run", what);
}

static void kill_at(const char *kind, long n, const char *when)
{
    char fault[64];
    clear();
    snprintf(fault, sizeof fault, "%s:%ld:%s", kind, n, when);
    const outcome o = run_tool(OPTIONS, fault);
    if (o.how == ENDED_ITSELF && o.code == 0) return; /* no such call any more */
    if (o.how != ENDED_BY_PLAN) {
        complain_with_err(fault, o);
        return;
    }
    kills++;
    finish(fault);
}

/* Calls of the run, by number: 1 and 2 try whether the two files can be written; then a checkpoint an epoch, the model. */
static void kill_at_each_step(bool all)
{
    static const char *const kinds[] = {"rename", "write", "fsync", "create", "close"};
    for (size_t k = 0; k < (all ? sizeof kinds / sizeof kinds[0] : 2); k++) {
        for (long n = all ? 1 : 2; n <= (all ? 9 : 2); n++) {
            kill_at(kinds[k], n, "kill");
            kill_at(kinds[k], n, "kill-after");
        }
    }
}

static double random_part(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) / 9007199254740992.0;
}

static void kill_at_random(long trial, uint64_t *state)
{
    char what[64];
    clear();
    snprintf(what, sizeof what, "trial %ld", trial);
    for (int i = 0; i < MAX_KILLS; i++) {
        const outcome o = wait_for(begin(words(), NULL, false), whole_seconds * 1.1 * random_part(state));
        if (o.code == 0) break;
        if (o.how == ENDED_OUTSIDE) outside++;
        else if (o.how != ENDED_BY_PLAN) {
            complain_with_err(what, o);
            return;
        } else kills++;
        if (random_part(state) < 0.4) break;
    }
    finish(what);
}

int main(int count, char **arguments)
{
    if (count < 4) return 2;
    const long trials = strtol(arguments[3], NULL, 10);
    uint64_t state = count > 4 ? strtoull(arguments[4], NULL, 10) * 2654435761u + 1 : 88172645463325252u;
    shim = arguments[2];
    make_inputs(arguments[1]);
    const outcome whole = run_tool(OPTIONS, NULL);
    if (whole.code != 0) complain_with_err("undisturbed", whole);
    whole_seconds = whole.computed;
    wanted = tensors_of("m");
    for (long t = 1; t <= trials; t++) {
        kill_at_random(t, &state);
        if (t % 20 == 0 || t == trials)
            printf("%ld trainings killed at random, %ld times in all; resumed %ld times, %ld times killed by others, %d failures\n",
                   t, kills, resumes, outside, failures);
        fflush(stdout);
    }
    const long before = kills;
    kill_at_each_step(trials > FEW);
    if (trials > FEW && resumes == 0) COMPLAIN("no training was ever resumed: all were killed before their first checkpoint");
    printf("killed at %ld steps of the writers, %d failures\n", kills - before, failures);
    if (kills == 0) COMPLAIN("nothing was killed: is the shim loaded?");
    remove_tree(root);
    return failures > 0;
}
