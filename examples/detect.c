/* detect.c - the smallest program on libdcam: scores one image.
 *     cc detect.c $(pkg-config --cflags --libs dcam) -o detect
 *     ./detect model.safetensors photograph.jpg */
#include <stdio.h>

#include "dcam.h"

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s MODEL IMAGE\n", arguments[0]);
        return 2;
    }
    dcam_detector *detector = NULL;
    dcam_detection detection = {0};
    dcam_status status = dcam_detector_open(arguments[1], NULL, &detector);
    if (status == DCAM_OK) status = dcam_detect_file(detector, arguments[2], &detection);
    if (status == DCAM_OK) {
        printf("%s: %s, score %.3f\n", detection.class_name, detection.anomalous ? "ANOMALY" : "ok",
               detection.score);
        for (size_t i = 0; i < detection.region_count; i++) {
            const dcam_region *r = &detection.regions[i];
            printf("  %d x %d pixels at %d, %d\n", r->width, r->height, r->x, r->y);
        }
    } else {
        fprintf(stderr, "%s\n", dcam_error_message());
    }
    dcam_detection_clear(&detection);
    dcam_detector_close(detector);
    return dcam_status_exit_code(status);
}
