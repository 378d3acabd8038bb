/* bench_train.c - one step of training (forward, attention, losses, backward, descent) as `dcam train --method dcam` does
 * it (channel attention, losses cd and kd), on drawn images and drawn teacher's maps. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/vector.h"
#include "bench.h"
#include "distill/learner.h"

static struct {
    dcam_trainer_options options;
    dcam_learner *learner;
    float *input;
    uint16_t *maps;
} made;

void bench_train_clear(void)
{
    dcam_learner_destroy(made.learner);
    dcam_free(made.input);
    dcam_free(made.maps);
    memset(&made, 0, sizeof made);
}

static dcam_status run_once(int batch)
{
    double loss, terms[DCAM_LOSS_KINDS];
    return dcam_learner_step(made.learner, made.input, made.maps, batch, made.options.learning_rate, &loss, terms);
}

static dcam_status make(dcam_net_precision precision, int batch)
{
    dcam_trunk_weights *student;
    dcam_learner *learner;
    dcam_random r = dcam_random_make(1, 1);
    const size_t values = (size_t)batch * 3 * BENCH_SIDE * BENCH_SIDE;
    if (made.learner && made.options.batch == batch && made.options.precision == precision) return DCAM_OK;
    if (batch < 1 || batch > DCAM_MAX_BATCH) return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d images", batch);
    bench_train_clear();
    DCAM_TRY(dcam_trainer_preset("dcam", &made.options));
    made.options.batch = batch;
    made.options.precision = precision;
    made.options.learning_rate = 1e-3; /* noise teaches nothing: only the loss must stay finite */
    DCAM_TRY(dcam_trunk_weights_random(dcam_architecture_find(NULL), 2, &student));
    DCAM_TRY(dcam_learner_create(student, &made.options, &learner));
    made.learner = learner;
    const size_t total = (size_t)batch * learner->layout.total;
    DCAM_TRY(dcam_alloc(values, sizeof(float), &made.input));
    DCAM_TRY(dcam_alloc(total, sizeof(uint16_t), &made.maps));
    for (size_t i = 0; i < values; i++) made.input[i] = (float)(4 * dcam_random_uniform(&r) - 2);
    for (size_t i = 0; i < total; i++) made.maps[i] = dcam_bf16_from_f32((float)dcam_random_uniform(&r));
    return run_once(batch);
}

dcam_status bench_train(dcam_net_precision precision, int batch, int repeats, double *milliseconds)
{
    DCAM_TRY(make(precision, batch));
    for (int i = 0; i < repeats; i++) {
        const double start = dcam_seconds();
        DCAM_TRY(run_once(batch));
        milliseconds[i] = 1e3 * (dcam_seconds() - start);
    }
    return DCAM_OK;
}
