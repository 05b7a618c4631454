"""Makes a component of app.py: `python build.py primes.wasm`. Needs `pip install componentize-py==0.25.1`."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WIT = HERE.parent.parent / "abi" / "wit" / "task.wit"


def leb(number: int) -> bytes:
    """A number as WebAssembly writes lengths."""
    head, number = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + leb(number) if number else bytes([head])


def section(name: bytes, data: bytes) -> bytes:
    body = leb(len(name)) + name + data
    return b"\0" + leb(len(body)) + body


def main() -> None:
    output = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "primes.wasm").resolve()
    tool = pathlib.Path(sys.executable).with_name("componentize-py")
    command = [tool if tool.exists() else "componentize-py", "-d", WIT, "-w", "task", "componentize", "--stub-wasi"]
    subprocess.run([*command, "app", "-o", output], cwd=HERE, check=True)
    with output.open("ab") as component:
        component.write(section(b"processdistro:task", (HERE / "task.json").read_bytes()))


main()
