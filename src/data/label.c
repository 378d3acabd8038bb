/* label.c - which names mean normal images. */
#include "data/label.h"

#include <string.h>

#include "base/ascii.h"

const char *dcam_label_of(const char *name)
{
    if (strcmp(name, DCAM_LABEL_GOOD) == 0 || strcmp(name, "normal") == 0) return DCAM_LABEL_GOOD;
    static const char *const alike[] = {DCAM_LABEL_GOOD, "normal", "ok"};
    /* Blanks are what spreadsheets leave behind. */
    for (int i = 0; i < 3; i++)
        if (dcam_ascii_reads_as(name, alike[i])) return NULL;
    return name;
}
