/* cmd_synth.c - dcam synth: a data set drawn from a seed. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "output.h"

typedef struct {
    dcam_synth_options library;
} synth_values;

#define AT(member) offsetof(synth_values, library.member)

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FOLDER,
     .offset = AT(folder),
     .value_name = "DIR",
     .required = true,
     .help = "the folder to write; must be empty or not be there yet"},
    {.name = "seed",
     .kind = CLI_SEED,
     .offset = AT(seed),
     .value_name = "N",
     .help = "seed of every random choice; the same seed gives the same images (default: 0)"},
    {.name = "size",
     .kind = CLI_INT,
     .offset = AT(size),
     .value_name = "PIXELS",
     .min = 64,
     .max = 2048,
     .help = "width and height of the images (default: 256)"},
    {.name = "classes",
     .kind = CLI_INT,
     .offset = AT(classes),
     .value_name = "N",
     .min = 1,
     .max = 1000,
     .help = "how many classes (default: all there are)"},
    {.name = "train",
     .kind = CLI_INT,
     .offset = AT(train),
     .value_name = "N",
     .min = 1,
     .max = 100000,
     .help = "normal images to learn from, a class (default: 40)"},
    {.name = "test-good",
     .kind = CLI_INT,
     .offset = AT(test_good),
     .value_name = "N",
     .min = 1,
     .max = 100000,
     .help = "normal test images a class (default: 10)"},
    {.name = "test-defective",
     .kind = CLI_INT,
     .offset = AT(test_defective),
     .value_name = "N",
     .min = 1,
     .max = 100000,
     .help = "defective test images a class, over its kinds of defects (default: 15)"},
};

static int run(const cli_parsed *parsed)
{
    const synth_values *values = parsed->values;
    dcam_status status = dcam_synth(&values->library);
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(values->library.folder));
    return 0;
}

const cli_command cli_synth = {
    .name = "synth",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "draw a synthetic data set with defects and masks",
    .description =
        "Draws textures and objects with several kinds of defects and their masks, in MVTec AD layout, from "
        "a seed. "
        "For trying dcam out and for tests; says nothing about how well it does on real photographs.",
    .example = "dcam synth -o synthetic --seed 7",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(synth_values),
    .run = run,
};
