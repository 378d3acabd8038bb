/* tree.h - temporary folders with files for the tests of the data layer. */
#ifndef DCAM_TESTS_TREE_H
#define DCAM_TESTS_TREE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A fresh folder below $TMPDIR or /tmp. */
static inline void tree_create(char root[256])
{
    const char *base = getenv("TMPDIR");
    snprintf(root, 256, "%s/dcam-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(root));
}

static inline void tree_remove(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return;
    if (S_ISDIR(info.st_mode)) {
        DIR *folder = opendir(path);
        struct dirent *entry;
        while (folder && (entry = readdir(folder))) {
            char child[8192];
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            int n = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
            if (n > 0 && (size_t)n < sizeof child) tree_remove(child);
        }
        if (folder) closedir(folder);
        rmdir(path);
    } else {
        unlink(path);
    }
}

/* ROOT/NAME into path, its folders made. */
static inline void tree_path(const char *root, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0777);
        *p = '/';
    }
}

static inline void tree_bytes(const char *root, const char *name, const void *bytes, size_t count)
{
    char path[4096];
    tree_path(root, name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static inline void tree_file(const char *root, const char *name, const char *text)
{
    tree_bytes(root, name, text, strlen(text));
}

#endif
