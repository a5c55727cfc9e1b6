"""Peers that a node waits for, over real TCP: it notices their end even if neither ever sends to the other."""

from __future__ import annotations

from pathlib import Path

from tests.loopback import Node, free_ports, wait_until


def test_the_end_of_a_watched_peer_is_noticed(tmp_path: Path) -> None:
    ports = free_ports(3)
    node, watched, other = (Node(tmp_path, index, ports) for index in range(3))
    try:
        node.transport.watch([1])
        wait_until(lambda: (0, True) in watched.peers)
        watched.transport.close()
        wait_until(lambda: (1, False) in node.peers)
        assert other.peers == []
    finally:
        for each in (node, watched, other):
            each.close()


def test_the_absence_of_a_watched_peer_is_noticed(tmp_path: Path) -> None:
    node = Node(tmp_path, 0, free_ports(2))
    try:
        node.transport.watch([1])
        wait_until(lambda: (1, False) in node.peers)
    finally:
        node.close()


def test_a_watched_peer_gets_frames_on_the_same_connection(tmp_path: Path) -> None:
    ports = free_ports(2)
    node, watched = Node(tmp_path, 0, ports), Node(tmp_path, 1, ports)
    try:
        node.transport.watch([1])
        wait_until(lambda: watched.peers == [(0, True)])
        node.send(0, [(1, 0)])
        wait_until(lambda: len(watched.arrived) == 1)
        assert watched.peers == [(0, True)]
        assert watched.counters.frames_rejected == 0
    finally:
        node.close()
        watched.close()


def test_the_earlier_life_of_a_returning_peer_counts_as_lost(tmp_path: Path) -> None:
    ports = free_ports(3)
    first, second = Node(tmp_path, 0, ports), Node(tmp_path, 1, ports)
    returned = Node(tmp_path, 2, ports, life=1)
    returned.transport.watch([0, 1])
    try:
        for node in (first, second):
            wait_until(lambda node=node: node.peers == [(2, False), (2, True)])  # type: ignore[misc]
    finally:
        for node in (first, second, returned):
            node.close()
