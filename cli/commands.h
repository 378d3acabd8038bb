/* commands.h - every command of the tool, once. */
#ifndef DCAM_CLI_COMMANDS_H
#define DCAM_CLI_COMMANDS_H

#include "options.h"

extern const cli_command cli_bench, cli_calibrate, cli_detect, cli_doctor, cli_eval, cli_export, cli_help, cli_info, cli_pretrain, cli_serve,
    cli_synth, cli_teacher_fetch, cli_teacher_import, cli_train;

/* In the order of the help. */
extern const cli_command *const cli_commands[];
extern const size_t cli_command_count;

/* The command that the first words name; *used says how many words that took. NULL after printing
 * what there is instead. */
const cli_command *cli_find_command(int count, char **words, int *used);

/* What reads the same in several commands. */
#define CLI_OPTION_MODEL(type, member, text)                                                                 \
    {                                                                                                        \
        .name = "model", .letter = 'm', .kind = CLI_FILE, .offset = offsetof(type, member),                  \
        .value_name = "MODEL", .required = true, .help = (text)                                              \
    }
#define CLI_OPTION_FALSE_ALARM_RATE(type, member)                                                            \
    {                                                                                                        \
        .name = "false-alarm-rate", .kind = CLI_NUMBER, .offset = offsetof(type, member), .value_name = "F", \
        .min = 1e-6, .max = 0.5,                                                                             \
        .help = "wanted part of normal images above the threshold (default: 0.01; calibrate: the model's)"   \
    }
#define CLI_OPTION_THREADS(type, member)                                                                     \
    {                                                                                                        \
        .name = "threads", .kind = CLI_INT, .offset = offsetof(type, member), .value_name = "N", .min = 1,   \
        .max = 1024, .help = "processor cores to use (default: all that this process may use)"               \
    }
#define CLI_OPTION_PRECISION(type, member)                                                                   \
    {                                                                                                        \
        .name = "precision", .kind = CLI_CHOICE_INDEX, .offset = offsetof(type, member),                     \
        .choices = "auto|f32|bf16|int8",                                                                     \
        .help = "precision of the network; auto is bf16 where the processor is faster in it; bf16 needs "    \
                "AVX-512 (default: auto)"                                                                    \
    }
#define CLI_OPTION_CLASSES(type, member)                                                                     \
    {                                                                                                        \
        .name = "classes", .kind = CLI_TEXT, .offset = offsetof(type, member), .value_name = "A,B,...",      \
        .help = "only these classes of the data set (default: all)"                                          \
    }
/* Training, of students and of teachers. */
#define CLI_OPTION_TRAINING_PRECISION(type, member)                                                          \
    {                                                                                                        \
        .name = "precision", .kind = CLI_CHOICE_INDEX, .offset = offsetof(type, member),                     \
        .choices = "auto|f32|bf16",                                                                          \
        .help = "precision of the training; auto is bf16 where the processor has AMX, else f32; bf16 needs " \
                "AMX or AVX512-BF16 (default: auto)"                                                         \
    }
#define CLI_OPTION_LEARNING_RATE(type, member, what_and_default)                                             \
    {                                                                                                        \
        .name = "lr", .kind = CLI_NUMBER, .offset = offsetof(type, member), .value_name = "RATE",            \
        .min = 1e-9, .max = 100, .help = (what_and_default)                                                  \
    }
#define CLI_OPTION_WEIGHT_DECAY(type, member)                                                                \
    {                                                                                                        \
        .name = "weight-decay", .kind = CLI_NUMBER, .offset = offsetof(type, member), .value_name = "W",     \
        .min = 0, .max = 1, .help = "weight decay of the optimiser; 0: none (default: 0.0001)"               \
    }
#define CLI_OPTION_SEED(type, member, what_and_default)                                                      \
    {                                                                                                        \
        .name = "seed", .kind = CLI_SEED, .offset = offsetof(type, member), .value_name = "N",               \
        .help = (what_and_default)                                                                           \
    }
#define CLI_OPTION_CHECKPOINT(type, member, what)                                                            \
    {                                                                                                        \
        .name = "checkpoint", .kind = CLI_FILE, .offset = offsetof(type, member), .value_name = "FILE",      \
        .help = (what)                                                                                       \
    }
#define CLI_OPTION_RESUME(type, member)                                                                      \
    {                                                                                                        \
        .name = "resume", .kind = CLI_FLAG, .offset = offsetof(type, member),                                \
        .help = "goes on from the checkpoint"                                                                \
    }

#define CLI_COUNT(array) (sizeof(array) / sizeof(array)[0])

#endif
