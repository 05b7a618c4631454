"""A task in Python: counts the primes below `limit`, `chunk` numbers a subtask."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host
from wit_world.imports.types import Failure_Permanent, Layout

DEFAULTS = {"limit": 20000, "chunk": 5000}


def read(params: str) -> tuple[int, int]:
    given = {**DEFAULTS, **json.loads(params)}
    return given["limit"], given["chunk"]


def is_prime(number: int) -> bool:
    if number < 4:
        return number > 1
    return number % 2 == 1 and all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


class Contract(exports.Contract):
    def plan(self, params: str) -> Layout:
        limit, chunk = read(params)
        if chunk < 1:
            raise Err(Failure_Permanent("chunk must be at least 1"))
        return Layout(subtasks=-(-limit // chunk), media_type="text/plain", goal=None, state=b"")

    def run(self, params: str, index: int) -> bytes:
        limit, chunk = read(params)
        numbers = range(index * chunk, min(limit, (index + 1) * chunk))
        return sum(map(is_prime, numbers)).to_bytes(8, "little")

    def merge(self, params: str, subtasks: int) -> None:
        parts = []
        for index in range(subtasks):
            size = host.part_size(index)
            if size is None:
                raise Err(Failure_Permanent(f"index {index} has no output"))
            parts.append(int.from_bytes(host.read_part(index, 0, size), "little"))
        host.write_result(f"{sum(parts)}\n".encode())
