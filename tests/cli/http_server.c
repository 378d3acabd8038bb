/* http_server.c - a small HTTP server on loopback for the test of `dcam teacher fetch`, and the weights it serves.
 *     http_server make FILE       writes random ResNet-18 weights
 *     http_server serve FILE [S]  prints its port, then a line a request: "PATH RANGE" ("-": none); ends after S seconds
 *                                 (default 300: never longer than a test may take), 0: when it is killed
 * Paths: /file with Range, /plain without, /cut breaks off in the middle, /slow stops after a few bytes, /same leads to
 * /file, /loop to itself, /elsewhere to another host, /huge says it is far too large; all else is not there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "weights/trunk.h"

static uint8_t *file;
static size_t file_bytes;

static int make(const char *path)
{
    dcam_trunk_weights *weights;
    dcam_tensor_writer *writer;
    if (dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), 5, &weights) != DCAM_OK) return 1;
    if (dcam_tensor_writer_create(&writer) != DCAM_OK) return 1;
    if (dcam_trunk_weights_add(weights, "", writer) != DCAM_OK) return 1;
    if (dcam_tensor_writer_save(writer, path) != DCAM_OK) return 1;
    dcam_tensor_writer_destroy(writer);
    dcam_trunk_weights_destroy(weights);
    return 0;
}

static void send_all(int s, const void *bytes, size_t count)
{
    const char *p = bytes;
    while (count > 0) {
        const ssize_t n = write(s, p, count);
        if (n <= 0) return;
        p += n;
        count -= (size_t)n;
    }
}

static void head(int s, const char *status, const char *more, size_t length)
{
    char text[512];
    const int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n", status, more, length);
    send_all(s, text, (size_t)n);
}

static void answer(int s, const char *path, size_t from)
{
    if (strcmp(path, "/file") == 0 && from >= file_bytes && from > 0) {
        head(s, "416 Range Not Satisfiable", "", 0);
    } else if (strcmp(path, "/file") == 0 && from > 0) {
        char range[100];
        snprintf(range, sizeof range, "Content-Range: bytes %zu-%zu/%zu\r\n", from, file_bytes - 1, file_bytes);
        head(s, "206 Partial Content", range, file_bytes - from);
        send_all(s, file + from, file_bytes - from);
    } else if (strcmp(path, "/file") == 0 || strcmp(path, "/plain") == 0) {
        head(s, "200 OK", "", file_bytes);
        send_all(s, file, file_bytes);
    } else if (strcmp(path, "/cut") == 0) {
        head(s, "200 OK", "", file_bytes);
        send_all(s, file, file_bytes / 2);
    } else if (strcmp(path, "/slow") == 0) {
        head(s, "200 OK", "", file_bytes);
        send_all(s, file, 10);
        sleep(8);
    } else if (strcmp(path, "/same") == 0) {
        head(s, "302 Found", "Location: /file\r\n", 4);
        send_all(s, "text", 4);
    } else if (strcmp(path, "/loop") == 0) {
        head(s, "302 Found", "Location: /loop\r\n", 0);
    } else if (strcmp(path, "/elsewhere") == 0) {
        head(s, "301 Moved", "Location: http://elsewhere.invalid/file\r\n", 0);
    } else if (strcmp(path, "/huge") == 0) {
        head(s, "200 OK", "", (size_t)1 << 40);
    } else {
        head(s, "404 Not Found", "", 9);
        send_all(s, "not there", 9);
    }
}

static void serve_one(int s)
{
    char text[4096] = "", path[256] = "", range[64] = "-";
    size_t used = 0;
    while (used < sizeof text - 1 && !strstr(text, "\r\n\r\n")) {
        const ssize_t n = read(s, text + used, sizeof text - 1 - used);
        if (n <= 0) return;
        used += (size_t)n;
        text[used] = '\0';
    }
    if (sscanf(text, "GET %255s", path) != 1) return;
    const char *asked = strcasestr(text, "\r\nRange: bytes=");
    if (asked && sscanf(asked + 15, "%63[0-9-]", range) != 1) return;
    printf("%s %s\n", path, range);
    fflush(stdout);
    answer(s, path, asked ? (size_t)strtoull(range, NULL, 10) : 0);
}

static int serve(const char *path, unsigned seconds)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (dcam_file_read(path, (size_t)1 << 30, &file, &file_bytes) != DCAM_OK) return 1;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) return 1;
    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) return 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    alarm(seconds);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        const int s = accept(listener, NULL, NULL);
        if (s < 0) continue;
        if (fork() == 0) {
            serve_one(s);
            close(s);
            _exit(0);
        }
        close(s);
    }
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "make") == 0) return make(arguments[2]);
    if (count >= 3 && strcmp(arguments[1], "serve") == 0) return serve(arguments[2], count > 3 ? (unsigned)atoi(arguments[3]) : 300);
    fprintf(stderr, "usage: http_server make FILE | serve FILE [SECONDS]\n");
    return 2;
}
