// One thread pool for all kernels, and their memory. Idle threads sleep on a condition variable and never spin.
//
// A job is a count of tasks handed out one by one under the pool's mutex; tasks are coarse (a strip or a tile), so the
// lock is taken a few hundred times a kernel. The caller works on its own job, so jobs may be started from
// several threads at once, or from inside a task, without waiting for each other.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "kernels.hpp"

#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>
#else
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace safelight {
namespace {

struct Job {
    Job* next;
    std::int64_t next_task, tasks;
    int slots, joined, inside;  // how many threads may take part, ever did, and do now
    Body body;
    void* context;
};

struct Pool {
    std::mutex mutex;
    std::condition_variable work, finished;
    Job* jobs = nullptr;
    int threads = 0;  // including the caller
    int spawned = 0;
};

int usable_processors() {
#if defined(_WIN32)
    DWORD_PTR process = 0, system = 0;
    int count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system))
        for (; process != 0; process &= process - 1) ++count;
    if (count > 0) return count;
#elif defined(__linux__)
    for (int capacity = 1024; capacity <= 1 << 16; capacity *= 4) {
        cpu_set_t* set = CPU_ALLOC(capacity);
        if (set == nullptr) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(capacity);
        CPU_ZERO_S(bytes, set);
        const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
#endif
    const int all = static_cast<int>(std::thread::hardware_concurrency());
    return all > 0 ? all : 1;
}

Pool* new_pool(int threads) {
    Pool* fresh = new Pool;
    fresh->threads = threads;
    return fresh;
}

std::atomic<bool> poison{false};

// Never deleted: threads may still sleep in it when the process ends.
Pool* pool = nullptr;

#if !defined(_WIN32)
// A forked child has none of its parent's threads, and would inherit the mutex in any state: it starts a fresh pool.
void before_fork() { pool->mutex.lock(); }
void after_fork_in_parent() { pool->mutex.unlock(); }
void after_fork_in_child() { pool = new_pool(pool->threads); }
#endif

Pool& the_pool() {
    static const bool ready = [] {
        pool = new_pool(usable_processors());
#if !defined(_WIN32)
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
#endif
        return true;
    }();
    static_cast<void>(ready);
    return *pool;
}

void take_part(Pool& in, Job& job, std::unique_lock<std::mutex>& lock) {
    const int slot = job.joined++;
    ++job.inside;
    while (job.next_task < job.tasks) {
        const std::int64_t task = job.next_task++;
        lock.unlock();
        job.body(job.context, task, slot);
        lock.lock();
    }
    if (--job.inside == 0) in.finished.notify_all();
}

Job* open_job(Pool& in, int worker) {
    if (worker >= in.threads) return nullptr;  // the count was lowered after this worker was started
    for (Job* job = in.jobs; job != nullptr; job = job->next)
        if (job->next_task < job->tasks && job->joined < job->slots) return job;
    return nullptr;
}

void work_forever(Pool* in, int worker) {
    std::unique_lock<std::mutex> lock(in->mutex);
    for (;;) {
        if (Job* job = open_job(*in, worker))
            take_part(*in, *job, lock);
        else
            in->work.wait(lock);
    }
}

void spawn(Pool& in, int wanted) {
    while (in.spawned < wanted) {
        try {
            std::thread(work_forever, &in, in.spawned + 1).detach();
        } catch (const std::system_error&) {
            return;  // no more threads to be had: fewer do the same work
        }
        ++in.spawned;
    }
}

}  // namespace

int thread_count() {
    Pool& in = the_pool();
    const std::lock_guard<std::mutex> lock(in.mutex);
    return in.threads;
}

void set_thread_count(int count) {
    Pool& in = the_pool();
    const std::lock_guard<std::mutex> lock(in.mutex);
    in.threads = count > 0 ? count : usable_processors();
}

int slot_count(std::int64_t tasks, int limit) {
    std::int64_t count = thread_count();
    if (count > limit) count = limit;
    if (count > tasks) count = tasks;
    return count > 1 ? static_cast<int>(count) : 1;
}

void parallel_for(std::int64_t tasks, int slots, Body body, void* context) {
    Pool& in = the_pool();
    Job job{nullptr, 0, tasks, slots, 0, 0, body, context};
    std::unique_lock<std::mutex> lock(in.mutex);
    if (slots > 1) {
        spawn(in, slots - 1);
        job.next = in.jobs;
        in.jobs = &job;
        in.work.notify_all();
    }
    take_part(in, job, lock);
    in.finished.wait(lock, [&job] { return job.inside == 0; });
    for (Job** link = &in.jobs; *link != nullptr; link = &(*link)->next)
        if (*link == &job) {
            *link = job.next;
            break;
        }
}

void* allocate(std::size_t bytes) {
    constexpr std::size_t line = 64;
    const std::size_t whole = (bytes + line - 1) / line * line + line;
    if (whole < bytes) return nullptr;
#if defined(_WIN32)
    void* const memory = _aligned_malloc(whole, line);
#else
    void* memory = nullptr;
    if (posix_memalign(&memory, line, whole) != 0) memory = nullptr;
#endif
    if (memory != nullptr && poison.load()) std::memset(memory, 0xff, whole);
    return memory;
}

void set_poison(bool on) { poison.store(on); }

void release(void* memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

}  // namespace safelight
