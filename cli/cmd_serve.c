/* cmd_serve.c - dcam serve: models behind HTTP until a signal comes. Signals are waited for in this thread alone: HUP
 * loads the models again, TERM and INT end after everything that was begun is answered. Until the server is there a thread
 * of its own waits for TERM and INT, which end the program at once: nobody has asked for anything yet. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "dcam.h"
#include "output.h"

#ifndef DCAM_WITHOUT_SERVE

typedef struct {
    dcam_server_options library;
    cli_list models;
    double batch_delay; /* milliseconds */
    bool quiet, verbose;
} serve_values;

#define AT(member) offsetof(serve_values, library.member)

static const cli_option options[] = {
    {.name = "model", .letter = 'm', .kind = CLI_FILES, .offset = offsetof(serve_values, models), .value_name = "MODEL",
     .required = true, .help = "a model file, or NAME=FILE; may be given several times"},
    {.name = "listen", .kind = CLI_TEXT, .offset = AT(listen), .value_name = "ADDRESS:PORT",
     .help = "where to listen; port 0: any that is free (default: 127.0.0.1:8080)"},
    {.name = "token-file", .kind = CLI_FILE, .offset = AT(token_file), .value_name = "FILE",
     .help = "clients must send the first line of this file as bearer token"},
    {.name = "no-auth", .kind = CLI_FLAG, .offset = AT(no_auth),
     .help = "no token, also where other machines reach the address"},
    {.name = "tls-cert", .kind = CLI_FILE, .offset = AT(tls_certificate), .value_name = "FILE",
     .help = "serves HTTPS with this certificate (PEM)"},
    {.name = "tls-key", .kind = CLI_FILE, .offset = AT(tls_key), .value_name = "FILE", .help = "the certificate's key (PEM)"},
    {.name = "batch", .kind = CLI_INT, .offset = AT(batch), .value_name = "N", .min = 1, .max = 1024,
     .help = "most waiting images that run together on a thread (default: found at the start, at most 8)"},
    {.name = "batch-delay", .kind = CLI_NUMBER, .offset = offsetof(serve_values, batch_delay), .value_name = "MS", .min = 0,
     .max = 10000, .help = "milliseconds that an image waits for others (default: 0, it never waits)"},
    {.name = "queue", .kind = CLI_INT, .offset = AT(queue), .value_name = "N", .min = 1, .max = 100000,
     .help = "images that may wait; beyond, 503 with Retry-After (default: 128)"},
    {.name = "deadline", .kind = CLI_NUMBER, .offset = AT(deadline), .value_name = "S", .min = 0.001, .max = 3600,
     .help = "seconds that a request may wait; beyond, 504 (default: 10)"},
    {.name = "max-body", .kind = CLI_BYTES, .offset = AT(max_body_bytes), .value_name = "BYTES", .min = 1,
     .help = "largest body of a request (default: 64M)"},
    {.name = "max-pixels", .kind = CLI_BYTES, .offset = AT(max_pixels), .value_name = "N", .min = 1,
     .help = "most pixels of one photograph (default: 64M)"},
    {.name = "connections", .kind = CLI_INT, .offset = AT(connections), .value_name = "N", .min = 1, .max = 100000,
     .help = "most connections at a time (default: 512)"},
    {.name = "connections-per-address", .kind = CLI_INT, .offset = AT(connections_per_address), .value_name = "N", .min = 1,
     .max = 100000, .help = "most of them from one address (default: 256)"},
    {.name = "header-timeout", .kind = CLI_NUMBER, .offset = AT(header_timeout), .value_name = "S", .min = 0.1, .max = 3600,
     .help = "seconds from connecting to the end of the headers (default: 10)"},
    {.name = "body-timeout", .kind = CLI_NUMBER, .offset = AT(body_timeout), .value_name = "S", .min = 0.1, .max = 3600,
     .help = "seconds from the headers to the end of the body (default: 30)"},
    {.name = "idle-timeout", .kind = CLI_NUMBER, .offset = AT(idle_timeout), .value_name = "S", .min = 1, .max = 3600,
     .help = "seconds that a connection may be silent between requests (default: 60)"},
    {.name = "drain-delay", .kind = CLI_NUMBER, .offset = AT(drain_delay), .value_name = "S", .min = 0, .max = 600,
     .help = "seconds between not being ready and the end of listening, for load balancers (default: 0)"},
    {.name = "drain-timeout", .kind = CLI_NUMBER, .offset = AT(drain_timeout), .value_name = "S", .min = 0.1, .max = 3600,
     .help = "most seconds for requests that were begun to end (default: 30)"},
    {.name = "workers", .kind = CLI_INT, .offset = AT(workers), .value_name = "N", .min = 1, .max = 256,
     .help = "threads that decode and answer (default: as many as cores)"},
    {.name = "no-watch", .kind = CLI_FLAG, .offset = AT(no_watch),
     .help = "a model file that was replaced is loaded on SIGHUP only"},
    CLI_OPTION_PRECISION(serve_values, library.precision),
    CLI_OPTION_THREADS(serve_values, library.threads),
};

static void on_log(void *user, dcam_log_level level, const char *line)
{
    const serve_values *values = user;
    if (level == DCAM_LOG_DEBUG ? !values->verbose : level == DCAM_LOG_INFO && values->quiet) return;
    /* One call, so that lines of several threads stay whole. */
    fprintf(stderr, "%s\n", line);
}

/* NAME=FILE, or a file whose own name has no '=' before any '/'. */
static bool split_models(const cli_list *given, dcam_server_model *models, char **names)
{
    for (size_t i = 0; i < given->count; i++) {
        const char *text = given->items[i], *equals = strchr(text, '=');
        models[i] = (dcam_server_model){NULL, text};
        if (!equals || memchr(text, '/', (size_t)(equals - text))) continue;
        names[i] = strndup(text, (size_t)(equals - text));
        if (!names[i]) return false;
        models[i] = (dcam_server_model){names[i], equals + 1};
    }
    return true;
}

static void free_names(char *names[CLI_MAX_LIST])
{
    for (size_t i = 0; i < CLI_MAX_LIST; i++) free(names[i]);
}

static void serve(dcam_server *server, const sigset_t *signals)
{
    int number = 0;
    while (sigwait(signals, &number) == 0 && number == SIGHUP) dcam_server_reload(server);
}

/* Ends the thread below; what it does to others, nothing, is the default. */
#define WAKE SIGURG
static atomic_bool is_started;

/* Thread, while the models are loaded: the first TERM or INT ends the program as if it were not waited for. signals: these
 * and WAKE. */
static void *end_at_once(void *signals)
{
    int number = WAKE;
    while (number == WAKE && !atomic_load(&is_started)) (void)sigwait(signals, &number);
    if (number == WAKE) return NULL;
    (void)signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    (void)raise(number);
    return NULL;
}

static dcam_status start(const dcam_server_options *given, dcam_server **server)
{
    pthread_t watch;
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, WAKE);
    pthread_sigmask(SIG_BLOCK, &signals, &before); /* the thread inherits it */
    /* Without the thread a signal waits until the server is there. */
    const bool watched = pthread_create(&watch, NULL, end_at_once, &signals) == 0;
    const dcam_status status = dcam_server_start(given, server);
    atomic_store(&is_started, true);
    if (watched) {
        pthread_kill(watch, WAKE);
        pthread_join(watch, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static int run(const cli_parsed *parsed)
{
    serve_values *values = parsed->values;
    dcam_server_model models[CLI_MAX_LIST];
    char *names[CLI_MAX_LIST] = {NULL};
    dcam_server *server = NULL;
    sigset_t signals;
    int code = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    /* Before any thread is there: they inherit it. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (!split_models(&values->models, models, names)) {
        free_names(names);
        cli_error("out of memory for the names of the models; free some and run again");
        return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    values->quiet = parsed->quiet;
    values->verbose = parsed->verbose;
    values->library.models = models;
    values->library.model_count = values->models.count;
    values->library.batch_delay = 1e-3 * values->batch_delay;
    values->library.log = on_log;
    values->library.user = values;
    const dcam_status status = start(&values->library, &server);
    free_names(names);
    if (status != DCAM_OK) return cli_fail(status);
    printf("%s\n", dcam_server_url(server));
    code = cli_finish(0);
    if (code == 0) serve(server, &signals);
    /* From here on a second TERM or INT ends the program at once. There is nothing to load again: HUP stays blocked. */
    sigdelset(&signals, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    (void)dcam_server_stop(server); /* its log says what was cut off */
    return code;
}

const cli_command cli_serve = {
    .name = "serve",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "serve models over HTTP, with a page",
    .description =
        "Serves one or several models: the Open Inference Protocol v2 as KServe and Triton speak it (/v2), plain "
        "photographs (POST /detect), a page to look at (/), metrics for Prometheus (/metrics). Prints the URL when it "
        "is ready; log lines, one JSON object each, go to standard error.\n\n"
        "Without --token-file only this machine can connect, unless --no-auth says otherwise. SIGHUP, or a model file "
        "that is replaced, loads the model anew while requests go on. SIGTERM or Ctrl-C: not ready any more, then "
        "what was begun is answered, then exit 0; a second one, or one while the models are loaded, ends at once.",
    .example = "dcam serve -m model.safetensors\n"
               "dcam serve -m bolts=a.safetensors -m nuts=b.safetensors --listen 0.0.0.0:8080 --token-file token",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(serve_values),
    .run = run,
};

#endif
