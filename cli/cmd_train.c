/* cmd_train.c - dcam train: one student from the normal images of a data set,
 * with its progress, its checkpoint and its answer to Ctrl-C. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"

typedef struct {
    dcam_train_options library;
} train_values;

#define AT(member) offsetof(train_values, library.member)

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = AT(output),
     .value_name = "MODEL",
     .required = true,
     .help = "the model file to write; with --one-class a folder"},
    {.name = "teacher",
     .kind = CLI_FILE,
     .offset = AT(teacher),
     .value_name = "FILE",
     .help = "weights of the teacher: a file from 'dcam teacher import' or 'dcam pretrain', torchvision's ResNet-18 as "
             ".pth or .safetensors, 'procedural' for the one in this program, or random:SEED for a frozen network that "
             "was never trained (default: procedural)"},
    {.name = "method",
     .kind = CLI_CHOICE_INDEX,
     .offset = AT(method),
     .choices = "hybrid|dcam|stfpm",
     .help = "hybrid: a student, and beside it a memory of what the teacher sees on normal images; dcam: the student "
             "alone; stfpm: the baseline. Sets the defaults of what follows (default: hybrid)"},
    {.name = "memory-prototypes",
     .kind = CLI_INT,
     .offset = AT(memory_prototypes),
     .value_name = "N",
     .min = 1,
     .max = 65536,
     .help = "hybrid: most prototypes kept of a class; time and file grow with them (default: 1000)"},
    {.name = "memory-weight",
     .kind = CLI_NUMBER,
     .offset = AT(memory_weight),
     .value_name = "W",
     .min = 1e-6,
     .max = 1e6,
     .help = "hybrid: weight of the memory's map beside the sum of the student's three (default: 2; 8 with the built-in "
             "teacher or a random one)"},
    {.name = "attention",
     .kind = CLI_CHOICE,
     .offset = AT(attention),
     .choices = "none|channel|spatial|cbam",
     .help = "attention block on the student's maps in training (default: none; dcam: channel)"},
    {.name = "attention-at-detection",
     .kind = CLI_CHOICE,
     .offset = AT(attention_at_detection),
     .choices = "drop|keep",
     .help = "whether the trained block also scores (default: drop)"},
    {.name = "loss-reads",
     .kind = CLI_CHOICE,
     .offset = AT(loss_reads),
     .choices = "attended|raw|both",
     .help = "which of the student's maps the losses read (default: attended)"},
    {.name = "loss",
     .kind = CLI_TEXT,
     .offset = AT(loss),
     .value_name = "NAME=W,...",
     .help = "weighted sum of cd, cds, kd, affinity and l2 (default: cd=2,kd=2; dcam: cd=1,kd=1; stfpm: l2=1)"},
    {.name = "kd-temperature",
     .kind = CLI_NUMBER,
     .offset = AT(kd_temperature),
     .value_name = "T",
     .min = 0.01,
     .max = 1000,
     .help = "temperature of the kd loss (default: 1)"},
    {.name = "kd-scale",
     .kind = CLI_CHOICE,
     .offset = AT(kd_scale),
     .choices = "sum|mean",
     .help = "kd summed over channels, or their mean times T squared (default: mean)"},
    {.name = "map",
     .kind = CLI_CHOICE,
     .offset = AT(map),
     .choices = "sum|product|standard",
     .help = "how the stages make the anomaly map (default: standard; dcam: sum; stfpm: product)"},
    {.name = "map-kd-weight",
     .kind = CLI_NUMBER,
     .offset = AT(map_kd_weight),
     .value_name = "W",
     .min = 0,
     .max = 1000,
     .help = "weight of a kd term in the anomaly map (default: 0, none)"},
    {.name = "smoothing",
     .kind = CLI_NUMBER,
     .offset = AT(smoothing),
     .value_name = "SIGMA",
     .min = 0,
     .max = 32,
     .help = "Gaussian smoothing of the map, in input pixels; 0: none (default: 2; dcam and stfpm: 0)"},
    {.name = "top-percent",
     .kind = CLI_NUMBER,
     .offset = AT(top_percent),
     .value_name = "P",
     .min = 0,
     .max = 100,
     .help = "image score: mean of the highest P per cent of the map; 0: its maximum (default: 0)"},
    CLI_OPTION_CLASSES(train_values, library.classes),
    {.name = "one-class",
     .kind = CLI_FLAG,
     .offset = AT(one_class),
     .help = "one model a class, CLASS.safetensors in the output folder, instead of one for all"},
    {.name = "size",
     .kind = CLI_SIZE,
     .offset = AT(width),
     .value_name = "SIZE",
     .min = 32,
     .max = 2048,
     .help = "images are resized to this: one number for a square, or WIDTHxHEIGHT; multiples of 32 (default: 256)"},
    {.name = "epochs",
     .kind = CLI_INT,
     .offset = AT(epochs),
     .value_name = "N",
     .min = 1,
     .max = 100000,
     .help = "how often every training image is seen (default: 40; dcam and stfpm: 100)"},
    {.name = "batch",
     .kind = CLI_INT,
     .offset = AT(batch),
     .value_name = "N",
     .min = 1,
     .max = 4096,
     .help = "images in a training step (default: 16; dcam and stfpm: 32)"},
    CLI_OPTION_LEARNING_RATE(train_values, library.learning_rate, "learning rate (default: 0.4; dcam: 0.1)"),
    {.name = "schedule",
     .kind = CLI_CHOICE,
     .offset = AT(schedule),
     .choices = "constant|cosine",
     .help = "how the learning rate runs: constant, or down to 0 along a cosine (default: cosine; dcam and stfpm: constant)"},
    {.name = "momentum",
     .kind = CLI_NUMBER,
     .offset = AT(momentum),
     .value_name = "M",
     .min = 0.001,
     .max = 0.9999,
     .help = "momentum of the optimiser (default: 0.9)"},
    CLI_OPTION_WEIGHT_DECAY(train_values, library.weight_decay),
    {.name = "validation-fraction",
     .kind = CLI_NUMBER,
     .offset = AT(validation_fraction),
     .value_name = "F",
     .min = 0.01,
     .max = 0.9,
     .help = "part of the normal images kept back for choosing the epoch and setting thresholds (default: 0.2)"},
    CLI_OPTION_FALSE_ALARM_RATE(train_values, library.false_alarm_rate),
    CLI_OPTION_SEED(train_values, library.seed,
                    "seed of every random choice; the same seed and threads give the same model (default: 0)"),
    CLI_OPTION_TRAINING_PRECISION(train_values, library.precision),
    CLI_OPTION_THREADS(train_values, library.threads),
    {.name = "cache-memory",
     .kind = CLI_BYTES,
     .offset = AT(cache_bytes),
     .value_name = "BYTES",
     .help = "most memory for kept images and teacher maps, like 512M or 2G; 0: no cache (default: 1G)"},
    {.name = "max-memory",
     .kind = CLI_BYTES,
     .offset = AT(max_memory),
     .value_name = "BYTES",
     .min = 1, /* in the library's options 0 stands for the default */
     .help = "refuse a training that would hold more, like 4G, before it starts (default: what the machine or its "
             "container has)"},
    CLI_OPTION_CHECKPOINT(train_values, library.checkpoint,
                          "keeps the state of the training here, after every epoch and on Ctrl-C"),
    CLI_OPTION_RESUME(train_values, library.resume),
};

_Static_assert(offsetof(dcam_train_options, height) == offsetof(dcam_train_options, width) + sizeof(int),
               "CLI_SIZE writes width and height as neighbours");
_Static_assert(sizeof(dcam_precision) == sizeof(int) && sizeof(dcam_method) == sizeof(int),
               "CLI_CHOICE_INDEX writes an int");

typedef struct {
    double start;
    int epochs_done, epochs;
} train_state;

static bool on_progress(void *user, const dcam_train_progress *p)
{
    train_state *state = user;
    char who[160] = "", validation[32] = "-";
    if (p->class_name) snprintf(who, sizeof who, "%s: ", p->class_name);
    if (!isnan(p->validation)) snprintf(validation, sizeof validation, "%.5g", p->validation);
    const char *elapsed = cli_clock(cli_seconds() - state->start), *left = cli_clock(p->seconds_left);
    state->epochs = p->epochs;
    if (p->steps == 0) { /* the training is done, its model is calibrated */
        state->epochs_done = p->epochs;
        cli_bar(1, "%s  %scalibrating, image %d", elapsed, who, p->step);
    } else if (p->epoch_done) {
        state->epochs_done = p->epoch;
        cli_note("%sepoch %d/%d  loss %.5g  validation %s%s  %.1f images/s  elapsed %s  left %s", who,
                 p->epoch, p->epochs, p->loss, validation, p->best ? " (best)" : "", p->images_per_second,
                 elapsed, left);
    } else {
        state->epochs_done = p->epoch - 1; /* of a resumed training the first news */
        double part = p->steps > 0 ? (double)p->step / p->steps : 0;
        cli_bar((p->epoch - 1 + part) / p->epochs, "%s, %s left  %sepoch %d/%d  loss %.4g  %.1f images/s",
                elapsed, left, who, p->epoch, p->epochs, p->loss, p->images_per_second);
    }
    return cli_interrupted();
}

static int say_interrupted(const train_state *state, const dcam_train_options *o)
{
    if (o->one_class) /* a model and a checkpoint a class: the library says which */
        cli_error("interrupted: %s", dcam_error_message());
    else if (o->checkpoint && access(o->checkpoint, F_OK) == 0)
        cli_error("interrupted after epoch %d of %d; the checkpoint %s is whole: run the same command with "
                  "--resume to go on",
                  state->epochs_done, state->epochs, o->checkpoint);
    else if (o->checkpoint)
        cli_error("interrupted before the first checkpoint; run the same command to start again");
    else
        cli_error("interrupted after epoch %d of %d; no model was written: with --checkpoint FILE a training "
                  "can be resumed",
                  state->epochs_done, state->epochs);
    return cli_interrupted() ? cli_interrupt_code() : dcam_status_exit_code(DCAM_ERROR_CANCELLED);
}

static int run(const cli_parsed *parsed)
{
    dcam_train_options o = ((const train_values *)parsed->values)->library;
    train_state state = {.start = cli_seconds()};
    o.dataset = parsed->operands[0];
    o.progress = on_progress;
    o.user = &state;
    /* In the library's options 0 stands for "the default"; what was typed as 0 means none. */
    if (cli_given(parsed, "smoothing") && o.smoothing == 0) o.smoothing = -1;
    if (cli_given(parsed, "weight-decay") && o.weight_decay == 0) o.weight_decay = -1;
    if (cli_given(parsed, "cache-memory") && o.cache_bytes == 0) o.cache_bytes = SIZE_MAX;
    if (o.resume && !o.checkpoint) {
        cli_error("--resume needs --checkpoint FILE, the file to go on from; see 'dcam help train'");
        return CLI_EXIT_USAGE;
    }
    /* Hours of training must not end at a folder that cannot be written. */
    int code = o.one_class ? cli_make_folders(o.output) : cli_check_writable(o.output);
    if (code == 0 && o.checkpoint) code = cli_check_writable(o.checkpoint);
    if (code != 0) return code;
    cli_catch_interrupts("\nstopping after this step; Ctrl-C again ends at once\n");
    dcam_status status = dcam_train(&o);
    cli_bar_clear();
    if (status == DCAM_ERROR_CANCELLED) return say_interrupted(&state, &o);
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(o.output));
    return 0;
}

const cli_command cli_train = {
    .name = "train",
    .operands = "DATASET",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "learn from the normal images of a data set, write a model",
    .description =
        "Trains one student on the normal images of every class below DATASET, sets the thresholds from the part "
        "kept for validation, and writes MODEL: one file that is a whole detector.\n\n"
        "DATASET is a folder in MVTec AD layout (CLASS/train/good, CLASS/test/DEFECT, CLASS/ground_truth/DEFECT), "
        "a folder in VisA's layout (split_csv/1cls.csv), a CSV file (path,class,split,label,mask), or a folder of "
        "normal images.\n\n"
        "Ctrl-C stops after the running step; with --checkpoint the training can then go on with --resume. A "
        "second Ctrl-C ends at once.",
    .example = "dcam train photographs -o model.safetensors --teacher resnet18.safetensors",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(train_values),
    .run = run,
};
