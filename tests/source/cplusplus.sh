#!/bin/sh
# dcam.h in C++11, 17 and 20, with warnings as errors; from C++17 on a callback that may throw is refused by the compiler:
# cplusplus.sh INCLUDE. 77: there is no C++ compiler.
set -eu
include=$1
for compiler in c++ g++ clang++ ""; do
    [ -n "$compiler" ] || { echo "no C++ compiler"; exit 77; }
    command -v "$compiler" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# MAY_THROW: "noexcept", or nothing.
cat >"$work/program.cpp" <<'END'
#include <dcam.h>
static void log_line(void *, dcam_log_level, const char *) MAY_THROW {}
static void serve_line(void *, dcam_log_level, const char *) MAY_THROW {}
static bool on_result(void *, const char *, const dcam_detection *, const char *) MAY_THROW { return false; }
static bool on_step(void *, const dcam_train_progress *) MAY_THROW { return false; }
static bool on_pretrain(void *, const dcam_pretrain_progress *) MAY_THROW { return false; }
static bool on_image(void *, size_t, size_t, const char *) MAY_THROW { return false; }
static void on_class(void *, const dcam_class_threshold *) MAY_THROW {}
static void on_bench(void *, const dcam_bench_result *) MAY_THROW {}
static void on_check(void *, const dcam_doctor_check *) MAY_THROW {}
struct all {
    dcam_train_options train;
    dcam_pretrain_options pretrain;
    dcam_evaluate_options evaluate;
    dcam_drift_options drift;
    dcam_doctor_options doctor;
    dcam_server_options server;
    dcam_calibrate_options calibrate;
    dcam_bench_options bench;
};
int use(dcam_detector *detector, const char *path, all &o)
{
    o.train.progress = on_step;
    o.pretrain.progress = on_pretrain;
    o.evaluate.progress = on_image;
    o.drift.progress = on_image;
    o.doctor.on_check = on_check;
    o.server.log = serve_line;
    dcam_set_log(log_line, nullptr);
    return dcam_detect_paths(detector, &path, 1, on_result, nullptr, nullptr) | dcam_train(&o.train) | dcam_pretrain(&o.pretrain) |
           dcam_calibrate(&o.calibrate, on_class, nullptr, nullptr) | dcam_bench(&o.bench, on_bench, nullptr, nullptr);
}
END
# compiles STANDARD SPECIFIER
compiles() {
    "$compiler" "-std=$1" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -isystem "$work" -I "$include" "-DMAY_THROW=$2" \
        "$work/program.cpp" >"$work/said" 2>&1
}
tried=0
for standard in c++11 c++17 c++20; do
    echo 'int main() {}' >"$work/empty.cpp"
    "$compiler" "-std=$standard" -fsyntax-only "$work/empty.cpp" 2>/dev/null || { echo "$standard: not known here"; continue; }
    tried=$((tried + 1))
    compiles $standard noexcept || { cat "$work/said"; echo "FAILED: $standard"; exit 1; }
    if [ $standard = c++11 ]; then
        compiles $standard "" || { cat "$work/said"; echo "FAILED: $standard refuses callbacks without noexcept"; exit 1; }
    else
        ! compiles $standard "" || { echo "FAILED: $standard takes callbacks that throw"; exit 1; }
        # Each by itself: six fields, four arguments.
        errors=$(grep -c 'error: ' "$work/said")
        [ "$errors" -ge 10 ] || { cat "$work/said"; echo "FAILED: $standard refuses $errors uses of 10"; exit 1; }
    fi
done
[ $tried -gt 0 ] || { echo "no known standard"; exit 77; }
