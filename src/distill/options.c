/* options.c - the trainer's options: presets, ranges, and their text for checkpoints and records. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/number_text.h"
#include "distill/progress.h"

const char *dcam_loss_reads_name(dcam_loss_reads reads)
{
    switch (reads) {
    case DCAM_READS_ATTENDED: return "attended";
    case DCAM_READS_RAW: return "raw";
    case DCAM_READS_BOTH: return "both";
    }
    return "unknown";
}

const char *dcam_schedule_name(dcam_schedule schedule)
{
    return schedule == DCAM_SCHEDULE_COSINE ? "cosine" : "constant";
}

dcam_status dcam_trainer_preset(const char *method, dcam_trainer_options *out)
{
    dcam_trainer_options o = {
        .method = "dcam", .attention = DCAM_ATTENTION_CHANNEL,
        .loss = {.weight = {[DCAM_LOSS_CD] = 1, [DCAM_LOSS_KD] = 1}, .kd_temperature = 1, .kd_scale = DCAM_KD_MEAN},
        .map = {.kind = DCAM_MAP_SUM}, .width = 256, .height = 256, .epochs = 100, .batch = 32, .learning_rate = 0.1,
        .momentum = 0.9, .weight_decay = 1e-4, .validation_fraction = 0.2, .cache_bytes = (size_t)1 << 30};
    if (strcmp(method, "stfpm") == 0) {
        o.method = "stfpm";
        o.attention = DCAM_ATTENTION_NONE;
        o.loss = (dcam_loss_options){.weight = {[DCAM_LOSS_L2] = 1}, .kd_temperature = 1};
        o.map.kind = DCAM_MAP_PRODUCT;
        o.learning_rate = 0.4;
    } else if (strcmp(method, "hybrid") == 0) {
        o.method = "hybrid";
        o.attention = DCAM_ATTENTION_NONE;
        o.loss.weight[DCAM_LOSS_CD] = o.loss.weight[DCAM_LOSS_KD] = 2;
        o.map = (dcam_map_options){.kind = DCAM_MAP_STANDARD, .smoothing = 2};
        o.learning_rate = 0.4;
        o.schedule = DCAM_SCHEDULE_COSINE;
        o.epochs = 40;
        o.batch = 16;
    } else if (strcmp(method, "dcam") != 0) {
        return dcam_fail(DCAM_ERROR_USAGE, "method '%s' is not known; there are hybrid, dcam and stfpm", method);
    }
    *out = o;
    return DCAM_OK;
}

static dcam_status check_whole(const char *name, int value, int low, int high)
{
    if (value >= low && value <= high) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "%s must be from %d to %d, not %d", name, low, high, value);
}

static dcam_status check_real(const char *name, double value, double low, bool low_fits, double high)
{
    if (value <= high && (low_fits ? value >= low : value > low)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "%s must be %s %g and at most %g, not %g", name, low_fits ? "at least" : "above",
                     low, high, value);
}

static dcam_status check_side(const char *name, int value)
{
    DCAM_TRY(check_whole(name, value, DCAM_MIN_SIDE, DCAM_MAX_SIDE));
    if (value % 32 == 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "%s must be a multiple of 32, not %d; %d and %d are near", name, value,
                     value / 32 * 32, value / 32 * 32 + 32);
}

dcam_status dcam_trainer_check(const dcam_trainer_options *o)
{
    double sum = 0;
    DCAM_TRY(check_side("the input's width", o->width));
    DCAM_TRY(check_side("the input's height", o->height));
    DCAM_TRY(check_whole("epochs", o->epochs, 1, DCAM_MAX_EPOCHS));
    DCAM_TRY(check_whole("the batch", o->batch, 1, DCAM_MAX_BATCH));
    DCAM_TRY(check_whole("threads", o->threads, 0, 1024));
    DCAM_TRY(check_real("the learning rate", o->learning_rate, 0, false, 100));
    DCAM_TRY(check_real("the momentum", o->momentum, 0, true, 0.9999));
    DCAM_TRY(check_real("the weight decay", o->weight_decay, 0, true, 1));
    DCAM_TRY(check_real("the validation part", o->validation_fraction, 0, false, 0.9));
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        DCAM_TRY(check_real("a loss's weight", o->loss.weight[k], 0, true, 1e6));
        sum += o->loss.weight[k];
    }
    if (!(sum > 0)) return dcam_fail(DCAM_ERROR_USAGE, "every loss has weight 0; nothing would be learned");
    DCAM_TRY(check_real("the temperature of kd", o->loss.kd_temperature, 1e-3, true, 1000));
    DCAM_TRY(dcam_map_options_check(&o->map));
    if (o->attention_at_detection && (o->attention == DCAM_ATTENTION_NONE || o->reads == DCAM_READS_RAW)) {
        return dcam_fail(DCAM_ERROR_USAGE, "attention at detection can be 'keep' only where an attention block is trained: %s",
                         o->reads == DCAM_READS_RAW ? "here the losses read the raw maps" : "here attention is none");
    }
    if (o->batch == 1 && o->width * o->height < 64 * 32) {
        return dcam_fail(DCAM_ERROR_USAGE, "a batch of 1 at %dx%d gives batch norm too few values; take a larger one", o->width, o->height);
    }
    if (o->resume && !o->checkpoint) {
        return dcam_fail(DCAM_ERROR_USAGE, "to resume, name the checkpoint (--checkpoint FILE)");
    }
    return DCAM_OK;
}

static const char *precision_name(dcam_net_precision precision)
{
    return precision == DCAM_NET_F32 ? "f32" : precision == DCAM_NET_BF16 ? "bf16" : "int8";
}

/* "cd=1,kd=0.5" */
static void describe_losses(const double weight[DCAM_LOSS_KINDS], char *out, size_t capacity)
{
    size_t used = 0;
    out[0] = '\0';
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        if (!(weight[k] > 0) || used >= capacity) continue;
        const int n = dcam_snprintf(out + used, capacity - used, "%s%s=%.12g", used ? "," : "", dcam_loss_name((dcam_loss_kind)k), weight[k]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static void add_text(train_option **next, const char *name, const char *value)
{
    train_option *o = (*next)++;
    o->name = name;
    o->is_text = true;
    snprintf(o->value, sizeof o->value, "%s", value);
}

static void add_number(train_option **next, const char *name, double value)
{
    train_option *o = (*next)++;
    o->name = name;
    o->is_text = false;
    dcam_snprintf(o->value, sizeof o->value, "%.17g", value);
    for (int digits = 1; digits < 17; digits++) { /* the shortest text that reads back the same; 40, not 4e+01 */
        char shorter[40];
        dcam_snprintf(shorter, sizeof shorter, "%.*g", digits, value);
        if (strchr(shorter, '+')) continue;
        if (dcam_strtod(shorter, NULL) == value) {
            memcpy(o->value, shorter, strlen(shorter) + 1);
            return;
        }
    }
}

void train_options_describe(const dcam_trainer_options *o, train_option out[TRAIN_OPTIONS])
{
    char text[120];
    train_option *next = out;
    add_text(&next, "method", o->method);
    add_text(&next, "attention", dcam_attention_name(o->attention));
    add_text(&next, "attention_at_detection", o->attention_at_detection ? "keep" : "drop");
    describe_losses(o->loss.weight, text, sizeof text);
    add_text(&next, "loss", text);
    add_text(&next, "loss_reads", dcam_loss_reads_name(o->reads));
    add_number(&next, "kd_temperature", o->loss.kd_temperature);
    add_text(&next, "kd_scale", o->loss.kd_scale == DCAM_KD_SUM ? "sum" : "mean");
    add_text(&next, "map", dcam_map_kind_name(o->map.kind));
    add_number(&next, "map_kd_weight", o->map.kd_weight);
    add_number(&next, "map_kd_temperature", o->map.kd_temperature);
    add_number(&next, "width", o->width);
    add_number(&next, "height", o->height);
    add_number(&next, "epochs", o->epochs);
    add_number(&next, "batch", o->batch);
    add_number(&next, "learning_rate", o->learning_rate);
    add_number(&next, "momentum", o->momentum);
    add_number(&next, "weight_decay", o->weight_decay);
    add_text(&next, "schedule", dcam_schedule_name(o->schedule));
    add_number(&next, "validation_fraction", o->validation_fraction);
    snprintf(text, sizeof text, "%llu", (unsigned long long)o->seed);
    add_text(&next, "seed", text);
    add_text(&next, "precision", precision_name(o->precision));
}
