/* inside.h - what the files of this layer share. */
#ifndef DCAM_REPORT_INSIDE_H
#define DCAM_REPORT_INSIDE_H

#include "base/file.h"
#include "report/report.h"
#include "report/html.h"

struct dcam_report {
    dcam_writer *writer;
    dcam_html classes, models; /* sections, written behind the summary */
    size_t class_count;
    size_t picture_bytes, left_out; /* pictures so far; those beyond the limit */
    bool group_open;
};

extern const char dcam_report_style[];

#endif
