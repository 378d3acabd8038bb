/* left_out.c - says which images are left out. What cannot be counted (no permission, too deep) is a warning as well: it
 * is not looked at in any case. */
#include "data/left_out.h"

#include <string.h>

#include "base/memory.h"
#include "data/walk.h"

typedef struct {
    dcam_image_tally tally;
    size_t path_length; /* of the folder with its slash */
} count;

static dcam_status count_image(void *user, const char *path)
{
    count *c = user;
    if (strchr(path + c->path_length, '/')) c->tally.below++;
    else c->tally.here++;
    return DCAM_OK;
}

dcam_status dcam_count_images(const char *folder, dcam_image_tally *out)
{
    const size_t n = strlen(folder);
    count c = {.path_length = n > 0 && folder[n - 1] == '/' ? n : n + 1};
    const dcam_walk_calls calls = {.on_image = count_image, .user = &c};
    DCAM_TRY(dcam_walk_images(folder, &calls));
    *out = c.tally;
    return DCAM_OK;
}

dcam_status dcam_holds_images(const char *folder, const char *name, bool *out)
{
    char *path;
    DCAM_TRY(dcam_path_join(folder, name, &path));
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    dcam_image_tally tally = {0, 0};
    dcam_status status = dcam_path_look(path, &kind);
    if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = dcam_count_images(path, &tally);
    dcam_free(path);
    if (status == DCAM_OK) *out = tally.here + tally.below > 0;
    return status;
}

/* *known: whether out was set; if not, that was said. */
static dcam_status try_count(const char *folder, dcam_image_tally *out, bool *known)
{
    const dcam_status status = dcam_count_images(folder, out);
    if (status == DCAM_ERROR_MEMORY) return status;
    if (status != DCAM_OK)
        dcam_log(DCAM_LOG_WARNING, "%s; what images lie there is not known, they are left out", dcam_error_message());
    *known = status == DCAM_OK;
    return DCAM_OK;
}

dcam_status dcam_note_images_below(const char *folder)
{
    dcam_image_tally tally;
    bool known;
    DCAM_TRY(try_count(folder, &tally, &known));
    if (known && tally.below > 0)
        dcam_log(DCAM_LOG_WARNING, "%s: %zu images in folders below it are left out; move them right into it", folder,
                 tally.below);
    return DCAM_OK;
}

dcam_status dcam_note_no_class(const char *folder)
{
    dcam_image_tally tally;
    bool known;
    DCAM_TRY(try_count(folder, &tally, &known));
    if (known && tally.here + tally.below > 0)
        dcam_log(DCAM_LOG_WARNING, "%s: holds neither train nor test, so it is no class; %zu images below it are left out",
                 folder, tally.here + tally.below);
    return DCAM_OK;
}
