/* A task in C: counts the primes below `limit`, `chunk` numbers a subtask.
 *
 *     clang --target=wasm32 -O3 -msimd128 -nostdlib -Wl,--no-entry primes.c -o primes.wasm
 *     pdctl push primes.wasm
 */
#include "task.h"

PD_METADATA("{\\\"name\\\":\\\"primes-c\\\",\\\"version\\\":\\\"1.0.0\\\",\\\"description\\\":\\\"Counts primes, in C.\\\","
            "\\\"paramsSchema\\\":{\\\"type\\\":\\\"object\\\",\\\"additionalProperties\\\":false,\\\"properties\\\":{"
            "\\\"limit\\\":{\\\"type\\\":\\\"integer\\\",\\\"minimum\\\":1,\\\"maximum\\\":1000000000},"
            "\\\"chunk\\\":{\\\"type\\\":\\\"integer\\\",\\\"minimum\\\":1}}}}")

static const int64_t LIMIT = 100000, CHUNK = 10000;

static const pd_failure *task_plan(pd_text params, pd_layout *layout) {
    int64_t limit = pd_number(params, "limit", LIMIT), chunk = pd_number(params, "chunk", CHUNK);
    static const pd_failure no_chunk = {"chunk must be at least 1", 1};
    if (chunk < 1) return &no_chunk;
    layout->subtasks = (uint64_t)((limit + chunk - 1) / chunk);
    layout->media_type = "text/plain";
    return NULL;
}

static int is_prime(uint64_t number) {
    if (number < 4) return number > 1;
    if (number % 2 == 0) return 0;
    for (uint64_t divisor = 3; divisor * divisor <= number; divisor += 2) {
        if (number % divisor == 0) return 0;
    }
    return 1;
}

static const pd_failure *task_run(pd_text params, uint64_t index, pd_bytes *output) {
    uint64_t limit = (uint64_t)pd_number(params, "limit", LIMIT), chunk = (uint64_t)pd_number(params, "chunk", CHUNK);
    uint64_t end = (index + 1) * chunk < limit ? (index + 1) * chunk : limit;
    uint64_t *count = pd_alloc(sizeof *count, sizeof *count);
    *count = 0;
    for (uint64_t number = index * chunk; number < end; number++) *count += (uint64_t)is_prime(number);
    *output = (pd_bytes){(uint8_t *)count, sizeof *count};
    return NULL;
}

static const pd_failure *task_merge(pd_text params, uint64_t subtasks) {
    static const pd_failure hole = {"an index has no output", 1};
    uint64_t sum = 0;
    for (uint64_t index = 0; index < subtasks; index++) {
        pd_bytes part = pd_read_part(index);
        if (part.size != sizeof sum) return &hole;
        sum += *(uint64_t *)part.data;
    }
    char text[24];
    size_t at = sizeof text;
    text[--at] = '\n';
    do text[--at] = (char)('0' + sum % 10);
    while (sum /= 10);
    pd_write_result(text + at, sizeof text - at);
    return NULL;
}
