/* cmd_export.c - dcam export: a model for other run times. */
#include <stdio.h>

#include "commands.h"
#include "dcam.h"
#include "files.h"
#include "output.h"

#define AT(member) offsetof(dcam_export_options, member)

static const cli_option options[] = {
    CLI_OPTION_MODEL(dcam_export_options, model, "the model file"),
    {.name = "to",
     .kind = CLI_CHOICE_INDEX,
     .offset = AT(format),
     .choices = "onnx|safetensors",
     .required = true,
     .help = "the format: a graph of the whole detector, or its tensors under torchvision's names"},
    {.name = "output",
     .letter = 'o',
     .kind = CLI_FILE,
     .offset = AT(output),
     .value_name = "FILE",
     .required = true,
     .help = "the file to write"},
    {.name = "rgb",
     .kind = CLI_FLAG,
     .offset = AT(rgb_input),
     .help = "onnx: the input is uint8 RGB (batch, height, width, 3); default: normalised float32 (batch, 3, height, width)"},
    {.name = "class",
     .kind = CLI_TEXT,
     .offset = AT(class_name),
     .value_name = "NAME",
     .help = "onnx: every image is of this class (default: the graph recognises it)"},
};

static int run(const cli_parsed *parsed)
{
    const dcam_export_options *values = parsed->values;
    int code = cli_check_writable(values->output);
    if (code != 0) return code;
    dcam_status status = dcam_export(values);
    if (status != DCAM_OK) return cli_fail(status);
    printf("wrote %s\n", cli_printable(values->output));
    return 0;
}

const cli_command cli_export = {
    .name = "export",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "write a model for other run times",
    .description =
        "onnx: the whole detector as one graph, from the pixels to map, score, class and threshold, in f32, for "
        "any batch size (opset 13). safetensors: teacher and student with batch norm, for torchvision's modules. "
        "Preprocessing and calibration go along as metadata. The file is read back and checked.",
    .example = "dcam export -m model.safetensors --to onnx -o detector.onnx",
    .options = options,
    .option_count = CLI_COUNT(options),
    .values_size = sizeof(dcam_export_options),
    .run = run,
};
