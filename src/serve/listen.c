/* listen.c - the address to listen on, as text, to a socket. Names are not looked up, except "localhost". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/ascii.h"
#include "base/file.h"
#include "serve/internal.h"

#define BACKLOG 511 /* connections that wait to be accepted; the system may allow fewer */

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return memcmp(&((const struct sockaddr_in6 *)address)->sin6_addr, &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

bool serve_is_local_host(const char *host)
{
    char name[64];
    const bool six = host[0] == '[';
    const size_t length = six ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (length >= sizeof name || strlen(host) < length) return false;
    memcpy(name, host, length);
    name[length] = '\0';
    const char *port = host + length;
    if (port[0] != '\0' && (port[0] != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))) return false;
    if (dcam_ascii_casecmp(name, "localhost") == 0) return true;
    struct sockaddr_storage address = {.ss_family = six ? AF_INET6 : AF_INET};
    if (!six) return inet_pton(AF_INET, name, &((struct sockaddr_in *)&address)->sin_addr) == 1 && is_loopback(&address);
    name[length - 1] = '\0';
    return inet_pton(AF_INET6, name + 1, &((struct sockaddr_in6 *)&address)->sin6_addr) == 1 && is_loopback(&address);
}

/* HOST:PORT or [HOST]:PORT, both numbers. */
static dcam_status parse(const char *text, struct sockaddr_storage *out, socklen_t *length)
{
    char host[64];
    const char *colon = strrchr(text, ':'), *start = text, *end = colon;
    const long long port = colon ? dcam_request_digits(colon + 1) : -1;
    if (colon && text[0] == '[' && colon > text + 1 && colon[-1] == ']') {
        start++;
        end--;
    } else if (colon && memchr(text, ':', (size_t)(colon - text))) {
        colon = NULL; /* an IPv6 address without brackets: which colon begins the port? */
    }
    if (!colon || port < 0 || port > 65535 || end - start < 1 || (size_t)(end - start) >= sizeof host)
        return dcam_fail(DCAM_ERROR_USAGE, "address to listen on: '%s' is not ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080", text);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    if (strcmp(host, "localhost") == 0) memcpy(host, "127.0.0.1", sizeof "127.0.0.1");
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int fault = getaddrinfo(host, colon + 1, &hints, &found);
    if (fault == EAI_MEMORY) return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to read the address to listen on", text);
    if (fault != 0 || !found)
        return dcam_fail(DCAM_ERROR_USAGE, "address to listen on: '%s' is not an address of numbers; 0.0.0.0 is every "
                         "address of this machine", host);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *length = found->ai_addrlen;
    freeaddrinfo(found);
    return DCAM_OK;
}

static void write_url(const struct sockaddr_storage *address, bool tls, char *url, size_t bytes, int *port)
{
    char host[INET6_ADDRSTRLEN] = "";
    const bool six = address->ss_family == AF_INET6;
    if (six) inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, host, sizeof host);
    else inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, host, sizeof host);
    *port = ntohs(six ? ((const struct sockaddr_in6 *)address)->sin6_port : ((const struct sockaddr_in *)address)->sin_port);
    snprintf(url, bytes, "http%s://%s%s%s:%d", tls ? "s" : "", six ? "[" : "", host, six ? "]" : "", *port);
}

dcam_status serve_listen(const char *text, int *socket_out, bool *loopback, char *url, size_t url_bytes, bool tls, int *port)
{
    struct sockaddr_storage address = {0};
    socklen_t length = 0;
    DCAM_TRY(parse(text, &address, &length));
    const int listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) return dcam_system_failure("make a socket for it", text);
    const int yes = 1;
    /* Without it a restart fails for a minute on connections of the process before. */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_storage bound;
    memset(&bound, 0, sizeof bound); /* all of it: it is read as other types */
    socklen_t bound_length = sizeof bound;
    if (bind(listener, (const struct sockaddr *)&address, length) != 0 || listen(listener, BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&bound, &bound_length) != 0) {
        const int reason = errno;
        close(listener);
        return dcam_fail(dcam_status_of_errno(reason), "%s: cannot listen there: %s%s", text, strerror(reason),
                         reason == EADDRINUSE ? "; name another port" : "");
    }
    *loopback = is_loopback(&bound);
    write_url(&bound, tls, url, url_bytes, port);
    *socket_out = listener;
    return DCAM_OK;
}
