/* files.h - what the tool itself writes: folders, files that appear whole or
 * not at all, and the names of overlays. Functions that give an int give an
 * exit code: 0, or another after printing the error line. */
#ifndef DCAM_CLI_FILES_H
#define DCAM_CLI_FILES_H

#include <stddef.h>
#include <stdio.h>

/* Creates the folder and its parents, and checks that files can be made in it. */
int cli_make_folders(const char *path);

/* Checks before long work that a file can be made at path: makes one beside it and removes it. */
int cli_check_writable(const char *path);

/* A file under a temporary name beside its final one. */
typedef struct {
    FILE *stream;
    const char *path; /* borrowed */
    char *temporary;
} cli_file;

int cli_file_open(const char *path, cli_file *out);
/* fsync and rename; nothing is left behind on failure. */
int cli_file_commit(cli_file *file);
/* Removes the temporary file; fine after commit and on a zeroed struct. */
void cli_file_abort(cli_file *file);

/* Names of files made from images: relative to the deepest folder that holds everything given on the
 * command line, so that images of one base name in different sub-folders stay apart. */
typedef struct cli_names cli_names;

int cli_names_create(const char *const *operands, size_t count, cli_names **out);
void cli_names_destroy(cli_names *names); /* NULL-safe */

/* Refuses a folder for overlays that is, or lies in, a folder to be searched: the overlays would replace
 * photographs, or be taken for photographs by the next run. */
int cli_names_check_folder(const cli_names *names, const char *folder);

/* FOLDER/RELATIVE/NAME for the image, its folders made, never one of the files given on the command
 * line. suffix: ".png" or ".npy". *out is the caller's to free(). */
int cli_names_make(const cli_names *names, const char *folder, const char *image, const char *suffix,
                   char **out);

#endif
