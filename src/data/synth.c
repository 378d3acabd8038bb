/* synth.c - writes the synthetic data set: one good product after the other,
 * and for the defective ones the same product twice, without and with its
 * flaw. The mask is where the two renderings differ so that one sees it, not
 * what a shape function believes it has painted.
 *
 * Everything is a pure function of the seed, the class and the number of the
 * photograph: more images, other classes or other thread counts change none of
 * the rest. All is written into a folder beside the wanted one, which takes its
 * name only when it is whole. */
#define _GNU_SOURCE
#include "data/synth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/synth_classes.h"
#include "data/synth_mask.h"
#include "image/image.h"

#define DEFAULT_SIZE 256
#define DEFAULT_TRAIN 40
#define DEFAULT_GOOD 10
#define DEFAULT_DEFECTIVE 15
/* Below, the products cannot be told; above, one scene takes over 400 MB. */
#define MIN_SIZE 64
#define MAX_SIZE 2048
/* File names have room for more, but nobody waits for it. */
#define MAX_IMAGES 100000
/* A flaw that came out too faint, too small or too large is drawn again, stronger each time. */
#define MAX_ATTEMPTS 40

const synth_class *const synth_classes[] = {&synth_weave, &synth_nut,     &synth_brushed, &synth_capsule, &synth_wood,
                                            &synth_gear,  &synth_leather, &synth_board,   &synth_tiles,   &synth_cap};
const size_t synth_class_count = sizeof synth_classes / sizeof synth_classes[0];

typedef enum { ROLE_TRAIN, ROLE_TEST_GOOD, ROLE_DEFECTIVE } role;

/* One photograph to be made. */
typedef struct {
    const synth_class *product;
    role role;
    int flaw;   /* into product->flaws, for ROLE_DEFECTIVE */
    int number; /* in its folder */
    int serial; /* among its role */
} job;

typedef struct {
    const char *folder;
    uint64_t seed;
    int pixels;
    const job *jobs;
    size_t job_count;
    pthread_mutex_t lock;
    size_t next_job;
    dcam_status status; /* of the first failure */
    char message[DCAM_MESSAGE_BYTES];
} work;

/* What one thread draws on. */
typedef struct {
    synth_scene clean, flawed;
    float *clean_rgb, *flawed_rgb;
    uint8_t *pixels;
    synth_mask mask;
} easel;

static void clear_easel(easel *e)
{
    synth_scene_clear(&e->clean);
    synth_scene_clear(&e->flawed);
    dcam_free(e->clean_rgb);
    dcam_free(e->flawed_rgb);
    dcam_free(e->pixels);
    synth_mask_clear(&e->mask);
}

static dcam_status create_easel(int pixels, easel *e)
{
    size_t count = (size_t)pixels * (size_t)pixels * 3;
    *e = (easel){0};
    dcam_status status = synth_scene_create(pixels, &e->clean);
    if (status == DCAM_OK) status = synth_scene_create(pixels, &e->flawed);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof(float), &e->clean_rgb);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof(float), &e->flawed_rgb);
    if (status == DCAM_OK) status = dcam_alloc(count, 1, &e->pixels);
    if (status == DCAM_OK) status = synth_mask_create(pixels, &e->mask);
    if (status != DCAM_OK) clear_easel(e);
    return status;
}

/* A stream of its own for every photograph. */
static uint64_t stream_of(const job *j)
{
    return (dcam_random_stream(j->product->name) << 24) ^ ((uint64_t)j->role << 20) ^ (uint64_t)j->serial;
}

static void paint(const job *j, dcam_random nature, synth_flaw_kind kind, dcam_random *flaw, synth_scene *scene)
{
    _Alignas(16) unsigned char instance[SYNTH_INSTANCE_BYTES];
    j->product->draw(&nature, kind, flaw, instance);
    synth_scene_fill(scene, j->product->surface, instance);
}

static dcam_status write_image(const work *w, const char *folder, const char *label, const char *ending, const job *j,
                               int channels, uint8_t *pixels)
{
    char *path;
    dcam_image image = {w->pixels, w->pixels, channels, pixels};
    DCAM_TRY(dcam_format_string(&path, "%s/%s/%s/%s/%03d%s.png", w->folder, j->product->name, folder, label, j->number,
                                ending));
    dcam_status status = dcam_png_write(path, &image);
    dcam_free(path);
    return status;
}

/* Draws the flaw until it can be seen; leaves the picture in flawed_rgb. */
static bool draw_flaw(const work *w, const job *j, dcam_random nature, const synth_light *light, easel *e)
{
    synth_flaw_kind kind = j->product->flaws[j->flaw].kind;
    size_t bytes = (size_t)e->clean.side * (size_t)e->clean.side * sizeof *e->clean.samples;
    bool own = kind >= SYNTH_FLAW_MISSING;
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        dcam_random flaw = dcam_random_make(w->seed, stream_of(j) ^ 0x800000u);
        flaw.counter = (uint64_t)attempt << 32;
        if (own) paint(j, nature, kind, &flaw, &e->flawed);
        else memcpy(e->flawed.samples, e->clean.samples, bytes);
        synth_flaw_apply(&e->flawed, kind, j->product->stain, 1 + 0.15f * (float)attempt, &flaw);
        synth_render(&e->flawed, light, e->flawed_rgb);
        if (synth_mask_compare(&e->mask, e->clean_rgb, e->flawed_rgb)) return true;
    }
    return false;
}

static dcam_status make_image(const work *w, const job *j, easel *e)
{
    dcam_random nature = dcam_random_make(w->seed, stream_of(j));
    dcam_random unused = dcam_random_make(0, 0);
    synth_light light = synth_light_draw(&nature);
    paint(j, nature, SYNTH_FLAW_NONE, &unused, &e->clean);
    synth_render(&e->clean, &light, e->clean_rgb);
    if (j->role != ROLE_DEFECTIVE) {
        synth_expose(e->clean_rgb, w->pixels, &light, e->pixels);
        return write_image(w, j->role == ROLE_TRAIN ? "train" : "test", "good", "", j, 3, e->pixels);
    }
    const char *label = j->product->flaws[j->flaw].name;
    if (!draw_flaw(w, j, nature, &light, e))
        return dcam_fail(DCAM_ERROR_INTERNAL, "%s: no visible \"%s\" came out of seed %llu", j->product->name, label,
                         (unsigned long long)w->seed);
    synth_expose(e->flawed_rgb, w->pixels, &light, e->pixels);
    DCAM_TRY(write_image(w, "test", label, "", j, 3, e->pixels));
    return write_image(w, "ground_truth", label, "_mask", j, 1, e->mask.pixels);
}

/* Keeps the first failure for the calling thread; the rest then stops. */
static void note_failure(work *w, dcam_status status)
{
    pthread_mutex_lock(&w->lock);
    if (w->status == DCAM_OK) {
        w->status = status;
        snprintf(w->message, sizeof w->message, "%s", dcam_error_message());
    }
    pthread_mutex_unlock(&w->lock);
}

/* The next photograph to make; NULL at the end or after a failure. Which
 * thread makes it does not matter, and some take thrice as long as others. */
static const job *take_job(work *w)
{
    pthread_mutex_lock(&w->lock);
    const job *j = w->status == DCAM_OK && w->next_job < w->job_count ? &w->jobs[w->next_job++] : NULL;
    pthread_mutex_unlock(&w->lock);
    return j;
}

static void make_images(void *context, size_t begin, size_t end)
{
    work *w = context;
    const job *j;
    easel e;
    (void)begin; /* one call a thread */
    (void)end;
    dcam_status status = create_easel(w->pixels, &e);
    if (status != DCAM_OK) {
        note_failure(w, status);
        return;
    }
    while ((j = take_job(w)))
        if ((status = make_image(w, j, &e)) != DCAM_OK) note_failure(w, status);
    clear_easel(&e);
}

/* ---- the plan ------------------------------------------------------------ */

static dcam_status fill_defaults(const dcam_synth_plan *from, dcam_synth_plan *p)
{
    *p = *from;
    if (!p->folder || !p->folder[0]) return dcam_fail(DCAM_ERROR_USAGE, "synth: needs a folder to write to");
    if (p->size == 0) p->size = DEFAULT_SIZE;
    if (p->classes == 0) p->classes = (int)synth_class_count;
    if (p->train == 0) p->train = DEFAULT_TRAIN;
    if (p->test_good == 0) p->test_good = DEFAULT_GOOD;
    if (p->test_defective == 0) p->test_defective = DEFAULT_DEFECTIVE;
    if (p->size < MIN_SIZE || p->size > MAX_SIZE)
        return dcam_fail(DCAM_ERROR_USAGE, "synth: size %d; %d to %d pixels are possible", p->size, MIN_SIZE, MAX_SIZE);
    if (p->classes < 1 || p->classes > (int)synth_class_count)
        return dcam_fail(DCAM_ERROR_USAGE, "synth: %d classes; 1 to %zu are possible", p->classes, synth_class_count);
    const int counts[3] = {p->train, p->test_good, p->test_defective};
    for (int i = 0; i < 3; i++)
        if (counts[i] < 1 || counts[i] > MAX_IMAGES)
            return dcam_fail(DCAM_ERROR_USAGE, "synth: %d images; 1 to %d are possible", counts[i], MAX_IMAGES);
    return DCAM_OK;
}

static int flaw_count(const synth_class *c)
{
    int n = 0;
    while (n < SYNTH_MAX_FLAWS && c->flaws[n].name) n++;
    return n;
}

static size_t list_jobs(const dcam_synth_plan *p, job *out)
{
    size_t n = 0;
    for (int c = 0; c < p->classes; c++) {
        const synth_class *product = synth_classes[c];
        int kinds = flaw_count(product);
        for (int i = 0; i < p->train; i++) out[n++] = (job){product, ROLE_TRAIN, 0, i, i};
        for (int i = 0; i < p->test_good; i++) out[n++] = (job){product, ROLE_TEST_GOOD, 0, i, i};
        /* Kinds in turn, so that a longer list begins with the shorter one. */
        for (int i = 0; i < p->test_defective; i++) out[n++] = (job){product, ROLE_DEFECTIVE, i % kinds, i / kinds, i};
    }
    return n;
}

static dcam_status make_class_folders(const char *root, const dcam_synth_plan *p, const synth_class *c)
{
    int kinds = flaw_count(c);
    for (int k = -2; k < 2 * kinds && k / 2 < p->test_defective; k++) {
        char *path;
        if (k < 0) DCAM_TRY(dcam_format_string(&path, "%s/%s/%s/good", root, c->name, k == -2 ? "train" : "test"));
        else
            DCAM_TRY(dcam_format_string(&path, "%s/%s/%s/%s", root, c->name, k % 2 ? "ground_truth" : "test",
                                        c->flaws[k / 2].name));
        dcam_status status = dcam_make_folders(path);
        dcam_free(path);
        if (status != DCAM_OK) return status;
    }
    return DCAM_OK;
}

/* ---- the folder ----------------------------------------------------------- */

/* Hidden files count, since the finished folder takes the place of this one. */
static dcam_status check_empty(const char *path)
{
    bool empty = true;
    dcam_status status = DCAM_OK;
    DIR *folder = opendir(path);
    if (!folder) return dcam_system_failure("open the folder", path);
    while (empty && status == DCAM_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno != 0) status = dcam_system_failure("list the folder", path);
        if (!entry) break;
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    }
    closedir(folder);
    if (status != DCAM_OK || empty) return status;
    return dcam_fail(DCAM_ERROR_DATA, "%s: the folder is not empty (hidden files count); empty it or choose another", path);
}

/* The folder behind a link; anything else as it is. */
static dcam_status resolve_link(const char *path, char **out)
{
    struct stat facts;
    const bool there = lstat(path, &facts) == 0;
    if (!there && errno != ENOENT && errno != ENOTDIR) return dcam_system_failure("look at", path);
    if (!there || !S_ISLNK(facts.st_mode)) return dcam_copy_string(path, out);
    char *target = realpath(path, NULL);
    if (!target && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return dcam_fail(DCAM_ERROR_DATA, "%s: is a link that leads nowhere; remove it or choose another folder", path);
    if (!target) return dcam_system_failure("follow the link", path);
    const dcam_status status = dcam_copy_string(target, out);
    free(target);
    return status;
}

/* The wanted folder without slashes at its end and without a link; it must be absent or empty. */
static dcam_status find_folder(const char *given, char **out, bool *there)
{
    char *path, *folder = NULL;
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    DCAM_TRY(dcam_copy_string(given, &path));
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    dcam_status status = DCAM_OK;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || name[0] == '\0')
        status = dcam_fail(DCAM_ERROR_USAGE, "%s: give the data set's folder a name of its own", given);
    if (status == DCAM_OK) status = resolve_link(path, &folder);
    if (status == DCAM_OK) status = dcam_path_look(folder, &kind);
    if (status == DCAM_OK && kind == DCAM_PATH_FILE)
        status = dcam_fail(DCAM_ERROR_DATA, "%s: is a file; choose another name for the data set's folder", given);
    if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = check_empty(folder);
    dcam_free(path);
    if (status == DCAM_OK) {
        *out = folder;
        *there = kind == DCAM_PATH_FOLDER;
    } else {
        dcam_free(folder);
    }
    return status;
}

/* FOLDER.partial-XXXXXX, its parents first. The end of a name that has no room for more is left out. */
static dcam_status make_partial(const char *folder, char **out)
{
    static const char ending[] = ".partial-XXXXXX";
    char *path = NULL;
    const char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        DCAM_TRY(dcam_format_string(&path, "%.*s", (int)(slash - folder), folder));
        dcam_status status = dcam_make_folders(path);
        dcam_free(path);
        if (status != DCAM_OK) return status;
    }
    const size_t length = strlen(slash ? slash + 1 : folder), most = NAME_MAX - (sizeof ending - 1);
    const size_t kept = strlen(folder) - (length > most ? length - most : 0);
    DCAM_TRY(dcam_format_string(&path, "%.*s%s", (int)kept, folder, ending));
    if (dcam_create_temporary_folder(path) != 0) {
        dcam_status status = dcam_system_failure("create the folder", path);
        dcam_free(path);
        return status;
    }
    *out = path;
    return DCAM_OK;
}

/* Whether the finished folder will be able to take the place of the one that is there is tried before anything is drawn:
 * the two, both empty, change places and change back, so that at each moment one is there. Not all file systems can do
 * that; then only the end will tell. */
static dcam_status try_to_replace(const char *partial, const char *folder)
{
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, partial, AT_FDCWD, folder, RENAME_EXCHANGE) == 0) {
        /* Should this one fail, they have changed their places for good, and it makes no difference. */
        (void)renameat2(AT_FDCWD, partial, AT_FDCWD, folder, RENAME_EXCHANGE);
        return DCAM_OK;
    }
    if (errno == EBUSY)
        return dcam_fail(DCAM_ERROR_DATA, "%s: a disk or volume is mounted there, so that no other folder can take its place; name a folder "
                         "inside it", folder);
    if (errno == EPERM || errno == EACCES) return dcam_system_failure("put another folder in its place", folder);
#else
    (void)partial;
    (void)folder;
#endif
    return DCAM_OK;
}

/* Removes a tree of our own making; depth CLASS/SPLIT/LABEL/FILE. */
static void remove_tree(const char *path, int depth)
{
    dcam_names names;
    if (depth < 5 && dcam_folder_list(path, &names) == DCAM_OK) {
        for (size_t i = 0; i < names.count; i++) {
            char *child;
            if (dcam_path_join(path, names.names[i], &child) != DCAM_OK) continue;
            if (unlink(child) != 0) remove_tree(child, depth + 1);
            dcam_free(child);
        }
        dcam_names_clear(&names);
    }
    (void)rmdir(path);
}

static dcam_status write_all(const dcam_synth_plan *p, const char *partial)
{
    job *jobs;
    size_t per_class = (size_t)p->train + (size_t)p->test_good + (size_t)p->test_defective;
    work w = {.folder = partial, .seed = p->seed, .pixels = p->size, .status = DCAM_OK};
    for (int c = 0; c < p->classes; c++) DCAM_TRY(make_class_folders(partial, p, synth_classes[c]));
    if (pthread_mutex_init(&w.lock, NULL) != 0) return dcam_fail(DCAM_ERROR_MEMORY, "synth: cannot make a lock");
    dcam_status status = dcam_alloc((size_t)p->classes * per_class, sizeof *jobs, &jobs);
    if (status == DCAM_OK) {
        w.jobs = jobs;
        w.job_count = list_jobs(p, jobs);
        dcam_parallel_for((size_t)dcam_threads(), make_images, &w);
        dcam_free(jobs);
        if (w.status != DCAM_OK) status = dcam_fail(w.status, "%s", w.message);
    }
    pthread_mutex_destroy(&w.lock);
    return status;
}

dcam_status dcam_synth_write(const dcam_synth_plan *options)
{
    dcam_synth_plan plan;
    char *folder = NULL, *partial = NULL;
    bool there = false;
    DCAM_TRY(fill_defaults(options, &plan));
    dcam_status status = find_folder(plan.folder, &folder, &there);
    if (status == DCAM_OK) status = make_partial(folder, &partial);
    if (status == DCAM_OK && there) status = try_to_replace(partial, folder);
    if (status == DCAM_OK) status = write_all(&plan, partial);
    /* An empty folder of that name gives way to the whole one. */
    if (status == DCAM_OK && dcam_rename(partial, folder) != 0)
        status = dcam_system_failure("rename the finished data set to it", folder);
    if (status != DCAM_OK && partial) {
        /* Clean up without losing the message. */
        char message[DCAM_MESSAGE_BYTES];
        snprintf(message, sizeof message, "%s", dcam_error_message());
        remove_tree(partial, 0);
        status = dcam_fail(status, "%s", message);
    }
    dcam_free(partial);
    dcam_free(folder);
    return status;
}
