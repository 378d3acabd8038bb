/* cmd_pretrain.c - dcam pretrain: a teacher from drawn pictures. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"

#define SHEET_ROWS 12
#define SHEET_COLUMNS 6
/* A line on standard error every so many steps. */
#define NOTE_STEPS 100

typedef struct {
    dcam_pretrain_options library;
    const char *pictures;
} pretrain_values;

#define AT(member) offsetof(pretrain_values, library.member)

static const cli_option options[] = {
    {.name = "output", .letter = 'o', .kind = CLI_FILE, .offset = AT(output), .value_name = "TEACHER", .help = "the teacher file to write"},
    {.name = "pictures",
     .kind = CLI_FILE,
     .offset = offsetof(pretrain_values, pictures),
     .value_name = "FILE",
     .help = "writes a sheet of pictures of the first classes as PNG, three a class, instead of training"},
    {.name = "classes",
     .kind = CLI_INT,
     .offset = AT(classes),
     .value_name = "N",
     .min = 2,
     .max = 10000,
     .help = "how many classes of pictures to tell apart (default: 600)"},
    {.name = "size",
     .kind = CLI_INT,
     .offset = AT(size),
     .value_name = "PIXELS",
     .min = 32,
     .max = 512,
     .help = "width and height of the pictures, a multiple of 32 (default: 64)"},
    {.name = "steps",
     .kind = CLI_INT,
     .offset = AT(steps),
     .value_name = "N",
     .min = 1,
     .max = 10000000,
     .help = "steps of the training (default: 20000)"},
    {.name = "batch", .kind = CLI_INT, .offset = AT(batch), .value_name = "N", .min = 2, .max = 1024, .help = "pictures in a step (default: 32)"},
    CLI_OPTION_LEARNING_RATE(pretrain_values, library.learning_rate, "learning rate of the plateau (default: 0.05)"),
    {.name = "falling",
     .kind = CLI_NUMBER,
     .offset = AT(falling),
     .value_name = "F",
     .min = 0,
     .max = 1,
     .help = "last part of the steps, in which the learning rate falls to 0 along a cosine (default: 0.3)"},
    CLI_OPTION_WEIGHT_DECAY(pretrain_values, library.weight_decay),
    CLI_OPTION_SEED(pretrain_values, library.seed,
                    "seed of the classes, the pictures and the start (default: 0)"),
    CLI_OPTION_TRAINING_PRECISION(pretrain_values, library.precision),
    CLI_OPTION_THREADS(pretrain_values, library.threads),
    CLI_OPTION_CHECKPOINT(pretrain_values, library.checkpoint,
                          "keeps the state of the training here, regularly and on Ctrl-C; FILE.plateau is the state before the learning rate falls"),
    {.name = "checkpoint-steps",
     .kind = CLI_INT,
     .offset = AT(checkpoint_steps),
     .value_name = "N",
     .min = 1,
     .max = 10000000,
     .help = "steps between two checkpoints (default: 500)"},
    CLI_OPTION_RESUME(pretrain_values, library.resume),
};

static bool on_progress(void *user, const dcam_pretrain_progress *p)
{
    const double *start = user;
    const char *elapsed = cli_clock(cli_seconds() - *start), *left = cli_clock(p->seconds_left);
    cli_bar((double)p->step / p->steps, "%s, %s left  step %d/%d  loss %.4g  right %.1f %%  %.1f images/s", elapsed, left, p->step, p->steps,
            p->loss, 100 * p->accuracy, p->images_per_second);
    if (p->step % NOTE_STEPS == 0 || p->step == p->steps)
        cli_note("step %d/%d  loss %.4g  right %.1f %%  %.1f images/s  elapsed %s  left %s", p->step, p->steps, p->loss,
                 100 * p->accuracy, p->images_per_second, elapsed, left);
    return cli_interrupted();
}

static int run(const cli_parsed *parsed)
{
    const pretrain_values *values = parsed->values;
    dcam_pretrain_options o = values->library;
    double start = cli_seconds();
    o.progress = on_progress;
    o.user = &start;
    /* In the library's options 0 stands for "the default"; what was typed as 0 means none. */
    if (cli_given(parsed, "weight-decay") && o.weight_decay == 0) o.weight_decay = -1;
    if (cli_given(parsed, "falling") && o.falling == 0) o.falling = -1;
    if (values->pictures) {
        const dcam_status drawn = dcam_pretrain_sheet(&o, SHEET_ROWS, SHEET_COLUMNS, values->pictures);
        if (drawn != DCAM_OK) return cli_fail(drawn);
        printf("wrote %s\n", cli_printable(values->pictures));
        return 0;
    }
    if (!o.output) {
        cli_error("pretrain: needs -o TEACHER, the file to write; see 'dcam help pretrain'");
        return CLI_EXIT_USAGE;
    }
    if (o.resume && !o.checkpoint) {
        cli_error("--resume needs --checkpoint FILE, the file to go on from; see 'dcam help pretrain'");
        return CLI_EXIT_USAGE;
    }
    cli_catch_interrupts("\nstopping after this step; Ctrl-C again ends at once\n");
    const dcam_status status = dcam_pretrain(&o);
    cli_bar_clear();
    if (status == DCAM_ERROR_CANCELLED) {
        cli_error("interrupted: %s", dcam_error_message());
        return cli_interrupted() ? cli_interrupt_code() : dcam_status_exit_code(DCAM_ERROR_CANCELLED);
    }
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(o.output));
    return 0;
}

const cli_command cli_pretrain = {
    .name = "pretrain",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "train a teacher on pictures that are drawn, without any photograph",
    .description =
        "Draws pictures (fractals, noise, cells, weaves, tiles, outlines, strokes, under all kinds of light) from a seed, "
        "trains a network to tell their classes apart, and writes it as a teacher for 'dcam train'. Nothing is "
        "read: the teacher owes nothing to photographs or to weights of others.\n\n"
        "Takes hours for a good teacher. Ctrl-C stops after the running step; with --checkpoint the training can then "
        "go on with --resume, to the same bits. While the learning rate is on its plateau, --steps and --falling "
        "may differ from those of the checkpoint: so a run is made longer or shorter.",
    .example = "dcam pretrain -o teacher.safetensors --checkpoint teacher.checkpoint\n"
               "dcam pretrain --pictures sheet.png",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(pretrain_values),
    .run = run,
};
