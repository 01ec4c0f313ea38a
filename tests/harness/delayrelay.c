/*
 * delayrelay — stands between HTTP clients and a server, adds to each round trip, and counts.
 *
 *     delayrelay ADDRESS PORT MILLISECONDS [MEGABYTES]
 *
 * Prints two ports: clients come to the first; who connects to the second is given one line of
 * counters (LIST GET HEAD PUT POST DELETE other bytes-up bytes-down connections) and is sent away.
 * What comes is handed on half the delay later, in either direction, so a request's answer takes as
 * much longer as was asked for.  A transfer under way is not slowed down, unless all of one
 * direction together is more than MEGABYTES (10^6 bytes) a second: so much the line takes.  Ends
 * with its stdin.
 *
 * Ownership: the process's.  Threads: one.  Errors: said on stderr; those of a connection end it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backup/base/clock.h"
#include "tests/harness/httprequests.h"

enum {
    PIECE_SIZE = 128 * 1024,
    QUEUE_MAX = 16 * 1024 * 1024, /* waiting in one direction */
    LINKS_MAX = 1024,
    EVENTS = 64,
};

/* Bytes on their way. */
struct piece {
    struct piece *next;
    int64_t due_ns;
    size_t size, sent;
    uint8_t bytes[];
};

/* One direction of a connection. */
struct flow {
    struct piece *first, **last;
    size_t queued;
    bool is_ended;   /* nothing more comes */
    bool is_shut;    /* … and that was handed on */
    bool is_blocked; /* the receiver takes no more for now */
};

struct link {
    int client, server; /* -1: this link is not in use */
    bool is_broken;
    uint32_t client_events, server_events;
    struct flow up, down;
    struct parser *parser;
};

struct relay {
    struct sockaddr_in server;
    int64_t half_ns;
    double ns_a_byte;   /* 0: the line takes whatever comes */
    int64_t free_ns[2]; /* when it will have taken what came: up, down */
    int epoll, clients, counters;
    struct link links[LINKS_MAX];
    unsigned long long count[KINDS], bytes_up, bytes_down, connections;
};

/* ---- what is handed on ------------------------------------------------------------------- */

static void flow_init(struct flow *flow)
{
    *flow = (struct flow){.last = NULL};
    flow->last = &flow->first;
}

static void flow_drop(struct flow *flow)
{
    struct piece *piece = flow->first;

    flow->first = piece->next;
    if (!flow->first)
        flow->last = &flow->first;
    flow->queued -= piece->size;
    free(piece);
}

/* Else the kernel puts it off, and a server that waits for it before it sends the rest waits with
 * it. */
static void acknowledge(int fd)
{
    int one = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

/* When what has just come will have gone over the line. */
static int64_t line_takes(struct relay *relay, bool is_up, size_t size)
{
    int64_t now = clock_monotonic_ns(), *free_ns = &relay->free_ns[is_up ? 0 : 1];

    *free_ns = (*free_ns > now ? *free_ns : now) + (int64_t)((double)size * relay->ns_a_byte);
    return *free_ns + relay->half_ns;
}

/* Takes in what is there; false: the connection is broken. */
static bool flow_read(struct relay *relay, struct link *link, bool is_up)
{
    struct flow *flow = is_up ? &link->up : &link->down;
    struct piece *piece = malloc(sizeof(*piece) + PIECE_SIZE);
    ssize_t got = piece ? read(is_up ? link->client : link->server, piece->bytes, PIECE_SIZE) : -1;

    if (!piece || got <= 0) {
        bool again = piece && got < 0 && (errno == EAGAIN || errno == EINTR);
        flow->is_ended = got == 0;
        free(piece);
        return got == 0 || again;
    }
    struct piece *fitting = realloc(piece, sizeof(*piece) + (size_t)got);
    piece = fitting ? fitting : piece;
    piece->next = NULL;
    piece->size = (size_t)got;
    piece->sent = 0;
    piece->due_ns = line_takes(relay, is_up, piece->size);
    *flow->last = piece;
    flow->last = &piece->next;
    flow->queued += piece->size;
    acknowledge(is_up ? link->client : link->server);
    *(is_up ? &relay->bytes_up : &relay->bytes_down) += (unsigned long long)got;
    if (is_up)
        parser_read(link->parser, piece->bytes, piece->size);
    return true;
}

/* Hands on what is due; false: the connection is broken. */
static bool flow_write(struct flow *flow, int to, int64_t now)
{
    while (flow->first && flow->first->due_ns <= now && !flow->is_blocked) {
        struct piece *piece = flow->first;
        ssize_t sent =
            send(to, piece->bytes + piece->sent, piece->size - piece->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        flow->is_blocked = sent < 0 && errno == EAGAIN;
        piece->sent += sent > 0 ? (size_t)sent : 0;
        if (piece->sent == piece->size)
            flow_drop(flow);
    }
    if (flow->is_ended && !flow->first && !flow->is_shut) {
        flow->is_shut = true;
        (void)shutdown(to, SHUT_WR);
    }
    return true;
}

/* ---- connections ------------------------------------------------------------------------- */

static void link_close(struct link *link)
{
    while (link->up.first)
        flow_drop(&link->up);
    while (link->down.first)
        flow_drop(&link->down);
    close(link->client);
    close(link->server);
    free(link->parser);
    *link = (struct link){.client = -1, .server = -1};
}

static void make_quick(int fd)
{
    int one = 1;

    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void watch(const struct relay *relay, int operation, int fd, uint32_t events, uint64_t what)
{
    struct epoll_event event = {.events = events, .data.u64 = what};

    (void)epoll_ctl(relay->epoll, operation, fd, &event);
}

/* What an event is about: the link's number, and which end. */
static uint64_t name_of(const struct relay *relay, const struct link *link, bool is_server)
{
    return (uint64_t)(link - relay->links) * 2 + is_server;
}

static void link_watch(struct relay *relay, struct link *link)
{
    bool more_up = !link->up.is_ended && link->up.queued < QUEUE_MAX;
    bool more_down = !link->down.is_ended && link->down.queued < QUEUE_MAX;
    uint32_t client = (more_up ? EPOLLIN : 0U) | (link->down.is_blocked ? EPOLLOUT : 0U);
    uint32_t server = (more_down ? EPOLLIN : 0U) | (link->up.is_blocked ? EPOLLOUT : 0U);

    if (client != link->client_events)
        watch(relay, EPOLL_CTL_MOD, link->client, client, name_of(relay, link, false));
    if (server != link->server_events)
        watch(relay, EPOLL_CTL_MOD, link->server, server, name_of(relay, link, true));
    link->client_events = client;
    link->server_events = server;
}

static void link_open(struct relay *relay, int client)
{
    struct link *link = relay->links;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    while (link < relay->links + LINKS_MAX && link->client >= 0)
        link++;
    struct parser *parser = calloc(1, sizeof(*parser));
    if (link == relay->links + LINKS_MAX || server < 0 || !parser ||
        connect(server, (const struct sockaddr *)&relay->server, sizeof(relay->server)) < 0) {
        free(parser);
        close(client);
        if (server >= 0)
            close(server);
        return;
    }
    parser->count = relay->count;
    *link = (struct link){.client = client, .server = server, .parser = parser};
    flow_init(&link->up);
    flow_init(&link->down);
    make_quick(client);
    make_quick(server);
    relay->connections++;
    watch(relay, EPOLL_CTL_ADD, client, 0, name_of(relay, link, false));
    watch(relay, EPOLL_CTL_ADD, server, 0, name_of(relay, link, true));
    link_watch(relay, link);
}

static void tell_counters(const struct relay *relay, int client)
{
    for (int kind = 0; kind < KINDS; kind++)
        (void)dprintf(client, "%llu ", relay->count[kind]);
    (void)dprintf(client, "%llu %llu %llu\n", relay->bytes_up, relay->bytes_down,
                  relay->connections);
    close(client);
}

static void link_event(struct relay *relay, uint64_t name, uint32_t events)
{
    struct link *link = &relay->links[name / 2];
    bool is_server = name % 2;

    if (link->client < 0)
        return; /* closed by an event before this one */
    if (events & EPOLLOUT)
        (is_server ? &link->up : &link->down)->is_blocked = false;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !flow_read(relay, link, !is_server))
        link->is_broken = true;
}

/* Hands on whatever is due; how long until the next is, at most a second. */
static int64_t pump(struct relay *relay)
{
    int64_t now = clock_monotonic_ns();
    int64_t next = now + NS_PER_SECOND;

    for (struct link *link = relay->links; link < relay->links + LINKS_MAX; link++) {
        if (link->client < 0)
            continue;
        if (link->is_broken || !flow_write(&link->up, link->server, now) ||
            !flow_write(&link->down, link->client, now) ||
            (link->up.is_shut && link->down.is_shut)) {
            link_close(link);
            continue;
        }
        link_watch(relay, link);
        const struct flow *flows[] = {&link->up, &link->down};
        for (size_t i = 0; i < 2; i++)
            if (flows[i]->first && !flows[i]->is_blocked && flows[i]->first->due_ns < next)
                next = flows[i]->first->due_ns;
    }
    return next > now ? next - now : 0;
}

/* ---- the process ------------------------------------------------------------------------- */

enum { NAME_CLIENTS = LINKS_MAX * 2, NAME_COUNTERS, NAME_STDIN };

static int listen_somewhere(const struct relay *relay, uint64_t name, unsigned *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 256) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        perror("delayrelay: listen");
        exit(1);
    }
    *out_port = ntohs(address.sin_port);
    watch(relay, EPOLL_CTL_ADD, fd, EPOLLIN, name);
    return fd;
}

static void serve(struct relay *relay)
{
    struct epoll_event events[EVENTS];

    for (;;) {
        int64_t wait = pump(relay);
        const struct timespec rest = {wait / NS_PER_SECOND, wait % NS_PER_SECOND};
        int count = epoll_pwait2(relay->epoll, events, EVENTS, &rest, NULL);

        for (int i = 0; i < count; i++) {
            uint64_t name = events[i].data.u64;
            if (name == NAME_STDIN)
                return;
            if (name == NAME_COUNTERS)
                tell_counters(relay, accept(relay->counters, NULL, NULL));
            else if (name == NAME_CLIENTS)
                link_open(relay, accept(relay->clients, NULL, NULL));
            else
                link_event(relay, name, events[i].events);
        }
    }
}

int main(int count, char **words)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    unsigned clients = 0, counters = 0;

    if (!relay || count < 4 || count > 5)
        return fprintf(stderr, "usage: delayrelay ADDRESS PORT MILLISECONDS [MEGABYTES]\n"), 2;
    relay->server.sin_family = AF_INET;
    relay->server.sin_port = htons((uint16_t)atoi(words[2]));
    relay->half_ns = (int64_t)(atof(words[3]) * 500000);
    relay->ns_a_byte = count == 5 && atof(words[4]) > 0 ? 1000 / atof(words[4]) : 0;
    relay->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (inet_pton(AF_INET, words[1], &relay->server.sin_addr) != 1 || relay->epoll < 0)
        return fprintf(stderr, "delayrelay: %s: no address\n", words[1]), 2;
    for (size_t i = 0; i < LINKS_MAX; i++)
        relay->links[i].client = relay->links[i].server = -1;
    relay->clients = listen_somewhere(relay, NAME_CLIENTS, &clients);
    relay->counters = listen_somewhere(relay, NAME_COUNTERS, &counters);
    watch(relay, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN | EPOLLHUP, NAME_STDIN);
    printf("%u %u\n", clients, counters);
    (void)fflush(stdout);
    serve(relay);
    free(relay);
    return 0;
}
