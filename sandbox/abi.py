"""The numbers of the ABI, each with its origin. `control.py` has the messages of the control channel."""

from typing import Final

# Where sel_ldr puts a module's descriptors (native_client/src/trusted/service_runtime/sel_main.c, -X);
# the control channel's number is the launcher's convention (-i 5:<fd> -X 5), imports are ours.
SERVICE_PORT: Final = 3
SERVICE_PORT_ADDRESS: Final = 4
CONTROL_CHANNEL: Final = 5
FIRST_IMPORT: Final = 6

# What they are called, in LISTEN_FDNAMES (sd_listen_fds_with_names(3)) too; a number without a use is /dev/null.
BOUND_SOCKET_NAME: Final = "bound_socket"
ADDRESS_NAME: Final = "address"
CONTROL_CHANNEL_NAME: Final = "control_channel"
UNUSED_NAME: Final = "unused"

# Limits of one message (service_runtime/include/sys/nacl_imc_api.h).
BUFFERS_MAX: Final = 256
DESCRIPTORS_MAX: Final = 8
USER_BYTES_MAX: Final = 128 * 1024

# Flags of imc_sendmsg and imc_recvmsg, and the flags that imc_recvmsg answers (same header).
NONBLOCK: Final = 1
DATA_TRUNCATED: Final = 1
DESCRIPTORS_TRUNCATED: Final = 2

# A token address: 27 characters of [a-zA-Z0-9] and a NUL, bound as an abstract name (NaClSocketAddress,
# nacl_imc_c.h and linux/nacl_imc.cc of 2010).
TOKEN_ALPHABET: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
TOKEN_LENGTH: Final = 27
TOKEN_BYTES: Final = TOKEN_LENGTH + 1
ABSTRACT_PREFIX: Final = b"\0google-nacl-"
ABSTRACT_NAME_BYTES: Final = 108  # all of sun_path, NUL-padded: the kernel compares the padding too

# NaClQuota's file id in a quota wrapper (desc_metadata of 2013).
QUOTA_ID_BYTES: Final = 16

# Shared memory comes in pages of the NaCl ABI (NACL_MAP_PAGESIZE), not of the host.
MEMORY_PAGE: Final = 65536

# What the seed's imc_connect sends over a SocketAddress, and what `acknowledged` answers.
CONNECT: Final = b"c"
ACKNOWLEDGE: Final = b"a"

# listen()'s queue in the seed's first protocol, and how often a token that is taken is drawn again.
BACKLOG: Final = 5
TOKEN_ATTEMPTS: Final = 16

# Has a Python worker write the stacks of its threads to stderr. A real-time signal has no other meaning; the highest
# but one, since some take the first ones (the C library, service managers) and some the last (valgrind).
STACKS_SIGNAL: Final = 63

# SCM_MAX_FD of the kernel: room for as many is offered with every receive, so that a surplus is seen and closed.
KERNEL_DESCRIPTORS_MAX: Final = 253
