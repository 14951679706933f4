"""Addresses of reserved ranges, and the countries that stand for them in ``tests/streams/recorded/geo.mmdb``."""

import ipaddress
import random

HOME = "JP"
ABROAD = ("US", "BR", "NG", "RU", "VN", "CN", "IN")
NETWORKS: tuple[tuple[str, str], ...] = (
    ("198.18.0.0/18", "JP"),
    ("2001:db8:1::/48", "JP"),
    ("198.18.64.0/20", "US"),
    ("2001:db8:2::/48", "US"),
    ("198.18.80.0/20", "BR"),
    ("2001:db8:3::/48", "BR"),
    ("198.18.96.0/20", "NG"),
    ("198.18.112.0/20", "RU"),
    ("2001:db8:4::/48", "RU"),
    ("198.18.128.0/20", "VN"),
    ("2001:db8:5::/48", "VN"),
    ("198.18.144.0/20", "CN"),
    ("198.18.160.0/20", "IN"),
    ("198.18.176.0/20", "DE"),
    ("2001:db8:6::/48", "DE"),
    ("198.18.192.0/20", "FR"),
)


class Addresses:
    """Gives each address (IPv6: each /64) once."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._used: set[str] = set()

    def new(self, country: str, v6: bool = False) -> str:
        """An address of this country; IPv4 if it has no IPv6 network here."""
        networks = [ipaddress.ip_network(n) for n, c in NETWORKS if c == country]
        fitting = [n for n in networks if n.version == (6 if v6 else 4)] or networks
        while True:
            network = self._random.choice(fitting)
            step = 1 << 64 if network.version == 6 else 1
            address = str(network[self._random.randrange(1, network.num_addresses // step) * step])
            if address not in self._used:
                self._used.add(address)
                return address
