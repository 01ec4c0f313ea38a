"""Ports for servers of tests, which listen a moment after they were told on which."""
import random
import socket

# Below those that the system gives to connections (/proc/sys/net/ipv4/ip_local_port_range), which another test
# may have by then, and apart from those that s3-ceph.sh and s3-swift.sh take.
RANGE = 10000, 15000


def free_port():
    while True:
        port = random.SystemRandom().randrange(*RANGE)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
