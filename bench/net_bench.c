/* net_bench.c - measures parts of dcam on drawn input, one command a line on standard input, one line of JSON a
 * command on standard output; bench/compare.py drives it in turns with PyTorch. With arguments they are the only
 * command:
 *     net_bench network f32 1 50
 *     echo "map 100" | net_bench
 * The environment is read here, never by the library: DCAM_BENCH_THREADS; DCAM_BENCH_ISA=none|avx2|avx512|bf16|amx, the most
 * that dcam's own kernels may use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "bench.h"
#include "nn/nn.h"

static const char help[] =
    "{\"commands\": [\"info\", \"network f32|bf16|int8 BATCH REPEATS\", \"map REPEATS\", \"layers f32|bf16|int8 BATCH REPEATS\", "
    "\"train f32|bf16 BATCH REPEATS\", \"aupro MAPS\", \"peak\"]}\n";

static void print_times(const double *milliseconds, int n)
{
    printf("{\"milliseconds\": [");
    for (int i = 0; i < n; i++) printf("%s%.4f", i ? ", " : "", milliseconds[i]);
    printf("]}\n");
}

static dcam_status bad_command(const char *line)
{
    return dcam_fail(DCAM_ERROR_USAGE, "not a command: %s", line);
}

static bool repeats_fit(int repeats) { return repeats >= 1 && repeats <= BENCH_MAX_REPEATS; }

/* Nothing is measured under a name that is not its own. */
static dcam_status precision_of(const char *name, dcam_net_precision *out)
{
    if (strcmp(name, "int8") == 0) *out = DCAM_NET_INT8;
    else if (strcmp(name, "bf16") == 0) *out = DCAM_NET_BF16;
    else if (strcmp(name, "f32") == 0) *out = DCAM_NET_F32;
    else return dcam_fail(DCAM_ERROR_USAGE, "precision %s is not known; there are f32, bf16 and int8", name);
    return DCAM_OK;
}

static dcam_status run_network(const char *line, double *times)
{
    char precision[8];
    int batch, repeats;
    dcam_net_precision p;
    if (sscanf(line, "%*s %7s %d %d", precision, &batch, &repeats) != 3 || !repeats_fit(repeats))
        return bad_command(line);
    DCAM_TRY(precision_of(precision, &p));
    if (strncmp(line, "layers", 6) == 0) return bench_layers(p, batch, repeats);
    DCAM_TRY(bench_network(p, batch, repeats, times));
    print_times(times, repeats);
    return DCAM_OK;
}

static dcam_status run_map(const char *line, double *times)
{
    int repeats;
    if (sscanf(line, "%*s %d", &repeats) != 1 || !repeats_fit(repeats)) return bad_command(line);
    DCAM_TRY(bench_map(repeats, times));
    print_times(times, repeats);
    return DCAM_OK;
}

static dcam_status run_train(const char *line, double *times)
{
    char precision[8];
    int batch, repeats;
    dcam_net_precision p;
    if (sscanf(line, "%*s %7s %d %d", precision, &batch, &repeats) != 3 || !repeats_fit(repeats))
        return bad_command(line);
    DCAM_TRY(precision_of(precision, &p));
    DCAM_TRY(bench_train(p, batch, repeats, times));
    print_times(times, repeats);
    return DCAM_OK;
}

static dcam_status run_aupro(const char *line, double *times)
{
    int maps;
    double bytes;
    if (sscanf(line, "%*s %d", &maps) != 1 || maps < 2 || maps > 10000) return bad_command(line);
    DCAM_TRY(bench_aupro(maps, times, &bytes));
    printf("{\"milliseconds\": [%.1f], \"bytes_per_pixel\": %.3f}\n", times[0],
           bytes / ((double)maps * BENCH_SIDE * BENCH_SIDE));
    return DCAM_OK;
}

static dcam_status run_info(const char *line, double *times)
{
    char text[256];
    (void)line;
    (void)times;
    printf("{\"compute\": \"%s\", \"threads\": %d, \"bf16\": %s}\n", dcam_nn_describe(text, sizeof text),
           dcam_threads(), dcam_nn_fast_bf16() ? "true" : "false");
    return DCAM_OK;
}

static dcam_status run_peak(const char *line, double *times)
{
    (void)line;
    (void)times;
    printf("{\"gflops\": %.1f}\n", bench_peak_gflops());
    return DCAM_OK;
}

static const struct {
    const char *name;
    dcam_status (*run)(const char *line, double *times);
} commands[] = {{"network", run_network}, {"layers", run_network}, {"map", run_map},  {"train", run_train},
                {"aupro", run_aupro},     {"info", run_info},      {"peak", run_peak}};

static dcam_status run_line(const char *line, double *times)
{
    char name[16] = "";
    (void)sscanf(line, "%15s", name);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(line, times);
    fputs(help, stdout);
    return DCAM_OK;
}

/* An error is an answer too: the driver goes on with the next command. */
static int answer(const char *line, double *times)
{
    const dcam_status status = run_line(line, times);
    if (status != DCAM_OK) printf("{\"error\": \"%s\"}\n", dcam_error_message());
    fflush(stdout);
    return status == DCAM_OK ? 0 : 1;
}

static bool limit_isa(const char *name)
{
    static const char *const names[] = {"none", "avx2", "avx512", "bf16", "amx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            dcam_nn_limit_isa((dcam_nn_isa)i);
            return true;
        }
    return false;
}

int main(int argc, char **argv)
{
    char line[256] = "";
    double *times;
    int code = 0;
    const char *threads = getenv("DCAM_BENCH_THREADS"), *isa = getenv("DCAM_BENCH_ISA");
    dcam_set_threads(threads ? atoi(threads) : 0);
    if (isa && !limit_isa(isa)) {
        fprintf(stderr, "net_bench: DCAM_BENCH_ISA=%s is not known\n", isa);
        return 2;
    }
    if (dcam_alloc(BENCH_MAX_REPEATS, sizeof *times, &times) != DCAM_OK) return 1;
    for (int i = 1; i < argc; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i > 1 ? " " : "", argv[i]);
    if (argc > 1) {
        code = answer(line, times);
    } else {
        while (fgets(line, sizeof line, stdin)) {
            line[strcspn(line, "\n")] = '\0';
            code |= answer(line, times);
        }
    }
    bench_network_clear();
    bench_train_clear();
    dcam_free(times);
    return code;
}
