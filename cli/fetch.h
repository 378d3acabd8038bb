/* fetch.h - one file over HTTP into a file beside its final place, to be gone on with after a stop. The only part of
 * dcam that uses the network; libcurl is here and nowhere else. */
#ifndef DCAM_CLI_FETCH_H
#define DCAM_CLI_FETCH_H

/* Larger than any ResNet-18 file; an endless answer must not fill the disk. */
#define CLI_FETCH_MOST_BYTES (256L << 20)
/* Redirects are followed on the same host only, and no more often than this. */
#define CLI_FETCH_REDIRECTS 3
#define CLI_FETCH_CONNECT_SECONDS 30L

typedef struct {
    const char *url;   /* http or https */
    const char *part;  /* what is there is gone on with (Range), what comes is appended; kept when it stops */
    const char *proxy; /* NULL: none; the environment is not asked */
    int stall_seconds; /* without a kilobyte a second for so long: given up */
} cli_fetch_job;

/* Gives an exit code: 0, or another after printing the error line. */
int cli_fetch(const cli_fetch_job *job);

#endif
