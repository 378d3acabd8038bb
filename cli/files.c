/* files.c - folders, whether a file can be made at a place, and the names of overlays and maps. Must never replace a
 * photograph that was given. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "files.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "output.h"

static int fail_errno(const char *path, const char *what, int error)
{
    const dcam_status status = dcam_status_of_errno(error);
    const char *mend = status == DCAM_ERROR_DISK     ? "free some space or choose another place"
                       : status == DCAM_ERROR_MEMORY ? "free some memory and run again"
                                                     : "check the path and its permissions";
    cli_error("%s: %s: %s; %s", path, what, strerror(error), mend);
    const int code = dcam_status_exit_code(status);
    assert(code != 0); /* callers take 0 for what went well */
    return code;
}

/* *there: whether something is there, and *facts of it. What cannot be looked at is not taken for absent: a photograph
 * would be written over, or the pictures get other names. An exit code. */
static int look(const char *path, struct stat *facts, bool *there)
{
    *there = stat(path, facts) == 0;
    return *there || dcam_means_absent(errno) ? 0 : fail_errno(path, "cannot look at it", errno);
}

/* A fresh copy of a followed by b; NULL without memory. */
static char *concat(const char *a, const char *b)
{
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    char *text = malloc(a_bytes + b_bytes + 1);
    if (!text) return NULL;
    memcpy(text, a, a_bytes);
    memcpy(text + a_bytes, b, b_bytes);
    text[a_bytes + b_bytes] = '\0';
    return text;
}

/* ---- folders ----------------------------------------------------------- */

/* Creates every folder named in path up to its last slash, or all of it. */
static int make_each(const char *path, bool last_too)
{
    char *copy = concat(path, last_too ? "/" : "");
    if (!copy) return fail_errno(path, "cannot create the folder", ENOMEM);
    int code = 0;
    for (char *slash = strchr(copy + 1, '/'); slash && code == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        struct stat facts;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            code = fail_errno(copy, "cannot create the folder", errno);
        else if (stat(copy, &facts) == 0 && !S_ISDIR(facts.st_mode))
            code = fail_errno(copy, "cannot create the folder", ENOTDIR);
        *slash = '/';
    }
    free(copy);
    return code;
}

/* Of a file that is never there, unlike any plain name: overlays and models are called as the user says. */
#define NO_FILE "/.dcam-write-test"

int cli_make_folders(const char *path)
{
    const int code = make_each(path, true);
    if (code != 0) return code;
    char *name = concat(path, NO_FILE);
    if (!name) return fail_errno(path, "cannot write into the folder", ENOMEM);
    const dcam_status status = dcam_check_writable(name);
    free(name);
    if (status == DCAM_OK) return 0;
    cli_error("%s: cannot write into the folder; choose another or check its permissions and its disk (%s)", path, dcam_error_message());
    return dcam_status_exit_code(status);
}

int cli_check_writable(const char *path)
{
    const dcam_status status = dcam_check_writable(path);
    return status == DCAM_OK ? 0 : cli_fail(status);
}

/* ---- names of overlays -------------------------------------------------- */

typedef struct {
    dev_t device;
    ino_t inode;
} file_identity;

struct cli_names {
    char *working; /* this process's folder */
    const char *const *operands;
    size_t operand_count;
    char *root;           /* the deepest folder that holds all operands; "" is / */
    file_identity *files; /* what must not be written over, sorted */
    size_t file_count;
    file_identity model;  /* one of them */
};

/* path from the root, without "." and "..", as text alone: "/a/b". "/" is "". NULL without memory. */
static char *absolute(const char *working, const char *path)
{
    char *joined;
    if (path[0] == '/') {
        joined = concat(path, "");
    } else {
        char *with_slash = concat(working, "/");
        joined = with_slash ? concat(with_slash, path) : NULL;
        free(with_slash);
    }
    if (!joined) return NULL;
    size_t used = 0;
    for (const char *at = joined; *at != '\0';) {
        while (*at == '/') at++;
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.') {
            while (used > 0 && joined[--used] != '/') continue;
        } else if (length > 0 && !(length == 1 && at[0] == '.')) {
            /* Writes never overtake reads: every part had its slash before it. */
            joined[used++] = '/';
            memmove(joined + used, at, length);
            used += length;
        }
        at += length;
    }
    joined[used] = '\0';
    return joined;
}

/* Whether path is folder or lies in it; both absolute. */
static bool is_inside(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int compare_identity(const void *a, const void *b)
{
    const file_identity *p = a, *q = b;
    if (p->device != q->device) return p->device < q->device ? -1 : 1;
    if (p->inode != q->inode) return p->inode < q->inode ? -1 : 1;
    return 0;
}

/* Takes one operand into root. An exit code. */
static int add_operand(cli_names *names, const char *operand)
{
    struct stat facts;
    bool is_there;
    const int code = look(operand, &facts, &is_there);
    if (code != 0) return code;
    char *path = absolute(names->working, operand);
    if (!path) return fail_errno(operand, "cannot keep the name", ENOMEM);
    if (!is_there || !S_ISDIR(facts.st_mode)) {
        char *slash = strrchr(path, '/');
        if (slash) *slash = '\0';
    }
    if (!names->root) {
        names->root = path;
        return 0;
    }
    while (!is_inside(path, names->root)) *strrchr(names->root, '/') = '\0';
    free(path);
    return 0;
}

int cli_names_create(const char *const *operands, size_t count, cli_names **out)
{
    char working[PATH_MAX];
    if (!getcwd(working, sizeof working)) return fail_errno(".", "cannot find the current folder", errno);
    cli_names *names = calloc(1, sizeof *names);
    if (!names) goto no_memory;
    names->working = concat(working, "");
    names->operands = operands;
    names->operand_count = count;
    if (!names->working) goto no_memory;
    for (size_t i = 0; i < count; i++) {
        const int code = add_operand(names, operands[i]);
        if (code == 0) continue;
        cli_names_destroy(names);
        return code;
    }
    *out = names;
    return 0;
no_memory:
    cli_names_destroy(names);
    return fail_errno("command line", "cannot keep the names", ENOMEM);
}

void cli_names_destroy(cli_names *names)
{
    if (!names) return;
    free(names->working);
    free(names->root);
    free(names->files);
    free(names);
}

/* Where path leads to; NULL in *out: nowhere yet. An exit code. */
static int find_place(const char *path, char **out)
{
    *out = realpath(path, NULL);
    return *out || dcam_means_absent(errno) ? 0 : fail_errno(path, "cannot look at it", errno);
}

/* Whether folder, which need not be there yet, lies in outer: by their names, or by where they lead to. An exit code. */
static int lies_in(const cli_names *names, const char *folder, const char *outer, bool *inside)
{
    char *ours = absolute(names->working, folder), *theirs = absolute(names->working, outer);
    char *our_place = NULL, *their_place = NULL;
    int code = ours && theirs ? 0 : fail_errno(folder, "cannot keep the name", ENOMEM);
    if (code == 0) code = find_place(folder, &our_place);
    if (code == 0) code = find_place(outer, &their_place);
    if (code == 0) *inside = is_inside(ours, theirs) || (our_place && their_place && is_inside(our_place, their_place));
    free(ours);
    free(theirs);
    free(our_place);
    free(their_place);
    return code;
}

int cli_names_check_folder(const cli_names *names, const char *folder)
{
    for (size_t i = 0; i < names->operand_count; i++) {
        struct stat facts;
        bool is_there, inside = false;
        int code = look(names->operands[i], &facts, &is_there);
        if (code == 0 && is_there && S_ISDIR(facts.st_mode)) code = lies_in(names, folder, names->operands[i], &inside);
        if (code != 0) return code;
        if (!inside) continue;
        cli_error("%s: lies in %s, where photographs are looked for, and the overlays would mix with them; "
                  "give a folder outside of it",
                  folder, names->operands[i]);
        return CLI_EXIT_USAGE;
    }
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text), end_length = strlen(end);
    return text_length >= end_length && strcasecmp(text + text_length - end_length, end) == 0;
}

static bool has_image_ending(const char *name)
{
    static const char *const endings[] = {".png",  ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif",
                                          ".tiff", ".bmp", ".dib",  ".pnm", ".ppm",  ".pgm",  ".pbm"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (ends_with(name, endings[i])) return true;
    return false;
}

/* The name without its final ".png". PNG images keep theirs (x.png: "x"), others keep their ending too
 * (x.jpg: "x.jpg"), so that x.png and x.jpg in one folder stay apart. What would come out equal to such a
 * name is lengthened: ("x.jpg.png": "x.jpg.png"; "x" without an ending: "x.file"). No two names give the
 * same. Changes name in place; it has room for ".file". */
static void make_stem(char *name)
{
    size_t length = strlen(name);
    bool is_png = length > 4 && strcmp(name + length - 4, ".png") == 0;
    if (is_png) {
        name[length - 4] = '\0';
        if (has_image_ending(name) || ends_with(name, ".file")) name[length - 4] = '.';
    } else if (!has_image_ending(name)) {
        memcpy(name + length, ".file", sizeof ".file");
    }
}

/* FOLDER/RELATIVE/NAME; *out is the caller's. An exit code. */
static int build_name(const cli_names *names, const char *folder, const char *image, const char *suffix, char **out)
{
    char *path = absolute(names->working, image);
    if (!path) return fail_errno(folder, "cannot name a file", ENOMEM);
    /* Outside of the root only through a link of the search; its whole path keeps it apart. */
    const char *relative = names->root && is_inside(path, names->root) ? path + strlen(names->root) : path;
    const size_t room = strlen(folder) + strlen(relative) + strlen(".file") + strlen(suffix) + 1;
    char *result = malloc(room);
    if (result) {
        snprintf(result, room, "%s%s", folder, relative);
        make_stem(result);
        memcpy(result + strlen(result), suffix, strlen(suffix) + 1);
        *out = result;
    }
    free(path);
    return result ? 0 : fail_errno(folder, "cannot name a file", ENOMEM);
}

/* Refuses a name that is a protected file's. An exit code. */
static int check_name(const cli_names *names, const char *name)
{
    struct stat facts;
    bool is_there;
    const int code = look(name, &facts, &is_there);
    if (code != 0 || !is_there) return code;
    const file_identity found = {facts.st_dev, facts.st_ino};
    if (!names->files || !bsearch(&found, names->files, names->file_count, sizeof found, compare_identity)) return 0;
    cli_error("%s: is %s and would be overwritten; give another output folder", name,
              compare_identity(&found, &names->model) == 0 ? "the model" : "one of the photographs given");
    return CLI_EXIT_USAGE;
}

/* What is not there, or not any more, cannot be written over. An exit code. */
static int protect(cli_names *names, const char *path)
{
    struct stat facts;
    bool is_there;
    const int code = look(path, &facts, &is_there);
    if (code == 0 && is_there) names->files[names->file_count++] = (file_identity){facts.st_dev, facts.st_ino};
    return code;
}

int cli_names_protect(cli_names *names, const char *const *images, size_t count, const char *model)
{
    names->files = malloc((count + 1) * sizeof *names->files);
    if (!names->files) return fail_errno("command line", "cannot keep the names", ENOMEM);
    int code = protect(names, model);
    if (names->file_count > 0) names->model = names->files[0];
    for (size_t i = 0; i < count && code == 0; i++) code = protect(names, images[i]);
    qsort(names->files, names->file_count, sizeof *names->files, compare_identity);
    return code;
}

/* ---- results that would fall on each other ---- */

/* Where a result will lie, however links spell it: the deepest folder of its name that is there, and the rest. */
typedef struct {
    char *name;
    const char *image;
    file_identity folder;
    size_t rest; /* name + rest: what is behind the folder */
} result_place;

static int compare_places(const void *a, const void *b)
{
    const result_place *x = a, *y = b;
    const int folders = compare_identity(&x->folder, &y->folder);
    return folders != 0 ? folders : strcmp(x->name + x->rest, y->name + y->rest);
}

/* Of what is not there: a link that leads nowhere may lead into another result's folder once there is more. An exit code. */
static int refuse_dangling(const char *path)
{
    struct stat facts;
    if (lstat(path, &facts) != 0) return dcam_means_absent(errno) ? 0 : fail_errno(path, "cannot look at it", errno);
    cli_error("%s: is a link that leads nowhere; remove it, or give another output folder", path);
    return CLI_EXIT_USAGE;
}

/* An exit code. */
static int find_folder(result_place *p)
{
    struct stat facts = {0};
    bool is_there = false;
    int code = 0;
    for (size_t length = strlen(p->name); !is_there && code == 0;) {
        while (length > 0 && p->name[--length] != '/') continue;
        const bool is_top = length == 0;
        const char *top = p->name[0] == '/' ? "/" : ".";
        if (!is_top) p->name[length] = '\0';
        code = look(is_top ? top : p->name, &facts, &is_there);
        if (code == 0 && !is_there) code = refuse_dangling(p->name);
        if (!is_top) p->name[length] = '/';
        p->rest = length;
        if (is_top) break;
    }
    p->folder = (file_identity){facts.st_dev, facts.st_ino};
    return code;
}

/* before: another place, which mostly has the same folder, or NULL. An exit code. */
static int place_result(const cli_names *names, const char *folder, const char *image, const char *suffix, const result_place *before,
                      result_place *p)
{
    p->image = image;
    int code = build_name(names, folder, image, suffix, &p->name);
    if (code == 0) code = check_name(names, p->name);
    if (code != 0) return code;
    const size_t length = (size_t)(strrchr(p->name, '/') - p->name) + 1;
    if (!before || strncmp(before->name, p->name, length) != 0 || strchr(before->name + length, '/')) return find_folder(p);
    p->folder = before->folder;
    p->rest = before->rest;
    return 0;
}

/* An image that is given twice may have its result twice. An exit code. */
static int refuse_two(const result_place *a, const result_place *b)
{
    struct stat facts[2] = {{0}};
    bool are_there[2] = {false};
    int code = look(a->image, &facts[0], &are_there[0]);
    if (code == 0) code = look(b->image, &facts[1], &are_there[1]);
    const file_identity first = {facts[0].st_dev, facts[0].st_ino}, second = {facts[1].st_dev, facts[1].st_ino};
    if (code != 0 || (are_there[0] && are_there[1] && compare_identity(&first, &second) == 0)) return code;
    cli_error("%s: would be the result of both %s and %s; look at them apart, or give another output folder", a->name, a->image,
              b->image);
    return CLI_EXIT_USAGE;
}

int cli_names_check_images(const cli_names *names, const char *folder, const char *const *images, size_t count,
                           const char *suffix)
{
    result_place *places = calloc(count, sizeof *places);
    if (!places) return fail_errno(folder, "cannot keep the names", ENOMEM);
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++)
        code = place_result(names, folder, images[i], suffix, i > 0 ? &places[i - 1] : NULL, &places[i]);
    if (code == 0) qsort(places, count, sizeof *places, compare_places);
    for (size_t i = 1; i < count && code == 0; i++)
        if (compare_places(&places[i - 1], &places[i]) == 0) code = refuse_two(&places[i - 1], &places[i]);
    for (size_t i = 0; i < count; i++) free(places[i].name);
    free(places);
    return code;
}

int cli_names_make(const cli_names *names, const char *folder, const char *image, const char *suffix,
                   char **out)
{
    char *result;
    int code = build_name(names, folder, image, suffix, &result);
    if (code != 0) return code;
    code = make_each(result, false);
    if (code == 0) code = check_name(names, result);
    if (code == 0)
        *out = result;
    else
        free(result);
    return code;
}
