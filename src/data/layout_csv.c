/* layout_csv.c - data sets described by a table:
 *   VisA       ROOT/split_csv/1cls.csv   object,split,label,image,mask
 *   manifest   any .csv of the user's    path,class,split,label,mask
 * The header is required; columns may come in any order, others are ignored
 * (one that is called almost as these is refused).
 * split is train or test; label is good or normal, or the name of a defect;
 * mask is empty where there is none (and may be missing as a column).
 *
 * Which paths are allowed: a manifest is written by the user who names it,
 * and may point anywhere (absolute, or relative to its own folder, ".."
 * included). The table of VisA comes with downloaded data: its paths are
 * relative to ROOT and must stay inside it. */
#include "data/layouts.h"

#include <string.h>

#include "base/ascii.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/csv.h"

/* Two million rows of 128 bytes; a longer file is not a table of photographs. */
#define MAX_TABLE_BYTES (256u * 1024u * 1024u)

/* How one kind of table is read. */
typedef struct {
    const char *class_column, *image_column;
    bool inside_only; /* paths must stay inside the folder */
} table_kind;

static const table_kind visa = {"object", "image", true};
static const table_kind manifest = {"class", "path", false};

typedef struct {
    const table_kind *kind;
    dcam_builder *builder;
    const char *folder; /* relative paths start here */
    dcam_csv csv;
    int class_name, split, label, image, mask; /* columns; mask may be -1 */
    int column_count;
} table;

static dcam_status row_failure(const table *t, const char *what)
{
    return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: %s", t->csv.name, t->csv.line, what);
}

/* -1 without it. One that is almost called so would be passed over without a word, and with it, say, all masks. */
static dcam_status find_column(const table *t, const char *name, int *out)
{
    *out = dcam_csv_column(&t->csv, name);
    for (int i = 0; i < t->csv.field_count && *out < 0; i++)
        if (dcam_ascii_reads_as(t->csv.fields[i], name))
            return dcam_fail(DCAM_ERROR_DATA, "%s: the first line has a column \"%s\"; it must be spelt %s, in just these letters "
                             "and without blanks", t->csv.name, t->csv.fields[i], name);
    return DCAM_OK;
}

static dcam_status read_header(table *t)
{
    bool more;
    DCAM_TRY(dcam_csv_next(&t->csv, &more));
    if (more) {
        DCAM_TRY(find_column(t, t->kind->class_column, &t->class_name));
        DCAM_TRY(find_column(t, t->kind->image_column, &t->image));
        DCAM_TRY(find_column(t, "split", &t->split));
        DCAM_TRY(find_column(t, "label", &t->label));
        DCAM_TRY(find_column(t, "mask", &t->mask));
        t->column_count = t->csv.field_count;
    }
    if (!more || t->class_name < 0 || t->image < 0 || t->split < 0 || t->label < 0)
        return dcam_fail(DCAM_ERROR_DATA, "%s: the first line must name the columns %s, %s, split, label and, where "
                         "there are masks, mask, with commas between", t->csv.name, t->kind->image_column, t->kind->class_column);
    return DCAM_OK;
}

static bool leaves_folder(const char *path)
{
    if (path[0] == '/') return true;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.') return true;
        path += n + (path[n] == '/');
    }
    return false;
}

/* The full path of a field, checked to be a file that is there. */
static dcam_status resolve(const table *t, const char *field, const char *what, char **out)
{
    char *path;
    if (t->kind->inside_only && leaves_folder(field))
        return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: the %s \"%s\" leads out of the data set's folder", t->csv.name,
                         t->csv.line, what, field);
    if (field[0] == '/') DCAM_TRY(dcam_copy_string(field, &path));
    else DCAM_TRY(dcam_path_join(t->folder, field, &path));
    dcam_path_kind seen = DCAM_PATH_ABSENT;
    dcam_status status = dcam_path_look(path, &seen);
    if (status != DCAM_OK || seen != DCAM_PATH_FILE) {
        if (status == DCAM_OK) status = dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: no such %s: %s", t->csv.name, t->csv.line, what,
                                       path);
        dcam_free(path);
        return status;
    }
    *out = path;
    return DCAM_OK;
}

/* Class and label become names of folders and files in the output. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static dcam_status read_split(const table *t, const char *text, dcam_split *out)
{
    if (strcmp(text, "train") == 0) *out = DCAM_SPLIT_TRAIN;
    else if (strcmp(text, "test") == 0) *out = DCAM_SPLIT_TEST;
    else
        return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: split is \"%s\"; train or test is wanted", t->csv.name,
                         t->csv.line, text);
    return DCAM_OK;
}

static dcam_status add_row(table *t)
{
    char *const *f = t->csv.fields;
    const char *mask_field = t->mask >= 0 ? f[t->mask] : "", *label;
    char *path = NULL, *mask = NULL;
    dcam_split split = DCAM_SPLIT_TRAIN;
    int class_index;
    bool wanted;
    if (t->csv.field_count != t->column_count)
        return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: %d fields, the header has %d", t->csv.name, t->csv.line,
                         t->csv.field_count, t->column_count);
    if (!is_plain_name(f[t->class_name])) return row_failure(t, "the class is empty or not a plain name (no \"/\")");
    if (!is_plain_name(f[t->label])) return row_failure(t, "the label is empty or not a plain name (no \"/\")");
    if (!(label = dcam_label_of(f[t->label])))
        return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: the label \"%s\" " DCAM_LABEL_UNCLEAR, t->csv.name, t->csv.line,
                         f[t->label]);
    DCAM_TRY(read_split(t, f[t->split], &split));
    if (f[t->image][0] == '\0')
        return mask_field[0] ? dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: the mask %s without its photograph",
                                         t->csv.name, t->csv.line, mask_field)
                             : row_failure(t, "the image is empty");
    if (mask_field[0] && strcmp(label, DCAM_LABEL_GOOD) == 0)
        return row_failure(t, "a mask on a normal image; give the defect's name as its label, or leave the mask empty");
    DCAM_TRY(dcam_builder_class(t->builder, f[t->class_name], &class_index, &wanted));
    if (!wanted) return DCAM_OK;
    dcam_status status = resolve(t, f[t->image], "image", &path);
    if (status == DCAM_OK && mask_field[0]) status = resolve(t, mask_field, "mask", &mask);
    if (status == DCAM_OK) status = dcam_builder_add(t->builder, class_index, split, label, path, mask);
    dcam_free(mask);
    dcam_free(path);
    return status;
}

static dcam_status read_table(dcam_builder *builder, const table_kind *kind, const char *path, const char *folder)
{
    table t = {.kind = kind, .builder = builder, .folder = folder};
    uint8_t *text = NULL;
    size_t count;
    bool more = true;
    DCAM_TRY(dcam_file_read(path, MAX_TABLE_BYTES, &text, &count));
    dcam_status status = dcam_csv_open(&t.csv, (char *)text, count, path);
    if (status == DCAM_OK) status = read_header(&t);
    while (status == DCAM_OK) {
        if ((status = dcam_csv_next(&t.csv, &more)) != DCAM_OK || !more) break;
        status = add_row(&t);
    }
    dcam_free(text);
    return status == DCAM_OK ? dcam_builder_refuse_twice(builder) : status;
}

dcam_status dcam_layout_visa(dcam_builder *builder, const char *root)
{
    char *path;
    DCAM_TRY(dcam_path_join(root, DCAM_VISA_TABLE, &path));
    dcam_status status = read_table(builder, &visa, path, root);
    dcam_free(path);
    return status;
}

dcam_status dcam_layout_manifest(dcam_builder *builder, const char *path)
{
    char *folder;
    DCAM_TRY(dcam_copy_string(path, &folder));
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    dcam_status status = read_table(builder, &manifest, path, slash ? folder : ".");
    dcam_free(folder);
    return status;
}
