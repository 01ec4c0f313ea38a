/* Handles of libcurl, lent to one attempt at a time, and the sockets of their connections. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/net/http_internal.h"

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct handle *handle = context;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    (void)purpose;
    if (fd >= 0 && handle->count < SOCKETS_MAX)
        handle->sockets[handle->count++] = fd;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int close_socket(void *context, curl_socket_t fd)
{
    struct handle *handle = context;

    for (size_t i = 0; i < handle->count; i++) {
        if (handle->sockets[i] != fd)
            continue;
        handle->sockets[i] = handle->sockets[--handle->count];
        break;
    }
    return close(fd);
}

/* A server that sends headers and body apart may hold the body back until the headers are
 * acknowledged, and the kernel puts that off: 40 ms for each small answer of Ceph's gateway. */
void handle_acknowledge(const struct handle *handle)
{
    int one = 1;

    for (size_t i = 0; i < handle->count; i++)
        (void)setsockopt(handle->sockets[i], IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

/* What curl_easy_reset() forgets. */
static void set_up(struct handle *handle)
{
    curl_easy_setopt(handle->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(handle->easy, CURLOPT_OPENSOCKETDATA, handle);
    curl_easy_setopt(handle->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(handle->easy, CURLOPT_CLOSESOCKETDATA, handle);
}

static struct handle *handle_new(void)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle)
        return NULL;
    handle->easy = curl_easy_init();
    if (!handle->easy) {
        free(handle);
        return NULL;
    }
    set_up(handle);
    return handle;
}

void handle_free(struct handle *handle)
{
    curl_easy_cleanup(handle->easy); /* closes its sockets */
    free(handle);
}

struct handle *handle_take(struct http *http)
{
    struct handle *handle = NULL;

    pthread_mutex_lock(&http->lock);
    while (http->used == http->connections)
        pthread_cond_wait(&http->given, &http->lock);
    http->used++;
    if (http->idle_count > 0)
        handle = http->idle[--http->idle_count];
    pthread_mutex_unlock(&http->lock);
    return handle ? handle : handle_new();
}

void handle_give(struct http *http, struct handle *handle)
{
    if (handle) {
        curl_easy_reset(handle->easy);
        set_up(handle);
    }
    pthread_mutex_lock(&http->lock);
    http->used--;
    if (handle)
        http->idle[http->idle_count++] = handle;
    pthread_cond_signal(&http->given);
    pthread_mutex_unlock(&http->lock);
}
