/* relay SITE NET DELAY_US JITTER_US LABEL: passes frames between two interfaces, each after a delay.
 *
 * The delay of a frame is DELAY_US plus or minus up to JITTER_US, evenly spread; frames of one direction never overtake
 * each other. LABEL is for whoever looks for the process. The namespace it runs in must have no addresses, and whoever
 * sends into it must compute its own checksums and send no frame larger than the MTU. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 64,
    FRAME = 2048,         /* bytes kept of a frame; an MTU of 1500 and its header need 1514 */
    QUEUE = 16384,        /* frames under way in one direction; the last come in are dropped beyond it */
    SOCKET_BYTES = 8 << 20
};

struct frame {
    uint64_t due; /* ns of CLOCK_MONOTONIC */
    uint32_t length;
    unsigned char bytes[FRAME];
};

struct direction {
    int in, out;
    uint64_t head, tail; /* frames ever sent, frames ever taken in */
    uint64_t last_due;
    struct frame *queue; /* a ring; its pages are touched only when needed */
};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64: evenly spread and cheap; nothing here needs to be unguessable */
static uint64_t draw(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int open_interface(const char *name)
{
    int one = 1, size = SOCKET_BYTES;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address.sll_ifindex = (int)if_nametoindex(name);
    if (fd < 0 || !address.sll_ifindex)
        fail(name);
    /* Before the bind, which starts reception: else frames that this program sends would come back to it. */
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) ||
        bind(fd, (struct sockaddr *)&address, sizeof address))
        fail(name);
    return fd;
}

static struct direction direction(int in, int out)
{
    struct direction d = {.in = in, .out = out, .queue = calloc(QUEUE, sizeof(struct frame))};
    if (!d.queue)
        fail("queue");
    return d;
}

/* Read what has come, straight into the ring; what finds no place is read over the last place, and so dropped. */
static void take(struct direction *d, uint64_t delay, uint64_t jitter)
{
    struct mmsghdr messages[BATCH];
    struct iovec places[BATCH];
    uint64_t room = QUEUE - (d->tail - d->head);
    static unsigned char nowhere[FRAME];
    int count = room < BATCH ? (int)room : BATCH;

    if (!count) {
        while (recv(d->in, nowhere, sizeof nowhere, 0) >= 0)
            ;
        return;
    }
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < count; i++) {
        places[i].iov_base = d->queue[(d->tail + (uint64_t)i) % QUEUE].bytes;
        places[i].iov_len = FRAME;
        messages[i].msg_hdr.msg_iov = &places[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int got = recvmmsg(d->in, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    uint64_t arrived = now();
    for (int i = 0; i < got; i++) {
        struct frame *f = &d->queue[d->tail++ % QUEUE];
        f->due = arrived + delay - jitter + (jitter ? draw() % (2 * jitter + 1) : 0);
        if (f->due < d->last_due)
            f->due = d->last_due;
        d->last_due = f->due;
        f->length = messages[i].msg_len < FRAME ? messages[i].msg_len : FRAME;
    }
}

/* Send what is due. A frame that the interface refuses is lost, as on a wire. */
static void give(struct direction *d, uint64_t time)
{
    struct mmsghdr messages[BATCH];
    struct iovec places[BATCH];

    for (;;) {
        int count = 0;
        memset(messages, 0, sizeof messages);
        for (; count < BATCH && d->head + (uint64_t)count != d->tail; count++) {
            struct frame *f = &d->queue[(d->head + (uint64_t)count) % QUEUE];
            if (f->due > time)
                break;
            places[count].iov_base = f->bytes;
            places[count].iov_len = f->length;
            messages[count].msg_hdr.msg_iov = &places[count];
            messages[count].msg_hdr.msg_iovlen = 1;
        }
        if (!count)
            return;
        int sent = sendmmsg(d->out, messages, (unsigned)count, MSG_DONTWAIT);
        d->head += sent > 0 ? (uint64_t)sent : 1;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: %s SITE NET DELAY_US JITTER_US LABEL\n", argv[0]);
        return 2;
    }
    uint64_t delay = strtoull(argv[3], NULL, 10) * 1000, jitter = strtoull(argv[4], NULL, 10) * 1000;
    if (jitter > delay)
        jitter = delay;
    int site = open_interface(argv[1]), net = open_interface(argv[2]);
    struct direction ways[2] = {direction(site, net), direction(net, site)};
    struct sched_param priority = {.sched_priority = 10};

    prctl(PR_SET_TIMERSLACK, 1);
    sched_setscheduler(0, SCHED_FIFO, &priority); /* wakes in time under load; where it is refused, a little late */
    for (;;) {
        struct pollfd inputs[2] = {{.fd = site, .events = POLLIN}, {.fd = net, .events = POLLIN}};
        struct timespec left, *timeout = NULL;
        uint64_t next = 0, time = now();

        for (int i = 0; i < 2; i++) {
            give(&ways[i], time);
            if (ways[i].head != ways[i].tail) {
                uint64_t due = ways[i].queue[ways[i].head % QUEUE].due;
                next = !next || due < next ? due : next;
            }
        }
        if (next) {
            time = now();
            uint64_t wait = next > time ? next - time : 0;
            left.tv_sec = (time_t)(wait / 1000000000u);
            left.tv_nsec = (long)(wait % 1000000000u);
            timeout = &left;
        }
        if (ppoll(inputs, 2, timeout, NULL) < 0 && errno != EINTR)
            fail("ppoll");
        for (int i = 0; i < 2; i++)
            if (inputs[i].revents)
                take(&ways[i], delay, jitter);
    }
}
