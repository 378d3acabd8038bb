/* cmd_teacher.c - dcam teacher import: published weights made into a checked
 * teacher file. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"

typedef struct {
    const char *output;
} teacher_values;

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = offsetof(teacher_values, output),
     .value_name = "FILE",
     .required = true,
     .help = "the teacher file to write (safetensors)"},
};

static int run(const cli_parsed *parsed)
{
    const teacher_values *values = parsed->values;
    int code = cli_check_writable(values->output);
    if (code != 0) return code;
    dcam_status status = dcam_teacher_import(parsed->operands[0], values->output);
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(values->output));
    return 0;
}

const cli_command cli_teacher_import = {
    .name = "teacher import",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "read published ResNet-18 weights, check them, write a teacher file",
    .description = "Reads a state dict of torchvision's ResNet-18 (.pth as saved by PyTorch, or "
                   ".safetensors; batch norm "
                   "separate or folded), checks every tensor and writes a teacher file. A .pth file is read "
                   "without running "
                   "anything in it: whatever is not a plain tensor is refused by name.",
    .example = "dcam teacher import resnet18-f37072fd.pth -o resnet18.safetensors",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(teacher_values),
    .run = run,
};
