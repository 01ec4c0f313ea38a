/*
 * answers — a server that says what it was told to, one answer for each connection.
 */
#pragma once

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness/cmocka.h"

/* Gives its answers one after the other, each on a connection of its own. */
struct server {
    int fd;
    char url[64];
    pthread_t thread;
    const char *const *answers;
    _Atomic unsigned asked;
};

static inline void *serve(void *argument)
{
    struct server *server = argument;
    char request[4096];

    for (size_t i = 0; server->answers[i]; i++) {
        int client = accept(server->fd, NULL, NULL);
        if (client < 0)
            break;
        (void)!read(client, request, sizeof(request));
        server->asked++;
        (void)!write(client, server->answers[i], strlen(server->answers[i]));
        shutdown(client, SHUT_WR);
        while (read(client, request, sizeof(request)) > 0)
            continue;
        close(client);
    }
    return NULL;
}

static inline void server_start(struct server *server, const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *server = (struct server){.answers = answers};
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 8), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u/x",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static inline void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}
