/* The task contract for C: what `wasm_tasks/abi/wit/task.wit` says, in the canonical ABI of the component model.
 *
 * A task includes this once, defines the three functions declared below and its metadata:
 *
 *     PD_METADATA("{\"name\":\"...\",\"version\":\"...\",\"description\":\"...\",\"paramsSchema\":{...}}")
 *
 * It needs no runtime: memory comes from a bump allocator here, for an instance lives for one call.
 */
#ifndef PROCESSDISTRO_TASK_H
#define PROCESSDISTRO_TASK_H

#include <stddef.h>
#include <stdint.h>

#define PD_HOST(name) __attribute__((import_module("processdistro:task/host@1.0.0"), import_name(name)))
#define PD_EXPORT(name) __attribute__((export_name("processdistro:task/contract@1.0.0#" name)))
#define PD_METADATA(json)                                                                                              \
    __asm__(".section \".custom_section.processdistro:task\",\"\",@\n.ascii \"" PD_ESCAPED(json) "\"\n");
/* The assembler reads the text once more. */
#define PD_ESCAPED(json) json

typedef struct { uint8_t *data; size_t size; } pd_bytes;
typedef struct { const char *data; size_t size; } pd_text;
enum pd_level { PD_DEBUG, PD_INFO, PD_WARN, PD_ERROR };

/* What the host offers, as the ABI passes it. */
PD_HOST("log") void pd_host_log(int32_t level, const char *text, size_t size);
PD_HOST("progress") void pd_progress(uint64_t done, uint64_t total);
PD_HOST("cancelled") int32_t pd_cancelled(void);
PD_HOST("found") void pd_found(uint64_t target);
PD_HOST("input-size") void pd_host_input_size(const char *name, size_t size, uint64_t answer[2]);
PD_HOST("read-input")
void pd_host_read_input(const char *name, size_t size, uint64_t offset, uint32_t length, pd_bytes *answer);
PD_HOST("part-size") void pd_host_part_size(uint64_t index, uint64_t answer[2]);
PD_HOST("read-part") void pd_host_read_part(uint64_t index, uint64_t offset, uint32_t length, pd_bytes *answer);
PD_HOST("write-result") void pd_write_result(const void *bytes, size_t size);

/* What a task defines. A failure is NULL when there is none. */
typedef struct { const char *text; int is_permanent; } pd_failure;
typedef struct { uint64_t subtasks; const char *media_type; } pd_layout;
static const pd_failure *task_plan(pd_text params, pd_layout *layout);
static const pd_failure *task_run(pd_text params, uint64_t index, pd_bytes *output);
static const pd_failure *task_merge(pd_text params, uint64_t subtasks);

static size_t pd_length(const char *text) {
    size_t size = 0;
    while (text[size]) size++;
    return size;
}

static void pd_log(enum pd_level level, const char *text) { pd_host_log(level, text, pd_length(text)); }

/* Memory of one call; nothing is given back. */
extern uint8_t __heap_base;
static uintptr_t pd_heap;

static void *pd_alloc(size_t size, size_t align) {
    if (!pd_heap) pd_heap = (uintptr_t)&__heap_base;
    uintptr_t at = (pd_heap + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (size > UINTPTR_MAX - at) __builtin_trap();
    if (at + size > have && __builtin_wasm_memory_grow(0, (at + size - have + 65535) >> 16) == (size_t)-1) {
        pd_log(PD_ERROR, "out of memory");
        __builtin_trap();
    }
    pd_heap = at + size;
    return (void *)at;
}

__attribute__((export_name("cabi_realloc")))
void *pd_cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    uint8_t *fresh = pd_alloc(size, align);
    for (size_t at = 0; at < old_size && at < size; at++) fresh[at] = ((uint8_t *)old)[at];
    return fresh;
}

/* The size of an input, or -1 where the job has none of that name. */
__attribute__((unused)) static int64_t pd_input_size(const char *name) {
    uint64_t answer[2] = {0, 0};
    pd_host_input_size(name, pd_length(name), answer);
    return (uint8_t)answer[0] ? (int64_t)answer[1] : -1;
}

__attribute__((unused)) static pd_bytes pd_read_input(const char *name, uint64_t offset, uint32_t length) {
    pd_bytes answer;
    pd_host_read_input(name, pd_length(name), offset, length, &answer);
    return answer;
}

/* In merge: the output of an index, of no bytes where it has none. */
__attribute__((unused)) static pd_bytes pd_read_part(uint64_t index) {
    uint64_t size[2] = {0, 0};
    pd_bytes answer = {0, 0};
    pd_host_part_size(index, size);
    if ((uint8_t)size[0]) pd_host_read_part(index, 0, (uint32_t)size[1], &answer);
    return answer;
}

/* A number of the params' JSON by its name, or `otherwise`; enough for flat objects of numbers. */
__attribute__((unused)) static int64_t pd_number(pd_text params, const char *name, int64_t otherwise) {
    size_t length = pd_length(name);
    for (size_t at = 0; at + length + 2 < params.size; at++) {
        if (params.data[at] != '"' || params.data[at + length + 1] != '"') continue;
        size_t same = 0;
        while (same < length && params.data[at + 1 + same] == name[same]) same++;
        if (same < length) continue;
        size_t to = at + length + 2;
        while (to < params.size && (params.data[to] == ':' || params.data[to] == ' ')) to++;
        int64_t number = 0;
        while (to < params.size && params.data[to] >= '0' && params.data[to] <= '9') {
            number = number * 10 + (params.data[to++] - '0');
        }
        return number;
    }
    return otherwise;
}

/* The exports: the task's answers, laid out as the ABI wants them. */
static void pd_put_failure(uint32_t *to, const pd_failure *failure) {
    to[0] = failure->is_permanent != 0;
    to[1] = (uint32_t)(uintptr_t)failure->text;
    to[2] = (uint32_t)pd_length(failure->text);
}

PD_EXPORT("plan") void *pd_export_plan(const char *params, size_t size) {
    uint64_t *answer = pd_alloc(56, 8);
    pd_layout layout = {0, "application/octet-stream"};
    const pd_failure *failure = task_plan((pd_text){params, size}, &layout);
    for (int at = 0; at < 7; at++) answer[at] = 0;
    answer[0] = failure != NULL;
    uint32_t *words = (uint32_t *)(answer + 1);
    if (failure) {
        pd_put_failure(words, failure);
        return answer;
    }
    answer[1] = layout.subtasks;
    words[2] = (uint32_t)(uintptr_t)layout.media_type;
    words[3] = (uint32_t)pd_length(layout.media_type);
    return answer;
}

PD_EXPORT("run") void *pd_export_run(const char *params, size_t size, uint64_t index) {
    uint32_t *answer = pd_alloc(16, 4);
    pd_bytes output = {0, 0};
    const pd_failure *failure = task_run((pd_text){params, size}, index, &output);
    answer[0] = failure != NULL;
    if (failure) {
        pd_put_failure(answer + 1, failure);
        return answer;
    }
    answer[1] = (uint32_t)(uintptr_t)output.data;
    answer[2] = (uint32_t)output.size;
    return answer;
}

PD_EXPORT("merge") void *pd_export_merge(const char *params, size_t size, uint64_t subtasks) {
    uint32_t *answer = pd_alloc(16, 4);
    const pd_failure *failure = task_merge((pd_text){params, size}, subtasks);
    answer[0] = failure != NULL;
    if (failure) pd_put_failure(answer + 1, failure);
    return answer;
}

#endif
