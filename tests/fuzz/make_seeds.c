/* make_seeds.c - the fuzz targets' seeds, from the golden files, the lists below and what libFuzzer found (kept/):
 *   make_seeds GOLDEN KEPT OUT
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

/* The last number of a name "ARCHIVE/data/NUMBER"; -1: another name. */
static int storage_number(const dcam_zip_entry *e)
{
    size_t digits = 0;
    int number = 0;
    while (digits < e->name_length && e->name[e->name_length - digits - 1] >= '0' && e->name[e->name_length - digits - 1] <= '9') digits++;
    if (digits == 0 || digits > 2 || e->name_length < digits + 6 || memcmp(e->name + e->name_length - digits - 6, "/data/", 6) != 0) return -1;
    for (size_t i = e->name_length - digits; i < e->name_length; i++) number = 10 * number + (e->name[i] - '0');
    return number;
}

/* As fuzz_pickle.c wants it: the storages' sizes, then the pickle. */
static void put_pickle(const char *name, const uint8_t *bytes, size_t count)
{
    static uint8_t seed[MOST_BYTES];
    dcam_zip zip;
    const uint8_t *content;
    void *block;
    int storages = 0;
    if (dcam_zip_open(name, bytes, count, &zip) != DCAM_OK) return;
    memset(seed, 0, sizeof seed);
    for (size_t i = 0; i < zip.count; i++) {
        const int k = storage_number(&zip.entries[i]);
        if (k < 0 || k >= 15) continue;
        if (k >= storages) storages = k + 1;
        seed[1 + 2 * k] = (uint8_t)(zip.entries[i].bytes & 255);
        seed[2 + 2 * k] = (uint8_t)(zip.entries[i].bytes >> 8 & 255);
    }
    seed[0] = (uint8_t)storages;
    const size_t head = 1 + 2 * (size_t)storages;
    for (size_t i = 0; i < zip.count; i++) {
        const dcam_zip_entry *e = &zip.entries[i];
        if (e->name_length < 8 || memcmp(e->name + e->name_length - 8, "data.pkl", 8) != 0) continue;
        if (dcam_zip_read(&zip, e, sizeof seed - head, &content, &block) != DCAM_OK) continue;
        memcpy(seed + head, content, e->bytes);
        put_file("pickle", name, seed, head + e->bytes);
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


/* ---- the model file: lines of model_lines.h ---- */

#define MODEL_HEAD(version, attention, kept)                                                                                   \
    "format=pt\ndcam=model\nformat_version=" version "\ndcam_version=0.1.0\narchitecture=resnet18\nmethod=dcam\nteacher=random:1\n" \
    "attention=" attention "\nattention_at_detection=" kept "\n"                                                              \
    "preprocessing={\"width\":64,\"height\":32,\"mean\":[0.485,0.456,0.406],\"deviation\":[0.229,0.224,0.225]}\n"
#define MODEL_MAP(kind) \
    "map={\"kind\":\"" kind "\",\"kd_weight\":0.5,\"kd_temperature\":2,\"smoothing\":2.0,\"top_percent\":1}\n"
#define MODEL_NUMBERS(rule)                                                                                                     \
    "\"threshold\":6.8,\"false_alarm_rate\":0.01,\"rule\":\"" rule "\",\"pixel_median\":-0.25,\"pixel_high\":4.7,"             \
    "\"map_low\":4.7,\"map_high\":10.9,\"stage_mean\":[0.5,0.5,0.4],\"stage_deviation\":[0.08,0.05,0.02]"
#define MODEL_CLASS(i) "@calibration." i ".scores 5 : 0.5 0.25\n@calibration." i ".centre 256 : 0 0.01\n"
static const char *const models[] = {
    MODEL_HEAD("1", "none", "drop") MODEL_MAP("sum") "classes=[]\ncalibration=[]\n",
    MODEL_HEAD("1", "none", "drop") MODEL_MAP("product") "classes=[\"bolt\"]\ncalibration=[{" MODEL_NUMBERS("order") "}]\n" MODEL_CLASS("0"),
    MODEL_HEAD("1", "channel", "keep") MODEL_MAP("standard") "training={\"options\":{\"seed\":\"4\"}}\nclasses=[\"bolt\",\"w\xc3\xa9\"]\n"
    "calibration=[{" MODEL_NUMBERS("tail") "},{" MODEL_NUMBERS("f1") "}]\n" MODEL_CLASS("0") MODEL_CLASS("1")
    "@attention.layer1.w1 8 64 : 0.1 0\n@attention.layer1.w2 64 8 : 0.1 0\n@attention.layer2.w1 16 128 : 0.1 0\n"
    "@attention.layer2.w2 128 16 : 0.1 0\n@attention.layer3.w1 32 256 : 0.1 0\n@attention.layer3.w2 256 32 : 0.1 0\n",
    MODEL_HEAD("1", "spatial", "keep") MODEL_MAP("sum") "classes=[\"a\"]\ncalibration=[{" MODEL_NUMBERS("single") "}]\n" MODEL_CLASS("0")
    "@attention.layer1.kernel 1 2 7 7 : 0.1 0\n@attention.layer2.kernel 1 2 7 7 : 0.1 0\n@attention.layer3.kernel 1 2 7 7 : 0.1 0\n",
    MODEL_HEAD("2", "none", "drop") MODEL_MAP("standard") "memory={\"dimensions\":4,\"weight\":2.0}\nclasses=[\"a\"]\n"
    "calibration=[{" MODEL_NUMBERS("single") ",\"memory_mean\":0.1,\"memory_deviation\":0.01}]\n" MODEL_CLASS("0")
    "@memory.projection 384 4 : 0.001 0\n@memory.0.prototypes 3 4 : 0.1 0.1\n@ranges.teacher 15 : 1 1\n@ranges.student 15 : 1 1\n",
    MODEL_HEAD("3", "none", "drop"), MODEL_HEAD("x", "none", "drop"), "format=pt\n", "@calibration.0.scores 5 : nan inf\n"};

/* ---- the service ---- */

#define IMAGE "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"data\":[1,2,3,4,5,255]}"
#define BINARY "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"parameters\":{\"binary_data_size\":6}}"
static const char *const infers[] = {
    "-\n{\"inputs\":[" IMAGE "]}", "102\n{\"inputs\":[" BINARY "]}abcdef",
    "-\n{\"id\":\"a\",\"inputs\":[" IMAGE ",{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"bolt\"]}],"
    "\"outputs\":[{\"name\":\"score\"},{\"name\":\"anomaly_map\",\"parameters\":{\"binary_data\":true}}]}",
    "-\n{\"parameters\":{\"class\":\"bolt\",\"timeout\":1000,\"binary_data_output\":true},\"inputs\":[" IMAGE "]}",
    "-\n{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,1,2],\"data\":[[0,0.5,1e-2],[1.0,0.25,5E-1]]}]}",
    "-\n{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,1,1],\"parameters\":{\"normalised\":true},\"data\":[-2,7,0]}]}",
    "-\n{}", "0\n", "9\n{}", "-\n{\"inputs\":[]}", "-\n[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]"};
static const char *const forms[] = {
    "multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n"
    "\r\nP5 1 1 255 a\r\n--x--\r\n",
    "multipart/form-data; boundary=\"a b\"\n--a b\r\nContent-Disposition: form-data; name=\"class\"\r\n\r\nbolt\r\n--a b\r\n"
    "content-disposition: form-data; name=image\r\n\r\nxy\r\n--a b--",
    "multipart/form-data; charset=utf-8; boundary=x\npreamble\r\n--x\r\n\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\n\r\n--x--",
    "multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--", "multipart/form-data; boundary=x\n--x--",
    "multipart/form-data; boundary=x\n--x\r\n", "multipart/form-data\n"};
#define PHOTO "P6 2 2 255\nabcdefghijkl"
static const char *const requests[] = {
    "GET\n/\n\n", "GET\n/v2\n\n", "GET\n/v2/models\n\n", "GET\n/v2/models/m\n\n", "HEAD\n/v2/health/ready\n\n", "GET\n/metrics\n\n",
    "GET\n/v2/models/m/versions/1/ready\n\n", "DELETE\n/v2/models/m/infer\n\n", "POST\n/v2/models/none/infer\n\n{}",
    "POST\n/v2/models/m/infer\nContent-Type: application/json\n\n{\"inputs\":[" IMAGE "]}",
    "POST\n/v2/models/m/versions/1/infer\nInference-Header-Content-Length: 102\n\n{\"inputs\":[" BINARY "]}abcdef",
    "POST\n/v2/models/m/infer\n\n{\"parameters\":{\"class\":\"bolt\"},\"inputs\":[" IMAGE "]}",
    "POST\n/detect\n?class=bolt\n?map=float32\nContent-Type: image/x-portable-pixmap\nAccept: image/png\n\n" PHOTO,
    "POST\n/detect\n?model=m\nContent-Type: application/octet-stream\nContent-Encoding: identity\n\n" PHOTO,
    "POST\n/detect\nContent-Type: multipart/form-data; boundary=x\n\n--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n" PHOTO
    "\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--",
    "POST\n/detect\nContent-Type: text/plain\n\nx", "POST\n/detect\nContent-Type: image/png\n\n"};

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

/* kept/TARGET.bin, which scripts/fuzz-keep writes: netstrings, LENGTH:BYTES, one after the other. */
static void put_kept_file(const char *path, const char *file)
{
    uint8_t *bytes;
    size_t count, at = 0;
    char target[64], name[32];
    if (dcam_file_read(path, 1 << 24, &bytes, &count) != DCAM_OK) exit(1);
    snprintf(target, sizeof target, "%.*s", (int)strcspn(file, "."), file);
    for (int i = 0; at < count; i++) {
        size_t length = 0;
        for (; at < count && bytes[at] >= '0' && bytes[at] <= '9' && length < count; at++) length = 10 * length + (bytes[at] - '0');
        if (at == count || bytes[at] != ':' || length + 2 > count - at || bytes[at + 1 + length] != ',') {
            fprintf(stderr, "%s: not netstrings, at byte %zu\n", path, at);
            exit(1);
        }
        snprintf(name, sizeof name, "kept-%04d", i);
        put(target, name, bytes + at + 1, length);
        at += length + 2;
    }
    dcam_free(bytes);
}

static void put_kept(const char *folder)
{
    dcam_names names;
    if (dcam_folder_list(folder, &names) != DCAM_OK) exit(1);
    for (size_t i = 0; i < names.count; i++) {
        char *path;
        if (dcam_path_join(folder, names.names[i], &path) != DCAM_OK) exit(1);
        put_kept_file(path, names.names[i]);
        dcam_free(path);
    }
    dcam_names_clear(&names);
}

int main(int count, char **arguments)
{
    char folder[2048];
    if (count != 4) return 2;
    out_folder = arguments[3];
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
    TEXTS("model", models);
    TEXTS("score", models);
    TEXTS("infer", infers);
    TEXTS("form", forms);
    TEXTS("request", requests);
    const int made = written;
    put_kept(arguments[2]);
    printf("%d seeds made, %d kept\n", made, written - made);
    return made >= 200 ? 0 : 1;
}
