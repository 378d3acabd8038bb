/* files.h - folders that the tool makes, whether a file can be made at a place, and the names of overlays. Whole files
 * are base/file.h's. Functions that give an int give an exit code: 0, or another after printing the error line. */
#ifndef DCAM_CLI_FILES_H
#define DCAM_CLI_FILES_H

#include <stddef.h>

/* Creates the folder and its parents, and checks that files can be made in it. */
int cli_make_folders(const char *path);

/* Checks before long work that a file can be made at path: makes one beside it and removes it. */
int cli_check_writable(const char *path);

/* Names of files made from images: relative to the deepest folder that holds everything given on the
 * command line, so that images of one base name in different sub-folders stay apart. */
typedef struct cli_names cli_names;

int cli_names_create(const char *const *operands, size_t count, cli_names **out);
void cli_names_destroy(cli_names *names); /* NULL-safe */

/* Refuses a folder for overlays that is, or lies in, a folder to be searched: the overlays would replace
 * photographs, or be taken for photographs by the next run. */
int cli_names_check_folder(const cli_names *names, const char *folder);

/* From now on cli_names_make gives none of these images (all that the command line stands for), nor the model. */
int cli_names_protect(cli_names *names, const char *const *images, size_t count, const char *model);

/* Whether it will give a name to each of these images, and no two of them one file: before the first is looked at. */
int cli_names_check_images(const cli_names *names, const char *folder, const char *const *images, size_t count,
                           const char *suffix);

/* FOLDER/RELATIVE/NAME for the image, its folders made, never one of the files that are protected. suffix: ".png" or
 * ".npy". *out is the caller's to free(). */
int cli_names_make(const cli_names *names, const char *folder, const char *image, const char *suffix,
                   char **out);

#endif
