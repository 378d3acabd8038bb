/* Tables: rows and fields, quotes, line ends. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/csv.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    dcam_csv *csv = malloc(sizeof *csv);
    char *text = malloc(count + 1);
    bool more = true;
    if (count > 0) memcpy(text, bytes, count);
    text[count] = '\0';
    dcam_status status = dcam_csv_open(csv, text, count, "fuzz");
    while (status == DCAM_OK && more) {
        status = dcam_csv_next(csv, &more);
        size_t length = 0;
        for (int i = 0; status == DCAM_OK && more && i < csv->field_count; i++) length += strlen(csv->fields[i]);
        if (length > count) abort();
        if (status == DCAM_OK && more) (void)dcam_csv_column(csv, "path");
    }
    fuzz_accepted += status == DCAM_OK;
    free(text);
    free(csv);
    if (dcam_memory_held() != 0) abort();
    return 0;
}
