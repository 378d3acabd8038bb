/* npy.c - a float map as a NumPy .npy file (format 1.0): 10 bytes, a Python
 * dictionary as text padded so that the data begins at a multiple of 64, then
 * the values row by row. */
#include "image/image.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define PREFIX 10
/* Two lengths of ten digits fit with room to spare. */
#define HEADER_BYTES 128

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are written as they lie in memory");

dcam_status dcam_npy_write(const char *path, const float *values, int height, int width)
{
    char header[HEADER_BYTES + 1];
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER_BYTES - PREFIX);
    header[9] = 0;
    int length = snprintf(header + PREFIX, HEADER_BYTES - PREFIX,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", height, width);
    header[PREFIX + length] = ' ';
    header[HEADER_BYTES - 1] = '\n';
    dcam_writer *w;
    DCAM_TRY(dcam_writer_open(path, &w));
    dcam_status status = dcam_writer_write(w, header, HEADER_BYTES);
    if (status == DCAM_OK) status = dcam_writer_write(w, values, sizeof *values * (size_t)height * (size_t)width);
    if (status != DCAM_OK) {
        dcam_writer_abort(w);
        return status;
    }
    return dcam_writer_commit(w);
}
