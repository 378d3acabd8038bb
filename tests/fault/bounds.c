/* bounds.c - the tool at the edges of its machine: few file descriptors, full and nearly full disks, read-only folders,
 * deep folders, links that lead nowhere or round, names of any bytes, very many files.
 *   bounds TOOL SHIM [IMAGES]
 * IMAGES in one folder (default 2,000). What this user may not try (mounting) is told and passed over. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <sys/mount.h>

#include "process.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "weights/json_text.h"

/* A picture of its own for every name: grey, 8 x 8. */
/* No two are the same: a training counts copies once. */
static void put_image(const char *path)
{
    static unsigned number;
    char bytes[11 + 64] = "P5 8 8 255\n";
    for (int i = 0; i < 64; i++) bytes[11 + i] = (char)(i * 3);
    for (int i = 0; i < 3; i++) bytes[11 + i] = (char)(number >> 8 * i & 0xff);
    number++;
    write_file(path, bytes, sizeof bytes);
}

static void make_folder(const char *name)
{
    char path[PATH_BYTES];
    at_root(path, name);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) die(path);
}

static char *said(const char *stream)
{
    char path[PATH_BYTES];
    size_t n;
    at_root(path, stream);
    char *text = read_file(path, &n);
    if (!text) die(path);
    return text;
}

/* One line that begins as every error of the tool, holds `part`, and no control character. */
static void expect(const char *what, outcome o, int code, const char *part)
{
    char *text = said("err");
    if (o.how != ENDED_ITSELF || o.code != code) COMPLAIN("%s: exit code %d, %d was wanted; %s", what, o.code, code, text);
    else if (part && (!strstr(text, "dcam: ") || !strstr(text, part))) COMPLAIN("%s: '%s' was wanted in: %s", what, part, text);
    for (const char *c = text; *c; c++)
        if (*c != '\n' && iscntrl((unsigned char)*c)) {
            COMPLAIN("%s: a control character in the error", what);
            break;
        }
    free(text);
}

/* ---- names ---- */

/* The last three: a mark that turns the direction of text, and two that begin a terminal's command. */
static const char *const names[] = {"new\nline.pgm", "tab\tbell\a.pgm", "quote\".pgm", "back\\slash.pgm", "\xff\xfe\xc0\x80.pgm",
                                    "-m.pgm", " blank .pgm", "\xc3\xa9\xe2\x82\xac.pgm", "*?.pgm", "%s%n.pgm", "$(touch x).pgm", "'.pgm",
                                    "\xe2\x80\xaegnp.pgm", "\xc2\x9b" "31m.pgm", "\x9b" "31m.pgm"};
enum { NAMES = sizeof names / sizeof names[0], NOT_UTF8 = 2 };

static void put_names(const char *folder)
{
    char path[PATH_BYTES];
    make_folder(folder);
    for (int i = 0; i < NAMES; i++) {
        snprintf(path, sizeof path, "%.1000s/%.1000s/%.255s", root, folder, names[i]);
        put_image(path);
    }
}

/* Of what a terminal shows: nothing in it misleads. */
static int count_lines(const char *what, const char *text)
{
    int lines = 0;
    bool misleads;
    for (size_t n; *text; text += n) {
        n = dcam_utf8_next(text, &misleads);
        lines += *text == '\n';
        if (misleads && *text != '\n') COMPLAIN("%s: 0x%02x reaches the terminal", what, (unsigned char)*text);
    }
    return lines;
}

/* Every line is an object with a path and a score; a path that is UTF-8 is the file's. */
static void check_json_lines(const char *what)
{
    char *text = said("out"), *rest = text, *line;
    int objects = 0, exact = 0;
    while ((line = strsep(&rest, "\n")) && *line) {
        dcam_json_error error;
        json_t *json = dcam_json_parse(line, strlen(line), &error);
        const char *path = json_string_value(json_object_get(json, "path"));
        if (!json) COMPLAIN("%s: not JSON (%s): %s", what, error.reason, line);
        else if (!path || !json_is_number(json_object_get(json, "score"))) COMPLAIN("%s: no path or score: %s", what, line);
        for (int i = 0; path && i < NAMES; i++) exact += strrchr(path, '/') && strcmp(strrchr(path, '/') + 1, names[i]) == 0;
        objects += json != NULL;
        json_decref(json);
    }
    if (objects != NAMES || exact != NAMES - NOT_UTF8) COMPLAIN("%s: %d objects, %d paths as they are; %d were wanted", what, objects, exact, NAMES);
    free(text);
}

static void any_bytes_in_names(void)
{
    char path[PATH_BYTES], *list[64];
    put_names("names");
    expect("names, JSON", run_tool("detect names -m model --json --threads 1 -o overlays --map-npy maps", NULL), 0, NULL);
    check_json_lines("names, JSON");
    at_root(path, "overlays");
    const size_t overlays = list_files(path, list, 0, 64);
    if (overlays != NAMES) COMPLAIN("names: %zu overlays of %d", overlays, NAMES);
    for (size_t i = 0; i < overlays; i++) free(list[i]);
    expect("names, lines", run_tool("detect names -m model --threads 1", NULL), 0, NULL);
    char *text = said("out");
    const int lines = count_lines("names", text);
    if (lines != NAMES) COMPLAIN("names: %d lines for %d images", lines, NAMES);
    free(text);
    at_root(path, "-m.pgm");
    put_image(path);
    expect("a leading dash", run_tool("detect -m model --threads 1 -- -m.pgm", NULL), 0, NULL);
    put_names("train-names");
    at_root(path, "te\xff\n");
    if (symlink("teacher", path) != 0) die(path);
    expect("names, training", run_tool("train train-names -o m --teacher te\xff\n --size 32 --epochs 1 --batch 4 --threads 1 -q", NULL), 0, NULL);
    make_folder("classes");
    make_folder("classes/new\nline");
    make_folder("classes/new\nline/train");
    put_names("classes/new\nline/train/good");
    expect("a class of two lines", run_tool("train classes -o m2 --teacher teacher --size 32 --epochs 1 --batch 4 --threads 1 -q", NULL), 3, "name");
}

/* ---- links ---- */

static void put_link(const char *to, const char *name)
{
    char path[PATH_BYTES];
    at_root(path, name);
    if (symlink(to, path) != 0 && errno != EEXIST) die(path);
}

static void links(void)
{
    char path[PATH_BYTES];
    make_folder("links");
    make_folder("links/below");
    at_root(path, "links/below/a.pgm");
    put_image(path);
    put_link("..", "links/below/up");
    put_link(".", "links/here");
    put_link("two", "links/one");
    put_link("one", "links/two");
    put_link("nowhere", "links/dangling.pgm");
    put_link("below/a.pgm", "links/sound.pgm");
    const outcome o = run_tool("detect links -m model --json --threads 1", NULL);
    char *text = said("out"), *error = said("err");
    if (o.how == ENDED_HUNG || (o.code != 0 && o.code != 3)) COMPLAIN("links: exit code %d; %s", o.code, error);
    if (!strstr(text, "below/a.pgm") || !strstr(text, "sound.pgm")) COMPLAIN("links: an image was not looked at: %s", text);
    if (!strstr(text, "dangling") && !strstr(error, "dangling")) COMPLAIN("links: nothing said about a link that leads nowhere");
    printf("links: exit code %d, %d lines\n", o.code, count_lines("links", text));
    free(error);
    free(text);
    put_link("round", "round");
    expect("a link to itself", run_tool("detect round -m model", NULL), 3, "round");
    expect("a model that is a link to itself", run_tool("detect links/below/a.pgm -m round", NULL), 3, "round");
    expect("a data set that leads nowhere", run_tool("train links/dangling.pgm -o m --teacher teacher -q", NULL), 3, "dangling");
}

/* ---- depth ---- */

enum { DEPTH = 1000 };

static void go(const char *folder)
{
    if (chdir(folder) != 0) die(folder);
}

/* Paths below are longer than PATH_MAX: step by step. */
static void dig(void)
{
    go(root);
    for (int i = 0; i < DEPTH; i++) {
        if (mkdir("level", 0777) != 0) die("mkdir");
        go("level");
        if (i == 40 || i == DEPTH - 1) put_image("deep.pgm");
    }
    go("/");
}

static void fill_in(void)
{
    go(root);
    for (int i = 0; i < DEPTH; i++) go("level");
    for (int i = 0; i < DEPTH; i++) {
        remove("deep.pgm");
        go("..");
        if (rmdir("level") != 0) die("rmdir");
    }
    go("/");
}

static void deep_folders(void)
{
    dig();
    const outcome o = run_tool("detect level -m model --json --threads 1", NULL);
    char *text = said("out"), *error = said("err");
    if (o.how == ENDED_HUNG || (o.code != 0 && o.code != 3)) COMPLAIN("depth: exit code %d; %.300s", o.code, error);
    if (o.code == 3 && !strstr(error, "dcam: ")) COMPLAIN("depth: exit code 3 without a word");
    printf("depth: %d levels, exit code %d, %d lines; %.60s...%s", DEPTH, o.code, count_lines("depth", text), error,
           strlen(error) > 90 ? error + strlen(error) - 90 : "\n");
    free(error);
    free(text);
    expect("depth, training", run_tool("train level -o m --teacher teacher --size 32 --epochs 1 -q", NULL), 3, "level");
    fill_in();
}

/* ---- descriptors ---- */

/* Below some number nothing works, above it everything; never anything but a result or a refusal. */
static void few_descriptors(void)
{
    static const char *const commands[] = {"detect data/weave/test -m model --json --threads 1 -o few",
                                           "train data -o mf --teacher teacher --size 32 --epochs 1 --batch 3 --threads 1 -q"};
    for (int c = 0; c < 2; c++) {
        int enough = 0;
        for (most_files = 3; most_files <= 32; most_files += most_files < 16 ? 1 : 16) {
            const outcome o = run_tool(commands[c], NULL);
            char *error = said("err");
            if (o.code == 0 && !enough) enough = most_files;
            /* The loader of shared libraries itself says 127. */
            if (o.code != 0 && o.code != 5 && o.code != 127) COMPLAIN("%d descriptors, %.8s: exit code %d; %s", most_files, commands[c], o.code, error);
            if (o.code == 5 && !strstr(error, "dcam: ")) COMPLAIN("%d descriptors, %.8s: exit code 5 without a word", most_files, commands[c]);
            if (o.code != 0 && enough) COMPLAIN("%d descriptors, %.8s: fails, %d were enough", most_files, commands[c], enough);
            free(error);
        }
        if (!enough) COMPLAIN("%.8s: 32 descriptors are not enough", commands[c]);
        printf("%.6s: %d descriptors are enough\n", commands[c], enough);
    }
    most_files = 0;
}

/* ---- disks ---- */

#define PRETRAINING "pretrain --classes 4 --size 32 --batch 4 --steps 2 --threads 1 -q "
#define TRAINING "train data --teacher teacher --size 32 --epochs 2 --batch 3 --threads 1 -q "

static bool is_there(const char *name)
{
    char path[PATH_BYTES];
    at_root(path, name);
    return access(path, F_OK) == 0;
}

/* As the shim says it: before any step, and a checkpoint needs its own place twice. */
static void nearly_full_disk(void)
{
    free_disk = "80000000";
    expect("a disk with room for model and one checkpoint", run_tool(TRAINING "-o d/m --checkpoint d/c", "stat:1000000:EIO"), 5, "MiB will be needed");
    if (is_there("d/m") || is_there("d/c")) COMPLAIN("nearly full: a file was written");
    expect("a disk with room for a model", run_tool(TRAINING "-o d/m", "stat:1000000:EIO"), 0, NULL);
    free_disk = "1000";
    expect("a full disk", run_tool(TRAINING "-o d/m2", "stat:1000000:EIO"), 5, "MiB will be needed");
    expect("a full disk, pre-training", run_tool(PRETRAINING "-o d/t", "stat:1000000:EIO"), 5, "MiB will be needed");
    if (is_there("d/t")) COMPLAIN("nearly full: a teacher was written");
    /* A teacher is of 5.5 MiB, a checkpoint of these classifiers of 22: the one before and the plateau's lie beside it. */
    free_disk = "60000000";
    expect("room for a teacher", run_tool(PRETRAINING "-o d/t", "stat:1000000:EIO"), 0, NULL);
    expect("room for two checkpoints", run_tool(PRETRAINING "-o d/t2 --checkpoint d/tc", "stat:1000000:EIO"), 0, NULL);
    expect("room for two checkpoints of three", run_tool(PRETRAINING "-o d/t3 --checkpoint d/td --falling 0.5", "stat:1000000:EIO"), 5,
           "MiB will be needed");
    free_disk = NULL;
}

/* A disk that fills up after all, as others write too: the shim says that there is room. */
static void disk_fills_up(void)
{
    char path[PATH_BYTES], old[] = "what was there before", *list[16];
    make_folder("small");
    at_root(path, "small");
    if (mount("none", path, "tmpfs", 0, "size=60m") != 0) {
        printf("a disk that fills up: passed over, this user may not mount one (%s)\n", strerror(errno));
        return;
    }
    at_root(path, "small/m");
    write_file(path, old, sizeof old);
    free_disk = "1000000000000";
    /* The first checkpoint (32 MiB) fits, the second beside it does not. */
    expect("a disk that fills up", run_tool(TRAINING "-o small/m --checkpoint small/c", "stat:1000000:EIO"), 5, "no space left");
    free_disk = NULL;
    at_root(path, "small");
    const size_t count = list_files(path, list, 0, 16);
    if (count != 2) COMPLAIN("a disk that fills up: %zu files are there, not 2", count);
    for (size_t i = 0; i < count; i++) free(list[i]);
    expect("its checkpoint", run_tool("info small/c --json", NULL), 0, NULL);
    at_root(path, "small/m");
    size_t n;
    char *text = read_file(path, &n);
    if (!text || strcmp(text, old) != 0) COMPLAIN("a disk that fills up: the old model is gone");
    free(text);
    at_root(path, "small");
    if (umount(path) != 0) die(path);
}

static void read_only_folder(void)
{
    char path[PATH_BYTES];
    make_folder("locked");
    at_root(path, "locked");
    if (geteuid() == 0) {
        if (mount("none", path, "tmpfs", MS_RDONLY, NULL) != 0) {
            printf("a read-only folder: passed over (%s)\n", strerror(errno));
            return;
        }
    } else if (chmod(path, 0555) != 0) die(path);
    expect("a model in a read-only folder", run_tool(TRAINING "-o locked/m", NULL), 3, "locked");
    expect("overlays in a read-only folder", run_tool("detect names -m model --threads 1 -o locked/o", NULL), 3, "locked");
    expect("a data set in a read-only folder", run_tool("synth -o locked/ds --seed 1 --size 64 --classes 1", NULL), 3, "locked");
    if (geteuid() == 0) umount(path);
    else chmod(path, 0755);
}

/* ---- many ---- */

/* Listing only: a training that is refused for its memory has looked at the whole data set. */
static void many_images(long images)
{
    char path[PATH_BYTES];
    make_folder("many");
    for (long i = 0; i < images; i++) {
        snprintf(path, sizeof path, "%.1000s/many/%06ld.pgm", root, i);
        put_image(path);
    }
    const outcome o = run_tool("train many -o m --teacher teacher --size 32 --max-memory 1M -q", NULL);
    expect("many images", o, 5, "would hold");
    printf("%ld images in a folder: %.2f s of processor time, %ld MiB at most\n", images, o.computed, o.peak_kib >> 10);
#ifndef SANITIZED /* which take time and memory of their own */
    if (o.computed > 2 + 1e-4 * (double)images) COMPLAIN("%ld images take %.1f s to list", images, o.computed);
    if (o.peak_kib > (256 << 10) + images) COMPLAIN("%ld images take %ld MiB to list", images, o.peak_kib >> 10);
#endif
}

int main(int count, char **arguments)
{
    if (count < 3) return 2;
    const long images = count > 3 ? strtol(arguments[3], NULL, 10) : 2000;
    shim = arguments[2];
    make_inputs(arguments[1]);
    make_folder("d");
    any_bytes_in_names();
    links();
    deep_folders();
    few_descriptors();
    nearly_full_disk();
    disk_fills_up();
    read_only_folder();
    many_images(images);
    printf("%d failures\n", failures);
    remove_tree(root);
    return failures > 0;
}
