/* Pictures of the formats whose libraries have their own allocations, in a process that has a little memory, a little more,
 * and so on: it is told that memory is missing until there is enough. It is never the file that is blamed, and the process
 * goes on, although both libraries end it (libtiff 4.5.0, libwebp 1.2.4) where some of their allocations fail. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "image/image.h"

/* From nothing to more than what must be free before the libraries are asked, in pages; one by one where these small
 * pictures take what there is. */
#define MOST_PAGES 800
#define FEW_PAGES 200
#define STEP_PAGES 50

#define FOLDER DCAM_TEST_GOLDEN "/image/"

static size_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) _exit(99);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void limit(size_t bytes)
{
    const struct rlimit l = {bytes, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &l) != 0) _exit(98);
}

/* In a child: all that malloc has left is used up, then so many pages more are allowed. */
static _Noreturn void load_within(const char *path, size_t pages)
{
    static void **kept; /* each block begins with the one before */
    dcam_image image;
    void **block;
    signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the tests */
    mallopt(M_TOP_PAD, 0); /* it grows by what is asked for, not by 128 KiB */
    const size_t now = mapped_bytes();
    limit(now);
    for (size_t bytes = 1 << 20; bytes >= 16; bytes /= 2)
        while ((block = malloc(bytes))) {
            *block = kept;
            kept = block;
        }
    limit(now + pages * (size_t)sysconf(_SC_PAGESIZE));
    _exit((int)dcam_image_load(path, &image));
}

static void memory_is_missing_until_it_is_there(void **state)
{
    static const char *const names[] = {"lossy.webp", "lossless.webp", "lossy-alpha.webp", "lossless-alpha.webp", "tiff_lzw.tif",
                                        "tiff_adobe_deflate.tif", "jpeg.tif", "palette.tif", "group4.tif", "tiles-16.tif"};
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its own memory passes every such limit */
#endif
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        int missing = 0, loaded = 0;
        snprintf(path, sizeof path, FOLDER "%s", names[i]);
        for (size_t pages = 0; pages < MOST_PAGES; pages += pages < FEW_PAGES ? 1 : STEP_PAGES) {
            int how;
            const pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) load_within(path, pages);
            assert_int_equal(waitpid(child, &how, 0), child);
            if (!WIFEXITED(how)) fail_msg("%s with %zu pages: killed by signal %d", names[i], pages, WTERMSIG(how));
            const int status = WEXITSTATUS(how);
            if (status != DCAM_OK && status != DCAM_ERROR_MEMORY) fail_msg("%s with %zu pages: status %d", names[i], pages, status);
            missing += status == DCAM_ERROR_MEMORY;
            loaded += status == DCAM_OK;
            assert_false(status == DCAM_ERROR_MEMORY && loaded > 0);
        }
        if (missing == 0 || loaded == 0) fail_msg("%s: %d times without memory, %d times loaded", names[i], missing, loaded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_missing_until_it_is_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
