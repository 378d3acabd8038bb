/* dcam.h - the only public header of libdcam: visual anomaly detection by
 * knowledge distillation with attention (arXiv 2405.06467).
 *
 * The library never prints, exits, reads the environment or installs signal
 * handlers. Every fallible function returns a dcam_status; outputs are left
 * untouched on failure (but for *failed, where it says so), and
 * dcam_error_message() then holds one line for the calling thread: what is
 * wrong, with which file, and what would mend it.
 * Whatever locale the program has set (setlocale), numbers in options, files,
 * messages and JSON have a point.
 *
 * Threads. 0 means all cores that the process may use: its affinity mask, or
 * the quota of its control group (container), rounded up, where that is less.
 * They are OpenMP's, made by the first call of a thread that uses several,
 * with that thread's signal mask, and kept. All other threads of the library
 * block every signal but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS.
 *
 * fork. OpenMP's threads stay in the parent. In a child that was forked by a
 * thread that had used several, that thread may use one: calls that would use
 * more give DCAM_ERROR_USAGE instead of waiting for ever. Fork first, or use
 * threads = 1, or another thread of the child, or exec. Loops of the program's
 * own OpenMP before a fork the library cannot see: there only this advice
 * helps. No call may be under way in another thread during a fork whose child
 * goes on with the library; a dcam_server lives in the process that started it.
 *
 * Signal stacks. On processors with matrix tiles (AMX) the library asks Linux
 * for them at the first call that computes. Linux refuses while any thread has
 * a sigaltstack of less than sysconf(_SC_MINSIGSTKSZ) bytes: then AVX-512 is
 * used, with other last digits, training by DCAM_PRECISION_AUTO is in f32, and
 * one line is logged as a warning. Once they are given, a sigaltstack that is
 * smaller fails (ENOMEM) for the rest of the process, in all its threads.
 *
 * Callbacks run in the calling thread where nothing else is said. They must
 * return: no C++ exception may leave them, and no longjmp. */
#ifndef DCAM_H
#define DCAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCAM_VERSION "0.1.0"

/* Of callbacks: in C++17 and later the type says that they do not throw. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define DCAM_NOEXCEPT noexcept
#else
#define DCAM_NOEXCEPT
#endif

#if defined(__GNUC__)
#define DCAM_API __attribute__((visibility("default")))
#define DCAM_MUST_CHECK __attribute__((warn_unused_result))
#else
#define DCAM_API
#define DCAM_MUST_CHECK
#endif

/* Every status once: name, exit code of the command-line tool, text. */
#define DCAM_STATUS_LIST(X)                                                   \
    X(DCAM_OK, 0, "done")                                                     \
    X(DCAM_ERROR_USAGE, 2, "wrong usage")                                     \
    X(DCAM_ERROR_DATA, 3, "bad or missing data")                              \
    X(DCAM_ERROR_IMAGE, 3, "bad image")                                       \
    X(DCAM_ERROR_IO, 3, "cannot read or write a file")                        \
    X(DCAM_ERROR_NUMERIC, 3, "training gave values that are not finite")      \
    X(DCAM_ERROR_WEIGHTS, 4, "bad weights file")                              \
    X(DCAM_ERROR_MODEL, 4, "bad model file")                                  \
    X(DCAM_ERROR_MODEL_VERSION, 4, "model file of a newer format")            \
    X(DCAM_ERROR_MEMORY, 5, "out of memory")                                  \
    X(DCAM_ERROR_DISK, 5, "out of disk space")                                \
    X(DCAM_ERROR_DEVICE, 5, "not available on this processor")                \
    X(DCAM_ERROR_INTERNAL, 70, "a fault of dcam itself")                      \
    X(DCAM_ERROR_CANCELLED, 130, "interrupted")                               \
    X(DCAM_ERROR_KERNEL, 6, "this machine computes wrongly")

typedef enum dcam_status {
#define DCAM_STATUS_ENUM(name, exit_code, text) name,
    DCAM_STATUS_LIST(DCAM_STATUS_ENUM)
#undef DCAM_STATUS_ENUM
    DCAM_STATUS_COUNT
} dcam_status;

/* "DCAM_ERROR_DATA", "bad or missing data", 3. Never NULL; unknown values
 * read as DCAM_ERROR_INTERNAL. */
DCAM_API const char *dcam_status_name(dcam_status status);
DCAM_API const char *dcam_status_text(dcam_status status);
DCAM_API int dcam_status_exit_code(dcam_status status);

/* The line that the last failing call of this thread left; "" before any. */
DCAM_API const char *dcam_error_message(void);

/* Library version at run time, "0.1.0". */
DCAM_API const char *dcam_version(void);

/* ---- log ------------------------------------------------------------- */

typedef enum dcam_log_level {
    DCAM_LOG_DEBUG,
    DCAM_LOG_INFO,
    DCAM_LOG_WARNING
} dcam_log_level;

/* Receives one line without a newline. May be called from any thread, one
 * call at a time: it must not call functions of this header. */
typedef void (*dcam_log_callback)(void *user, dcam_log_level level, const char *line) DCAM_NOEXCEPT;

/* NULL (the start) means silence. Not safe while other calls run. */
DCAM_API void dcam_set_log(dcam_log_callback callback, void *user);

/* ---- choices ---------------------------------------------------------- */

/* 0 is always the default. Option structs: zero them, set what you want.
 *
 * dcam_train, _pretrain, _calibrate, _evaluate, _export and _teacher_import refuse (DCAM_ERROR_USAGE, before the work) to
 * write a file over one that they read or over another that they write; only dcam_calibrate replaces its model. */

typedef enum dcam_precision {
    DCAM_PRECISION_AUTO, /* bf16 where the processor is faster in it, else f32; never int8 */
    DCAM_PRECISION_F32,  /* the reference */
    DCAM_PRECISION_BF16,
    DCAM_PRECISION_INT8  /* detection only; the model must have its int8 ranges */
} dcam_precision;

typedef enum dcam_method {
    DCAM_METHOD_HYBRID, /* the default: a student, and a memory of the teacher's features beside it */
    DCAM_METHOD_DCAM,   /* distillation alone: attention, cd + kd */
    DCAM_METHOD_STFPM   /* the baseline: l2, product of the stages */
} dcam_method;

/* ---- detection -------------------------------------------------------- */

/* A model that is open for scoring. One detector serves one thread at a time,
 * but for overlays; open one for each thread that scores. */
typedef struct dcam_detector dcam_detector;

typedef struct dcam_detector_options {
    int threads;               /* 0: all cores that the process may use, as above */
    dcam_precision precision;
    int batch;                 /* most images that each thread of dcam_detect_paths runs together; 0: 1 */
    const char *class_name;    /* every image is of this class; NULL: inferred (or the only one) */
} dcam_detector_options;

/* One connected part of the anomaly map of an anomalous image, at or above the
 * threshold, in pixels of the original image. peak: the largest raw map value in it. */
typedef struct dcam_region {
    int x, y, width, height;
    double area;
    double peak;
} dcam_region;

/* The verdict on one image. Strings and arrays live until the result is
 * cleared (class_name: until the detector is closed). That which a
 * dcam_detect_callback is given is the library's: it must not be cleared, and
 * map and regions are gone when the callback returns. */
typedef struct dcam_detection {
    const char *class_name;    /* given or inferred */
    const char *class_source;  /* "given", "inferred" or "single" */
    double score;              /* 0..1; 0.5 is the threshold */
    double raw;                /* before calibration */
    double threshold;          /* raw */
    bool anomalous;            /* score >= 0.5 */
    dcam_region *regions;      /* highest peak first; none unless anomalous */
    size_t region_count;
    float *map;                /* map_height x map_width, raw */
    int map_width, map_height; /* the model's input size */
    int width, height;         /* of the original image */
    double milliseconds;       /* resize, network and map; of dcam_detect_paths also reading the file */
} dcam_detection;

DCAM_API DCAM_MUST_CHECK dcam_status dcam_detector_open(const char *model_path,
                                                        const dcam_detector_options *options /* or NULL */,
                                                        dcam_detector **out);
DCAM_API void dcam_detector_close(dcam_detector *detector); /* NULL-safe */

DCAM_API size_t dcam_detector_class_count(const dcam_detector *detector);
/* NULL for an index that is too large. */
DCAM_API const char *dcam_detector_class_name(const dcam_detector *detector, size_t index);
DCAM_API int dcam_detector_width(const dcam_detector *detector);
DCAM_API int dcam_detector_height(const dcam_detector *detector);

/* One image from a file (JPEG, PNG, WebP, TIFF, BMP, PNM), from the bytes of
 * such a file, or from RGB pixels (rows of stride bytes; stride 0: 3 * width).
 * *out is overwritten; free what it holds with dcam_detection_clear. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_detect_file(dcam_detector *detector, const char *path, dcam_detection *out);
DCAM_API DCAM_MUST_CHECK dcam_status dcam_detect_bytes(dcam_detector *detector, const void *bytes, size_t count,
                                                       dcam_detection *out);
DCAM_API DCAM_MUST_CHECK dcam_status dcam_detect_rgb(dcam_detector *detector, const uint8_t *rgb, int width,
                                                     int height, size_t stride, dcam_detection *out);
DCAM_API void dcam_detection_clear(dcam_detection *detection); /* NULL-safe, twice is fine */

/* The photograph with the anomaly map over it and the regions outlined, as
 * PNG. The colour scale is fixed by the calibration, never by this image.
 * DCAM_ERROR_IMAGE: the photograph cannot be read (any more).
 * May run in several threads and beside other calls with the detector. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_overlay_file(const dcam_detector *detector, const char *image_path,
                                                       const dcam_detection *detection, const char *png_path);
/* The raw map as float32 .npy, map_height x map_width. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_map_write_npy(const dcam_detection *detection, const char *npy_path);

/* Many files: a path may be a file or a folder (searched recursively for
 * images). on_result is called in order, once an image: with a detection, or
 * with NULL and the error line of a bad image. It returns true to stop (then
 * the call gives DCAM_ERROR_CANCELLED). One bad image does not end the run;
 * *failed counts those that on_result was told of, also where the run is
 * stopped or fails later. A path that is not there ends it before any image,
 * and *failed is left untouched. What on_result is given is valid during its
 * call only, path and error too. */
typedef bool (*dcam_detect_callback)(void *user, const char *path, const dcam_detection *detection,
                                     const char *error) DCAM_NOEXCEPT;
DCAM_API DCAM_MUST_CHECK dcam_status dcam_detect_paths(dcam_detector *detector, const char *const *paths, size_t count,
                                                       dcam_detect_callback on_result, void *user,
                                                       size_t *failed /* or NULL */);

/* ---- training --------------------------------------------------------- */

typedef struct dcam_train_progress {
    const char *class_name;   /* in one-class mode, else NULL */
    int epoch, epochs;        /* 1-based */
    int step, steps;          /* in this epoch */
    double loss;              /* mean over this epoch so far */
    double validation;        /* mean of the validation map after the last epoch; NAN before */
    bool epoch_done, best;    /* best: this epoch's validation is the lowest so far */
    double images_per_second;
    double seconds_left;
} dcam_train_progress;

/* Returns true to stop: the checkpoint, if one is kept, is written first. With the last epoch's end the training is done, and
 * in one-class mode the call then ends before the next class. Its model is still to be calibrated and written: after each
 * image of that there is news with epoch == epochs, steps == 0 and step the number of images; true then ends the call
 * without a model, and resumed from the checkpoint it repeats only that. */
typedef bool (*dcam_train_callback)(void *user, const dcam_train_progress *progress) DCAM_NOEXCEPT;

typedef struct dcam_train_options {
    const char *dataset;
    const char *output;          /* model file; in one-class mode a folder */
    const char *teacher;         /* weights file, "random:SEED", or NULL or "procedural": the one in the library */
    dcam_method method;          /* sets every default below that is left 0 or NULL */
    const char *attention;       /* "none", "channel", "spatial", "cbam" */
    const char *attention_at_detection; /* "drop", "keep" */
    const char *loss_reads;      /* what the losses read: "attended", "raw", "both" */
    const char *loss;            /* "cd=1,kd=1" */
    double kd_temperature;       /* 0: 1; 0.001 to 1000 */
    const char *kd_scale;        /* "mean", "sum" */
    const char *map;             /* "sum", "product", "standard" */
    int memory_prototypes;       /* hybrid: most prototypes a class; 0: 1000 */
    double memory_weight;        /* hybrid: of the memory's map beside the sum of the stages'; 0: the default */
    double map_kd_weight;        /* KD term of the map; 0: none */
    double smoothing;            /* Gaussian sigma of the map in pixels; negative: none; 0: the method's */
    double top_percent;          /* image score: mean of the top p per cent; 0: maximum */
    const char *classes;         /* "a,b"; NULL: all */
    bool one_class;              /* one model a class */
    int width, height;           /* 0: 256; multiples of 32 */
    int epochs, batch;
    double learning_rate;
    const char *schedule;        /* "constant", "cosine" */
    double momentum;             /* 0: 0.9 */
    double weight_decay;         /* 0: 1e-4; negative: none */
    double validation_fraction;  /* 0: 0.2 */
    double false_alarm_rate;     /* of the calibration; 0: 0.01; at least 1e-6 */
    uint64_t seed;
    dcam_precision precision;
    int threads;
    size_t cache_bytes;          /* cap of cached images and teacher maps; 0: 1 GiB; SIZE_MAX: no cache */
    size_t max_memory;           /* a training that would hold more is refused before it starts (one_class: before the first
                                    class); 0: what the machine, or its container, has */
    const char *checkpoint;      /* file, or NULL */
    bool resume;
    dcam_train_callback progress;
    void *user;
} dcam_train_options;

/* DCAM_ERROR_IO may come with a model that is written: where images could be read for the training and, at its end, not
 * for the calibration. With a checkpoint a resumed training makes it whole. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_train(const dcam_train_options *options);

/* ---- calibration ------------------------------------------------------ */

typedef struct dcam_calibrate_options {
    const char *dataset;
    const char *model;           /* read */
    const char *output;          /* written; NULL: model is replaced, atomically */
    double false_alarm_rate;     /* 0: the one that the model's classes were calibrated with, DCAM_ERROR_USAGE where
                                    they differ; 0.01 after f1; at least 1e-6 */
    bool f1;                     /* thresholds of the best F1 on labelled test images instead */
    bool int8;                   /* measures the ranges that int8 needs, in f32 on normal images; thresholds stay,
                                    unless one of false_alarm_rate, f1 and precision (other than auto) is set */
    const char *classes;
    int threads;
    dcam_precision precision;
} dcam_calibrate_options;

typedef struct dcam_class_threshold {
    const char *class_name;
    double old_threshold, threshold; /* raw */
    size_t images;
    const char *rule;            /* how the threshold came about, one phrase */
} dcam_class_threshold;

/* on_class (may be NULL) is called once for each class that was calibrated. *failed: images that could not be read; each
 * is logged as a warning and left out. */
DCAM_API DCAM_MUST_CHECK dcam_status
dcam_calibrate(const dcam_calibrate_options *options,
               void (*on_class)(void *user, const dcam_class_threshold *result) DCAM_NOEXCEPT, void *user,
               size_t *failed /* or NULL */);

/* ---- evaluation ------------------------------------------------------- */

/* Fractions 0..1, NAN where not defined (no masks, one kind of image only). */
typedef struct dcam_metrics {
    double image_auroc, image_ap, image_f1max;
    double pixel_auroc, pixel_ap, pixel_f1max;
    double aupro, pro_rescaled;
    double false_alarm_rate, miss_rate; /* of the verdicts at the model's thresholds */
} dcam_metrics;

typedef struct dcam_class_result {
    char *name;
    size_t images, defective, failed; /* failed: images that could not be read */
    dcam_metrics metrics;
    dcam_metrics low, high;      /* 95 % interval of each metric; NAN in both where there is none */
} dcam_class_result;

typedef struct dcam_evaluation {
    dcam_class_result *classes;
    size_t class_count;
    dcam_metrics mean;           /* over the classes that have the metric */
    dcam_metrics mean_low, mean_high; /* NAN in both as well where a class that has the metric has no interval of it */
    int resamples;               /* that the intervals rest on; 0: none were asked for */
    size_t failed;
    double class_inferred_right; /* fraction of images whose inferred class is the true one; NAN with one class */
    double seconds;
} dcam_evaluation;

typedef struct dcam_evaluate_options {
    const char *dataset;
    const char *model;           /* file; or the folder of a one-class training */
    const char *classes;
    /* Thresholds and maps of the inferred class instead of the given one. Images and pixels are then ranked by
     * (raw - threshold) / width of that class, the scale of detect's score before its logistic, where a model has several
     * classes: their raw values are of several scales. */
    bool infer_class;
    int threads;
    dcam_precision precision;
    int resamples;               /* of the images, for the intervals, 40 to 100000; 0: 1000; negative: no intervals */
    uint64_t seed;               /* of the resamples */
    const char *report;          /* folder that gets index.html, one page with curves and pictures; NULL: none */
    /* After each image (may be NULL); error is NULL or the line of a bad image; true stops. Called as well, with the same
     * done as before, while intervals and report are made. */
    bool (*progress)(void *user, size_t done, size_t total, const char *error) DCAM_NOEXCEPT;
    void *user;
} dcam_evaluate_options;

/* One class is held at a time: 13 bytes for each test image and pixel of the model's input where the class has masks, 4 for
 * a report without. DCAM_ERROR_MEMORY before the first image where that is more than the machine, or its control group, has;
 * of a folder of models before the class's first. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_evaluate(const dcam_evaluate_options *options, dcam_evaluation *out);
DCAM_API void dcam_evaluation_clear(dcam_evaluation *evaluation); /* NULL-safe */

/* ---- export ----------------------------------------------------------- */

typedef enum dcam_export_format {
    DCAM_EXPORT_ONNX,       /* one graph of the whole detector, f32, any batch size */
    DCAM_EXPORT_SAFETENSORS /* teacher and student under torchvision's names, batch norm separate */
} dcam_export_format;

typedef struct dcam_export_options {
    const char *model, *output;  /* two files */
    dcam_export_format format;
    /* The rest is of the graph. */
    bool rgb_input;              /* uint8 RGB, batch x height x width x 3; else normalised f32, batch x 3 x height x width */
    const char *class_name;      /* every image is of this class; NULL: the graph recognises it */
} dcam_export_options;

/* Preprocessing and calibration are written as metadata. The file is read back and checked. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_export(const dcam_export_options *options);

/* ---- drift ------------------------------------------------------------ */

typedef struct dcam_drift_class {
    char *name;
    size_t images, failed, alarms;    /* new normal images; those not read; those called anomalous */
    size_t calibration_images;
    double false_alarm_rate;          /* wanted at the calibration; NAN: labels gave the threshold */
    double median, calibration_median; /* of the raw scores */
    double ks_statistic, ks_p;        /* Kolmogorov and Smirnov, two samples, two-sided */
    bool ks_exact;
    double alarms_p;                  /* of that many false alarms or more */
    double p;                         /* of both tests, corrected for them and for the classes */
    bool drifted;                     /* p <= significance */
    const char *verdict;              /* a phrase */
} dcam_drift_class;

typedef struct dcam_drift {
    dcam_drift_class *classes;
    size_t class_count, drifted, undecided; /* undecided: too few images for any p <= significance */
    size_t failed;
    double significance, p;           /* p: the least of the classes */
    double seconds;
} dcam_drift;

typedef struct dcam_drift_options {
    const char *dataset;              /* good test images, or a folder of new normal images */
    const char *model;                /* file; or the folder of a one-class training */
    const char *classes;
    const char *class_name;           /* what the one class of dataset is called in the model; NULL: the same */
    double significance;              /* the chance of calling any class drifted when none is; 0: 0.01 */
    int threads;
    dcam_precision precision;
    /* As in dcam_evaluate_options. */
    bool (*progress)(void *user, size_t done, size_t total, const char *error) DCAM_NOEXCEPT;
    void *user;
} dcam_drift_options;

/* Whether the scores of new normal images still fit those the calibration kept. The model is not changed. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_check_drift(const dcam_drift_options *options, dcam_drift *out);
DCAM_API void dcam_drift_clear(dcam_drift *drift); /* NULL-safe */

/* ---- teachers, synthetic data, facts ---------------------------------- */

/* Reads a torchvision ResNet-18 state dict (.pth or .safetensors, batch norm
 * separate or folded), checks it and writes a teacher file. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_teacher_import(const char *from, const char *to);

typedef struct dcam_pretrain_progress {
    int step, steps;
    double loss, accuracy;       /* of the last 100 steps or so; each picture is counted before it is learned from */
    double images_per_second;
    double seconds_left;
} dcam_pretrain_progress;

typedef struct dcam_pretrain_options {
    const char *output;          /* teacher file */
    int classes;                 /* 0: 600 */
    int size;                    /* of the pictures; 0: 64; a multiple of 32 */
    int steps, batch;            /* 0: 20000, 32 */
    double learning_rate;        /* 0: 0.05 */
    double weight_decay;         /* 0: 1e-4; negative: none */
    double falling;              /* last part of the steps, in which the learning rate falls; 0: 0.3; negative: none */
    uint64_t seed;
    dcam_precision precision;
    int threads;
    const char *checkpoint;      /* file, or NULL */
    int checkpoint_steps;        /* between two; 0: 500 */
    bool resume;
    /* True: stop, checkpoint first. */
    bool (*progress)(void *user, const dcam_pretrain_progress *progress) DCAM_NOEXCEPT;
    void *user;
} dcam_pretrain_options;

/* Trains a teacher on pictures that are drawn from a seed, and writes it: no
 * photograph and no other weights take part. Before the first step:
 * DCAM_ERROR_KERNEL, _DISK, _MEMORY (more than the machine or its container has). */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_pretrain(const dcam_pretrain_options *options);
/* A sheet of those pictures as PNG, rows x columns classes with three pictures each; of options, size and seed count. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_pretrain_sheet(const dcam_pretrain_options *options, int rows, int columns,
                                                         const char *png_path);

/* SHA-256 of a file of at most 1 GiB, as 64 hexadecimal digits and a NUL. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_file_sha256(const char *path, char out[65]);

typedef struct dcam_synth_options {
    const char *folder;          /* must be empty or not be there */
    uint64_t seed;
    int size;                    /* pixels; 0: 256 */
    int classes;                 /* 0: all */
    int train, test_good, test_defective; /* images a class; 0: 40, 10, 15 */
} dcam_synth_options;

/* Writes a synthetic data set in MVTec layout. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_synth(const dcam_synth_options *options);

/* What a model or teacher file holds, as JSON text (free with dcam_free_text). */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_file_info(const char *path, char **json);
DCAM_API void dcam_free_text(char *text);

/* ---- benchmark -------------------------------------------------------- */

typedef struct dcam_bench_options {
    const char *model;
    int batch;                   /* 0: 1 and 8 */
    int threads;                 /* 0: all */
    dcam_precision precision;
    double seconds;              /* per stage, at most 3600; 0: 3 */
} dcam_bench_options;

typedef struct dcam_bench_result {
    const char *stage;           /* network, decode, resize, map, end_to_end */
    const char *precision;       /* f32, bf16, int8 */
    int batch, threads;
    size_t images;
    double p50, p95, p99;        /* milliseconds an image */
    double images_per_second;
} dcam_bench_result;

/* machine: JSON text about processor, instruction set and libraries. */
DCAM_API DCAM_MUST_CHECK dcam_status
dcam_bench(const dcam_bench_options *options, void (*on_result)(void *user, const dcam_bench_result *result) DCAM_NOEXCEPT,
           void *user, char **machine);

/* ---- doctor ----------------------------------------------------------- */

typedef struct dcam_doctor_check {
    const char *pass;            /* "detection" or "training" */
    const char *precision;       /* f32, bf16, int8 */
    const char *part, *shape;    /* "backward data"; "64 -> 128, 3 x 3 / 2, 64 x 64" */
    const char *kernel;          /* the implementation that was chosen */
    double error, bound;         /* the largest deviation from plain C over the root mean square; in int8 in units of the
                                    result */
    double milliseconds;
    bool right;
} dcam_doctor_check;

typedef struct dcam_doctor_options {
    int width, height;           /* input of the network; 0: 256 */
    int threads;
    const char *folder;          /* whose free space is told; NULL: the present one */
    void (*on_check)(void *user, const dcam_doctor_check *check) DCAM_NOEXCEPT; /* after each; may be NULL */
    void *user;
} dcam_doctor_options;

/* What this machine and this library are, as JSON text (free with dcam_free_text); and whether each kernel that
 * detection and training use here agrees with plain C, in every precision that there is. *wrong: the checks that failed. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_doctor(const dcam_doctor_options *options /* or NULL */, size_t *checks,
                                                 size_t *wrong, char **machine);

/* ---- server ----------------------------------------------------------- */

/* Models behind HTTP: the Open Inference Protocol, plain photographs, a page
 * and metrics; docs/serve.md describes them. Not in a library that was built
 * with DCAM_SERVE=OFF. */
typedef struct dcam_server dcam_server;

typedef struct dcam_server_model {
    const char *name;            /* in paths and metrics; NULL: the file's name without its ending */
    const char *path;
} dcam_server_model;

typedef struct dcam_server_options {
    const dcam_server_model *models;
    size_t model_count;
    const char *listen;          /* "127.0.0.1:8080", "[::]:8080"; port 0: any that is free */
    const char *token_file;      /* a bearer token in its first line; an address that is not loopback needs it, */
    bool no_auth;                /* or this */
    const char *tls_certificate, *tls_key; /* PEM files; NULL: plain HTTP */
    int threads;                 /* of the network, each with images of its own; 0: all cores */
    int workers;                 /* threads that decode and build answers; 0: as many as cores */
    dcam_precision precision;
    int batch;                   /* most images that run together on a thread; 0: found at the start, at most 8 */
    double batch_delay;          /* seconds that an image waits for company; 0: none */
    int queue;                   /* images, and requests, that may wait; 0: 128. Beyond: 503 with Retry-After */
    double deadline;             /* seconds a request may wait for a worker or the network; 0: 10. Beyond: 504 */
    size_t max_body_bytes;       /* 0: 64 MiB */
    size_t max_pixels;           /* of one photograph; 0: 64 Mi */
    int connections, connections_per_address; /* 0: 512, 256 */
    double header_timeout, body_timeout, idle_timeout; /* seconds; 0: 10, 30, 60 */
    double drain_delay;          /* seconds between "not ready" and the end of listening; 0: none */
    double drain_timeout;        /* most seconds for what was begun to end; 0: 30. Beyond: what is being decoded, or in the network */
    bool no_watch;               /* files that change are not loaded by themselves */
    /* A JSON object a request or event, without a newline; from any thread, several at once; may be NULL. While it takes
     * its time no connection is served. */
    void (*log)(void *user, dcam_log_level level, const char *line) DCAM_NOEXCEPT;
    void *user;
} dcam_server_options;

/* Loads the models, listens, and returns while its threads serve. The strings
 * of options must stay until the start has returned. */
DCAM_API DCAM_MUST_CHECK dcam_status dcam_server_start(const dcam_server_options *options, dcam_server **out);
/* "http://127.0.0.1:8080", with the port that it has. */
DCAM_API const char *dcam_server_url(const dcam_server *server);
/* Loads all model files again, in the background; requests go on meanwhile,
 * with the model that they began with. */
DCAM_API void dcam_server_reload(dcam_server *server);
/* Not ready; then no new connections; then everything that was begun is
 * answered; then frees all. False: drain_timeout cut something off. NULL-safe. */
DCAM_API bool dcam_server_stop(dcam_server *server);

#ifdef __cplusplus
}
#endif
#endif
