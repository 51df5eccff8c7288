/* A worker that speaks IMC by itself: all that a native program needs, and nothing but libc.
 *
 * It is started by imclab with its descriptors in place (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, as systemd's services
 * are), and uses the replacement protocol, in the wire layout of 2013:
 *
 *     imc_makeboundsock   a pair of sockets; one end is the SocketAddress, the other the BoundSocket
 *     imc_connect         "c" and one end of a fresh pair over the SocketAddress; the other end is the connection
 *     imc_accept          that message from the BoundSocket
 *     imc_sendmsg         one packet: header, a tag for each descriptor, data; the descriptors by SCM_RIGHTS
 *
 * With IMC_PROTOCOL=acknowledged in its environment, accept answers "a" and connect waits for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0xd3c0de01, HEADER = 16, AREA = 16, DATA_MAX = 131072, DESCRIPTORS_MAX = 8, KERNEL_MAX = 253 };
enum { TAG_ADDRESS = 4, TAG_DATA_ONLY_SOCKET = 13, TAG_END = 0xff };

/* A message as the program sees it: its data, and descriptors, each with its tag. Whoever has it closes them. */
struct message {
    size_t size;
    char data[DATA_MAX];
    int count;
    int fds[DESCRIPTORS_MAX];
    unsigned char tags[DESCRIPTORS_MAX];
};

static void close_all(int count, const int *fds)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static int malformed(int count, const int *fds)
{
    close_all(count, fds);
    errno = EIO;
    return -1;
}

/* One packet out: the only place of SCM_RIGHTS for sending. Never a SIGPIPE. */
static ssize_t send_packet(int sock, struct iovec *parts, size_t number, const int *fds, int count)
{
    union { char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)]; struct cmsghdr aligned; } control;
    struct msghdr header = { .msg_iov = parts, .msg_iovlen = number };
    ssize_t sent;

    if (count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
    }
    do
        sent = sendmsg(sock, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

/* One packet in. Room for as many descriptors as the kernel delivers, so that a surplus is seen and closed. */
static ssize_t receive_packet(int sock, void *buffer, size_t size, int *fds, int *count)
{
    union { char bytes[CMSG_SPACE(sizeof(int) * KERNEL_MAX)]; struct cmsghdr aligned; } control;
    struct iovec part = { buffer, size };
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
    };
    ssize_t received;

    *count = 0;
    do
        received = recvmsg(sock, &header, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -1;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        int number = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds + *count, CMSG_DATA(part), sizeof(int) * number);
        *count += number;
    }
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return malformed(*count, fds);
    return received;
}

/* Connections, in the order of the protocol's description. */

static int is_acknowledged(void)
{
    const char *protocol = getenv("IMC_PROTOCOL");
    return protocol != NULL && strcmp(protocol, "acknowledged") == 0;
}

static int imc_makeboundsock(int *bound, int *address)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    *bound = pair[0];
    *address = pair[1];
    return 0;
}

static int imc_accept(int bound)
{
    char message[2];
    int fds[KERNEL_MAX], count, type;
    socklen_t length = sizeof type;

    for (;;) {
        ssize_t received = receive_packet(bound, message, sizeof message, fds, &count);
        if (received < 0)
            return -1;
        if (received != 1 || message[0] != 'c' || count != 1)
            return malformed(count, fds); /* the end of the stream, too: every SocketAddress is gone */
        if (getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET)
            return malformed(count, fds);
        if (!is_acknowledged() || send(fds[0], "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
            return fds[0];
        close(fds[0]); /* it gave up meanwhile: the next one */
    }
}

static int imc_connect(int address)
{
    struct iovec connect_message = { "c", 1 };
    int pair[2], fds[KERNEL_MAX], count;
    char answer[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    ssize_t sent = send_packet(address, &connect_message, 1, &pair[0], 1);
    close(pair[0]);
    if (sent < 0) {
        close(pair[1]);
        errno = EIO;
        return -1;
    }
    if (is_acknowledged()) {
        ssize_t received = receive_packet(pair[1], answer, sizeof answer, fds, &count);
        if (received != 1 || answer[0] != 'a' || count != 0) {
            close(pair[1]);
            return malformed(received < 0 ? 0 : count, fds);
        }
    }
    return pair[1];
}

/* Messages. */

static void put_number(unsigned char *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = number >> (8 * i);
}

static uint32_t get_number(const unsigned char *bytes)
{
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int imc_sendmsg(int sock, const struct message *message)
{
    unsigned char head[HEADER + AREA] = { 0 };
    size_t area = message->count > 0 ? AREA : 0;

    if (message->count > DESCRIPTORS_MAX || message->size > DATA_MAX) {
        errno = EINVAL;
        return -1;
    }
    put_number(head, MAGIC);
    put_number(head + 4, area);
    memcpy(head + HEADER, message->tags, message->count);
    if (area > 0)
        head[HEADER + message->count] = TAG_END;
    struct iovec parts[] = { { head, HEADER + area }, { (void *)message->data, message->size } };
    return send_packet(sock, parts, 2, message->fds, message->count) < 0 ? -1 : 0;
}

/* Strict: what imc_sendmsg could not have written is EIO, and the next message may be good. */
static int imc_recvmsg(int sock, struct message *message)
{
    static unsigned char packet[HEADER + AREA + DATA_MAX];
    int fds[KERNEL_MAX], count;
    ssize_t received = receive_packet(sock, packet, sizeof packet, fds, &count);

    if (received < 0)
        return -1;
    uint32_t area = received >= HEADER ? get_number(packet + 4) : 0;
    if (received < HEADER || get_number(packet) != MAGIC || get_number(packet + 8) || get_number(packet + 12))
        return malformed(count, fds);
    if (area != (count > 0 ? AREA : 0) || received < (ssize_t)(HEADER + area) || count > DESCRIPTORS_MAX)
        return malformed(count, fds);
    for (uint32_t i = 0; i < area; i++) {
        unsigned char tag = packet[HEADER + i];
        int is_known = tag == TAG_ADDRESS || tag == TAG_DATA_ONLY_SOCKET;
        if ((int)i < count ? !is_known : tag != ((int)i == count ? TAG_END : 0))
            return malformed(count, fds);
    }
    message->count = count;
    message->size = received - HEADER - area;
    memcpy(message->fds, fds, sizeof(int) * count);
    memcpy(message->tags, packet + HEADER, count);
    memcpy(message->data, packet + HEADER + area, message->size);
    return 0;
}

/* What the program was started with. */

static int descriptor(const char *name)
{
    const char *pid = getenv("LISTEN_PID"), *names = getenv("LISTEN_FDNAMES");
    size_t length = strlen(name);

    if (pid == NULL || names == NULL || atoi(pid) != getpid())
        return -1;
    for (int number = 3; *names != '\0'; number++) {
        size_t here = strcspn(names, ":");
        if (here == length && strncmp(names, name, length) == 0)
            return number;
        names += here + (names[here] == ':');
    }
    return -1;
}

static int check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static struct message *text(struct message *message, const char *data, int address)
{
    message->size = strlen(data);
    memcpy(message->data, data, message->size);
    message->count = address >= 0;
    message->fds[0] = address;
    message->tags[0] = TAG_ADDRESS;
    return message;
}

/* The roles: worker echo | greet IMPORT | introduce IMPORT FRIEND | meet | export NAME | import */
int main(int argc, char **argv)
{
    static struct message message;
    const char *role = argc > 1 ? argv[1] : "";
    int bound, address, sock;

    if (strcmp(role, "echo") == 0 || strcmp(role, "export") == 0) {
        bound = descriptor("bound_socket");
        if (strcmp(role, "export") == 0) {
            check(imc_makeboundsock(&bound, &address), "makeboundsock");
            check(imc_sendmsg(descriptor("control_channel"), text(&message, argc > 2 ? argv[2] : "", address)), "export");
            close(address);
        }
        sock = check(imc_accept(bound), "accept");
        while (imc_recvmsg(sock, &message) == 0) {
            check(imc_sendmsg(sock, &message), "sendmsg");
            close_all(message.count, message.fds);
        }
    } else if (strcmp(role, "greet") == 0 || strcmp(role, "import") == 0) {
        if (strcmp(role, "import") == 0) {
            check(imc_recvmsg(descriptor("control_channel"), &message), "grant");
            printf("granted %.*s\n", (int)message.size, message.data);
            address = message.count == 1 ? message.fds[0] : -1;
        } else
            address = descriptor(argv[2]);
        sock = check(imc_connect(address), "connect");
        check(imc_sendmsg(sock, text(&message, "hello from C", -1)), "sendmsg");
        check(imc_recvmsg(sock, &message), "recvmsg");
        printf("answered %.*s\n", (int)message.size, message.data);
    } else if (strcmp(role, "introduce") == 0) {
        sock = check(imc_connect(descriptor(argv[2])), "connect");
        check(imc_sendmsg(sock, text(&message, "meet carol", descriptor(argv[3]))), "sendmsg");
    } else if (strcmp(role, "meet") == 0) {
        sock = check(imc_accept(descriptor("bound_socket")), "accept");
        check(imc_recvmsg(sock, &message), "recvmsg");
        sock = check(imc_connect(message.count == 1 ? message.fds[0] : -1), "connect");
        check(imc_sendmsg(sock, text(&message, "hi", -1)), "sendmsg");
    } else
        return 2;
    return 0;
}
