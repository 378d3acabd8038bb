/* make_seeds.c - the fuzz targets' seeds, from the golden files and the lists below:
 *   make_seeds GOLDEN OUT
 * Writes OUT/TARGET/NAME. Large golden files are left out: changes of small ones find the same, faster. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "weights/zip.h"

/* Seeds larger than this make slow inputs. */
#define MOST_BYTES 20000

static const char *out_folder;
static int written;

static void put(const char *target, const char *name, const void *bytes, size_t count)
{
    char path[2048];
    if (count > MOST_BYTES) return;
    snprintf(path, sizeof path, "%.900s/%.60s", out_folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%.900s/%.60s/%.900s", out_folder, target, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, count, f) != count || fclose(f) != 0) exit(1);
    written++;
}

/* Whole, and cut in the middle. */
static void put_file(const char *target, const char *name, const void *bytes, size_t count)
{
    char cut[300];
    put(target, name, bytes, count);
    snprintf(cut, sizeof cut, "cut-%.250s", name);
    put(target, cut, bytes, count / 2);
}

static void put_pickle(const char *name, const uint8_t *bytes, size_t count)
{
    dcam_zip zip;
    const uint8_t *content;
    void *block;
    if (dcam_zip_open(name, bytes, count, &zip) != DCAM_OK) return;
    for (size_t i = 0; i < zip.count; i++) {
        const dcam_zip_entry *e = &zip.entries[i];
        if (e->name_length < 8 || memcmp(e->name + e->name_length - 8, "data.pkl", 8) != 0) continue;
        if (dcam_zip_read(&zip, e, 1 << 20, &content, &block) != DCAM_OK) continue;
        put_file("pickle", name, content, e->bytes);
        dcam_free(block);
    }
    dcam_zip_clear(&zip);
}

static void put_by_ending(const char *name, const uint8_t *bytes, size_t count)
{
    static const char *const targets[][2] = {
        {".jpg", "jpeg"}, {".png", "png"},  {".webp", "webp"}, {".tif", "tiff"}, {".bmp", "bmp"},
        {".ppm", "pnm"},  {".pgm", "pnm"},  {".pbm", "pnm"},   {".pth", "pth"},  {".safetensors", "safetensors"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof targets / sizeof targets[0]; i++)
        if (strcmp(dot, targets[i][0]) == 0) put_file(targets[i][1], name, bytes, count);
    if (dot && strcmp(dot, ".pth") == 0) put_pickle(name, bytes, count);
}

static void put_golden(const char *folder)
{
    dcam_names names;
    if (dcam_folder_list(folder, &names) != DCAM_OK) exit(1);
    for (size_t i = 0; i < names.count; i++) {
        char *path;
        uint8_t *bytes;
        size_t count;
        if (dcam_path_join(folder, names.names[i], &path) != DCAM_OK) exit(1);
        if (dcam_file_read(path, MOST_BYTES, &bytes, &count) == DCAM_OK) {
            put_by_ending(names.names[i], bytes, count);
            dcam_free(bytes);
        }
        dcam_free(path);
    }
    dcam_names_clear(&names);
}

static void put_texts(const char *target, const char *const *texts, size_t count)
{
    char name[32];
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "text-%02zu", i);
        put(target, name, texts[i], strlen(texts[i]));
    }
}

#define HEADER "path,class,split,label,mask\n"
static const char *const tables[] = {
    "0" HEADER "a.png,bolt,train,good,\n", "0" HEADER "a.png,bolt,test,scratch,a.png\n", "0path,class,split,label\na.png,b,train,good\n",
    "0\xef\xbb\xbf" HEADER "\"a.png\",\"bo\"\"lt\",train,good,\r\n", "0" HEADER, "0", "0" HEADER "\n\na.png,b,train,good,\n",
    "1object,split,label,image,mask\nb,train,normal,../a.png,\n", "1object,split,label,image,mask\nb,test,anomaly,a.png,a.png\n",
    "1object,split,label,image,mask\n\"b\",train,normal,\"a.png\",\n"};
static const char *const rows[] = {"a,b,c\n1,2,3\n", "a;b\n", "\"a,b\",c\n", "\"a\nb\",\"c\"\"d\"\n", "a,b\r\n1,2\r\n", "\n\n\na\n", "\"open", ",,,,\n",
                                   "\xef\xbb\xbfpath,class\n", "a,\"b\"c\n"};
static const char *const jsons[] = {"{\"a\":[1,-2.5e3,true,false,null,\"\\u00e9\\n\"]}", "[]", "{}", "[[[[1]]]]", "\"\\ud83d\\ude00\"", "1e308",
                                    "-0", "[9223372036854775807]", "{\"a\":{\"b\":{}}}", "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]"};
static const char *const lines[] = {
    "train\ndata\n-o\nm\n--teacher\nrandom:1", "train\nd\n-om\n--size=320x256\n--lr\n0.1\n--seed\n18446744073709551615", "eval\nd\n-m\nm\n--json",
    "detect\na\nb\n-m\nm\n--\n-c", "calibrate\nd\n-m\nm\n--false-alarm-rate\n1e-6", "teacher\nimport\nf\n-o\no", "synth\n-o\nd\n--classes\n2",
    "bench\n-m\nm\n--seconds\n0.5", "info\nf\n--json", "help\ntrain", "train\n--help", "train\nd\n--cache-memory\n2G\n--classes\na,b",
    "train\nd\n--method\nstfpm\n--loss\ncd=1,kd=0.5", "detect\n--threads\n2\n-qv\nx\n-m\nm"};
static const char *const headers[] = {
    "{}", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
    "{\"__metadata__\":{\"sha256\":\"{}\"},\"a\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}",
    "{\"__metadata__\":{\"k\":\"v\"},\"e\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}"};

static void put_headers(void)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        uint8_t bytes[512] = {0};
        char name[32];
        const size_t n = strlen(headers[i]);
        bytes[0] = (uint8_t)n;
        memcpy(bytes + 8, headers[i], n);
        snprintf(name, sizeof name, "header-%zu", i);
        put("safetensors", name, bytes, 8 + n + (n > 2 ? 4 : 0));
    }
}

int main(int count, char **arguments)
{
    char folder[2048];
    if (count != 3) return 2;
    out_folder = arguments[2];
    mkdir(out_folder, 0777);
    snprintf(folder, sizeof folder, "%.1000s/image", arguments[1]);
    put_golden(folder);
    snprintf(folder, sizeof folder, "%.1000s/weights", arguments[1]);
    put_golden(folder);
    put_headers();
#define TEXTS(target, list) put_texts(target, list, sizeof(list) / sizeof(list)[0])
    TEXTS("table", tables);
    TEXTS("csv", rows);
    TEXTS("json", jsons);
    TEXTS("cli", lines);
    printf("%d seeds\n", written);
    return written >= 200 ? 0 : 1;
}
