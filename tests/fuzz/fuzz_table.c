/* A whole manifest (first byte even) or VisA's table (odd) in a folder of its own, opened as a data set. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/dataset.h"
#include "fuzz.h"

static char root[64], manifest[96], table[96], image[96];

static void remove_all(void)
{
    char folder[96];
    snprintf(folder, sizeof folder, "%s/v/split_csv", root);
    remove(manifest);
    remove(table);
    remove(image);
    remove(folder);
    snprintf(folder, sizeof folder, "%s/v", root);
    remove(folder);
    remove(root);
}

static void create(const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    fclose(f);
}

static void start(void)
{
    char folder[96];
    snprintf(root, sizeof root, "/tmp/dcam-fuzz-XXXXXX");
    if (!mkdtemp(root)) abort();
    snprintf(manifest, sizeof manifest, "%s/m.csv", root);
    snprintf(folder, sizeof folder, "%s/v", root);
    mkdir(folder, 0777);
    snprintf(folder, sizeof folder, "%s/v/split_csv", root);
    mkdir(folder, 0777);
    snprintf(table, sizeof table, "%s/v/split_csv/1cls.csv", root);
    snprintf(image, sizeof image, "%s/a.png", root);
    create(manifest);
    create(table);
    create(image);
    atexit(remove_all);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char folder[96];
    dcam_dataset *d;
    if (!root[0]) start();
    if (count == 0) return 0;
    const char *path = bytes[0] % 2 ? table : manifest;
    /* Shortened after it was written, since ext4 waits for the disk when a file that was emptied is closed. */
    FILE *f = fopen(path, "r+b");
    if (!f || fwrite(bytes + 1, 1, count - 1, f) != count - 1 || fflush(f) != 0 ||
        ftruncate(fileno(f), (off_t)(count - 1)) != 0 || fclose(f) != 0)
        abort();
    snprintf(folder, sizeof folder, "%s/v", root);
    if (dcam_dataset_open(bytes[0] % 2 ? folder : manifest, NULL, &d) == DCAM_OK) {
        fuzz_accepted++;
        dcam_dataset_destroy(d);
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
