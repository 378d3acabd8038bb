/* A training that would hold too much is refused however its photographs' headers come to be read: a signal, a short
 * read or a fault of the system does not make the large one count nothing. The linker leads the library's calls through
 * failing_calls.h. So is one whose model would be larger than a file may be, before its first step. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/failing_calls.h"
#include "base/memory.h"
#include "data/tree.h"
#include "dcam.h"
#include "net/check.h"

/* With the small photograph alone it is less, with the large one more, on one core too. 40,960 prototypes of 256 bytes from
 * each of so many classes are 2,050 MiB, of which a file may have 2,048; an image of SIDE has more patches. */
enum { LIMIT_MIB = 250, CLASSES = 205, SIDE = 2048 };

static char root[256], data[4096], model[4096], many[4096], large[4096];

static int make_photographs(void **state)
{
    (void)state;
    tree_create(root);
    tree_file(root, "parts/small.pgm", "P5\n2 2\n255\nabcd");
    tree_file(root, "parts/large.pbm", "P4\n12000 8000\n"); /* never decoded: its pixels need not be there */
    tree_path(root, "parts", data);
    tree_path(root, "model", model);
    return 0;
}

static int remove_photographs(void **state)
{
    (void)state;
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1;
}

static dcam_status train(bool one_class)
{
    const dcam_train_options options = {.dataset = data, .output = model, .teacher = "random:1", .width = 32,
                                        .height = 32, .epochs = 1, .batch = 2, .threads = 1, .one_class = one_class,
                                        .max_memory = (size_t)LIMIT_MIB << 20};
    return dcam_train(&options);
}

/* Not asked here, and slower than all the rest. */
dcam_status __wrap_net_check_before_detection(dcam_net_precision precision);
dcam_status __wrap_net_check_before_detection(dcam_net_precision precision) { return (void)precision, DCAM_OK; }
dcam_status __wrap_net_check_before_training(dcam_net_precision precision);
dcam_status __wrap_net_check_before_training(dcam_net_precision precision) { return (void)precision, DCAM_OK; }

static bool is_refused(dcam_status status)
{
    return status == DCAM_ERROR_MEMORY && strstr(dcam_error_message(), "would hold");
}

/* Each call of a kind. wanted: unless the training can do without that call; DCAM_OK: it must, as if nothing had
 * been. */
static void fail_each(bool one_class, int call, long calls, int error, dcam_status wanted)
{
    long failed = 0;
    for (long at = 1; at <= calls; at++) {
        plan_failure(call, at, error);
        const dcam_status status = train(one_class);
        plan_none();
        if (is_refused(status)) continue;
        if (wanted == DCAM_OK || status != wanted)
            fail_msg("%s %ld of %ld, error %d: %s; %s", names[call], at, calls, error, dcam_status_name(status),
                     dcam_error_message());
        failed++;
    }
    assert_true(wanted == DCAM_OK || failed > 0);
}

static void every_call_fails(void **state)
{
    (void)state;
    for (int one_class = 0; one_class < 2; one_class++) {
        plan_none();
        if (!is_refused(train(one_class))) fail_msg("%s", dcam_error_message());
        const long opens = counts[OPEN], reads = counts[READ];
        /* Two photographs: for the content and for the header; a header's start, and its numbers. */
        assert_true(opens >= 4 && reads >= 4);
        fail_each(one_class, READ, reads, SHORT, DCAM_OK);
        fail_each(one_class, READ, reads, EIO, DCAM_ERROR_IO);
        fail_each(one_class, OPEN, opens, EMFILE, DCAM_ERROR_MEMORY);
    }
}

static dcam_status train_many(const char *classes, int prototypes, bool one_class)
{
    const dcam_train_options options = {.dataset = many, .classes = classes, .output = one_class ? root : large,
                                        .width = SIDE, .height = SIDE, .teacher = "random:1", .epochs = 1, .batch = 2,
                                        .threads = 1, .method = DCAM_METHOD_HYBRID, .memory_prototypes = prototypes,
                                        .one_class = one_class, .max_memory = (size_t)LIMIT_MIB << 20};
    return dcam_train(&options);
}

/* What is small enough is refused for its memory, which is asked for later, or where the disk is smaller. */
static void passes_the_limit(dcam_status status)
{
    if (!is_refused(status) && status != DCAM_ERROR_DISK) fail_msg("%s", dcam_error_message());
}

static void a_model_larger_than_a_file(void **state)
{
    (void)state;
    char name[64], image[64], some[4096];
    size_t used = 0;
    tree_path(root, "many", many);
    tree_path(root, "large", large);
    for (int i = 0; i < CLASSES; i++) {
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "many/c%d/train/good/%d.pgm", i, k);
            snprintf(image, sizeof image, "P5\n%d %d\n255\n%c%c", 1 + k, 2 - k, 'a' + i / 16, 'a' + i % 16);
            tree_file(root, name, image);
        }
        if (i < CLASSES - 5) used += (size_t)snprintf(some + used, sizeof some - used, "%sc%d", i ? "," : "", i);
    }
    if (train_many(NULL, 65536, false) != DCAM_ERROR_USAGE) fail_msg("%s", dcam_error_message());
    assert_non_null(strstr(dcam_error_message(), "the model of 205 classes would be larger than 2048 MiB"));
    passes_the_limit(train_many(some, 65536, false));
    passes_the_limit(train_many(NULL, 30000, false));
    passes_the_limit(train_many(NULL, 65536, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_fails), cmocka_unit_test(a_model_larger_than_a_file)};
    return cmocka_run_group_tests(tests, make_photographs, remove_photographs);
}
