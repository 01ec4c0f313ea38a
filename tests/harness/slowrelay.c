/*
 * slowrelay LISTEN-PORT ADDRESS PORT MILLISECONDS [MB/S] — a line with a delay, as fast as it goes,
 * or as fast as is said.
 *
 * What clients send goes on so many milliseconds later, in order and at once; what comes back is
 * passed on as it comes.  So each request takes longer by that much and nothing gets narrower: the
 * delay of tests/harness/chaosproxy.py without Python's own limit.  Prints the port that it listens
 * at (0: any).  Two threads a connection; ends with its standard input.
 *
 *     cc -O2 -pthread -o slowrelay tests/harness/slowrelay.c
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 256 * 1024, QUEUE = 64, BACKLOG = 256 };

static struct sockaddr_in upstream;
static int64_t delay_ns, ns_each_mb;
static pthread_mutex_t rate_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t free_ns; /* until then the line is taken by what came before */

/* What a client sent, and when it is due. */
struct piece {
    int64_t due_ns;
    size_t size;
    char *bytes;
};

/* One direction with a delay: filled by one thread, emptied by another. */
struct line {
    int from, to;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct piece pieces[QUEUE];
    size_t first, count;
    int ended;
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void wait_until(int64_t due_ns)
{
    struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
}

/* All connections share what the line lets through. */
static void take_time(size_t size)
{
    if (ns_each_mb == 0)
        return;
    pthread_mutex_lock(&rate_lock);
    int64_t now = now_ns();
    free_ns = (free_ns > now ? free_ns : now) + (int64_t)size * ns_each_mb / 1000000;
    int64_t due = free_ns;
    pthread_mutex_unlock(&rate_lock);
    wait_until(due);
}

static int send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -1;
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static void put(struct line *line, char *bytes, size_t size)
{
    pthread_mutex_lock(&line->lock);
    while (line->count == QUEUE)
        pthread_cond_wait(&line->changed, &line->lock);
    line->pieces[(line->first + line->count++) % QUEUE] =
        (struct piece){.due_ns = now_ns() + delay_ns, .size = size, .bytes = bytes};
    line->ended = line->ended || size == 0;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->lock);
}

static struct piece take(struct line *line)
{
    pthread_mutex_lock(&line->lock);
    while (line->count == 0)
        pthread_cond_wait(&line->changed, &line->lock);
    struct piece piece = line->pieces[line->first];
    line->first = (line->first + 1) % QUEUE;
    line->count--;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->lock);
    return piece;
}

/* From the client into the line; an empty piece is its end. */
static void *fill(void *argument)
{
    struct line *line = argument;

    for (ssize_t got = 1; got > 0;) {
        char *bytes = malloc(PIECE);
        got = bytes ? recv(line->from, bytes, PIECE, 0) : 0;
        put(line, bytes, got > 0 ? (size_t)got : 0);
    }
    return NULL;
}

static void *empty(void *argument)
{
    struct line *line = argument;
    int failed = 0;

    for (;;) {
        struct piece piece = take(line);
        wait_until(piece.due_ns);
        if (piece.size > 0 && !failed)
            failed = send_all(line->to, piece.bytes, piece.size) < 0;
        free(piece.bytes);
        if (piece.size == 0)
            break;
    }
    shutdown(line->to, SHUT_WR);
    return NULL;
}

/* What comes back waits for nothing but its share of the line. */
static void give_back(int from, int to)
{
    char *bytes = malloc(PIECE);

    for (ssize_t got = 1; bytes && got > 0;) {
        got = recv(from, bytes, PIECE, 0);
        take_time(got > 0 ? (size_t)got : 0);
        if (got > 0 && send_all(to, bytes, (size_t)got) < 0)
            break;
    }
    free(bytes);
}

static void serve(int client, int server)
{
    struct line line = {.from = client, .to = server};
    pthread_t filler, emptier;

    pthread_mutex_init(&line.lock, NULL);
    pthread_cond_init(&line.changed, NULL);
    if (pthread_create(&filler, NULL, fill, &line) != 0 ||
        pthread_create(&emptier, NULL, empty, &line) != 0)
        abort();
    give_back(server, client);
    shutdown(client, SHUT_RDWR);
    shutdown(server, SHUT_RDWR);
    pthread_join(filler, NULL);
    pthread_join(emptier, NULL);
    pthread_cond_destroy(&line.changed);
    pthread_mutex_destroy(&line.lock);
}

static void *connection(void *argument)
{
    int client = (int)(intptr_t)argument, on = 1;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (server >= 0 && connect(server, (struct sockaddr *)&upstream, sizeof(upstream)) == 0) {
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        serve(client, server);
    }
    if (server >= 0)
        close(server);
    close(client);
    return NULL;
}

static void *watch_input(void *argument)
{
    char byte;

    (void)argument;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    exit(0);
}

static int listen_at(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return -1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    pthread_t watch;

    if (argc < 5 || argc > 6 || inet_pton(AF_INET, argv[2], &upstream.sin_addr) != 1) {
        fprintf(stderr, "usage: slowrelay LISTEN-PORT ADDRESS PORT MILLISECONDS [MB/S]\n");
        return 2;
    }
    upstream.sin_family = AF_INET;
    upstream.sin_port = htons((uint16_t)atoi(argv[3]));
    delay_ns = atoll(argv[4]) * INT64_C(1000000);
    ns_each_mb = argc > 5 && atoll(argv[5]) > 0 ? 1000000000 / atoll(argv[5]) : 0;
    int fd = listen_at(argv[1]);
    if (fd < 0 || pthread_create(&watch, NULL, watch_input, NULL) != 0) {
        perror("slowrelay");
        return 1;
    }
    for (;;) {
        pthread_t thread;
        int client = accept(fd, NULL, NULL);
        if (client < 0 && errno != EINTR && errno != ECONNABORTED)
            sleep(1);
        if (client < 0)
            continue;
        if (pthread_create(&thread, NULL, connection, (void *)(intptr_t)client) != 0)
            close(client);
        else
            pthread_detach(thread);
    }
}
