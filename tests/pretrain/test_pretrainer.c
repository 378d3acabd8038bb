/* Pictures: pure functions of seed, class and instance, classes unlike each other, fit to learn from. The run: it
 * learns, it goes on from a checkpoint to the same bits, its length may change on the plateau only, weights that are not
 * finite are never kept, and what is wrong is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "pretrain/picture.h"
#include "pretrain/pretrainer.h"
#include "pretrain/recipe.h"

enum { SIDE = 64, BYTES = SIDE * SIDE * 3, CLASSES = 600 };

/* ---- pictures ---- */

static void pictures_are_pure(void **state)
{
    (void)state;
    dcam_painter *a, *b;
    static uint8_t first[BYTES], again[BYTES];
    assert_int_equal(dcam_painter_create(7, 40, SIDE, &a), DCAM_OK);
    assert_int_equal(dcam_painter_create(7, 40, SIDE, &b), DCAM_OK);
    for (int i = 0; i < 40; i++) {
        dcam_painter_draw(a, i, 5, first);
        dcam_painter_draw(b, 39 - i, 2, again); /* what was drawn before does not matter */
        dcam_painter_draw(b, i, 5, again);
        assert_memory_equal(first, again, BYTES);
        dcam_painter_draw(b, i, 6, again);
        assert_memory_not_equal(first, again, BYTES);
    }
    dcam_painter_destroy(a);
    assert_int_equal(dcam_painter_create(8, 40, SIDE, &a), DCAM_OK);
    dcam_painter_draw(a, 0, 5, first);
    dcam_painter_draw(b, 0, 5, again);
    assert_memory_not_equal(first, again, BYTES);
    dcam_painter_destroy(a);
    dcam_painter_destroy(b);
}

static double spread(const uint8_t *rgb)
{
    double sum = 0, square = 0;
    for (int i = 0; i < BYTES; i++) {
        sum += rgb[i];
        square += (double)rgb[i] * rgb[i];
    }
    return sqrt(fmax(0, square / BYTES - sum / BYTES * (sum / BYTES)));
}

/* Nearly all pictures must show something, and brightness alone must not tell much: both are what a fault of the
 * drawing would break first. */
static void pictures_show_something(void **state)
{
    (void)state;
    dcam_painter *p;
    static uint8_t rgb[BYTES];
    int flat = 0, extreme = 0;
    assert_int_equal(dcam_painter_create(1, CLASSES, SIDE, &p), DCAM_OK);
    for (int i = 0; i < CLASSES; i++) {
        dcam_painter_draw(p, i, 0, rgb);
        size_t clipped = 0;
        for (int k = 0; k < BYTES; k++) clipped += rgb[k] == 0 || rgb[k] == 255;
        flat += spread(rgb) < 8;
        extreme += clipped > BYTES / 2;
    }
    printf("of %d classes %d are nearly flat, %d mostly black or white\n", CLASSES, flat, extreme);
    assert_in_range(flat, 0, CLASSES / 20);
    assert_in_range(extreme, 0, CLASSES / 20);
    dcam_painter_destroy(p);
}

static void recipes_differ(void **state)
{
    (void)state;
    static recipe all[CLASSES];
    int kinds[FIELD_KINDS] = {0};
    memset(all, 0, sizeof all);
    for (int i = 0; i < CLASSES; i++) {
        recipe_draw(1, i, &all[i]);
        kinds[all[i].base.kind]++;
        for (int k = 0; k < i; k++) assert_true(all[i].base.period != all[k].base.period || all[i].base.angle != all[k].base.angle);
    }
    for (int k = 0; k < FIELD_KINDS; k++) assert_in_range(kinds[k], CLASSES / FIELD_KINDS / 3, CLASSES);
}

static void every_pattern_has_its_range(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(3, 3);
    recipe c;
    for (int i = 0; i < 300; i++) {
        recipe_draw(9, i, &c);
        for (int k = 0; k < 50; k++) {
            const float x = synth_between(&r, -1000, 1000), y = synth_between(&r, -1000, 1000);
            const float v = field_at(&c.base, (uint32_t)i, x, y);
            if (!(v >= -4 && v <= 4)) fail_msg("class %d, pattern %d: %g at %g %g", i, (int)c.base.kind, (double)v, (double)x, (double)y);
        }
    }
}

/* ---- the run ---- */

typedef struct {
    int stop_at, calls;
    dcam_pretrainer_progress last;
} watcher;

static bool watch(void *user, const dcam_pretrainer_progress *p)
{
    watcher *w = user;
    w->calls++;
    w->last = *p;
    return p->step == w->stop_at;
}

static dcam_pretrainer_options small(watcher *w)
{
    dcam_pretrainer_options o = dcam_pretrainer_defaults();
    o.classes = 5;
    o.side = 32;
    o.batch = 6;
    o.steps = 6;
    o.warmup = 2;
    o.seed = 3;
    o.checkpoint_steps = 1000;
    o.progress = watch;
    o.user = w;
    return o;
}

static char folder[] = "/tmp/dcam-pretrain-XXXXXX";
static char checkpoint[64], plateau[80];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(checkpoint, sizeof checkpoint, "%s/c", folder);
    snprintf(plateau, sizeof plateau, "%s.plateau", checkpoint);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    remove(checkpoint);
    remove(plateau);
    return rmdir(folder);
}

static dcam_trunk_weights *run(const dcam_pretrainer_options *o)
{
    dcam_trunk_weights *w = NULL;
    char *record = NULL;
    const dcam_status status = dcam_pretrainer_run(o, &w, &record);
    if (status != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_non_null(strstr(record, "\"classes\":"));
    dcam_free(record);
    return w;
}

static void refused(const dcam_pretrainer_options *o, dcam_status wanted, const char *why)
{
    dcam_trunk_weights *w = NULL;
    char *record = NULL;
    const size_t held = dcam_memory_held();
    assert_int_equal(dcam_pretrainer_run(o, &w, &record), wanted);
    assert_null(w);
    assert_null(record);
    assert_int_equal(dcam_memory_held(), held);
    if (!strstr(dcam_error_message(), why)) fail_msg("'%s' lacks '%s'", dcam_error_message(), why);
}

static void same_bits(const dcam_trunk_weights *a, const dcam_trunk_weights *b)
{
    assert_memory_equal(a->values, b->values, a->value_count * sizeof *a->values);
}

static void stopped_and_resumed(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_pretrainer_options o = small(&w);
    dcam_trunk_weights *whole = run(&o);
    assert_int_equal(w.calls, 6);
    o.checkpoint = checkpoint;
    w = (watcher){.stop_at = 3};
    refused(&o, DCAM_ERROR_CANCELLED, "stopped after step 3 of 6");
    w = (watcher){0};
    o.resume = true;
    dcam_trunk_weights *resumed = run(&o);
    assert_int_equal(w.calls, 3);
    same_bits(whole, resumed);
    dcam_trunk_weights_destroy(resumed);
    dcam_trunk_weights_destroy(whole);
}

/* Longer than planned, from the end of the plateau: as if it had been planned so. */
static void made_longer(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_pretrainer_options o = small(&w), longer = o;
    longer.steps = 9;
    dcam_trunk_weights *planned = run(&longer);
    o.falling = longer.falling = 0.5; /* plateau to step 3, then to 5 */
    dcam_trunk_weights *other = run(&longer);
    assert_memory_not_equal(planned->values, other->values, other->value_count * sizeof(float));
    o.checkpoint = checkpoint;
    dcam_trunk_weights_destroy(run(&o));
    longer.resume = true;
    longer.checkpoint = checkpoint;
    refused(&longer, DCAM_ERROR_DATA, "falls already");
    longer.checkpoint = plateau;
    dcam_trunk_weights *resumed = run(&longer);
    same_bits(other, resumed);
    dcam_trunk_weights_destroy(resumed);
    dcam_trunk_weights_destroy(other);
    dcam_trunk_weights_destroy(planned);
    char again[96];
    snprintf(again, sizeof again, "%s.plateau", plateau);
    remove(again);
}

/* The callback spoils the rate after a step, and may stop after another. */
typedef struct {
    dcam_pretrainer_options *options;
    int spoil_at, stop_at;
} spoiler;

static bool spoil(void *user, const dcam_pretrainer_progress *p)
{
    const spoiler *s = user;
    if (p->step == s->spoil_at) s->options->learning_rate = 1e300;
    return p->step == s->stop_at;
}

/* Weights broken by step 3 are never written over the checkpoint of step `good`, which the error names and from which the run
 * goes on to the bits of a sound one. */
static void leaves_the_last_good_checkpoint(int checkpoint_steps, int stop_at, int good, const char *what)
{
    char wanted[200];
    watcher w = {0};
    dcam_pretrainer_options o = small(&w);
    o.falling = 0.5;
    dcam_trunk_weights *whole = run(&o);
    spoiler s = {&o, 2, stop_at};
    o.checkpoint = checkpoint;
    o.checkpoint_steps = checkpoint_steps;
    o.progress = spoil;
    o.user = &s;
    remove(plateau);
    refused(&o, DCAM_ERROR_NUMERIC, what);
    assert_non_null(strstr(dcam_error_message(), "try a lower learning rate (--lr, now 1e+300)"));
    snprintf(wanted, sizeof wanted, "the checkpoint %s holds the state after step %d", checkpoint, good);
    assert_non_null(strstr(dcam_error_message(), wanted));
    assert_false(dcam_path_exists(plateau)); /* it would be of step 3 */
    o.learning_rate = small(&w).learning_rate;
    o.progress = NULL;
    o.resume = true;
    dcam_trunk_weights *resumed = run(&o);
    same_bits(whole, resumed);
    dcam_trunk_weights_destroy(resumed);
    dcam_trunk_weights_destroy(whole);
}

static void broken_weights_are_not_kept(void **state)
{
    (void)state;
    leaves_the_last_good_checkpoint(1, 0, 2, "step 3: the weights left the finite numbers");
    leaves_the_last_good_checkpoint(2, 3, 2, "step 3: the weights left the finite numbers");
    watcher w = {0};
    dcam_pretrainer_options o = small(&w);
    spoiler s = {&o, 2, 0};
    o.progress = spoil;
    o.user = &s;
    refused(&o, DCAM_ERROR_NUMERIC, "step 4: the loss left the finite numbers");
    assert_null(strstr(dcam_error_message(), "checkpoint"));
    /* By the last step: no result, though no loss is looked at any more. */
    o.learning_rate = small(&w).learning_rate;
    s.spoil_at = o.steps - 1;
    refused(&o, DCAM_ERROR_NUMERIC, "step 6: the weights left the finite numbers");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    watcher w = {.stop_at = 2};
    dcam_pretrainer_options o = small(&w), other;
    o.checkpoint = checkpoint;
    refused(&o, DCAM_ERROR_CANCELLED, "stopped after step 2");
    w.stop_at = 0;
    o.resume = true;
    other = o;
    other.seed = 4;
    refused(&other, DCAM_ERROR_DATA, "made with seed 3, this run has 4");
    other = o;
    other.classes = 6;
    refused(&other, DCAM_ERROR_DATA, "made with classes 5");
    other = o;
    other.steps = 1;
    refused(&other, DCAM_ERROR_DATA, "2 steps are done already");
    other = o;
    other.checkpoint = "/nowhere/c";
    refused(&other, DCAM_ERROR_DATA, "no such checkpoint");
    other.checkpoint = NULL;
    refused(&other, DCAM_ERROR_USAGE, "needs a checkpoint");
    assert_int_equal(dcam_file_write(checkpoint, "rubbish", 7), DCAM_OK);
    refused(&o, DCAM_ERROR_WEIGHTS, checkpoint);
    other = small(&w);
    other.side = 48;
    refused(&other, DCAM_ERROR_USAGE, "multiple of 32");
    other = small(&w);
    other.classes = 1;
    refused(&other, DCAM_ERROR_USAGE, "1 classes");
    other = small(&w);
    other.batch = 1;
    refused(&other, DCAM_ERROR_USAGE, "batch of 1");
    other = small(&w);
    other.learning_rate = 0;
    refused(&other, DCAM_ERROR_USAGE, "learning rate 0");
}

/* Eight classes, a few seconds: far better than the 1 in 8 of guessing. */
static void it_learns(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_pretrainer_options o = small(&w);
    o.classes = 8;
    o.batch = 32;
    o.steps = 120;
    o.warmup = 10;
    dcam_trunk_weights_destroy(run(&o));
    printf("8 classes, %d steps: %.0f %% right, loss %.2f\n", w.last.step, 100 * w.last.accuracy, w.last.loss);
    assert_true(w.last.accuracy > 0.3);
}

/* The largest batch that is named does fit, the next one does not. */
static void memory_is_planned_and_bounded(void **state)
{
    (void)state;
    watcher w = {0};
    size_t planned, started = 0;
    for (int resume = 0; resume < 2; resume++) {
        dcam_pretrainer_options o = small(&w);
        o.batch = 16;
        o.classes = 300; /* whose checkpoint is more than the pictures ahead */
        o.steps = 2;
        o.checkpoint = checkpoint;
        o.resume = resume;
        assert_int_equal(dcam_pretrainer_plan_bytes(&o, &planned), DCAM_OK);
        const size_t held = dcam_memory_held();
        dcam_memory_reset_peak();
        dcam_trunk_weights *trunk = run(&o);
        const double most = (double)(dcam_memory_peak() - held), part = most / (double)planned;
        printf("planned %.1f MiB, held %.1f MiB: %.3f\n", (double)planned / 1048576, most / 1048576, part);
        /* What may start may go on: that its checkpoint will be read is planned from the start. */
        assert_true(part > (resume ? 0.9 : 0.5) && part <= 1.02);
        assert_true(!resume || planned == started);
        started = planned;
        dcam_trunk_weights_destroy(trunk);
    }
    dcam_pretrainer_options o = small(&w);
    size_t less, more;
    int batch = 0;
    o.batch = 200;
    assert_int_equal(dcam_pretrainer_plan_bytes(&o, &o.max_bytes), DCAM_OK);
    o.batch = 1000;
    refused(&o, DCAM_ERROR_MEMORY, "would fit (--batch)");
    assert_int_equal(sscanf(strstr(dcam_error_message(), "a batch of"), "a batch of %d", &batch), 1);
    o.batch = batch;
    assert_int_equal(dcam_pretrainer_plan_bytes(&o, &less), DCAM_OK);
    o.batch = batch + 1;
    assert_int_equal(dcam_pretrainer_plan_bytes(&o, &more), DCAM_OK);
    printf("200 pictures fit; named: %d\n", batch);
    assert_true(batch >= 200 && less <= o.max_bytes && more > o.max_bytes);
    o.max_bytes = 1000000;
    refused(&o, DCAM_ERROR_MEMORY, "no batch would fit");
    size_t teacher, file;
    dcam_pretrainer_file_bytes(&o, &teacher, &file);
    assert_true(teacher > 5500000 && teacher < 6000000);
}

static void memory_runs_out(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_pretrainer_options o = small(&w);
    dcam_trunk_weights *trunk = NULL;
    char *record = NULL;
    o.steps = 1;
    SOME_ALLOCATIONS(a, 60, dcam_pretrainer_run(&o, &trunk, &record)) {
        assert_true(a.passed ? a.n > 20 : trunk == NULL && record == NULL);
        dcam_free(record);
        dcam_trunk_weights_destroy(trunk);
        record = NULL;
        trunk = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_pure),   cmocka_unit_test(pictures_show_something), cmocka_unit_test(recipes_differ),
        cmocka_unit_test(every_pattern_has_its_range), cmocka_unit_test(stopped_and_resumed), cmocka_unit_test(made_longer),
        cmocka_unit_test(broken_weights_are_not_kept), cmocka_unit_test(what_is_wrong_is_named), cmocka_unit_test(it_learns), cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(memory_is_planned_and_bounded)};
    dcam_set_threads(1); /* small pictures: waiting for each other would be most of the work */
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
