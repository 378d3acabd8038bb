/* page.h - the files of the page, which the build puts into the library as they are (cmake/embed.cmake). */
#ifndef DCAM_SERVE_PAGE_H
#define DCAM_SERVE_PAGE_H

#include <stddef.h>

typedef struct {
    const char *path;               /* "/", "/page.css", ... */
    const char *content_type;
    const unsigned char *bytes;
    size_t count;
} serve_page_file;

extern const serve_page_file serve_page_files[];
extern const size_t serve_page_file_count;

#endif
