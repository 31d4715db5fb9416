# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The clients of the pairs, as a program in the controller's network.

    clients.py LOG ADDRESSES OWN

Every pair's virtual address is asked 25 times a second, each time by a fresh connection, whatever
became of the one before. Every host's own address is asked five times a second. Each answer is one
line of JSON in LOG: `at` (seconds), `whom` (pair or host), `ok`, `said` (the host that answered, or
what went wrong), `took`.
"""

import asyncio
import json
import signal
import sys
import time

A_SECOND = {"pair": 25, "host": 5}
TIMEOUT = 2.0


async def ask(address):
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        writer.write(b"GET / HTTP/1.0\r\nHost: fire\r\n\r\n")
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _blank, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise OSError(f"answered {head[:40]!r}")
    return body.decode().strip()


async def once(log, kind, whom, address):
    begun = time.time()
    try:
        ok, said = True, await asyncio.wait_for(ask(address), TIMEOUT)
    except asyncio.TimeoutError:
        ok, said = False, "no answer in time"
    except OSError as error:
        ok, said = False, str(error)
    log.write(
        json.dumps(
            {
                "at": round(begun, 3),
                "kind": kind,
                "whom": whom,
                "ok": ok,
                "said": said,
                "took": round(time.time() - begun, 3),
            }
        )
        + "\n"
    )


async def go_on(log, kind, whom, address, stop):
    """Ask at the beats of a clock, so that a slow answer does not make fewer questions."""
    beat, tasks = time.monotonic(), set()
    while not stop.is_set():
        task = asyncio.ensure_future(once(log, kind, whom, address))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        beat += 1 / A_SECOND[kind]
        await asyncio.sleep(max(0, beat - time.monotonic()))
    await asyncio.gather(*tasks)


async def main(path, pairs, hosts):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with open(path, "w", encoding="utf-8", buffering=1) as log:
        await asyncio.gather(
            *(
                go_on(log, kind, whom, address, stop)
                for kind, whole in (("pair", pairs), ("host", hosts))
                for whom, address in whole.items()
            )
        )


asyncio.run(main(sys.argv[1], *map(json.loads, sys.argv[2:])))
