/* label.c - which names mean normal images. */
#include "data/label.h"

#include <string.h>

#include "base/ascii.h"

const char *dcam_label_of(const char *name)
{
    if (strcmp(name, DCAM_LABEL_GOOD) == 0 || strcmp(name, "normal") == 0) return DCAM_LABEL_GOOD;
    static const char *const alike[] = {DCAM_LABEL_GOOD, "normal", "ok"};
    static const char blanks[] = " \t";
    /* What stands between blanks, which spreadsheets leave behind. */
    char inner[8];
    const char *first = name + strspn(name, blanks);
    size_t length = strlen(first);
    while (length > 0 && strchr(blanks, first[length - 1])) length--;
    if (length >= sizeof inner) return name;
    memcpy(inner, first, length);
    inner[length] = '\0';
    for (int i = 0; i < 3; i++)
        if (dcam_ascii_casecmp(inner, alike[i]) == 0) return NULL;
    return name;
}
