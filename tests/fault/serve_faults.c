/* serve_faults.c - dcam serve with each of its calls to the system and each allocation failing in turn, through shim.c:
 *   serve_faults TOOL SHIM [STEP [PHASE [KIND [FIRST]]]]
 * STEP as of faults.c: 1 tries every call, from the FIRST on; "stacks"; 0 (as without) a sample. The calls of six
 * phases are counted apart:
 *   start    until the URL is printed. The server comes up and all is well, or it ends by itself with the exit code that
 *            fits the fault, an error line, and no URL
 *   request  one photograph. The right answer, an error object with status 5xx, or a connection that is cut
 *   infer    the same of one inference request, with a class and all outputs, in JSON
 *   binary   the same in binary form
 *   reload   SIGHUP. Each model is loaded anew or kept, and what became of it is counted
 *   stop     SIGTERM
 *   descriptors   not a phase: few may be open, fewer than there are connections
 * The right answer is so to its last header: each line of them is what it is without the fault.
 * In every phase but the first: the next requests get the right answers, and SIGTERM ends the process with exit code 0.
 * Nowhere a crash, a hang, or more memory held at the end than without the fault. */
#include "process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define ANSWER_BYTES 65536
#define HEAD_BYTES 4096
#define TOKEN "0123456789abcdef0123456789abcdef"
#define MODELS 2
#define LAST_OF_START 14
#define LAST_OF_ANSWER 24
#define OF_A_HEADER 3 /* allocations for one */
#define FEW_DESCRIPTORS 20

typedef enum { START, REQUEST, INFER, BINARY, RELOAD, STOP, PHASES } phase;
static const char *const phase_names[PHASES] = {"start", "request", "infer", "binary", "reload", "stop"};
static const char words[] = "serve --listen 127.0.0.1:0 -m a=model -m b=model --token-file token --threads 2 --workers 1 --batch 1 "
                            "--no-watch";

static const struct {
    const char *kind, *errors[6];
} faults[] = {
    {"open", {"EIO", "EINTR", "EMFILE", "EACCES"}},
    {"read", {"EIO", "EINTR", "short"}},
    {"close", {"EIO", "EINTR"}},
    {"stat", {"EIO", "EACCES"}},
    {"mmap", {"ENOMEM"}},
    {"print", {"EIO", "ENOSPC", "EINTR", "short"}},
    {"alloc", {"ENOMEM", "ENOMEM:from"}},
};
enum { KINDS = sizeof faults / sizeof faults[0] };

typedef struct {
    int status;              /* 0: the connection was cut before all of it was there */
    char head[HEAD_BYTES];   /* a line each header; of the date and the length the names alone */
    char body[ANSWER_BYTES]; /* with a zero behind */
    size_t count;
} answer;

static char *photograph, right_score[64], tensor[512], binary_tensor[512], binary_type[128];
static size_t photograph_bytes, binary_bytes;
/* Without a fault; an_error: of any error. */
static answer right_photograph, right_outputs, right_binary, an_error;
static long runs, blocks_left, first_call = 1;
/* Of STACKS. */
static long *to_try;
static size_t to_try_count;

/* ---- one server ---- */

typedef struct {
    pid_t child;
    int port;
    bool ended, hung;
    int code; /* once it has ended; 128 + the signal */
    double asleep, computed, last;
} server;

/* Seconds of processor time that a server at rest does not use in a minute, although its threads look about. */
#define PROGRESS_SECONDS 0.05

static void set_gate(bool open)
{
    const int fd = openat(AT_FDCWD, gate, O_WRONLY);
    if (fd < 0 || pwrite(fd, open ? "1" : "", 1, 0) != 1) die(gate);
    close(fd);
}

/* A moment later: whether it still runs. What sleeps for a minute, or computes for ten, while something is waited for, hangs. */
static bool still_runs(server *s)
{
    int status;
    if (s->ended) return false;
    pause_seconds(LOOK_SECONDS);
    if (waitpid(s->child, &status, WNOHANG) == s->child) {
        s->ended = true;
        s->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        take_mark();
        return false;
    }
    const double at = now(), so_far = computed(s->child), passed = at - s->last;
    s->asleep += passed < 10 * LOOK_SECONDS ? passed : 10 * LOOK_SECONDS;
    s->last = at;
    if (so_far - s->computed > PROGRESS_SECONDS) {
        s->asleep = 0;
        s->computed = so_far;
    }
    s->hung = s->asleep > ASLEEP_SECONDS || so_far > COMPUTED_SECONDS;
    if (!s->hung) return true;
    kill(s->child, SIGKILL);
    waitpid(s->child, &status, 0);
    s->ended = true;
    s->code = 128 + SIGKILL;
    return false;
}

/* Until it prints its URL, or ends. */
static server start(const char *fault, bool gate_open)
{
    char path[PATH_BYTES];
    server s = {0};
    size_t n;
    at_root(path, "out");
    remove(path);
    set_gate(gate_open);
    s.child = begin(words, fault, true);
    s.last = now();
    while (s.port == 0 && still_runs(&s)) {
        char *text = read_file(path, &n);
        if (text && strchr(text, '\n') && sscanf(text, "http://127.0.0.1:%d", &s.port) != 1) s.port = -1;
        free(text);
    }
    return s;
}

/* more: SOCK_NONBLOCK, for what may have to wait until there is room. */
static int connecting(int port, int more)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | more, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS) return fd;
    close(fd);
    return -1;
}

static int connected(int port) { return connecting(port, 0); }

static bool send_request(int fd, const char *line, const char *type, const char *bytes, size_t count)
{
    char head[512];
    const int n = snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " TOKEN "\r\n"
                           "X-Request-Id: ours\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", line, type, count);
    return send(fd, head, (size_t)n, MSG_NOSIGNAL) == n && (count == 0 || send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count);
}

/* The header lines [from, end) of an answer with so many bytes of body. False: the body is not all there. */
static bool take_head(const char *from, const char *end, answer *a)
{
    bool whole = true;
    size_t used = 0;
    while (from < end && used < HEAD_BYTES) {
        const char *line_end = strstr(from, "\r\n");
        int kept = (int)(line_end - from);
        if (strncmp(from, "Date:", 5) == 0) kept = 5;
        if (strncmp(from, "Content-Length:", 15) == 0) {
            whole = strtoul(from + 15, NULL, 10) == a->count;
            kept = 15;
        }
        used += (size_t)snprintf(a->head + used, HEAD_BYTES - used, "%.*s\n", kept, from);
        from = line_end + 2;
    }
    return whole;
}

static void take_answer(server *s, int fd, answer *a)
{
    char bytes[ANSWER_BYTES];
    size_t got = 0;
    memset(a, 0, sizeof *a);
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        if (poll(&wait, 1, 0) == 0) {
            if (!still_runs(s)) break;
            continue;
        }
        const ssize_t k = recv(fd, bytes + got, sizeof bytes - 1 - got, 0);
        if (k <= 0) break;
        got += (size_t)k;
    }
    bytes[got] = '\0';
    const char *first = strstr(bytes, "\r\n"), *end = strstr(bytes, "\r\n\r\n");
    int status;
    if (!end || sscanf(bytes, "HTTP/1.1 %d", &status) != 1) return;
    a->count = got - (size_t)(end + 4 - bytes);
    memcpy(a->body, end + 4, a->count);
    if (take_head(first + 2, end + 2, a)) a->status = status;
}

static void ask(server *s, const char *line, const char *type, const char *bytes, size_t count, answer *a)
{
    const int fd = connected(s->port);
    memset(a, 0, sizeof *a);
    if (fd < 0) return;
    if (send_request(fd, line, type, bytes, count)) take_answer(s, fd, a);
    close(fd);
}

/* "score":NUMBER as it stands in the answer. */
static bool score_of(const char *body, char out[64])
{
    const char *at = strstr(body, "\"score\":");
    if (!at) return false;
    at += strlen("\"score\":");
    snprintf(out, 64, "%.*s", (int)strspn(at, " 0123456789.e+-"), at);
    return true;
}

static void detect(server *s, const char *model, answer *a)
{
    char line[64];
    snprintf(line, sizeof line, "POST /detect?model=%s", model);
    ask(s, line, "image/png", photograph, photograph_bytes, a);
}

static void infer(server *s, bool binary, answer *a)
{
    if (binary) ask(s, "POST /v2/models/a/infer", binary_type, binary_tensor, binary_bytes, a);
    else ask(s, "POST /v2/models/a/infer", "application/json", tensor, strlen(tensor), a);
}

/* The answer to a photograph tells of milliseconds, so that the score stands for the rest. */
static bool is_right(const answer *a)
{
    char score[64];
    return a->status == 200 && score_of(a->body, score) && strcmp(score, right_score) == 0 &&
           strcmp(a->head, right_photograph.head) == 0;
}

static bool is_same(const answer *a, const answer *right)
{
    return a->status == right->status && a->count == right->count && memcmp(a->body, right->body, a->count) == 0 &&
           strcmp(a->head, right->head) == 0;
}

/* Of status 5xx, with the headers of an error; 503 says when to come again. */
static bool is_failure(const answer *a)
{
    static const char later[] = "Retry-After: 1\n";
    char head[HEAD_BYTES];
    memcpy(head, a->head, sizeof head);
    char *at = strstr(head, later);
    if (a->status < 500 || a->status > 599 || !at != (a->status != 503)) return false;
    if (at) memmove(at, at + strlen(later), strlen(at + strlen(later)) + 1);
    return strstr(a->body, "\"error\"") && strcmp(head, an_error.head) == 0;
}

/* Both models answer as they did before the fault. */
static void answers_rightly(server *s, const char *what)
{
    static answer a;
    for (int m = 0; m < MODELS; m++) {
        detect(s, m ? "b" : "a", &a);
        if (!is_right(&a)) COMPLAIN("%s: afterwards status %d, %s%.200s", what, a.status, a.head, a.body);
    }
}

/* How many reloads of each result the metrics count, over all models. */
static int reloads(server *s, const char *result)
{
    static answer a;
    char name[32];
    int sum = 0, n;
    snprintf(name, sizeof name, "result=\"%s\"} ", result);
    ask(s, "GET /metrics", "text/plain", NULL, 0, &a);
    if (a.status != 200) return -1;
    for (const char *at = a.body; (at = strstr(at, "dcam_model_reloads_total{")); at++) {
        const char *value = strstr(at, name), *line_end = strchr(at, '\n');
        if (value && line_end && value < line_end && sscanf(value + strlen(name), "%d", &n) == 1) sum += n;
    }
    return sum;
}

static bool code_fits(const char *error, int code)
{
    if (strcmp(error, "EIO") == 0 || strcmp(error, "EACCES") == 0) return code == 3;
    return code == 5;
}

/* Lines of the log that tell what became of a model. */
static int told_in_log(void)
{
    char path[PATH_BYTES];
    size_t n;
    int lines = 0;
    at_root(path, "err");
    char *text = read_file(path, &n);
    for (const char *at = text; at && (at = strstr(at, "\"event\":\"")); at++)
        lines += strncmp(at + 9, "\"model\"", 7) == 0 || strncmp(at + 9, "\"reload\"", 8) == 0;
    free(text);
    return lines;
}

static void end(server *s, const char *what)
{
    if (!s->ended) kill(s->child, SIGTERM);
    while (still_runs(s)) {}
    set_gate(false);
    if (s->hung) COMPLAIN("%s: hangs", what);
    else if (s->code != 0) COMPLAIN("%s: exit code %d after SIGTERM", what, s->code);
}

/* ---- one fault ---- */

static void check_start(server *s, const char *what, const char *error)
{
    char path[PATH_BYTES];
    size_t n;
    at_root(path, "err");
    char *said = read_file(path, &n);
    if (s->hung) COMPLAIN("%s: hangs", what);
    else if (!code_fits(error, s->code)) COMPLAIN("%s: exit code %d; %.300s", what, s->code, said ? said : "");
    if (!said || !strstr(said, "dcam: ")) COMPLAIN("%s: exit code %d without an error line", what, s->code);
    free(said);
}

static void try_request(server *s, const char *what, phase p)
{
    static answer a;
    set_gate(true);
    if (p == REQUEST) detect(s, "a", &a);
    else infer(s, p == BINARY, &a);
    set_gate(false);
    const bool right = p == REQUEST ? is_right(&a) : is_same(&a, p == BINARY ? &right_binary : &right_outputs);
    if (a.status != 0 && !is_failure(&a) && !right) COMPLAIN("%s: status %d, %s%.200s", what, a.status, a.head, a.body);
}

static void try_reload(server *s, const char *what, bool must_succeed)
{
    set_gate(true);
    kill(s->child, SIGHUP);
    int done = 0, failed = 0;
    /* Asking would count calls of the request as well; the shim is shut meanwhile. A line of the log may be lost for lack of
     * memory: then it is over when the server rests. */
    while (done >= 0 && failed >= 0 && done + failed < MODELS && !s->ended) {
        s->asleep = 0;
        while (still_runs(s) && told_in_log() < 2 * MODELS && s->asleep < 0.5) {}
        set_gate(false);
        done = reloads(s, "done");
        failed = reloads(s, "failed");
        set_gate(done + failed < MODELS);
    }
    set_gate(false);
    if (s->ended) return;
    if (done + failed != MODELS) COMPLAIN("%s: %d reloads done, %d failed", what, done, failed);
    if (must_succeed && done != MODELS) COMPLAIN("%s: only %d of %d models were loaded anew", what, done, MODELS);
}

static void run(phase p, const char *fault, const char *error)
{
    char what[128];
    snprintf(what, sizeof what, "%s %s", phase_names[p], fault ? fault : "without a fault");
    const bool harmless = !fault || strcmp(error, "EINTR") == 0 || strcmp(error, "short") == 0;
    server s = start(fault, p == START);
    set_gate(false);
    runs++;
    if (s.ended && p == START && !harmless) {
        check_start(&s, what, error);
    } else if (s.ended || s.port <= 0) {
        COMPLAIN("%s: does not come up, exit code %d", what, s.ended ? s.code : 0);
        if (!s.ended) end(&s, what);
    } else {
        if (p == REQUEST || p == INFER || p == BINARY) try_request(&s, what, p);
        if (p == RELOAD) try_reload(&s, what, harmless);
        if (!s.ended) answers_rightly(&s, what);
        set_gate(p == STOP);
        end(&s, what);
    }
    if (s.code >= 128) return;
    const long left = calls_of("held");
    if (!fault && left > blocks_left) blocks_left = left;
    else if (left > blocks_left) COMPLAIN("%s: exit code %d, %ld blocks of memory are not given back, %ld are by right", what, s.code, left, blocks_left);
}

static void try_fault(phase p, const char *kind, const char *error, long n)
{
    char fault[64], plain[32];
    const char *colon = strchr(error, ':');
    snprintf(plain, sizeof plain, "%.*s", colon ? (int)(colon - error) : 31, error);
    snprintf(fault, sizeof fault, "%s:%ld:%s", kind, n, error);
    run(p, fault, plain);
}

/* Step 0, a sample: the first and the last call; of allocations ever wider apart, and some evenly between; all of a few. */
static void try_all(phase p, const char *kind, const char *error, long calls, long step)
{
    const bool memory = strcmp(kind, "alloc") == 0;
    const int parts = memory ? 3 : 1;
    if (step == STACKS && memory) {
        for (size_t i = 0; i < to_try_count; i++)
            if (to_try[i] >= first_call) try_fault(p, kind, error, to_try[i]);
        return;
    }
    /* What a binary request has of its own are headers of its answer, nearly the last to ask for memory. */
    if (step == 0 && memory && p == BINARY) {
        for (long n = calls - LAST_OF_ANSWER; n < calls; n += OF_A_HEADER)
            if (n > 0 && !strchr(error, ':')) try_fault(p, kind, error, n);
        return;
    }
    if (step == STACKS || (step == 0 && memory && calls <= 6)) step = 1;
    for (long n = first_call; n <= calls; n = step ? n + step : memory ? 5 * n + 2 : calls + 1) try_fault(p, kind, error, n);
    for (int i = 1; !step && i <= parts && calls > 2; i++) try_fault(p, kind, error, calls * i / parts);
    /* The last of a start are the HTTP library's, which must say why it gave up. */
    for (long n = calls - LAST_OF_START; !step && memory && p == START && n < calls; n++)
        if (n > 0 && !strchr(error, ':')) try_fault(p, kind, error, n);
}

/* One more run without a fault, in which the shim looks who asks for memory. */
static void choose_allocations(phase p)
{
    static char file[PATH_BYTES];
    size_t different;
    at_root(file, "stacks");
    stacks = file;
    run(p, NULL, NULL);
    free(to_try);
    to_try = calls_of_stacks(&to_try_count, &different);
    stacks = NULL;
    printf("serve %s: %zu chains of calls ask for memory, of which %zu allocations are tried\n", phase_names[p], different, to_try_count);
}

static void try_phase(phase p, long step, const char *only)
{
    long counts[KINDS];
    run(p, NULL, NULL);
    for (int i = 0; i < KINDS; i++) counts[i] = calls_of(faults[i].kind);
    if (step == STACKS) choose_allocations(p);
    for (int i = 0; i < KINDS; i++) {
        if (only && strcmp(only, faults[i].kind) != 0) continue;
        const double begun = now();
        const long before = runs;
        for (int e = 0; e < 6 && faults[i].errors[e]; e++) try_all(p, faults[i].kind, faults[i].errors[e], counts[i], step);
        if (counts[i] > 0)
            printf("serve %s %s: %ld calls, %ld runs with a fault, %.1f s\n", phase_names[p], faults[i].kind, counts[i], runs - before, now() - begun);
        fflush(stdout);
    }
}

/* ---- few descriptors ---- */

/* Within ten seconds. */
static bool is_connected(server *s, int fd)
{
    struct pollfd wait = {fd, POLLOUT, 0};
    for (int i = 0; i < 5000 && still_runs(s); i++)
        if (poll(&wait, 1, 0) > 0) return (wait.revents & POLLOUT) && fcntl(fd, F_SETFL, 0) == 0;
    return false;
}

/* Idle connections beyond what the process may open wait, or are refused; it stays up, does not spin, and goes on when they
 * are gone. Below some number it does not start, and says so. */
static void few_descriptors(void)
{
    static answer a;
    int idle[4 * FEW_DESCRIPTORS], enough = 0;
    for (most_files = 3; most_files <= FEW_DESCRIPTORS; most_files++, runs++) {
        char what[64];
        snprintf(what, sizeof what, "%d descriptors", most_files);
        server s = start(NULL, false);
        /* The loader of shared libraries itself says 127. */
        if (s.ended && (enough || (s.code != 5 && s.code != 127))) COMPLAIN("%s: exit code %d, %d were enough", what, s.code, enough);
        if (s.ended) continue;
        if (!enough) enough = most_files;
        if (most_files > enough && most_files < FEW_DESCRIPTORS) { /* the least and the most are looked at closely */
            end(&s, what);
            continue;
        }
        for (int i = 0; i < 4 * FEW_DESCRIPTORS; i++) idle[i] = connecting(s.port, SOCK_NONBLOCK);
        const int late = connecting(s.port, SOCK_NONBLOCK);
        const double before = computed(s.child);
        for (int i = 0; i < 500 && still_runs(&s); i++) {}
        if (s.ended) COMPLAIN("%s: exit code %d under more connections", what, s.code);
        else if (computed(s.child) - before > 0.25) COMPLAIN("%s: computes for %.2f s with nothing to do", what, computed(s.child) - before);
        for (int i = 0; i < 4 * FEW_DESCRIPTORS; i++)
            if (idle[i] >= 0) close(idle[i]);
        memset(&a, 0, sizeof a);
        if (late >= 0 && is_connected(&s, late) &&
            send_request(late, "POST /detect?model=a", "image/png", photograph, photograph_bytes))
            take_answer(&s, late, &a);
        if (a.status != 0 && !is_right(&a)) COMPLAIN("%s: status %d for who waited, %.200s", what, a.status, a.body);
        if (late >= 0) close(late);
        printf("serve: %d descriptors, %d idle connections: who came after them got status %d\n", most_files,
               4 * FEW_DESCRIPTORS, a.status);
        if (s.ended) continue;
        answers_rightly(&s, what);
        end(&s, what);
    }
    if (!enough) COMPLAIN("%d descriptors are not enough", FEW_DESCRIPTORS);
    printf("serve: %d descriptors are enough to start\n", enough);
    most_files = 0;
}

/* ---- what is needed ---- */

/* The same in JSON and in binary form. class_name is that of the photograph: data/NAME/test/... */
static void make_tensors(const char *class_name)
{
    static const unsigned char rgb[12] = {9, 80, 70, 60, 50, 40, 30, 20, 10, 0, 255, 7};
    static const char head[] = "{\"id\":\"a part with a long name\",\"inputs\":[{\"name\":\"image\","
                               "\"datatype\":\"UINT8\",\"shape\":[1,2,2,3],";
    char class_input[160];
    snprintf(class_input, sizeof class_input, "{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],"
             "\"data\":[\"%.*s\"]}]", (int)strcspn(class_name, "/"), class_name);
    snprintf(tensor, sizeof tensor, "%s\"data\":[[[[9,80,70],[60,50,40]],[[30,20,10],[0,255,7]]]]},%s}", head,
             class_input);
    const int n = snprintf(binary_tensor, sizeof binary_tensor, "%s\"parameters\":{\"binary_data_size\":12}},%s,"
                           "\"parameters\":{\"binary_data_output\":true}}", head, class_input);
    memcpy(binary_tensor + n, rgb, sizeof rgb);
    binary_bytes = (size_t)n + sizeof rgb;
    snprintf(binary_type, sizeof binary_type, "application/octet-stream\r\nInference-Header-Content-Length: %d", n);
}

static void make_files(void)
{
    static char *list[64];
    static char gate_path[PATH_BYTES];
    char path[PATH_BYTES];
    at_root(gate_path, "gate");
    write_file(gate_path, "", 1);
    gate = gate_path;
    at_root(path, "token");
    write_file(path, TOKEN "\n", strlen(TOKEN) + 1);
    at_root(path, "data");
    const size_t count = list_files(path, list, 0, 64);
    for (size_t i = 0; i < count; i++) {
        if (!photograph && strstr(list[i], "/test/") && strstr(list[i], ".png")) {
            photograph = read_file(list[i], &photograph_bytes);
            make_tensors(list[i] + strlen(path) + 1);
        }
        free(list[i]);
    }
    if (!photograph) die("no photograph");
    server s = start(NULL, false);
    if (s.port > 0) {
        detect(&s, "a", &right_photograph);
        infer(&s, false, &right_outputs);
        infer(&s, true, &right_binary);
        detect(&s, "nobody's", &an_error);
    }
    const bool right = right_photograph.status == 200 && score_of(right_photograph.body, right_score) &&
                       right_outputs.status == 200 && strstr(right_outputs.body, "\"anomaly_map\"") &&
                       right_binary.status == 200 && strstr(right_binary.head, "Inference-Header-Content-Length: ");
    if (!right || an_error.status != 404) {
        COMPLAIN("serve without the gate: port %d, statuses %d, %d, %d, %d; %.300s", s.port, right_photograph.status,
                 right_outputs.status, right_binary.status, an_error.status, right_outputs.body);
        exit(1);
    }
    end(&s, "serve");
}

int main(int count, char **arguments)
{
    if (count < 3) return 2;
    shim = arguments[2];
    const long step = step_named(count > 3 ? arguments[3] : NULL);
    if (count > 6) first_call = strtol(arguments[6], NULL, 10);
    make_inputs(arguments[1]);
    make_files();
    for (phase p = START; p < PHASES; p++)
        if (count <= 4 || strcmp(arguments[4], phase_names[p]) == 0) try_phase(p, step, count > 5 ? arguments[5] : NULL);
    if (count <= 4 || strcmp(arguments[4], "descriptors") == 0) few_descriptors();
    printf("serve: %ld runs, %d failures; %ld blocks are held at the end by right\n", runs, failures, blocks_left);
    remove_tree(root);
    return failures > 0;
}
