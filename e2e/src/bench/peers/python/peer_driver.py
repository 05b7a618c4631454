"""Runs jobs on one of the systems that ProcessDistro is compared with, as its documentation says to.

Usage: peer_driver.py dask|ray|pool WORKERS. Prints "ready" once all workers have run something. Then every line of
standard input is a job, {"description": …, "count": …}, answered by a line with the seconds from the first submission to
the last output in this process, and how many bytes the outputs had. Without a description it is the trivial job.
"""

import functools
import json
import os
import sys
import time

import peer_kernels

WARM_UP = 200


def dask(workers):
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    )
    client = Client(cluster)

    def run(function, count):
        return client.gather(client.map(function, range(count), pure=False))

    return run, lambda: (client.close(), cluster.close())


def ray(workers):
    import ray as system

    system.init(
        num_cpus=workers, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1", logging_level="ERROR"
    )
    remotes = {}

    def run(function, count):
        remote = remotes.get(function) or remotes.setdefault(function, system.remote(num_cpus=1)(function))
        return system.get([remote.remote(index) for index in range(count)])

    return run, system.shutdown


def pool(workers):
    import multiprocessing

    processes = multiprocessing.Pool(workers)

    def run(function, count):
        return processes.map(function, range(count), chunksize=1)

    return run, processes.terminate


@functools.cache
def function_of(description):
    """The same object for the same job, so that nothing is registered twice."""
    if description is None:
        return peer_kernels.nothing

    def kernel(index):
        return peer_kernels.run(description, index)

    return kernel if sys.argv[1] != "pool" else functools.partial(peer_kernels.run, description)


def main():
    # What the systems print must not be taken for answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run, close = {"dask": dask, "ray": ray, "pool": pool}[sys.argv[1]](int(sys.argv[2]))
    run(peer_kernels.nothing, WARM_UP)
    print("ready", file=answers)
    for line in sys.stdin:
        job = json.loads(line)
        function = function_of(job["description"])
        started = time.perf_counter()
        outputs = run(function, job["count"])
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "bytes": sum(map(len, outputs))}), file=answers)
    close()


if __name__ == "__main__":
    main()
