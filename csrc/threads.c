/* A small pool of threads: the only file with system calls.
   One caller at a time; nested and concurrent callers run inline. Workers sleep when idle and never spin. A caller
   waits only for the workers that took part, so a worker that wakes late delays nobody. A forked child starts with
   an empty pool. Which thread runs a block never matters to the result: callers cut blocks by the problem alone. */
#include "fastnn.h"

#if defined(_WIN32)
FNN_EXPORT int fastnn_get_num_threads(void) { return 1; }
FNN_EXPORT void fastnn_set_num_threads(int n) { (void)n; }
void fnn_parallel(fnn_task *task, void *context, ptrdiff_t blocks)
{
    for (ptrdiff_t b = 0; b < blocks; b++) task(context, b);
}
#else
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static pthread_mutex_t entry = PTHREAD_MUTEX_INITIALIZER; /* held by the one caller */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* guards what follows */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static int workers, active, open_seats;
static fnn_task *job;
static void *job_context;
static ptrdiff_t job_blocks;
static atomic_ptrdiff_t next_block;
static atomic_int threads = 1;

static void run_blocks(fnn_task *task, void *context, ptrdiff_t blocks)
{
    for (ptrdiff_t b; (b = atomic_fetch_add(&next_block, 1)) < blocks;) task(context, b);
}

static void *worker(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!open_seats) pthread_cond_wait(&wake, &lock);
        open_seats--;
        active++;
        fnn_task *const task = job;
        void *const context = job_context;
        const ptrdiff_t blocks = job_blocks;
        pthread_mutex_unlock(&lock);
        run_blocks(task, context, blocks);
        pthread_mutex_lock(&lock);
        if (--active == 0) pthread_cond_signal(&done);
    }
    return 0;
}

static void before_fork(void)
{
    pthread_mutex_lock(&entry);
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&entry);
}

static void in_child(void)
{
    workers = active = open_seats = 0;
    pthread_cond_init(&wake, 0);
    pthread_cond_init(&done, 0);
    pthread_mutex_init(&lock, 0);
    pthread_mutex_init(&entry, 0);
}

/* Called with `entry` and `lock` held. A thread that cannot be had is done without. */
static void start_workers(int wanted)
{
    static int registered;
    if (!registered) registered = pthread_atfork(before_fork, in_parent, in_child) == 0;
    if (!registered) return;
    sigset_t all, before; /* signals are for the program's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t thread; workers < wanted; workers++) {
        if (pthread_create(&thread, 0, worker, 0)) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

FNN_EXPORT int fastnn_get_num_threads(void) { return atomic_load(&threads); }

FNN_EXPORT void fastnn_set_num_threads(int n)
{
    atomic_store(&threads, n < 1 ? 1 : n > FNN_MAX_THREADS ? FNN_MAX_THREADS : n);
}

void fnn_parallel(fnn_task *task, void *context, ptrdiff_t blocks)
{
    int helpers = fastnn_get_num_threads() - 1;
    if (helpers >= blocks) helpers = (int)blocks - 1;
    if (helpers < 1 || pthread_mutex_trylock(&entry)) {
        for (ptrdiff_t b = 0; b < blocks; b++) task(context, b);
        return;
    }
    pthread_mutex_lock(&lock);
    start_workers(helpers);
    job = task;
    job_context = context;
    job_blocks = blocks;
    atomic_store(&next_block, 0);
    open_seats = helpers < workers ? helpers : workers;
    for (int i = 0; i < open_seats; i++) pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);

    run_blocks(task, context, blocks);

    pthread_mutex_lock(&lock);
    open_seats = 0;
    while (active) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&entry);
}
#endif
